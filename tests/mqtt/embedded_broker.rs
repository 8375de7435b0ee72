//! The broker inside the process.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use hearth::config::MqttConfig;
use hearth::event::Message;
use hearth::mqtt::broker;

use crate::harness::*;
use crate::mosquitto::{LONG, Subscriber};

#[test]
fn the_embedded_broker_replays_more_than_a_thousand_retained_messages() {
    let address = broker::start(local(0), None).unwrap().address;
    let dir = tempfile::tempdir().unwrap();
    let mqtt = MqttConfig { listen: address, discovery: false, ..MqttConfig::default() };
    let mut node = PublishingNode::start(dir.path(), &mqtt, Vec::new());
    let states: Vec<Message> =
        (0..1_200).map(|n| Message::plain(format!("hearth/home/rule/{n}"), format!("{n:0>200}"), true)).collect();
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
    let address = broker::start(local(0), Some(("anna".into(), "right".into()))).unwrap().address;
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
    eventually("commands come through", || node.metrics.commands_ok.get());
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

/// Sends a CONNECT packet with this client id; returns the connection and the broker's answer.
fn connect_as(address: SocketAddr, id: &str) -> (TcpStream, [u8; 4]) {
    let mut client = TcpStream::connect(address).unwrap();
    let mut packet = vec![0x10, 12 + id.len() as u8];
    packet.extend(b"\0\x04MQTT\x04\x02\0\x3c\0");
    packet.push(id.len() as u8);
    packet.extend(id.as_bytes());
    client.write_all(&packet).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    (client, answer)
}

const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

#[test]
fn a_client_that_the_embedded_broker_refuses_costs_that_client_alone() {
    let address = broker::start(local(0), None).unwrap().address;
    for id in ["a/b", "a+b", "a#", "$a"] {
        for _ in 0..2 {
            assert_eq!(connect_as(address, id).1, [0x20, 2, 0, 2], "{id}");
        }
    }
    assert_eq!(connect_as(address, "plain").1, ACCEPTED);
    probe(&MqttConfig { listen: address, ..MqttConfig::default() }).unwrap();
}

#[test]
fn more_clients_than_the_embedded_broker_has_room_for_cost_only_those_that_are_too_many() {
    let address = broker::start(local(0), None).unwrap().address;
    let mqtt = MqttConfig { listen: address, ..MqttConfig::default() };
    for _ in 0..2 {
        let clients: Vec<_> = (0..130).map(|n| connect_as(address, &format!("client{n}"))).collect();
        let accepted = clients.iter().filter(|(_, answer)| *answer == ACCEPTED).count();
        assert!((100..130).contains(&accepted), "{accepted}");
        assert!(clients.iter().all(|(_, answer)| *answer == ACCEPTED || *answer == [0x20, 2, 0, 3]));
        drop(clients);
        eventually("there is room again", || probe(&mqtt).is_ok());
        eventually("all have gone", || {
            let clients: Vec<_> = (0..120).map(|n| connect_as(address, &format!("again{n}"))).collect();
            clients.iter().all(|(_, answer)| *answer == ACCEPTED)
        });
        eventually("there is room again", || probe(&mqtt).is_ok());
    }
}
