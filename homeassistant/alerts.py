#!/usr/bin/env python3
"""Prints each alert of hearth with the words that caused it: alerts.py [HOST [PORT [TOPIC]]]. Needs paho-mqtt 2."""
import json
import sys

import paho.mqtt.client as mqtt

host, port, base = (sys.argv[1:] + ["localhost", "1883", "hearth/home"][len(sys.argv) - 1:])[:3]


def on_connect(client, _data, _flags, _reason, _properties):
    client.subscribe(f"{base}/alert", qos=1)


def on_message(_client, _data, message):
    alert = json.loads(message.payload)
    if alert["phase"] == "new":
        print(f"{alert['time']} {alert['title']}: {alert['message']}", flush=True)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect, client.on_message = on_connect, on_message
client.connect(host, int(port))
client.loop_forever()
