//! Home Assistant discovery.

use std::collections::{BTreeMap, BTreeSet};

use hearth::commands::{self};
use hearth::config::{Config, MqttConfig, Rule};
use hearth::event::Message;
use hearth::mqtt::discovery::{self, AnnouncedEntities, Capabilities};
use hearth::mqtt::topics::Topics;
use serde_json::{Value, json};

use crate::harness::*;
use crate::mosquitto::{Mosquitto, Subscriber};

/// What Home Assistant 2026.2 was seen to require of a device's discovery.
pub(crate) fn check_discovery(payload: &Value) {
    let root: Vec<&str> = payload.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(root.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(["dev", "o", "avty", "cmps"]));
    assert_eq!(payload["dev"]["ids"], json!(["hearth_home"]));
    assert_eq!(payload["o"]["name"], "hearth");
    assert_eq!(payload["avty"], json!([{ "t": "hearth/home/status" }]));
    let mut ids = BTreeSet::new();
    for (key, entity) in payload["cmps"].as_object().unwrap() {
        let text = |field: &str| entity[field].as_str().unwrap_or_else(|| panic!("{key} lacks {field}"));
        assert!(ids.insert(text("uniq_id")), "{key} repeats a unique id");
        assert!(text("def_ent_id").starts_with(&format!("{}.hearth_home_", text("p"))), "{key}");
        assert!(entity.get("obj_id").is_none());
        assert_eq!(entity["qos"], 1, "{key}");
        assert!(!text("name").to_lowercase().contains("hearth"), "{key}");
        if matches!(text("p"), "sensor" | "binary_sensor" | "event") {
            assert!(text("stat_t").starts_with("hearth/home/"), "{key}");
        } else {
            assert!(text("cmd_t").starts_with("hearth/home/"), "{key}");
        }
    }
}

fn json_of(message: &Message) -> Value {
    serde_json::from_str(&message.payload).unwrap()
}

/// The one message of the device, where the broker takes it.
fn together(rules: &[Rule], capabilities: &Capabilities, before: &AnnouncedEntities) -> (Message, AnnouncedEntities) {
    let commands = commands::entities(&topics());
    let (messages, now) = discovery::announce(&topics(), rules, &commands, capabilities, before, None);
    let [message] = <[Message; 1]>::try_from(messages).unwrap();
    (message, now)
}

#[test]
fn discovery_has_the_shape_home_assistant_accepts() {
    let rules = Config::default().rules;
    let (message, announced) = together(&rules, &BOTH, &AnnouncedEntities::default());
    assert_eq!((message.topic.as_str(), message.retain), ("homeassistant/device/hearth_home/config", true));
    let payload: Value = serde_json::from_str(&message.payload).unwrap();
    check_discovery(&payload);
    let cmps = &payload["cmps"];
    let kinds: BTreeMap<&str, &str> =
        cmps.as_object().unwrap().iter().map(|(key, entity)| (key.as_str(), entity["p"].as_str().unwrap())).collect();
    for (key, platform) in [
        ("alert", "event"),
        ("rule_leak", "binary_sensor"),
        ("probability_leak", "sensor"),
        ("utterance", "sensor"),
        ("summary", "sensor"),
        ("answer", "sensor"),
        ("listening", "switch"),
        ("summarise", "button"),
        ("interval", "number"),
        ("acknowledge", "button"),
        ("false_alarm", "button"),
        ("reset_rule", "button"),
        ("snooze", "button"),
        ("forget", "button"),
        ("pause", "button"),
        ("pause_minutes", "number"),
        ("paused_until", "sensor"),
        ("ask", "text"),
        ("microphone", "binary_sensor"),
        ("lag", "sensor"),
        ("tokens", "sensor"),
        ("memory", "sensor"),
        ("surprise", "sensor"),
        ("renewals", "sensor"),
        ("renew", "button"),
    ] {
        assert_eq!(kinds.get(key), Some(&platform), "{key}");
    }
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(cmps["alert"]["evt_typ"], json!(names));
    assert_eq!(cmps["rule_left_on"]["name"], "Left on alert");
    assert_eq!(cmps["rule_left_on"]["off_dly"], 1800);
    assert!(cmps["summary"].get("dev_cla").is_none(), "its state is the text");
    assert_eq!(payload["dev"].get("sa"), None, "Home Assistant would make an area of it");
    assert_eq!(payload["dev"].get("cu"), None, "there is no page");
    let with_page = Capabilities { page: Some("http://192.0.2.7:8787/".into()), ..BOTH };
    let (with_page, _) = together(&rules, &with_page, &AnnouncedEntities::default());
    assert_eq!(json_of(&with_page)["dev"]["cu"], "http://192.0.2.7:8787/");

    // The same rules again remove nothing; with one rule less its two entities are removed, once.
    let (again, same) = together(&rules, &BOTH, &announced);
    assert_eq!((again, &same), (message, &announced));
    let (fewer, now) = together(&rules[1..], &BOTH, &announced);
    let fewer: Value = serde_json::from_str(&fewer.payload).unwrap();
    assert_eq!(fewer["cmps"]["rule_help"], json!({ "p": "binary_sensor" }));
    assert_eq!(fewer["cmps"]["probability_help"], json!({ "p": "sensor" }));
    let (later, _) = together(&rules[1..], &BOTH, &now);
    check_discovery(&serde_json::from_str(&later.payload).unwrap());
    assert!(!later.payload.contains("rule_help"));

    assert!(!with_page.payload.contains("Last speaker"), "[speakers] is off");
    let tells_speakers = Capabilities { tells_speakers: true, ..BOTH };
    let (speakers, _) = together(&rules, &tells_speakers, &AnnouncedEntities::default());
    assert_eq!(json_of(&speakers)["cmps"]["speaker"]["name"], "Last speaker");

    let without_ears = Capabilities { hears: false, ..BOTH };
    let (reader, _) = together(&rules, &without_ears, &AnnouncedEntities::default());
    assert!(!reader.payload.contains("request/pause"));
    assert!(!reader.payload.contains("\"microphone\"") && reader.payload.contains("\"ask\""));
    let only_hears = Capabilities { reads: false, ..BOTH };
    let (ears, _) = together(&[], &only_hears, &AnnouncedEntities::default());
    assert!(ears.payload.contains("\"microphone\"") && !ears.payload.contains("\"ask\""));
}

#[test]
fn a_rule_is_shown_as_what_it_is_about_and_else_as_a_problem() {
    let own = ["homework", "leak"].map(|name| {
        let mut rule = Config::default().rules[0].clone();
        (rule.name, rule.watch) = (name.parse().unwrap(), None);
        rule
    });
    let shown = |rules: &[Rule]| {
        let (message, _) = together(rules, &BOTH, &AnnouncedEntities::default());
        let cmps = json_of(&message)["cmps"].clone();
        let field = |rule: &Rule, field: &str| cmps[format!("rule_{}", rule.name)][field].as_str().unwrap().to_string();
        rules.iter().map(|rule| (field(rule, "name"), field(rule, "dev_cla"))).collect::<Vec<_>>()
    };
    let expected = [
        ("Help alert", "safety"),
        ("Fire alert", "smoke"),
        ("Leak alert", "moisture"),
        ("Intruder alert", "safety"),
        ("Door alert", "sound"),
        ("Medicine alert", "problem"),
        ("Left on alert", "problem"),
    ];
    let owned = |(name, class): (&str, &str)| (name.to_string(), class.to_string());
    assert_eq!(shown(&Config::default().rules), expected.map(owned));
    assert_eq!(shown(&own), [("Homework alert", "problem"), ("Leak alert", "moisture")].map(owned));
}

#[test]
fn discovery_is_sent_again_when_home_assistant_starts_and_removed_rules_are_deleted_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "#", None);
    let config = "homeassistant/device/hearth_home/config";
    let mqtt = external(broker.address);
    let rules = Config::default().rules;

    let node = PublishingNode::start(dir.path(), &mqtt, rules.clone());
    assert!(subscriber.on(config).payload.contains("rule_help"));
    assert_eq!(subscriber.on("hearth/home/status").payload, "online");
    subscriber.on("hearth/home/health");
    subscriber.publish("homeassistant/status", "online", false);
    assert!(subscriber.on(config).payload.contains("rule_help"));
    assert_eq!(subscriber.on("hearth/home/status").payload, "online");
    node.drain();

    let node = PublishingNode::start(dir.path(), &mqtt, rules[1..].to_vec());
    let taken_back = subscriber.on(config).json();
    assert_eq!(taken_back["cmps"]["rule_help"], json!({ "p": "binary_sensor" }));
    node.drain();
    let node = PublishingNode::start(dir.path(), &mqtt, rules[1..].to_vec());
    assert!(!subscriber.on(config).payload.contains("rule_help"));
    node.drain();

    // Rules may change while hearth runs.
    let node = PublishingNode::start(dir.path(), &mqtt, rules[1..].to_vec());
    subscriber.on(config);
    node.rules.send_replace(rules[..2].to_vec());
    let changed = subscriber.on(config).json();
    assert_eq!(changed["cmps"]["rule_door"], json!({ "p": "binary_sensor" }));
    assert!(changed["cmps"]["rule_help"]["uniq_id"].is_string(), "{changed}");
    let info =
        subscriber.wait_for("the new rules", |h| h.topic == "hearth/home/info" && h.json()["rules"][0] == "help");
    assert_eq!(info.json()["rules"], json!(["help", "fire"]));
    node.drain();

    let node = PublishingNode::start(dir.path(), &MqttConfig { discovery: false, ..mqtt }, Vec::new());
    assert_eq!(subscriber.on(config).payload, "", "discovery was switched off: all entities are removed");
    node.drain();
}

#[test]
fn a_renamed_node_deletes_the_retained_messages_of_its_former_name() {
    let former = topics();
    let study = Topics::new(&MqttConfig::default(), &"study".parse().unwrap());
    let retained = |topic: String| Message::plain(topic, "{}", true);
    let stored = [retained(former.rule("fire")), retained(study.interval()), retained("other/topic".into())];
    let taken: BTreeSet<String> = former.removal_messages(&stored, &study).into_iter().map(|m| m.topic).collect();
    let expected = ["hearth/home/status", "hearth/home/info", "hearth/home/health", "hearth/home/rule/fire"];
    let discovery = "homeassistant/device/hearth_home/config";
    assert_eq!(taken, expected.iter().chain([&discovery]).map(|t| (*t).to_string()).collect());
    assert_eq!(former.removal_messages(&stored, &former), [], "a node that kept its name deletes nothing");

    // With another discovery prefix only the discovery topic moves.
    let prefix = MqttConfig { discovery_prefix: "ha".parse().unwrap(), ..MqttConfig::default() };
    let moved = Topics::new(&prefix, &"home".parse().unwrap());
    let taken: Vec<String> = former.removal_messages(&stored, &moved).into_iter().map(|m| m.topic).collect();
    assert_eq!(taken, [discovery]);
}
