//! Messages that wait: over a restart, a message no broker takes, a broker that acknowledges nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self};
use std::time::Duration;

use hearth::event::Message;
use hearth::services::publish::PublishCounts;
use hearth::store::Store;

use crate::harness::*;
use crate::mosquitto::{Mosquitto, Subscriber, free_address};

#[test]
fn a_message_too_long_for_any_broker_is_given_up_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/utterance", None);
    let mut node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    let long = Message::plain("hearth/home/long", "x".repeat(2 << 20), false);
    let wrong = Message::plain("hearth/#", "x", false);
    node.store.enqueue(&[long, wrong]).unwrap();
    let id = node.say(1).to_string();
    assert_eq!(subscriber.next().json()["id"], id);
    let metrics = node.metrics.clone();
    assert_eq!(node.drain().left, 0);
    assert_eq!(metrics.outbox_dropped.get(), 2);
    let after = Store::open(dir.path(), ROOMY).unwrap();
    assert_eq!(after.waiting().unwrap().dropped, 2, "the count of dropped messages survives a restart");
}

#[test]
fn a_broker_that_stops_acknowledging_does_not_delay_shutdown() {
    let subscriber = TcpListener::bind(local(0)).unwrap();
    let address = subscriber.local_addr().unwrap();
    let broker = thread::spawn(move || {
        let (mut stream, _) = subscriber.accept().unwrap();
        let mut buffer = [0; 4096];
        let mut heard = stream.read(&mut buffer).unwrap();
        // CONNACK, accepted; then it only reads.
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        let mut last = 0;
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            heard += n;
            last = buffer[n - 1];
        }
        (heard, last)
    });
    let dir = tempfile::tempdir().unwrap();
    let mut node = PublishingNode::with_grace(dir.path(), &external(address), Vec::new(), Duration::from_millis(200));
    for n in 0..50 {
        node.say(n);
    }
    eventually("the window is full", || node.metrics.published.get() == 8);
    let counts = node.drain();
    assert_eq!(counts, PublishCounts { published: 8, acknowledged: 0, left: 50 });
    let (heard, last) = broker.join().unwrap();
    assert!(heard > 100);
    assert_ne!(last, 0, "no DISCONNECT (0xe0, 0), or the broker would not say \"offline\" for us");
}

#[test]
fn messages_waiting_at_a_kill_are_sent_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = PublishingNode::start(dir.path(), &external(free_address()), Vec::new());
    let said: Vec<String> = (0..20).map(|n| node.say(n).to_string()).collect();
    node.kill();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/utterance", None);
    let node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    for id in said {
        assert_eq!(subscriber.next().json()["id"], id);
    }
    assert_eq!(node.drain().left, 0);
}
