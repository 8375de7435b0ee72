#!/usr/bin/env python3
"""Checks what the rig recorded: reports everything that Home Assistant should show and does not. Exits with 1 if there is any."""
import json, sys

seen = json.load(open(sys.argv[1]))
dumps = {step["arg"]: {e["entity_id"]: e for e in step["snapshot"]["entities"]}
         for step in seen["steps"] if step["step"] == "dump"}
calls = [step for step in seen["steps"] if step["step"] == "call"]
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
expect(first["event.hearth_home_alert"]["attributes"].get("rule") == "door", "… of the door, with its attributes")
expect(state("first", "switch.hearth_home_listening") == "on", "listening is on")

expect(all(call["result"] == "ok" for call in calls), "every service call was taken")
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
expect(state("commanded", "sensor.hearth_home_summary") not in (None, "unknown"), "the summary is shown")

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
            and "connection was lost" not in w["message"]]
expect(not warnings, f"Home Assistant warned of nothing: {[w['message'][:200] for w in warnings]}")
print(f"Home Assistant {seen['home_assistant']}: " + (f"{len(wrong)} things are wrong" if wrong else "all is well"))
sys.exit(1 if wrong else 0)
