#!/usr/bin/env python3
"""Checks what the rig recorded: reports everything that Home Assistant should show and does not. Exits with 1 if there is any."""
import json, re, sys

seen = json.load(open(sys.argv[1]))
dumps = {step["arg"]: {e["entity_id"]: e for e in step["snapshot"]["entities"]}
         for step in seen["steps"] if step["step"] == "dump"}
calls = [step for step in seen["steps"] if step["step"] == "call"]
snapshots = {step["arg"]: step["snapshot"] for step in seen["steps"] if step["step"] == "dump"}
python, node_red = (open(path, errors="replace").read() for path in sys.argv[2:4])
wrong = []


def expect(fine, what):
    print(("ok   " if fine else "WRONG"), what)
    if not fine:
        wrong.append(what)


def state(dump, entity):
    return dumps[dump].get(entity, {}).get("state")


RULES, FIXED = 7, 29
first = dumps["first"]
expect(len(first) == FIXED + 2 * RULES, f"{FIXED + 2 * RULES} entities are there: {len(first)}")
silent = [e for e in first if state("first", e) == "unavailable"]
expect(not silent, f"all are available: {silent}")
numbers = [e for e in first if e.startswith("sensor.") and e.rsplit("_", 1)[-1] in ("lag", "tokens", "cpu", "memory", "size", "age")]
expect(len(numbers) == 6 and all(state("first", e).replace(".", "").isdigit() for e in numbers), "health is numbers")
expect(len(state("first", "sensor.hearth_home_utterance")) > 3, "the last utterance is shown")
expect(state("first", "event.hearth_home_alert") not in (None, "unknown"), "an alert came as an event")
# Which one is the newest by now depends on the machine.
newest = first["event.hearth_home_alert"]["attributes"].get("rule")
expect(newest in ("door", "medicine", "left_on", "help"), f"… of a rule, with its attributes: {newest}")
expect(state("first", "switch.hearth_home_listening") == "on", "listening is on")
CLASSES = {"help": "safety", "fire": "smoke", "leak": "moisture", "intruder": "safety", "door": "sound", "medicine": "problem",
           "left_on": "problem"}
shown = {rule: first[f"binary_sensor.hearth_home_rule_{rule}"]["attributes"] for rule in CLASSES}
expect({rule: a.get("device_class") for rule, a in shown.items()} == CLASSES, f"each rule has its device class: {CLASSES}")
expect(shown["door"]["friendly_name"] == "Hearth home Door alert", "no name reads like that of a door contact")
expect(state("first", "text.hearth_home_ask") == "", "the field for questions is empty, not unknown")
device = next(d for d in snapshots["first"]["devices"] if d["name"] == "Hearth home")
expect(device.get("configuration_url") == "http://hearth.local:8787/", "the device links to the page")
expect("area_id" not in device and not {"Home", "home"} & set(snapshots["first"]["areas"]),
       f"no area was made: {snapshots['first']['areas']}")
event = first["event.hearth_home_alert"]["attributes"]
title = re.escape((newest or "").replace("_", " ").capitalize())
expect(event["message"].startswith("“") and re.fullmatch(rf"(Critical: )?{title}( \(\d+ %\))?", event["title"]),
       f"the alert is text for a phone: {event['title']}: {event['message']}")

# The blueprints, and the phone.
said = [m for m in seen["mqtt_log"] if m["topic"].startswith("hearth/home/")]
alerts = [json.loads(m["payload"]) for m in said if m["topic"] == "hearth/home/alert" and not m["payload"].endswith("…")]
began = {a["id"]: a for a in alerts if a["phase"] == "new"}
pushes = [p for p in seen["pushes"] if p.get("data", {}).get("actions")]
expect(began and {p["data"]["tag"] for p in pushes} == {f"hearth-{i}" for i in began}, f"the phone shows each alert that began: {len(began)}")
fits = lambda p: any((p["title"], p["message"]) == (a["title"], a["message"]) for a in alerts)
expect(all(map(fits, pushes)), "… with its evidence")
taps = [step for step in seen["steps"] if step["step"] == "tap"]
for tap, command in zip(taps, ("acknowledge", "false_alarm")):
    alert = tap["result"].rsplit("_", 1)[1]
    at = next((i for i, m in enumerate(said) if m["topic"].endswith(f"request/{command}") and m["payload"] == alert), None)
    answer = next((json.loads(m["payload"]) for m in said[at or 0:] if m["topic"].endswith(f"response/{command}")), {})
    expect(at is not None and answer.get("status") == "ok", f"a button on the phone carries out {command} of {alert}: {answer}")
lamp = [m["payload"] for m in seen["mqtt_log"] if m["topic"] == "rig/lamp"]
expect(lamp[:6] == ["on", "on", "off", "on", "off", "on"], f"the lamp, which is on, flashes twice and is on again: {lamp[:6]}")
expect((state("somebody", "switch.hearth_home_listening"), state("nobody", "switch.hearth_home_listening")) == ("off", "on"),
       "hearth is muted while somebody is in the room")
night = [p for p in seen["pushes"] if p.get("title") == "hearth: today"]
expect(len(night) == 1 and len(night[0]["message"]) > 10, f"the summary of the night comes: {[p['message'] for p in night]}")
plain = [p for p in seen["pushes"] if p["title"] in {a["title"] for a in alerts} and "data" not in p]
expect(len(plain) >= len(began), "the automation to copy tells the phone, too")
triggered = seen["automations"]
for name in ("phone", "flash", "night", "presence", "hearth_tell_a_phone", "hearth_keep_summaries"):
    expect(triggered.get(f"automation.{name}"), f"automation.{name} was triggered")
used = set(re.findall(r"(?:binary_sensor|sensor|event|button|text|switch)\.hearth_home_\w+", json.dumps(seen["dashboards"])))
expect(len(used) > 15 and used <= set(first), f"the dashboard shows what there is: {sorted(used - set(first))}")
for name, output in (("the Python program", python), ("Node-RED", node_red)):
    lost = [a["title"] for a in began.values() if f"{a['title']}: {a['message']}" not in output]
    expect(began and not lost, f"{name} tells of each alert that began: {lost or ''}")

expect(all(call["result"] == "ok" for call in calls), "every service call was taken")
# The commands of the entities; the others are those of the blueprints.
calls = calls[4:]
replies = {m["topic"].rsplit("/", 1)[1]: json.loads(m["payload"]) for m in seen["mqtt_log"]
           if "/response/" in m["topic"] and not m["payload"].endswith("…")}
for command in ("listening", "pause", "interval", "summarise", "ask", "acknowledge", "false_alarm", "snooze"):
    expect(command in replies and replies[command]["status"] in ("ok", "error"), f"{command} was answered")
expect(replies.get("snooze", {}).get("status") == "ok", "snooze was carried out")
expect([c["states_after"].get("switch.hearth_home_listening") for c in calls[:2]] == ["off", "on"], "the switch follows")
SWITCH, MINUTES, UNTIL = "switch.hearth_home_listening", "number.hearth_home_pause_minutes", "sensor.hearth_home_paused_until"
paused, resumed = ({e: call["states_after"].get(e) for e in (SWITCH, MINUTES, UNTIL)} for call in calls[2:4])
expect(paused[SWITCH] == "off" and paused[MINUTES] in ("59", "60", "59.0", "60.0"), f"the button pauses for an hour: {paused}")
expect(paused[UNTIL] not in (None, "unknown", "unavailable"), "… and it is shown until when")
expect(resumed[SWITCH] == "on" and resumed[MINUTES] in ("0", "0.0"), f"a pause of 0 minutes ends it: {resumed}")
expect(state("commanded", "number.hearth_home_interval") in ("5", "5.0"), "the interval is shown")
expect(state("commanded", "sensor.hearth_home_answer") not in (None, "unknown", ""), "the answer is shown")
summary = dumps["commanded"]["sensor.hearth_home_summary"]
expect(summary["state"] == summary["attributes"]["text"][:250] != "", f"the summary is shown as text: {summary['state']}")
expect(state("commanded", "text.hearth_home_ask") == "", "the field for questions is empty again")

stop, back, crash = (step for step in seen["steps"] if step["step"] == "wait")
gone = [e for e in dumps["back"] if state("back", e) == "unavailable"]
expect(back["result"].startswith("after") and not gone, f"hearth is back {back['result']}: {gone}")
left = [e for e in dumps["crashed"] if state("crashed", e) != "unavailable"]
expect(not left, f"a hearth that crashed is unavailable {crash['result']}, one that stopped {stop['result']}: {left}")
again = dumps["home_assistant_restarted"]
lost = [e for e in first if e not in again or again[e]["state"] == "unavailable"]
expect(not lost, f"after its restart Home Assistant shows everything: {lost}")
expect(state("home_assistant_restarted", "number.hearth_home_interval") in ("5", "5.0"), "… with its states")
stopped = [e for e in dumps["stopped"] if state("stopped", e) != "unavailable"]
expect(not stopped, f"a hearth that stopped is unavailable: {stopped}")
expect("sensor.hearth_home_legacy" in dumps["older"] and "sensor.hearth_home_legacy" not in dumps["fewer"],
       "what an older version announced is taken back")
expect(len(dumps["fewer"]) == FIXED + 2, f"entities of removed rules are gone: {len(dumps['fewer'])} are left")
back = [e for e in dumps["broker_restarted"] if state("broker_restarted", e) == "unavailable"]
expect(len(dumps["broker_restarted"]) == FIXED + 2 and not back, f"a broker that lost everything is told again: {back}")
renamed = dumps["renamed"]
old = [e for e in renamed if "hearth_home" in e]
expect(not old and len(renamed) == FIXED + 2, f"a renamed machine leaves nothing behind: {old}")
# The test itself stopped the broker.
warnings = [w for w in seen["ha_log_warnings"] if ("mqtt" in w["logger"] or "mqtt" in w["message"].lower())
            and not any(lost in w["message"] for lost in ("connection was lost", "Connection reset by peer"))]
expect(not warnings, f"Home Assistant warned of nothing: {[w['message'][:200] for w in warnings]}")
print(f"Home Assistant {seen['home_assistant']}: " + (f"{len(wrong)} things are wrong" if wrong else "all is well"))
sys.exit(1 if wrong else 0)
