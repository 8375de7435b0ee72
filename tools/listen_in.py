#!/usr/bin/env python3
"""Compares the messages of a running hearth with docs/mqtt.md: a paho client subscribes to all topics of one machine for some
seconds, and reports each topic that is not documented and each payload that differs. Needs `pip install paho-mqtt`.

    tools/listen_in.py HOST PORT NODE SECONDS
"""
import json, pathlib, re, sys, time
from collections import Counter
from datetime import datetime

import paho.mqtt.client as mqtt

host, port, node, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
table = (pathlib.Path(__file__).parent.parent / "docs/mqtt.md").read_text()
rows = re.findall(r"^\| `hearth/home/([^`]+)` \| (yes|no) \| `(.+)` \|$", table, re.M)
documented = {re.sub("^(rule|response)/.*", r"\1/", path): (kept, example) for path, kept, example in rows}
received, wrong = Counter(), []


def check(path, message):
    kind = re.sub("^(rule|response)/.*", r"\1/", path)
    if kind not in documented:
        return "is not documented"
    if kind == "status":
        return None if message.payload in (b"online", b"offline") else f"says {message.payload!r}"
    if message.qos != (kind != "interim"):
        return f"came with QoS {message.qos}"
    if len(message.payload) > 16_000:
        return f"has {len(message.payload)} bytes"
    body, example = json.loads(message.payload), json.loads(documented[kind][1])
    datetime.fromisoformat(body["time"])
    if not re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", body["id"]) or body["schema"] != 1:
        return "has no ULID, or another schema"
    missing = set(example) - set(body) if kind != "response/" else {"command", "status"} - set(body)
    more = set(body) - set(example) if kind != "response/" else set()
    return f"lacks {missing}, has besides {more}" if missing or more else None


def on_message(client, _, message):
    path = message.topic.removeprefix(f"hearth/{node}/")
    if path.endswith("/set") or path.startswith("request/"):
        return
    received[path] += 1
    try:
        fault = check(path, message)
    except (ValueError, KeyError, TypeError) as error:
        fault = f"is not as documented: {error!r}"
    if fault:
        wrong.append(f"{message.topic} {fault}")


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho")
client.on_message = on_message
client.on_connect = lambda c, *_: c.subscribe(f"hearth/{node}/#", 1)
client.connect(host, port)
client.loop_start()
time.sleep(seconds / 2)
for command, value in (("request/ask", "Is there a fire?"), ("listening/set", "maybe"), ("request/dance", "")):
    client.publish(f"hearth/{node}/{command}", json.dumps({"value": value, "transaction": command}), 1)
time.sleep(seconds / 2)
client.loop_stop()
for path, count in sorted(received.items()):
    print(f"{count:5} {path}")
print("\n".join(wrong) or f"all {sum(received.values())} messages are as documented")
sys.exit(bool(wrong) or not received)
