//! Several machines hear, one reads: over one broker, and over two with a bridge between them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hearth::config::{Config, MqttConfig};
use hearth::event::{Gap, GapReason, Utterance};
use hearth::metrics::Metrics;
use hearth::mqtt::client;
use hearth::mqtt::payload::{self, NodeInfo};
use hearth::services::Context;
use hearth::services::publish::{PublishInputs, run};
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use ulid::Ulid;

use super::forgetting::holding;
use super::harness::{HEARTH, Hearth, clip, config, ids, transcript};
use super::mosquitto::{LONG, Mosquitto, Subscriber, free_address};

/// Nothing is given up for a machine that is away; a broker of its own gives up what exceeds 1,000 messages.
const KEEPS: &str = "max_queued_messages 0\n";

/// A machine that hears, without the hearing: its store, its outbox and its connection to the broker.
struct Node {
    context: Context,
    store: Store,
    drain: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Node {
    fn start(dir: &Path, name: &str, address: std::net::SocketAddr) -> Self {
        let mqtt =
            MqttConfig { url: format!("mqtt://{address}").parse().unwrap(), discovery: false, ..MqttConfig::default() };
        let dir = dir.join(name);
        let config = Config { node: name.parse().unwrap(), mqtt: mqtt.clone(), ..Config::default() };
        let context = Context::open(config, &dir, Arc::new(Metrics::default())).unwrap();
        let publishing = PublishInputs {
            client: client::ClientSettings::new(&mqtt, &context.topics, mqtt.listen).unwrap(),
            rules: watch::channel(Vec::new()).1,
            info: NodeInfo::default(),
            requests: mpsc::channel(1).0,
            microphone: watch::Sender::default(),
            grace: LONG,
        };
        let (drain, drained) = oneshot::channel::<()>();
        let (publisher, store) = (context.clone(), context.open_store().unwrap());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(run(publisher, store, publishing, async move { drop(drained.await) })).unwrap();
        });
        let node = Self { store: context.open_store().unwrap(), context, drain, thread };
        eventually("the node is connected", || node.context.metrics.connected.get());
        node
    }

    /// Stores the `n`th utterance, as if it had been heard.
    fn say(&mut self, n: i64) -> String {
        let start = Timestamp::now() - SignedDuration::from_secs(3_600) + SignedDuration::from_millis(n * 10);
        self.say_words(start, &format!("This is number {n}."))
    }

    fn say_words(&mut self, start: Timestamp, words: &str) -> String {
        let said = Utterance {
            id: Ulid::generate(),
            start,
            end: start + SignedDuration::from_millis(5),
            room: self.context.topics.node().into(),
            text: words.into(),
            confidence: 0.9,
            no_speech: 0.0,
            speaker: None,
        };
        self.store.record_utterance(&said, &[payload::utterance(&self.context.topics, &said)]).unwrap();
        self.context.notify_outbox();
        said.id.to_string()
    }

    /// Stores a gap of the last minute.
    fn miss(&mut self) -> String {
        let (id, room, to) = (Ulid::generate(), self.context.topics.node().into(), Timestamp::now());
        let gap = Gap { id, room, from: to - SignedDuration::from_secs(60), to, reason: GapReason::Muted };
        self.store.record_gap(&gap, &[payload::gap(&self.context.topics, &gap)]).unwrap();
        self.context.notify_outbox();
        gap.id.to_string()
    }

    fn end(self) {
        self.drain.send(()).unwrap();
        self.thread.join().unwrap();
        assert_eq!(self.store.outbox_len().unwrap(), 0, "the broker has everything");
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + 2 * LONG;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A machine that only reads.
pub(super) fn reads(address: std::net::SocketAddr, window_s: u32) -> String {
    format!(
        "node = \"reader\"\nrule = []\n[source.mqtt]\ntopics = [\"hearth/+/utterance\"]\nwindow_s = {window_s}\n\
         [store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{address}\"\n"
    )
}

pub(super) fn folder(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

/// Two brokers with a bridge between them, three machines that hear at the lower one, and one that reads at the upper one.
struct BridgedHouse {
    reader: PathBuf,
    config: String,
    subscriber: Subscriber,
    nodes: Vec<Node>,
    /// Ids of what was said, in order.
    said: Vec<String>,
    upstairs: Mosquitto,
    _downstairs: Mosquitto,
}

impl BridgedHouse {
    fn new(dir: &Path) -> Self {
        let upstairs = Mosquitto::start(&folder(dir, "up"), free_address(), KEEPS);
        let bridge = format!(
            "{KEEPS}connection upstairs\naddress {}\ntopic hearth/+/utterance out 1\ntopic hearth/+/gap out 1\nnotifications false\n",
            upstairs.address
        );
        let downstairs = Mosquitto::start(&folder(dir, "down"), free_address(), &bridge);
        let rooms = ["kitchen", "hall", "study"];
        Self {
            reader: folder(dir, "reader"),
            config: reads(upstairs.address, 4),
            subscriber: Subscriber::new(upstairs.address, "hearth/reader/#", None),
            nodes: rooms.iter().map(|name| Node::start(dir, name, downstairs.address)).collect(),
            said: Vec::new(),
            upstairs,
            _downstairs: downstairs,
        }
    }

    fn say(&mut self, numbers: std::ops::Range<i64>) {
        for n in numbers {
            self.said.push(self.nodes[n as usize % 3].say(n));
        }
    }

    /// Room and id of each gap that the reader has stored.
    fn stored_gaps(&self) -> Vec<String> {
        let database = rusqlite::Connection::open(self.reader.join("state/hearth.db")).unwrap();
        let mut all = database.prepare("SELECT room || ' ' || id FROM gap").unwrap();
        all.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect()
    }

    fn status(&self) -> serde_json::Value {
        let mut command = Command::new(HEARTH);
        command.args(["status", "--json", "--config", "hearth.toml"]).current_dir(&self.reader);
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
    }

    fn end(mut self, hearth: Hearth) -> Self {
        hearth.terminate();
        let (status, log) = hearth.wait();
        assert!(status.success(), "{log}");
        self.nodes.drain(..).for_each(Node::end);
        self
    }
}

#[test]
fn utterances_over_a_bridge_are_read_once_and_in_order_although_the_reader_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = BridgedHouse::new(dir.path());
    let mut hearth = Hearth::run(&house.reader, &house.config);
    hearth.until_said("other machines are heard");
    // What is said before the bridge is connected is passed on once it is.
    house.say(0..150);
    eventually("half of it is read", || transcript(&house.reader).len() >= 100);
    house.say(150..200);
    hearth.kill();
    house.say(200..300);
    let hearth = Hearth::run(&house.reader, &house.config);
    eventually("all of it is read", || transcript(&house.reader).len() >= 300);
    let house = house.end(hearth);

    assert!(ids(&transcript(&house.reader)) == house.said, "each once, in the order in which it was said");
    let limits = OutboxLimits::from(&hearth::config::StoreConfig::default());
    let store = Store::open(&house.reader.join("state"), limits).unwrap();
    assert_eq!(store.reader().unwrap().0, store.newest().unwrap(), "the state has read to the end");
    let rooms: BTreeSet<_> = transcript(&house.reader).iter().map(|line| line["room"].to_string()).collect();
    assert_eq!(rooms.into_iter().collect::<Vec<_>>(), ["\"hall\"", "\"kitchen\"", "\"study\""]);
}

#[test]
fn gaps_of_other_machines_are_stored_once_and_invalid_messages_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = BridgedHouse::new(dir.path());
    let gaps = Subscriber::new(house.upstairs.address, "hearth/+/gap", None);
    let mut hearth = Hearth::run(&house.reader, &house.config);
    hearth.until_said("other machines are heard");
    house.say(0..3);
    for garbage in ["", "{", "7", "{\"id\": \"x\"}", "\u{0}"] {
        house.subscriber.publish("hearth/kitchen/utterance", garbage, false);
    }
    house.subscriber.publish_long("hearth/kitchen/utterance", 3 << 20);
    // What is older than `keep` (30 days) would be quoted before it is deleted.
    house.nodes[0].say_words(Timestamp::now() - SignedDuration::from_hours(31 * 24), "This was said long ago.");
    let gap = format!("kitchen {}", house.nodes[0].miss());
    eventually("the gap is stored", || house.stored_gaps() == [gap.clone()]);
    // A bridge that lost its connection sends again what was not acknowledged.
    let published = gaps.on("hearth/kitchen/gap");
    house.subscriber.publish(&published.topic, &published.payload, false);
    house.say(3..6);
    eventually("all of it is read", || transcript(&house.reader).len() >= 6);

    let question = json!({ "value": "Is there a fire?", "transaction": 1 }).to_string();
    house.subscriber.publish("hearth/reader/request/ask", &question, false);
    assert_eq!(house.subscriber.on("hearth/reader/response/ask").json()["status"], "ok");
    let refused = |health: &serde_json::Value| health["others"]["refused"].as_u64().unwrap();
    house.subscriber.wait_for("invalid messages are counted", |message| {
        message.topic == "hearth/reader/health" && refused(&message.json()) >= 1
    });
    let shown = house.status();
    assert!(shown["hears"]["last"]["text"].as_str().unwrap().starts_with("This is number"), "{shown}");
    let others = &shown["hears"]["others"];
    assert!(others["taken"].as_u64().unwrap() >= 6 && others["repeated"].as_u64().unwrap() >= 1, "{shown}");
    let house = house.end(hearth);
    assert_eq!(house.stored_gaps(), [gap], "it is stored once");
    let database = rusqlite::Connection::open(house.reader.join("state/hearth.db")).unwrap();
    let count = |text: &str| -> i64 {
        database.query_row("SELECT count(*) FROM utterance WHERE text = ?1", [text], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("This is number 3."), count("This was said long ago.")), (1, 0), "what is too old is not taken");
}

#[test]
fn rooms_of_other_machines_have_states_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let reader = folder(dir.path(), "reader");
    let broker = Mosquitto::start(dir.path(), free_address(), KEEPS);
    let listener = Subscriber::new(broker.address, "hearth/reader/#", None);
    let text = reads(broker.address, 1).replace("rule = []\n", "") + "[listener]\nstates = \"room\"\n";
    let mut hearth = Hearth::run(&reader, &text);
    hearth.until_said("other machines are heard");
    let hurt = "Is someone hurt or calling for help?";
    let transaction = std::cell::Cell::new(0);
    let ask = |room: Option<&str>| {
        transaction.set(transaction.get() + 1);
        let body = json!({ "value": hurt, "room": room, "transaction": transaction.get() }).to_string();
        listener.publish("hearth/reader/request/ask", &body, false);
        let ours = |answer: &serde_json::Value| answer["transaction"] == transaction.get();
        listener.wait_for("the answer", |h| h.topic == "hearth/reader/response/ask" && ours(&h.json())).json()
    };
    let mut nodes: Vec<Node> =
        ["hall", "kitchen"].iter().map(|name| Node::start(dir.path(), name, broker.address)).collect();
    let [hall, kitchen] = &mut nodes[..] else { unreachable!("there are two") };
    let ago = |seconds| Timestamp::now() - SignedDuration::from_secs(seconds);
    hall.say_words(ago(40), "The courier brought the new bicycle.");
    kitchen.say_words(ago(30), "Help, I fell in the bathroom.");
    kitchen.say_words(ago(20), "My ankle hurts so much, I can't get up.");
    let alert =
        listener.wait_for("the alert", |h| h.topic == "hearth/reader/alert" && h.json()["rule"] == "help").json();
    assert_eq!((&alert["phase"], &alert["room"]), (&json!("new"), &json!("kitchen")), "{alert}");
    let in_their_rooms = || {
        let (kitchen, hall) = (ask(Some("kitchen")), ask(Some("hall")));
        assert!(
            kitchen["probability"].as_f64() > Some(0.5) && hall["probability"].as_f64() < Some(0.5),
            "{kitchen} {hall}"
        );
        let all = ask(None)["text"].as_str().unwrap().to_owned();
        assert!(all.contains("hall: ") && all.contains("kitchen: "), "{all}");
        assert!(ask(Some("attic"))["error"].as_str().unwrap().contains("hall, kitchen"));
    };
    in_their_rooms();
    hearth.kill();
    let mut hearth = Hearth::run(&reader, &text);
    hearth.until_said("other machines are heard");
    in_their_rooms();
    hearth.terminate();
    let (status, log) = hearth.wait();
    assert!(status.success(), "{log}");
    nodes.into_iter().for_each(Node::end);
}

#[test]
fn a_machine_without_a_microphone_reads_what_three_others_hear() {
    let dir = tempfile::tempdir().unwrap();
    let reader = folder(dir.path(), "reader");
    let broker = Mosquitto::start(dir.path(), free_address(), KEEPS);
    let listener = Subscriber::new(broker.address, "#", None);
    let mut hearth = Hearth::run(&reader, &reads(broker.address, 1));
    hearth.until_said("other machines are heard");
    let entities = listener.on("homeassistant/device/hearth_reader/config").json()["cmps"].clone();
    assert!(entities["ask"].is_object() && entities["microphone"].is_null() && entities["listening"].is_null());
    listener.publish("hearth/reader/listening/set", "OFF", false);
    let refused = listener.on("hearth/reader/response/listening").json();
    assert!(refused["error"].as_str().unwrap().contains("no microphone"), "{refused}");

    let mut heard = BTreeSet::new();
    for room in ["kitchen", "hall", "study"] {
        let home = folder(dir.path(), room);
        let more = "[listener]\nenabled = false\n";
        let text = config(&clip(&home, 8), "fast", &format!("mqtt://{}", broker.address), more)
            .replace("[store]\n", "[store]\nkeep = \"nothing\"\n");
        let (status, log) = Hearth::run(&home, &format!("node = \"{room}\"\n{text}")).wait();
        assert!(status.success(), "{log}");
        assert_eq!(holding(&home.join("state"), "dinner"), Vec::<String>::new());
        let topic = format!("hearth/{room}/utterance");
        heard.insert(listener.on(&topic).json()["id"].as_str().unwrap().to_owned());
        listener
            .wait_for("its end", |heard| heard.topic == format!("hearth/{room}/status") && heard.payload == "offline");
    }
    let lines = || transcript(&reader);
    eventually("each room is read", || heard.iter().all(|id| ids(&lines()).contains(id)));
    let rooms: BTreeSet<String> = lines().iter().map(|line| line["room"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rooms.into_iter().collect::<Vec<_>>(), ["hall", "kitchen", "study"]);
    hearth.terminate();
    let (status, log) = hearth.wait();
    assert!(status.success(), "{log}");
}
