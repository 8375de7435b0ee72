//! A broker that takes only short packets gets everything all the same: texts are cut, and the announcement comes in pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use hearth::commands;
use hearth::config::{Config, Rule};
use hearth::event::{Alert, Message};
use hearth::mqtt::client::packet_bytes;
use hearth::mqtt::discovery::{self, AnnouncedEntities};
use hearth::mqtt::payload;
use serde_json::Value;
use ulid::Ulid;

use crate::harness::*;
use crate::home_assistant::check_discovery;
use crate::mosquitto::faulty_broker::{self, Conduct};
use crate::mosquitto::{LONG, Mosquitto, ReceivedMessage, Subscriber, free_address};

const DEVICE: &str = "homeassistant/device/hearth_home/config";
const LIMIT: usize = 4096;

fn limited(dir: &std::path::Path, address: SocketAddr) -> Mosquitto {
    Mosquitto::start(dir, address, &format!("max_packet_size {LIMIT}"))
}

/// An alert that quotes much more than fits the limit.
fn long_alert() -> Alert {
    Alert { id: Ulid::generate(), ..alert((0..20).map(|n| format!("{n} {}", "There is water. ".repeat(40))).collect()) }
}

fn enqueue(node: &mut PublishingNode, message: Message) {
    node.store.enqueue(&[message]).unwrap();
    node.context.notify_outbox();
}

/// The entities with their platforms, as the one message of the device has them.
fn entities(rules: &[Rule]) -> BTreeMap<String, Value> {
    let commands = commands::entities(&topics());
    let (messages, _) = discovery::announce(&topics(), rules, &commands, &BOTH, &AnnouncedEntities::default(), None);
    let device: Value = serde_json::from_str(&messages[0].payload).unwrap();
    device["cmps"].as_object().unwrap().clone().into_iter().collect()
}

fn pieces(rules: &[Rule]) -> BTreeSet<String> {
    let topic = |(key, entity): (&String, &Value)| {
        format!("homeassistant/{}/hearth_home/{key}/config", entity["p"].as_str().unwrap())
    };
    entities(rules).iter().map(topic).collect()
}

/// Listens until `last` has come, and returns what came on Home Assistant's topics.
fn until(subscriber: &Subscriber, last: impl Fn(&ReceivedMessage) -> bool) -> Vec<ReceivedMessage> {
    let mut all = Vec::new();
    let end = Instant::now() + LONG;
    loop {
        let heard = subscriber.next();
        assert!(Instant::now() < end, "the last never came, but {all:?}");
        let ends = last(&heard);
        if heard.topic.starts_with("homeassistant/") {
            all.push(heard);
        }
        if ends {
            return all;
        }
    }
}

fn is_birth(heard: &ReceivedMessage) -> bool {
    heard.topic == "hearth/home/status" && heard.payload == "online"
}

#[test]
fn alerts_and_state_reach_a_broker_that_takes_4096_bytes_and_entities_are_announced_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = limited(dir.path(), free_address());
    let subscriber = Subscriber::new(broker.address, "#", None);
    let rules = Config::default().rules;
    let mut node = PublishingNode::start(dir.path(), &external(broker.address), rules.clone());
    let long = long_alert();
    let message = payload::alert(&topics(), &long);
    assert!(packet_bytes(&message) > LIMIT);
    enqueue(&mut node, message);
    let said: Vec<String> = (0..20).map(|n| node.say(n).to_string()).collect();

    let (mut announced, mut heard, mut alerts, mut limit) = (BTreeMap::new(), Vec::new(), Vec::new(), None);
    let end = Instant::now() + LONG;
    while heard.len() < said.len() || alerts.is_empty() || limit.is_none() || announced.len() < entities(&rules).len() {
        let message = subscriber.next();
        assert!(Instant::now() < end, "{heard:?} {alerts:?} {limit:?} {:?}", announced.keys());
        match message.topic.as_str() {
            "hearth/home/utterance" => heard.push(message.json()["id"].as_str().unwrap().to_owned()),
            "hearth/home/alert" => alerts.push(message.json()),
            "hearth/home/health" => limit = message.json()["packet_limit"].as_u64(),
            topic if topic.starts_with("homeassistant/") => drop(announced.insert(topic.to_owned(), message.json())),
            _ => {}
        }
    }
    assert_eq!(heard, said, "every id, in order, once");
    assert_eq!((alerts[0]["id"].as_str(), alerts[0]["rule"].as_str()), (Some(&*long.id.to_string()), Some("leak")));
    assert!(!alerts[0]["evidence"].as_array().unwrap().is_empty(), "{}", alerts[0]);
    assert_eq!(limit, Some(LIMIT as u64));
    assert_eq!(node.metrics.packet_limit.get(), LIMIT as u64);
    assert_eq!(node.metrics.too_long.get(), 0);
    assert!(node.metrics.commands_ok.get());

    assert_eq!(announced.keys().cloned().collect::<BTreeSet<_>>(), pieces(&rules));
    // All together they say what the one message says.
    let mut together = serde_json::json!({ "cmps": {} });
    for (topic, mut payload) in announced {
        let [_, platform, device, key, _] = topic.split('/').collect::<Vec<_>>()[..] else { panic!("{topic}") };
        assert_eq!(device, "hearth_home");
        payload["p"] = platform.into();
        for shared in ["dev", "o", "avty"] {
            together[shared] = payload.as_object_mut().unwrap().remove(shared).unwrap();
        }
        together["cmps"][key] = payload;
    }
    check_discovery(&together);
    assert_eq!(together["cmps"], serde_json::to_value(entities(&rules)).unwrap());
    assert_eq!(node.drain().left, 0);
}

#[test]
fn the_form_of_the_announcement_follows_the_limit_and_nothing_of_the_other_form_stays() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let rules = Config::default().rules;
    let run = |broker: &Mosquitto, rules: &[Rule]| {
        let subscriber = Subscriber::new(broker.address, "#", None);
        let node = PublishingNode::start(dir.path(), &external(address), rules.to_vec());
        let announced = until(&subscriber, is_birth);
        assert_eq!(node.drain().left, 0);
        announced
    };
    let hand_over = |heard: &ReceivedMessage| heard.payload.contains("migrate_discovery");
    let topics_of = |heard: &[ReceivedMessage]| heard.iter().map(|one| one.topic.clone()).collect::<BTreeSet<_>>();

    let broker = Mosquitto::start(dir.path(), address, "");
    let first = run(&broker, &rules);
    assert_eq!(topics_of(&first), BTreeSet::from([DEVICE.to_string()]));
    broker.kill();

    let broker = limited(dir.path(), address);
    let apart = run(&broker, &rules);
    assert!(hand_over(&apart[0]) && apart[0].topic == DEVICE, "{:?}", apart[0]);
    let (last, each) = apart[1..].split_last().unwrap();
    assert_eq!(
        (last.topic.as_str(), last.payload.as_str()),
        (DEVICE, ""),
        "it is removed after the entities are there"
    );
    assert_eq!((topics_of(each), each.len()), (pieces(&rules), entities(&rules).len()));
    assert!(each.iter().all(|one| one.payload.len() < LIMIT && one.json()["uniq_id"].is_string()));

    // A rule that went is removed, once, and the entities that stay are not touched.
    let gone: BTreeSet<String> = pieces(&rules).difference(&pieces(&rules[1..])).cloned().collect();
    let fewer = run(&broker, &rules[1..]);
    let removed: Vec<_> = fewer.iter().filter(|one| one.payload.is_empty()).cloned().collect();
    assert!(topics_of(&removed) == gone && !gone.is_empty(), "{removed:?}");
    assert!(!fewer.iter().any(hand_over));
    let again =
        until(&Subscriber::new(address, "homeassistant/#", None), |one| one.topic.ends_with("utterance/config"));
    assert!(again.iter().all(|one| one.retain), "what a Home Assistant finds that starts later");
    assert!(!run(&broker, &rules[1..]).iter().any(|one| one.payload.is_empty()));
    broker.kill();

    // The limit is gone: the broker is asked, and the one message takes the place of the others.
    let broker = Mosquitto::start(dir.path(), address, "");
    let together = run(&broker, &rules[1..]);
    let count = entities(&rules[1..]).len();
    assert_eq!(together.len(), 2 * count + 1);
    assert!(together[..count].iter().all(hand_over));
    assert_eq!(together[count].topic, DEVICE);
    check_discovery(&together[count].json());
    assert!(together[count + 1..].iter().all(|one| one.payload.is_empty()));
    assert_eq!(topics_of(&together[count + 1..]), pieces(&rules[1..]));
    let mqtt = hearth::config::MqttConfig { discovery: false, ..external(address) };
    let subscriber = Subscriber::new(address, DEVICE, None);
    let node = PublishingNode::start(dir.path(), &mqtt, Vec::new());
    subscriber.wait_for("the device is removed", |one| one.payload.is_empty());
    node.drain();
}

#[test]
fn a_message_that_cannot_be_cut_is_kept_and_counted_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = limited(dir.path(), free_address());
    let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
    let mut node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    let numbers: Vec<String> = (0..2_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let payload = format!("{{{}}}", numbers.join(","));
    let topic = topics().command("response/x");
    enqueue(&mut node, Message::plain(topic, payload, false));
    let said = node.say(1).to_string();
    assert_eq!(subscriber.on("hearth/home/utterance").json()["id"], said);
    eventually("it is counted", || node.metrics.too_long.get() == 1);
    eventually("the others are gone", || node.store.outbox_len().unwrap() == 1);
    let counts = node.drain();
    assert_eq!(counts.left, 1);
    let left = hearth::store::Store::open(dir.path(), ROOMY).unwrap().outbox_after(0, 9).unwrap();
    assert_eq!(left[0].1.topic, "hearth/home/response/x");
    drop(broker);

    // Where the limit is gone, it gets out.
    let broker = Mosquitto::start(dir.path(), free_address(), "");
    let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
    let node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    subscriber.on("hearth/home/response/x");
    node.drain();
}

#[test]
fn what_the_connection_breaks_on_goes_last_where_the_broker_does_not_tell_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (address, got) = faulty_broker::start(vec![Conduct::ShortPackets { bytes: LIMIT }]);
    let rules = Config::default().rules;
    let mut node = PublishingNode::start(dir.path(), &external(address), rules.clone());
    let long = payload::alert(&topics(), &long_alert());
    enqueue(&mut node, long);
    let said: Vec<String> = (0..20).map(|n| node.say(n).to_string()).collect();
    eventually("everything is acknowledged", || node.store.outbox_len().unwrap() == 0);
    eventually("entities are announced", || {
        let got = got.lock().unwrap();
        pieces(&rules).iter().all(|piece| got.iter().any(|(topic, _)| topic == piece))
    });
    let limit = node.metrics.packet_limit.get() as usize;
    assert!((LIMIT / 2..=LIMIT).contains(&limit), "{limit}");
    let got = got.lock().unwrap();
    let of = |topic: &str| -> Vec<usize> {
        got.iter().enumerate().filter(|(_, one)| one.0 == topic).map(|(at, _)| at).collect()
    };
    let first_piece = got.iter().position(|(topic, _)| topic.starts_with("homeassistant/")).unwrap();
    assert!(of("hearth/home/status")[0] < first_piece, "the rest does not wait for what is too long");
    let (alerts, utterances) = (of("hearth/home/alert"), of("hearth/home/utterance"));
    assert!(utterances.len() >= said.len() && !alerts.is_empty());
    drop(got);
    assert_eq!(node.drain().left, 0);
}
