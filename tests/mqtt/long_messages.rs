//! Messages that are longer than hearth takes: they are dropped while they arrive, and nothing else is.

use std::time::{Duration, Instant};

use hearth::config::MqttConfig;

use crate::harness::*;
use crate::mosquitto::{LONG, Mosquitto, Subscriber, certificates, free_address};

const INTERVAL: Duration = Duration::from_millis(100);

/// Sends a command until it takes effect.
fn mute(node: &PublishingNode, somebody: &Subscriber) {
    let end = Instant::now() + LONG;
    while node.microphone.borrow().is_open() {
        assert!(Instant::now() < end, "the command had no effect");
        somebody.publish("hearth/home/listening/set", "OFF", false);
        somebody.try_next(INTERVAL);
    }
}

#[test]
fn a_retained_message_that_is_too_long_is_removed_and_stops_no_commands() {
    for left in ["hearth/home/listening/set", "hearth/home/request/nothing", "hearth/home/request/summarise"] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::anywhere(dir.path());
        let somebody = Subscriber::new(broker.address, "hearth/home/response/+", None);
        somebody.publish_long(left, 3 << 20);
        let mut node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
        eventually("commands come through", || node.metrics.commands_ok.get());
        mute(&node, &somebody);
        // The empty message that removes it is no command either.
        assert!(node.requests.try_recv().is_err(), "{left}");
        let status = Subscriber::new(broker.address, "hearth/home/#", None);
        let mut retained = std::iter::from_fn(|| status.try_next(10 * INTERVAL)).filter(|message| message.retain);
        assert!(retained.all(|message| message.topic != left), "{left} is still retained");
        node.drain();
    }
}

#[test]
fn a_long_message_that_arrives_slowly_is_no_dead_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let somebody = Subscriber::new(broker.address, "hearth/home/status", None);
    somebody.publish_long("hearth/home/request/ask", 5 << 20);
    // 17 s, in which neither pings nor messages are answered. This node waits 2 s for the one and 10 s for the other.
    let link = NetworkLink::slow(broker.address, Duration::from_millis(13));
    let mut node = PublishingNode::watchful(dir.path(), &external(link.address));
    assert_eq!(somebody.next().payload, "online");
    node.say(1);
    eventually("commands come through", || node.metrics.commands_ok.get());
    assert_eq!(somebody.try_next(Duration::ZERO), None, "the connection was the same all the time");
    node.drain();
}

#[test]
fn a_retained_message_of_others_that_is_too_long_stops_no_commands() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let somebody = Subscriber::new(broker.address, "hearth/home/response/+", None);
    somebody.publish_long("homeassistant/status", 3 << 20);
    let node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    eventually("commands come through", || node.metrics.commands_ok.get());
    mute(&node, &somebody);
    node.drain();
}

/// Sends commands that are too long to a node at `mqtt`; `somebody` is at the same broker.
fn refuses_long_commands(dir: &std::path::Path, mqtt: &MqttConfig, somebody: &Subscriber) {
    let connections = Subscriber::new(somebody.address, "hearth/home/status", None);
    let node = PublishingNode::start(dir, mqtt, Vec::new());
    assert_eq!(connections.next().payload, "online");
    eventually("commands come through", || node.metrics.commands_ok.get());
    for bytes in [65_537, 1_000_000, 1_100_000, 3 << 20, 1_100_000, 1_100_000] {
        somebody.send_long("hearth/home/request/ask", bytes, false);
        let answer = somebody.on("hearth/home/response/ask").json();
        let error = format!("a command has at most 65536 bytes, this one has {bytes}");
        assert_eq!((&answer["status"], &answer["error"]), (&"error".into(), &error.into()));
    }
    somebody.send_long("hearth/home/request/nothing", 2 << 20, false);
    let answer = somebody.on("hearth/home/response/unknown").json();
    assert!(answer["error"].as_str().unwrap().contains("2097152"), "{answer}");
    mute(&node, somebody);
    assert!(node.metrics.commands_ok.get());
    assert!(connections.try_next(INTERVAL).is_none(), "the connection was the same all the time");
    node.drain();
}

#[test]
fn a_command_that_is_too_long_is_answered_and_the_connection_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let somebody = Subscriber::new(broker.address, "hearth/home/response/+", None);
    refuses_long_commands(dir.path(), &external(broker.address), &somebody);
}

#[test]
fn a_command_that_is_too_long_is_answered_over_tls_too() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(dir.path());
    let plain = free_address();
    // The name in the certificate resolves to this address.
    let secure = local(std::net::TcpListener::bind(local(0)).unwrap().local_addr().unwrap().port());
    let more = format!(
        "certfile {}\nkeyfile {}\nlistener {} {}",
        certificate.display(),
        key.display(),
        plain.port(),
        plain.ip()
    );
    let _broker = Mosquitto::start(dir.path(), secure, &more);
    let url = format!("mqtts://localhost:{}", secure.port());
    let mqtt = MqttConfig { url: url.parse().unwrap(), ca_file: Some(ca), ..MqttConfig::default() };
    let somebody = Subscriber::new(plain, "hearth/home/response/+", None);
    refuses_long_commands(dir.path(), &mqtt, &somebody);
}
