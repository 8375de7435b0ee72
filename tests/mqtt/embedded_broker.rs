//! The broker inside the process.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

use hearth::config::MqttConfig;
use hearth::event::{Message, Provenance};
use hearth::mqtt::broker;

use crate::harness::*;
use crate::mosquitto::Subscriber;

#[test]
fn the_embedded_broker_replays_more_than_a_thousand_retained_messages() {
    let address = broker::start(local(0), None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mqtt = MqttConfig { listen: address, discovery: false, ..MqttConfig::default() };
    let mut node = PublishingNode::start(dir.path(), &mqtt, Vec::new());
    let states: Vec<Message> = (0..1_200)
        .map(|n| Message {
            topic: format!("hearth/home/rule/{n}"),
            payload: format!("{n:0>200}"),
            retain: true,
            provenance: Provenance::Nothing,
        })
        .collect();
    node.store.enqueue(&states).unwrap();
    node.context.notify_outbox();
    eventually("the outbox empties", || node.metrics.connected.get() && node.metrics.outbox.get() == 0);
    let subscriber = Subscriber::new(address, "hearth/home/rule/+", None);
    let mut missing: BTreeSet<String> = states.iter().map(|state| state.topic.clone()).collect();
    while !missing.is_empty() {
        missing.remove(&subscriber.next().topic);
    }
    node.drain();
}

#[test]
fn the_embedded_broker_asks_for_its_password() {
    let address = broker::start(local(0), Some(("anna".into(), "right".into()))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "right").unwrap();
    let mqtt = MqttConfig {
        username: Some("anna".into()),
        password_file: Some(secret.clone()),
        listen: address,
        ..MqttConfig::default()
    };
    probe(&mqtt).unwrap();
    let subscriber = Subscriber::new(address, "hearth/home/utterance", Some(("anna", "right")));
    let mut node = PublishingNode::start(dir.path(), &mqtt, Vec::new());
    let id = node.say(1).to_string();
    assert_eq!(subscriber.next().json()["id"], id);
    node.drain();

    std::fs::write(&secret, "wrong").unwrap();
    let error = probe(&mqtt).unwrap_err().to_string();
    assert!(
        error.contains(&format!("mqtt://{address} closed the connection")) && error.contains("username"),
        "{error}"
    );
}

#[test]
fn the_error_names_an_address_the_embedded_broker_cannot_listen_on() {
    let taken = TcpListener::bind(local(0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = broker::start(address, None).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on {address}")) && error.contains("[mqtt] listen"), "{error}");
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let error = broker::start(everywhere, Some(("anna".into(), String::new()))).unwrap_err().to_string();
    assert!(error.contains("only with a password") && error.contains("password_file"), "{error}");
}
