//! Every message reaches the broker at least once and in order, whatever the network and the broker do.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use ulid::Ulid;

use crate::harness::*;
use crate::mosquitto::faulty_broker::{self, Conduct};
use crate::mosquitto::{Mosquitto, Subscriber};

#[test]
fn every_message_arrives_though_the_broker_is_killed_and_restarted_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let address = broker.address;
    let subscriber = Subscriber::new(address, "hearth/home/utterance", None);
    let link = NetworkLink::before(address);
    let mut node = PublishingNode::start(dir.path(), &external(link.address), Vec::new());
    let mut repeats = 0;
    let mut broker = Some(broker);
    let (mut said, mut heard, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let kills = kills().unwrap_or(1);
    for round in 1..=kills {
        let mut hear = |until: usize| {
            while heard.len() < until {
                let id = subscriber.next().json()["id"].as_str().unwrap().parse::<Ulid>().unwrap();
                // A repeat has the id of the first delivery.
                if seen.insert(id) {
                    heard.push(id);
                } else {
                    repeats += 1;
                }
            }
        };
        said.extend((0..250).map(|n| node.say(n)));
        hear(said.len() - 150);
        drop(broker.take());
        link.close();
        said.extend((250..500).map(|n| node.say(n)));
        broker = Some(Mosquitto::start(dir.path(), address, ""));
        // A broker without persistence has lost its subscribers: let this one subscribe again before hearth reconnects.
        subscriber.wait_until_subscribed();
        link.open();
        hear(said.len());
        if kills > 1 {
            println!("{round} kills, {} messages, {repeats} repeats", said.len());
        }
    }
    assert!(heard == said, "every id, in order, without repeats");
    let counts = node.drain();
    assert_eq!(counts.left, 0);
    assert!(repeats <= 2 * 8 * kills, "{repeats} repeats");
}

/// How often something is killed in `make soak-publishing`.
fn kills() -> Option<usize> {
    std::env::var("HEARTH_KILLS").ok().map(|n| n.parse().expect("HEARTH_KILLS is a number"))
}

#[test]
fn a_half_open_connection_is_dropped_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (address, got) = faulty_broker::start(vec![Conduct::HalfOpen { after: 23 }, Conduct::Pairs]);
    let mut node = PublishingNode::watchful(dir.path(), &external(address));
    let said: Vec<String> = (0..100).map(|n| node.say(n).to_string()).collect();
    eventually("hearth drops a connection to a dead broker", || node.store.outbox_len().unwrap() == 0);
    assert_eq!(node.drain().left, 0);
    assert_eq!(first_ids(&got), said, "every id, in order, without repeats");
}

#[test]
fn messages_a_broker_never_acknowledges_are_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (address, got) = faulty_broker::start(vec![Conduct::Forgets, Conduct::Pairs]);
    let mut node = PublishingNode::watchful(dir.path(), &external(address));
    let said: Vec<String> = (0..100).map(|n| node.say(n).to_string()).collect();
    eventually("hearth does not wait for ever", || node.store.outbox_len().unwrap() == 0);
    assert_eq!(node.drain().left, 0);
    assert_eq!(first_ids(&got), said, "every id, in order, without repeats");
}

/// The ids of the utterances that a faulty broker received, without repeats.
fn first_ids(got: &faulty_broker::Got) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let got = got.lock().unwrap();
    let heard = got.iter().filter(|(topic, _)| topic == "hearth/home/utterance");
    let ids =
        heard.map(|(_, payload)| serde_json::from_str::<Value>(payload).unwrap()["id"].as_str().unwrap().to_owned());
    ids.filter(|id| seen.insert(id.clone())).collect()
}

#[test]
fn refusals_reversed_and_invented_acknowledgements_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let conducts =
        vec![Conduct::LateAndReversed { after: 23 }, Conduct::Refuses, Conduct::Invents { after: 40 }, Conduct::Pairs];
    let (address, got) = faulty_broker::start(conducts);
    let mut node = PublishingNode::start(dir.path(), &external(address), Vec::new());
    let said: Vec<String> = (0..100).map(|n| node.say(n).to_string()).collect();
    eventually("everything is acknowledged", || node.store.outbox_len().unwrap() == 0);
    let counts = node.drain();
    assert_eq!(counts.left, 0);
    assert_eq!(first_ids(&got), said, "every id, in order, without repeats");
}

#[test]
fn a_network_that_breaks_again_and_again_loses_nothing_and_keeps_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/utterance", None);
    let link = NetworkLink::before(broker.address);
    let mut node = PublishingNode::start(dir.path(), &external(link.address), Vec::new());
    let mut said = Vec::new();
    let mut heard = Vec::new();
    for round in 0..4 {
        said.extend((0..100).map(|n| node.say(round * 100 + n).to_string()));
        // Cut while messages are in flight, at another place of the window each time.
        for _ in 0..20 + round {
            heard.push(subscriber.next().json()["id"].as_str().unwrap().to_owned());
        }
        link.close();
        link.open();
    }
    while heard.iter().collect::<BTreeSet<_>>().len() < said.len() {
        heard.push(subscriber.next().json()["id"].as_str().unwrap().to_owned());
    }
    let mut seen = BTreeSet::new();
    heard.retain(|id| seen.insert(id.clone()));
    assert!(heard == said, "the order is kept, without repeats");
    assert_eq!(node.drain().left, 0);
}

#[test]
fn connections_that_last_a_moment_still_deliver_everything() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/utterance", None);
    let link = NetworkLink::before(broker.address);
    let mut node = PublishingNode::start(dir.path(), &external(link.address), Vec::new());
    let first = node.say(0).to_string();
    assert_eq!(subscriber.next().json()["id"], first);
    let second = node.say(1).to_string();
    // Each connection is shorter than the pause after a reconnect; five of them together are longer.
    let passed = (0..6).any(|_| {
        link.close();
        link.open();
        eventually("the loss is noticed", || !node.metrics.connected.get());
        eventually("there is a connection again", || node.metrics.connected.get());
        let heard = std::iter::from_fn(|| subscriber.try_next(Duration::from_secs(3)));
        heard.map(|message| message.json()["id"].clone()).any(|id| id == second)
    });
    assert!(passed, "waiting messages are held back for ever");
    node.drain();
}
