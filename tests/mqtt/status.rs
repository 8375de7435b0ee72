//! `online` and `offline`, and the retained messages that a new subscriber or a new broker gets.

use std::collections::BTreeSet;

use hearth::config::Config;
use hearth::event::Message;
use hearth::mqtt::payload::{self, MessageHeader};
use hearth::services::publish::PublishCounts;
use jiff::Timestamp;
use ulid::Ulid;

use crate::harness::*;
use crate::mosquitto::{Mosquitto, Subscriber, free_address};

#[test]
fn offline_is_published_at_shutdown_and_by_the_will_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/status", None);
    let said = |_listener: &Subscriber| subscriber.next().payload;

    let mut node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    assert_eq!(said(&subscriber), "online");
    node.say(1);
    let counts = node.drain();
    assert_eq!(counts.left, 0);
    assert!(counts.acknowledged >= 4, "{counts:?}");
    assert_eq!(said(&subscriber), "offline");

    let node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    assert_eq!(said(&subscriber), "online");
    node.kill();
    assert_eq!(said(&subscriber), "offline");
    let late = Subscriber::new(broker.address, "hearth/home/status", None).next();
    assert!(late.retain && late.payload == "offline");
}

#[test]
fn shutdown_without_a_broker_ends_and_keeps_all_messages() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = PublishingNode::start(dir.path(), &external(free_address()), Vec::new());
    node.say(1);
    let counts = node.drain();
    assert_eq!(counts, PublishCounts { published: 0, acknowledged: 0, left: 1 });
}

#[test]
fn a_late_subscriber_gets_the_retained_messages() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let mut node = PublishingNode::start(dir.path(), &external(broker.address), Config::default().rules);
    let stamp = MessageHeader::now();
    node.store.enqueue(&[payload::listening(&topics(), stamp, true, None)]).unwrap();
    node.context.notify_outbox();
    eventually("discovery, status, info, listening and health are sent", || {
        node.metrics.acknowledged.get() >= 5 && node.metrics.acknowledged.get() == node.metrics.published.get()
    });
    let subscriber = Subscriber::new(broker.address, "#", None);
    let mut wanted: BTreeSet<String> =
        ["status", "info", "health", "listening"].iter().map(|name| format!("hearth/home/{name}")).collect();
    wanted.insert("homeassistant/device/hearth_home/config".into());
    while !wanted.is_empty() {
        let heard = subscriber.next();
        assert!(heard.retain);
        wanted.remove(&heard.topic);
        if !heard.topic.ends_with("status") && !heard.topic.ends_with("config") {
            let json = heard.json();
            assert!(json["id"].as_str().unwrap().parse::<Ulid>().is_ok());
            assert!(json["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
            assert_eq!(json["schema"], 1);
        }
    }
    node.drain();
}

#[test]
fn retained_messages_are_published_again_after_a_broker_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let address = broker.address;
    let mut node = PublishingNode::start(dir.path(), &external(address), Config::default().rules);
    let leak = Message::plain(topics().rule("leak"), r#"{"state": "ON"}"#, true);
    node.store.enqueue(&[payload::listening(&topics(), MessageHeader::now(), false, None), leak.clone()]).unwrap();
    node.context.notify_outbox();
    eventually("everything is sent", || node.metrics.connected.get() && node.store.outbox_len().unwrap() == 0);
    broker.kill();
    eventually("the loss is noticed", || !node.metrics.connected.get());
    let _broker = Mosquitto::start(dir.path(), address, "");
    let subscriber = Subscriber::new(address, "#", None);
    let mut wanted: BTreeSet<String> =
        ["status", "info", "health", "listening"].iter().map(|name| format!("hearth/home/{name}")).collect();
    wanted.extend([topics().discovery(), leak.topic.clone()]);
    while !wanted.is_empty() {
        let heard = subscriber.next();
        wanted.remove(&heard.topic);
        assert!(heard.topic != leak.topic || heard.payload == leak.payload);
    }
    node.drain();
}
