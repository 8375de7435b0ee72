//! A model of store, client and broker: no interleaving of their steps loses or reorders a message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hearth::event::Message;
use hearth::mqtt::inflight::{InflightWindow, WINDOW};
use hearth::store::Store;
use proptest::prelude::*;

use crate::*;

#[derive(Clone, Debug)]
enum Step {
    Push {
        topic: u8,
        retain: bool,
    },
    /// A message is handed to the client.
    HandOver,
    /// The client sends its oldest message; the broker has it from then on.
    Send,
    /// The broker acknowledges one of those that are open, in any order.
    Acknowledge(prop::sample::Index),
    /// The broker acknowledges a packet that was never sent.
    Nonsense(u16),
    /// What was acknowledged is removed from the outbox.
    Flush,
    Lose,
    Connect,
    /// The process dies and starts again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, prop::bool::weighted(0.3)).prop_map(|(topic, retain)| Step::Push { topic, retain }),
        5 => Just(Step::HandOver),
        5 => Just(Step::Send),
        5 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        1 => any::<u16>().prop_map(|id| Step::Nonsense(id | 0x100)),
        3 => Just(Step::Flush),
        1 => Just(Step::Lose),
        2 => Just(Step::Connect),
        1 => Just(Step::Crash),
    ]
}

/// A node as it publishes: what `services::publish` does, step by step.
struct Simulation {
    dir: tempfile::TempDir,
    store: Store,
    inflight: InflightWindow<i64>,
    cursor: i64,
    acknowledged: BTreeSet<i64>,
    /// In the client's hands: row, topic, payload.
    client: VecDeque<(i64, Message)>,
    next_packet: u16,
    open: BTreeMap<u16, i64>,
    /// What the broker got, in order.
    broker: Vec<(i64, Message)>,
    pushed: Vec<Message>,
}

impl Simulation {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        Self {
            store,
            dir,
            inflight: InflightWindow::default(),
            cursor: 0,
            acknowledged: BTreeSet::new(),
            client: VecDeque::new(),
            next_packet: 1,
            open: BTreeMap::new(),
            broker: Vec::new(),
            pushed: Vec::new(),
        }
    }

    fn lose(&mut self) {
        self.inflight.lost();
        self.client.clear();
        self.open.clear();
        self.cursor = 0;
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Push { topic, retain } => {
                let topic = if *retain { format!("state/{topic}") } else { format!("event/{topic}") };
                let payload = self.pushed.len().to_string();
                let message = Message::plain(topic, payload, *retain);
                self.store.enqueue(std::slice::from_ref(&message)).unwrap();
                self.pushed.push(message);
            }
            Step::HandOver if self.inflight.free_slots() > 0 => {
                let rows = self.store.outbox_after(self.cursor, 1).unwrap();
                for (seq, message) in rows {
                    self.cursor = seq;
                    if !self.acknowledged.contains(&seq) {
                        self.inflight.queued(seq);
                        self.client.push_back((seq, message));
                    }
                }
            }
            Step::Send => {
                if let Some((seq, message)) = self.client.pop_front() {
                    let packet = self.next_packet;
                    self.next_packet = packet % 32 + 1;
                    assert_eq!(self.open.insert(packet, seq), None, "the window is smaller than the packet ids");
                    self.inflight.sent(packet);
                    self.broker.push((seq, message));
                }
            }
            Step::Acknowledge(which) if !self.open.is_empty() => {
                let packets: Vec<u16> = self.open.keys().copied().collect();
                let packet = *which.get(&packets);
                let expected = self.open.remove(&packet);
                let seq = self.inflight.acknowledged(packet);
                assert_eq!(seq, expected);
                self.acknowledged.extend(seq);
            }
            Step::Nonsense(packet) => assert_eq!(self.inflight.acknowledged(*packet), None),
            Step::Flush => {
                let rows: Vec<i64> = self.acknowledged.iter().copied().collect();
                self.store.acknowledge(&rows, 0).unwrap();
                self.acknowledged.clear();
            }
            Step::Lose => self.lose(),
            Step::Connect if !self.inflight.is_connected() => self.inflight.connected(),
            Step::Crash => {
                self.lose();
                self.acknowledged.clear();
                self.store = open(self.dir.path());
            }
            _ => {}
        }
        assert!(self.inflight.count() <= WINDOW);
    }

    /// From now on the broker is well: everything must arrive.
    fn settle(&mut self) {
        self.take(&Step::Connect);
        for _ in 0..10 * (self.pushed.len() + WINDOW) {
            self.take(&Step::HandOver);
            self.take(&Step::Send);
            if let Some(packet) = self.open.keys().next().copied() {
                let seq = self.inflight.acknowledged(packet);
                self.open.remove(&packet);
                self.acknowledged.extend(seq);
            }
        }
        self.take(&Step::Flush);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_repeats_keep_their_row_and_order(steps in prop::collection::vec(step(), 1..120)) {
        let mut simulation = Simulation::new();
        for step in &steps {
            simulation.take(step);
        }
        simulation.settle();
        prop_assert_eq!(simulation.store.outbox_len().unwrap(), 0);

        // A row always carries the same message, also when it is sent again.
        let mut rows: BTreeMap<i64, &Message> = BTreeMap::new();
        for (seq, message) in &simulation.broker {
            prop_assert_eq!(*rows.entry(*seq).or_insert(message), message);
        }
        let firsts = |topic: &str| -> Vec<i64> {
            let mut seen = BTreeSet::new();
            simulation.broker.iter().filter(|(seq, m)| m.topic == topic && seen.insert(*seq)).map(|(seq, _)| *seq).collect()
        };
        for topic in (0..3).flat_map(|n| [format!("event/{n}"), format!("state/{n}")]) {
            // The order per topic, as a subscriber sees it who drops repeats.
            let seqs = firsts(&topic);
            prop_assert!(seqs.is_sorted(), "{} arrived as {:?}", topic, seqs);
            let sent: Vec<&String> = simulation.pushed.iter().filter(|m| m.topic == topic).map(|m| &m.payload).collect();
            let arrived: Vec<&String> = seqs.iter().map(|seq| &rows[seq].payload).collect();
            if topic.starts_with("event") {
                prop_assert_eq!(arrived, sent, "every event arrives");
            } else {
                // Of a retained topic only the newest message must arrive, and it must be the last the broker received.
                let last = simulation.broker.iter().rfind(|(_, m)| m.topic == topic).map(|(_, m)| &m.payload);
                prop_assert_eq!(last, sent.last().copied());
            }
        }
    }
}
