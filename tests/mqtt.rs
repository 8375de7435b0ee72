//! Publishing against a real mosquitto and the embedded broker.
#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

mod mosquitto;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hearth::commands::limiter::{BURST, INTERVAL};
use hearth::commands::{
    self, Acknowledge, AlertSelector, Ask, AskReply, Command, FalseAlarm, Forget, Interval, InvalidCommand, Listening,
    Reload, Reply, Request, Snooze, Summarize,
};
use hearth::config::{Config, MqttConfig, PrivacyConfig, Rule};
use hearth::event::{
    Alert, AlertPhase, Digest, DigestReason, Evidence, Gap, GapReason, Hypothesis, Message, Provenance, Severity,
    Utterance,
};
use hearth::live::{LiveEvent, LiveFeed};
use hearth::metrics::Metrics;
use hearth::mqtt::broker;
use hearth::mqtt::client::{self, ClientSettings};
use hearth::mqtt::discovery::{self, AnnouncedEntities, Capabilities};
use hearth::mqtt::payload::{self, MessageHeader, NodeInfo, ProcessUsage, RuleState};
use hearth::mqtt::topics::Topics;
use hearth::redact::Redactor;
use hearth::services::publish::{PublishCounts, PublishInputs, run};
use hearth::store::{self, Store};
use jiff::{SignedDuration, Timestamp};
use mosquitto::faulty::{self, Conduct};
use mosquitto::{LONG, Listener, Mosquitto, certificates, free_address, openssl, short_lived};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use ulid::Ulid;

const BOTH: Capabilities = Capabilities { hears: true, reads: true };
const ROOMY: store::OutboxLimits =
    store::OutboxLimits { outbox_max_bytes: 64 << 20, outbox_max_age: SignedDuration::from_hours(24 * 30) };

fn topics() -> Topics {
    Topics::new(&MqttConfig::default(), &Config::default().node)
}

fn external(address: SocketAddr) -> MqttConfig {
    MqttConfig { url: format!("mqtt://{address}").parse().unwrap(), ..MqttConfig::default() }
}

fn settings(mqtt: &MqttConfig) -> ClientSettings {
    ClientSettings::new(mqtt, &topics(), mqtt.listen).unwrap()
}

fn utterance(n: i64) -> Utterance {
    let start = Timestamp::from_second(1_767_225_600 + n).unwrap();
    Utterance {
        id: Ulid::generate(),
        start,
        end: start + SignedDuration::from_secs(1),
        room: "home".into(),
        text: format!("this is sentence number {n}"),
        confidence: 0.9,
        no_speech: 0.01,
    }
}

/// The publishing task of one house, on a thread of its own.
struct House {
    store: Store,
    metrics: Arc<Metrics>,
    live_feed: LiveFeed,
    wake: Arc<Notify>,
    requests: mpsc::Receiver<Request>,
    rules: watch::Sender<Vec<Rule>>,
    listening: watch::Receiver<bool>,
    drain: oneshot::Sender<()>,
    kill: oneshot::Sender<()>,
    thread: JoinHandle<Option<PublishCounts>>,
}

impl House {
    fn start(dir: &Path, mqtt: &MqttConfig, rules: Vec<Rule>) -> Self {
        Self::with_grace(dir, mqtt, rules, Duration::from_secs(30))
    }

    fn with_grace(dir: &Path, mqtt: &MqttConfig, rules: Vec<Rule>, grace: Duration) -> Self {
        Self::with(dir, mqtt, settings(mqtt), rules, grace)
    }

    /// One that notices within two seconds that nobody is there any more.
    fn watchful(dir: &Path, mqtt: &MqttConfig) -> Self {
        let client = settings(mqtt).with_keep_alive(Duration::from_secs(1));
        Self::with(dir, mqtt, client, Vec::new(), LONG)
    }

    fn with(dir: &Path, mqtt: &MqttConfig, client: ClientSettings, rules: Vec<Rule>, grace: Duration) -> Self {
        let metrics = Arc::new(Metrics::default());
        let wake = Arc::new(Notify::new());
        let live_feed = LiveFeed::default();
        let (ask, requests) = mpsc::channel(1);
        let (rules, followed) = watch::channel(rules);
        let (wish, listening) = watch::channel(true);
        let publishing = PublishInputs {
            store: Store::open(dir, ROOMY).unwrap(),
            client,
            topics: topics(),
            rules: followed,
            capabilities: BOTH,
            discovery: mqtt.discovery,
            live_feed: mqtt.interim.then(|| live_feed.subscribe().1),
            info: NodeInfo::default(),
            metrics: metrics.clone(),
            redactor: Redactor::new(&PrivacyConfig::default()),
            wake: wake.clone(),
            requests: ask,
            listening: wish,
            grace,
        };
        let (drain, drained) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let publishing = movable(run(publishing, async {
                let _ = drained.await;
            }));
            runtime.block_on(async {
                tokio::select! {
                    counts = publishing => Some(counts.unwrap()),
                    _ = killed => None,
                }
            })
        });
        let store = Store::open(dir, ROOMY).unwrap();
        Self { store, metrics, live_feed, wake, requests, rules, listening, drain, kill, thread }
    }

    fn say(&mut self, n: i64) -> Ulid {
        let said = utterance(n);
        self.store.record_utterance(&said, &[payload::utterance(&topics(), &said)]).unwrap();
        self.wake.notify_one();
        said.id
    }

    fn drain(self) -> PublishCounts {
        self.drain.send(()).unwrap();
        self.thread.join().unwrap().expect("it was not killed")
    }

    /// The process is gone: the socket closes without a goodbye.
    fn kill(self) {
        self.kill.send(()).unwrap();
        assert_eq!(self.thread.join().unwrap(), None);
    }
}

/// Compiles only for a task that a runtime with several threads may move.
fn movable<T: Send>(task: T) -> T {
    task
}

/// Polls a condition that has no event of its own.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A stretch of network between hearth and the broker that can be closed.
struct Gate {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    passing: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    fn before(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Self { address, open: Arc::new(AtomicBool::new(true)), passing: Arc::default() };
        let (open, passing) = (gate.open.clone(), gate.passing.clone());
        thread::spawn(move || {
            for inner in listener.incoming().map_while(Result::ok) {
                let Ok(outer) = TcpStream::connect(broker) else { continue };
                let mut passing = passing.lock().unwrap();
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                for (from, to) in [(&inner, &outer), (&outer, &inner)] {
                    passing.push(from.try_clone().unwrap());
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(n @ 1..) = from.read(&mut buffer) {
                            if to.write_all(&buffer[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        gate
    }

    fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.passing.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

// ---- inflight

/// A question of the state of now.
fn asks(question: &str) -> Command {
    Ask { question: question.into(), at: None, room: None }.into()
}

#[test]
fn every_message_arrives_though_the_broker_is_killed_and_restarted_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let address = broker.address;
    let listener = Listener::new(address, "hearth/home/utterance", None);
    let gate = Gate::before(address);
    let mut house = House::start(dir.path(), &external(gate.address), Vec::new());
    let mut repeats = 0;
    let mut broker = Some(broker);
    let (mut said, mut heard, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let kills = kills().unwrap_or(1);
    for round in 1..=kills {
        let mut hear = |until: usize| {
            while heard.len() < until {
                let id = listener.next().json()["id"].as_str().unwrap().parse::<Ulid>().unwrap();
                // A repeat has the id it had.
                if seen.insert(id) {
                    heard.push(id);
                } else {
                    repeats += 1;
                }
            }
        };
        said.extend((0..250).map(|n| house.say(n)));
        hear(said.len() - 150);
        drop(broker.take());
        gate.close();
        said.extend((250..500).map(|n| house.say(n)));
        broker = Some(Mosquitto::start(dir.path(), address, ""));
        // A broker without persistence does not know its subscribers any more: let this one come back before hearth does.
        listener.wait_until_subscribed();
        gate.open();
        hear(said.len());
        if kills > 1 {
            println!("{round} kills, {} messages, {repeats} repeats", said.len());
        }
    }
    assert!(heard == said, "every id, in order, repeats left out");
    let counts = house.drain();
    assert_eq!(counts.left, 0);
    assert!(repeats <= 2 * 8 * kills, "{repeats} repeats");
}

/// How often something is killed in `make soak-publishing`.
fn kills() -> Option<usize> {
    std::env::var("HEARTH_KILLS").ok().map(|n| n.parse().expect("HEARTH_KILLS is a number"))
}

#[test]
fn a_broker_that_is_there_and_says_nothing_is_left_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (address, got) = faulty::start(vec![Conduct::HalfOpen { after: 23 }, Conduct::Pairs]);
    let mut house = House::watchful(dir.path(), &external(address));
    let said: Vec<String> = (0..100).map(|n| house.say(n).to_string()).collect();
    eventually("hearth leaves a broker that is not there any more", || house.store.outbox_len().unwrap() == 0);
    assert_eq!(house.drain().left, 0);
    assert_eq!(first_ids(&got), said, "every id, in order, repeats left out");
}

#[test]
fn a_broker_that_forgets_to_acknowledge_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let (address, got) = faulty::start(vec![Conduct::Forgets, Conduct::Pairs]);
    let mut house = House::watchful(dir.path(), &external(address));
    let said: Vec<String> = (0..100).map(|n| house.say(n).to_string()).collect();
    eventually("hearth does not wait for ever", || house.store.outbox_len().unwrap() == 0);
    assert_eq!(house.drain().left, 0);
    assert_eq!(first_ids(&got), said, "every id, in order, repeats left out");
}

/// The ids of the utterances that a faulty broker got, repeats left out.
fn first_ids(got: &faulty::Got) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let got = got.lock().unwrap();
    let heard = got.iter().filter(|(topic, _)| topic == "hearth/home/utterance");
    let ids =
        heard.map(|(_, payload)| serde_json::from_str::<Value>(payload).unwrap()["id"].as_str().unwrap().to_owned());
    ids.filter(|id| seen.insert(id.clone())).collect()
}

#[test]
fn a_broker_that_refuses_reverses_invents_and_goes_away_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let conducts =
        vec![Conduct::LateAndReversed { after: 23 }, Conduct::Refuses, Conduct::Invents { after: 40 }, Conduct::Pairs];
    let (address, got) = faulty::start(conducts);
    let mut house = House::start(dir.path(), &external(address), Vec::new());
    let said: Vec<String> = (0..100).map(|n| house.say(n).to_string()).collect();
    eventually("everything is acknowledged", || house.store.outbox_len().unwrap() == 0);
    let counts = house.drain();
    assert_eq!(counts.left, 0);
    assert_eq!(first_ids(&got), said, "every id, in order, repeats left out");
}

#[test]
fn a_network_that_breaks_again_and_again_loses_nothing_and_keeps_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/utterance", None);
    let gate = Gate::before(broker.address);
    let mut house = House::start(dir.path(), &external(gate.address), Vec::new());
    let mut said = Vec::new();
    let mut heard = Vec::new();
    for round in 0..4 {
        said.extend((0..100).map(|n| house.say(round * 100 + n).to_string()));
        // Cut while messages are on their way, at some other place of the window each time.
        for _ in 0..20 + round {
            heard.push(listener.next().json()["id"].as_str().unwrap().to_owned());
        }
        gate.close();
        gate.open();
    }
    while heard.iter().collect::<BTreeSet<_>>().len() < said.len() {
        heard.push(listener.next().json()["id"].as_str().unwrap().to_owned());
    }
    let mut seen = BTreeSet::new();
    heard.retain(|id| seen.insert(id.clone()));
    assert!(heard == said, "the order is kept, repeats left out");
    assert_eq!(house.drain().left, 0);
}

#[test]
fn a_network_that_never_holds_for_long_still_lets_everything_through() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/utterance", None);
    let gate = Gate::before(broker.address);
    let mut house = House::start(dir.path(), &external(gate.address), Vec::new());
    let first = house.say(0).to_string();
    assert_eq!(listener.next().json()["id"], first);
    let second = house.say(1).to_string();
    // Each connection is shorter than what a broker that comes back is given to settle; five of them are longer.
    let passed = (0..6).any(|_| {
        gate.close();
        gate.open();
        eventually("the loss is noticed", || !house.metrics.connected.get());
        eventually("there is a connection again", || house.metrics.connected.get());
        let heard = std::iter::from_fn(|| listener.try_next(Duration::from_secs(3)));
        heard.map(|message| message.json()["id"].clone()).any(|id| id == second)
    });
    assert!(passed, "what waits is held back for ever");
    house.drain();
}

#[test]
fn what_waits_when_hearth_is_killed_is_sent_at_its_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = House::start(dir.path(), &external(free_address()), Vec::new());
    let said: Vec<String> = (0..20).map(|n| house.say(n).to_string()).collect();
    house.kill();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/utterance", None);
    let house = House::start(dir.path(), &external(broker.address), Vec::new());
    for id in said {
        assert_eq!(listener.next().json()["id"], id);
    }
    assert_eq!(house.drain().left, 0);
}

#[test]
fn a_message_too_long_for_any_broker_is_given_up_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/utterance", None);
    let mut house = House::start(dir.path(), &external(broker.address), Vec::new());
    let long = Message {
        topic: "hearth/home/long".into(),
        payload: "x".repeat(2 << 20),
        retain: false,
        provenance: Provenance::Nothing,
    };
    let wrong =
        Message { topic: "hearth/#".into(), payload: "x".into(), retain: false, provenance: Provenance::Nothing };
    house.store.enqueue(&[long, wrong]).unwrap();
    let id = house.say(1).to_string();
    assert_eq!(listener.next().json()["id"], id);
    let metrics = house.metrics.clone();
    assert_eq!(house.drain().left, 0);
    assert_eq!(metrics.outbox_dropped.get(), 2);
    let after = Store::open(dir.path(), ROOMY).unwrap();
    assert_eq!(after.waiting().unwrap().dropped, 2, "a restart does not forget that they were given up");
}

#[test]
fn a_full_disk_delays_what_is_removed_but_repeats_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    if !run_as_root("mount", &["-t", "tmpfs", "-o", "size=4m", "hearth"], &small) {
        println!("skipped: a small file system can only be mounted as root");
        return;
    }
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/utterance", None);
    let gate = Gate::before(broker.address);
    gate.close();
    let mut house = House::start(&small, &external(gate.address), Vec::new());
    let said: Vec<String> = (0..40).map(|n| house.say(n).to_string()).collect();
    let mut filler = std::fs::File::create(small.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    drop(filler);
    let error = house.store.record_utterance(&utterance(99), &[]).unwrap_err();
    assert!(matches!(error, store::StoreError::Full { .. }), "{error}");

    gate.open();
    let heard: Vec<String> = (0..40).map(|_| listener.next().json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard, said);
    std::fs::remove_file(small.join("filler")).unwrap();
    eventually("the outbox is emptied when there is room again", || house.store.outbox_len().unwrap() == 0);
    let last = house.say(100).to_string();
    assert_eq!(listener.next().json()["id"], last, "nothing was repeated");
    assert_eq!(house.drain().left, 0);
    assert!(run_as_root("umount", &[], &small));
}

fn run_as_root(program: &str, arguments: &[&str], path: &Path) -> bool {
    Process::new(program).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_broker_that_stops_acknowledging_does_not_hold_up_the_end() {
    let listener = TcpListener::bind(local(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let broker = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
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
    let mut house = House::with_grace(dir.path(), &external(address), Vec::new(), Duration::from_millis(200));
    for n in 0..50 {
        house.say(n);
    }
    eventually("the window is full", || house.metrics.published.get() == 8);
    let counts = house.drain();
    assert_eq!(counts, PublishCounts { published: 8, acknowledged: 0, left: 50 });
    let (heard, last) = broker.join().unwrap();
    assert!(heard > 100);
    assert_ne!(last, 0, "no DISCONNECT (0xe0, 0), or the broker would not say \"offline\" for us");
}

// ---- status

#[test]
fn a_house_that_ends_says_offline_and_one_that_dies_has_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/status", None);
    let said = |listener: &Listener| listener.next().payload;

    let mut house = House::start(dir.path(), &external(broker.address), Vec::new());
    assert_eq!(said(&listener), "online");
    house.say(1);
    let counts = house.drain();
    assert_eq!(counts.left, 0);
    assert!(counts.acknowledged >= 4, "{counts:?}");
    assert_eq!(said(&listener), "offline");

    let house = House::start(dir.path(), &external(broker.address), Vec::new());
    assert_eq!(said(&listener), "online");
    house.kill();
    assert_eq!(said(&listener), "offline");
    let late = Listener::new(broker.address, "hearth/home/status", None).next();
    assert!(late.retain && late.payload == "offline");
}

#[test]
fn draining_without_a_broker_ends_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = House::start(dir.path(), &external(free_address()), Vec::new());
    house.say(1);
    let counts = house.drain();
    assert_eq!(counts, PublishCounts { published: 0, acknowledged: 0, left: 1 });
}

#[test]
fn whoever_comes_late_finds_the_retained_states() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let mut house = House::start(dir.path(), &external(broker.address), Config::default().rules);
    let stamp = MessageHeader::now();
    house.store.enqueue(&[payload::listening(&topics(), stamp, true)]).unwrap();
    house.wake.notify_one();
    eventually("discovery, status, info, listening and health are sent", || {
        house.metrics.acknowledged.get() >= 5 && house.metrics.acknowledged.get() == house.metrics.published.get()
    });
    let listener = Listener::new(broker.address, "#", None);
    let mut wanted: BTreeSet<String> =
        ["status", "info", "health", "listening"].iter().map(|name| format!("hearth/home/{name}")).collect();
    wanted.insert("homeassistant/device/hearth_home/config".into());
    while !wanted.is_empty() {
        let heard = listener.next();
        assert!(heard.retain);
        wanted.remove(&heard.topic);
        if !heard.topic.ends_with("status") && !heard.topic.ends_with("config") {
            let json = heard.json();
            assert!(json["id"].as_str().unwrap().parse::<Ulid>().is_ok());
            assert!(json["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
            assert_eq!(json["schema"], 1);
        }
    }
    house.drain();
}

#[test]
fn a_broker_that_forgot_everything_is_told_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let address = broker.address;
    let mut house = House::start(dir.path(), &external(address), Config::default().rules);
    let leak = Message {
        topic: topics().rule("leak"),
        payload: r#"{"state": "ON"}"#.into(),
        retain: true,
        provenance: Provenance::Nothing,
    };
    house.store.enqueue(&[payload::listening(&topics(), MessageHeader::now(), false), leak.clone()]).unwrap();
    house.wake.notify_one();
    eventually("it is told", || house.metrics.connected.get() && house.store.outbox_len().unwrap() == 0);
    broker.kill();
    eventually("it is missed", || !house.metrics.connected.get());
    let _broker = Mosquitto::start(dir.path(), address, "");
    let listener = Listener::new(address, "#", None);
    let mut wanted: BTreeSet<String> =
        ["status", "info", "health", "listening"].iter().map(|name| format!("hearth/home/{name}")).collect();
    wanted.extend([topics().discovery(), leak.topic.clone()]);
    while !wanted.is_empty() {
        let heard = listener.next();
        wanted.remove(&heard.topic);
        assert!(heard.topic != leak.topic || heard.payload == leak.payload);
    }
    house.drain();
}

// ---- brokers that do not want us

#[test]
fn two_machines_of_one_name_are_told_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for connect in [client::open, client::persistent_session] {
        let said = runtime.block_on(async {
            let settings = || settings(&external(broker.address));
            let ((_first, mut one), (_second, mut other)) = (connect(settings()), connect(settings()));
            assert!(matches!(one.poll().await, client::BrokerEvent::Connected { .. }));
            assert!(matches!(other.poll().await, client::BrokerEvent::Connected { .. }));
            match one.poll().await {
                client::BrokerEvent::Lost(error) => error.to_string(),
                event => panic!("the broker keeps two clients of one name: {event:?}"),
            }
        });
        assert!(said.contains("another machine has the same node name") && said.contains("hearth_home"), "{said}");
    }
}

#[test]
fn a_refused_password_is_said_with_the_user_and_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let (passwords, secret) = (dir.path().join("passwords"), dir.path().join("secret"));
    let made =
        Process::new("mosquitto_passwd").args(["-b", "-c"]).arg(&passwords).args(["anna", "right"]).status().unwrap();
    assert!(made.success());
    let more = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &more);
    let mut mqtt =
        MqttConfig { username: Some("anna".into()), password_file: Some(secret.clone()), ..external(broker.address) };

    std::fs::write(&secret, "wrong\n").unwrap();
    let expected = format!(
        "mqtt://{} refuses the user \"anna\" with this password: check [mqtt] username and password_file",
        broker.address
    );
    assert_eq!(probe(&mqtt).unwrap_err().to_string(), expected);
    let house = House::start(dir.path(), &mqtt, Vec::new());
    assert!(!house.metrics.connected.get());
    house.drain();

    std::fs::write(&secret, "right\r\n").unwrap();
    probe(&mqtt).unwrap();
    let shown = format!("{:?} {mqtt:?}", settings(&mqtt));
    assert!(shown.contains("anna") && !shown.contains("right"), "{shown}");
    let listener = Listener::new(broker.address, "hearth/home/status", Some(("anna", "right")));
    let house = House::start(dir.path(), &mqtt, Vec::new());
    assert_eq!(listener.next().payload, "online");
    house.drain();

    mqtt.username = None;
    let error = ClientSettings::new(&mqtt, &topics(), mqtt.listen).unwrap_err();
    assert_eq!(error.to_string(), "[mqtt] password_file needs a username beside it");
    mqtt = MqttConfig { username: Some("anna".into()), password_file: Some(dir.path().join("nothing")), ..mqtt };
    let error = ClientSettings::new(&mqtt, &topics(), mqtt.listen).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("[mqtt] password_file"), "{error}");
}

fn probe(mqtt: &MqttConfig) -> Result<(), client::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client::probe(&settings(mqtt), LONG))
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let address = free_address();
    let error = probe(&external(address)).unwrap_err().to_string();
    assert!(error.contains(&format!("mqtt://{address} cannot be reached")), "{error}");
    assert!(error.contains("refused"), "{error}");
    let nowhere = MqttConfig { url: "mqtt://no-such-host.invalid".parse().unwrap(), ..MqttConfig::default() };
    let error = probe(&nowhere).unwrap_err().to_string();
    assert!(error.contains("mqtt://no-such-host.invalid:1883 cannot be reached"), "{error}");
}

#[test]
fn a_certificate_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let Some([ca, certificate, key]) = certificates(dir.path()) else {
        println!("skipped: no openssl to make certificates with");
        return;
    };
    let more = format!("certfile {}\nkeyfile {}", certificate.display(), key.display());
    // The name in the certificate leads to this address.
    let broker = Mosquitto::start(dir.path(), local_port(), &more);
    let url = format!("mqtts://localhost:{}", broker.address.port());
    let trusting = MqttConfig { url: url.parse().unwrap(), ca_file: Some(ca.clone()), ..MqttConfig::default() };
    probe(&trusting).unwrap();

    // Signed by itself, not by the one we trust.
    let strict = MqttConfig { ca_file: Some(other_ca(dir.path())), ..trusting.clone() };
    let error = probe(&strict).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{url} is not trusted")) && error.contains("ca_file"), "{error}");

    let elsewhere =
        MqttConfig { url: format!("mqtts://127.0.0.1:{}", broker.address.port()).parse().unwrap(), ..trusting.clone() };
    let error = probe(&elsewhere).unwrap_err().to_string();
    assert!(
        error.contains("not valid for name") && error.ends_with("the name that stands in the certificate"),
        "{error}"
    );

    let more = format!("certfile {}\nkeyfile {}", short_lived(dir.path()).display(), key.display());
    let old = Mosquitto::start(dir.path(), local_port(), &more);
    let late =
        MqttConfig { url: format!("mqtts://localhost:{}", old.address.port()).parse().unwrap(), ..trusting.clone() };
    eventually("it expires", || probe(&late).is_err());
    let error = probe(&late).unwrap_err().to_string();
    assert!(error.contains("expired") && error.contains("new certificate") && error.contains("clock"), "{error}");

    std::fs::write(&ca, "no certificate").unwrap();
    let error = ClientSettings::new(&trusting, &topics(), trusting.listen).unwrap_err().to_string();
    assert!(error.contains("ca.pem") && error.contains("PEM"), "{error}");
}

fn local_port() -> SocketAddr {
    TcpListener::bind(local(0)).unwrap().local_addr().unwrap()
}

fn other_ca(dir: &Path) -> PathBuf {
    assert!(openssl(dir, "req -newkey rsa:2048 -nodes -x509 -days 2 -subj /CN=other -keyout other.key -out other.pem"));
    dir.join("other.pem")
}

// ---- the embedded broker

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn the_embedded_broker_replays_more_than_a_thousand_retained_messages() {
    let address = broker::start(local(0), None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mqtt = MqttConfig { listen: address, discovery: false, ..MqttConfig::default() };
    let mut house = House::start(dir.path(), &mqtt, Vec::new());
    let states: Vec<Message> = (0..1_200)
        .map(|n| Message {
            topic: format!("hearth/home/rule/{n}"),
            payload: format!("{n:0>200}"),
            retain: true,
            provenance: Provenance::Nothing,
        })
        .collect();
    house.store.enqueue(&states).unwrap();
    house.wake.notify_one();
    eventually("the outbox empties", || house.metrics.connected.get() && house.metrics.outbox.get() == 0);
    let listener = Listener::new(address, "hearth/home/rule/+", None);
    let mut missing: BTreeSet<String> = states.iter().map(|state| state.topic.clone()).collect();
    while !missing.is_empty() {
        missing.remove(&listener.next().topic);
    }
    house.drain();
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
    let listener = Listener::new(address, "hearth/home/utterance", Some(("anna", "right")));
    let mut house = House::start(dir.path(), &mqtt, Vec::new());
    let id = house.say(1).to_string();
    assert_eq!(listener.next().json()["id"], id);
    house.drain();

    std::fs::write(&secret, "wrong").unwrap();
    let error = probe(&mqtt).unwrap_err().to_string();
    assert!(
        error.contains(&format!("mqtt://{address} closed the connection")) && error.contains("username"),
        "{error}"
    );
}

#[test]
fn the_embedded_broker_says_where_it_cannot_listen() {
    let taken = TcpListener::bind(local(0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = broker::start(address, None).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on {address}")) && error.contains("[mqtt] listen"), "{error}");
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let error = broker::start(everywhere, Some(("anna".into(), String::new()))).unwrap_err().to_string();
    assert!(error.contains("only with a password") && error.contains("password_file"), "{error}");
}

// ---- commands

#[test]
fn commands_are_handed_on_and_bad_ones_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let mut house = House::start(dir.path(), &external(broker.address), Vec::new());
    let listener = Listener::new(broker.address, "hearth/home/response/+", None);
    // hearth says that it is there after it asked for commands; what is sent before, the broker gives to nobody.
    assert_eq!(Listener::new(broker.address, "hearth/home/status", None).next().payload, "online");
    listener.publish("hearth/home/listening/set", "OFF", false);
    assert_eq!(listener.on("hearth/home/response/listening").json()["listening"], false);
    assert!(!*house.listening.borrow());

    listener.publish("hearth/home/request/ask", r#"{"value": "What broke?", "transaction": 7}"#, false);
    let request = house.requests.blocking_recv().unwrap();
    assert_eq!(request, Request { command: asks("What broke?"), transaction: Some(7.into()) });
    let reply = AskReply { question: "What broke?".into(), text: "The lamp.".into(), probability: None, at: None };
    let answer = request.response(&topics(), MessageHeader::now(), &Ok(Reply::Ask(reply)));
    house.store.enqueue(&[answer]).unwrap();
    house.wake.notify_one();
    let answer = listener.on("hearth/home/response/ask").json();
    assert_eq!(
        (&answer["transaction"], &answer["status"], &answer["text"]),
        (&json!(7), &json!("ok"), &json!("The lamp."))
    );

    listener.publish("hearth/home/interval/set", "often", false);
    let answer = listener.on("hearth/home/response/interval").json();
    assert_eq!(
        (&answer["status"], &answer["error"]),
        (&json!("error"), &json!("\"often\" is no number of minutes from 0 to 1440"))
    );
    listener.publish("hearth/home/request/dance", r#"{"transaction": "t"}"#, false);
    let answer = listener.on("hearth/home/response/unknown").json();
    assert_eq!((&answer["transaction"], &answer["error"]), (&json!("t"), &json!("there is no command request/dance")));

    // One fits the queue; the next is told to come again.
    listener.publish("hearth/home/request/summarise", "PRESS", false);
    listener.publish("hearth/home/request/summarise", "PRESS", false);
    let answer = listener.on("hearth/home/response/summarise").json();
    assert!(answer["error"].as_str().unwrap().contains("busy"), "{answer}");
    house.drain();
}

#[test]
fn floods_replays_and_old_commands_come_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    // Somebody left a command behind; it is from before this house.
    let somebody = Listener::new(broker.address, "nothing", None);
    somebody.publish("hearth/home/listening/set", "OFF", true);
    let mut house = House::start(dir.path(), &external(broker.address), Vec::new());
    let listener = Listener::new(broker.address, "hearth/home/response/+", None);
    assert_eq!(Listener::new(broker.address, "hearth/home/status", None).next().payload, "online");

    let ask = r#"{"value": "What broke?", "transaction": "t-1"}"#;
    listener.publish("hearth/home/request/ask", ask, false);
    let request = house.requests.blocking_recv().unwrap();
    assert_eq!(request.command, asks("What broke?"), "the old command was not carried out");
    listener.publish("hearth/home/request/ask", ask, false);
    let answer = listener.on("hearth/home/response/ask").json();
    assert_eq!((&answer["transaction"], &answer["status"]), (&json!("t-1"), &json!("error")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("before"), "{answer}");

    for n in 0..1_000 {
        listener.publish(&format!("hearth/home/request/x{n}"), "{\"value\": [[[", false);
    }
    // The flood is over when what was sent behind it has arrived.
    let seen = Listener::new(broker.address, "hearth/home/mark", None);
    listener.publish("hearth/home/mark", "", false);
    seen.next();
    let answered = house.store.waiting().unwrap().messages;
    assert!(answered <= u64::from(BURST), "{answered} answers to 1,000 commands wait");
    assert!(house.requests.try_recv().is_err(), "nothing was carried out");
    let mut answers = 0;
    let end = Instant::now() + INTERVAL * 2;
    while Instant::now() < end {
        answers += usize::from(listener.try_next(INTERVAL).is_some());
    }
    assert!((1..=60).contains(&answers), "{answers} answers to 1,000 commands");
    house.drain();
}

#[test]
fn a_mute_is_heard_in_a_flood_of_commands() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let house = House::start(dir.path(), &external(broker.address), Vec::new());
    assert_eq!(Listener::new(broker.address, "hearth/home/status", None).next().payload, "online");
    let listener = Listener::new(broker.address, "hearth/home/response/+", None);
    for n in 0..2_000 {
        listener.publish("hearth/home/request/ask", "Who is there?", false);
        listener.publish("hearth/home/listening/set", if n % 2 == 0 { "OFF" } else { "ON" }, false);
    }
    listener.publish("hearth/home/listening/set", r#"{"value": "OFF", "transaction": "last"}"#, false);
    eventually("the last wish counts", || !*house.listening.borrow());
    house.drain();
    let answers = std::iter::from_fn(|| listener.try_next(Duration::ZERO)).count();
    assert!((1..=60).contains(&answers), "{answers} answers to 4,000 commands");
}

#[test]
fn a_message_too_long_to_take_that_somebody_left_does_not_cost_the_commands() {
    for left in ["hearth/home/listening/set", "hearth/home/request/nothing", "homeassistant/status"] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::anywhere(dir.path());
        let somebody = Listener::new(broker.address, "hearth/home/response/+", None);
        somebody.publish_long(left, 3 << 20);
        let house = House::start(dir.path(), &external(broker.address), Vec::new());
        // The long message may come behind the word that commands are heard: whoever asks asks again.
        let end = Instant::now() + LONG;
        while *house.listening.borrow() {
            assert!(Instant::now() < end, "{left}: nobody heard the command");
            somebody.publish("hearth/home/listening/set", "OFF", false);
            somebody.try_next(INTERVAL);
        }
        assert!(house.metrics.commands_ok.get());
        house.drain();
    }
}

#[test]
fn a_payload_is_a_command_or_says_why_not() {
    let topics = topics();
    let parse = |path: &str, payload: &str| {
        commands::parse(&topics, &format!("hearth/home/{path}"), payload.as_bytes(), false).unwrap()
    };
    let good = |path: &str, payload: &str| parse(path, payload).unwrap().command;
    let bad = |path: &str, payload: &str| parse(path, payload).unwrap_err().error;

    assert_eq!(good("listening/set", "on"), Listening { on: true }.into());
    assert_eq!(good("listening/set", r#"{"value": false}"#), Listening { on: false }.into());
    assert_eq!(good("interval/set", " 12.5 "), Interval { minutes: 12.5 }.into());
    assert_eq!(good("interval/set", r#"{"value": 0}"#), Interval { minutes: 0.0 }.into());
    assert_eq!(good("request/summarise", ""), Summarize { room: None }.into());
    let room = Some("living room".to_string());
    assert_eq!(good("request/summarise", r#"{"room": "living room"}"#), Summarize { room: room.clone() }.into());
    let of_room = r#"{"value": "Who came?", "room": "living room"}"#;
    assert_eq!(good("request/ask", of_room), Ask { question: "Who came?".into(), at: None, room }.into());
    assert_eq!(good("request/ask", "  Is it raining?\n"), asks("Is it raining?"));
    assert_eq!(bad("listening/set", "maybe"), "\"maybe\" is neither ON nor OFF");
    assert_eq!(bad("interval/set", "-1"), "\"-1\" is no number of minutes from 0 to 1440");
    assert_eq!(bad("interval/set", "NaN"), "\"NaN\" is no number of minutes from 0 to 1440");
    assert_eq!(bad("request/ask", " "), "the question is empty");
    assert_eq!(bad("request/ask", &"why ".repeat(600)), "a question has at most 2000 characters");
    assert_eq!(bad("request/ask", r#"{"value": ["x"]}"#), "[\"x\"] is no question");
    assert!(bad("request/ask", "{oops").starts_with("this is no JSON object: "));
    assert_eq!(bad("request/ask", r#"{"value": "x", "transaction": [1]}"#), "a transaction is a string or a number");
    assert_eq!(bad("request/ask", &"x".repeat(70_000)), "a command has at most 65536 bytes, this one has 70000");
    assert_eq!(bad("summarise/set", "x"), "there is no command summarise/set");

    let (question, at) = ("Who called?".into(), Some("yesterday 18:00".into()));
    let then = r#"{"value": "Who called?", "at": "yesterday 18:00"}"#;
    assert_eq!(good("request/ask", then), Ask { question, at, room: None }.into());
    assert_eq!(bad("request/ask", r#"{"value": "Who called?", "at": 18}"#), "18 is no time");
    for payload in ["10", r#"{"value": 10}"#, r#"{"minutes": 10}"#] {
        assert_eq!(good("request/forget", payload), Forget { minutes: 10.0 }.into());
    }
    assert_eq!(bad("request/forget", "PRESS"), "\"PRESS\" is no number of minutes from 0 to 44640");
    assert!(bad("request/forget", "0").contains("give minutes"));
    assert_eq!(good("request/snooze", "60"), Snooze { rule: None, minutes: 60.0 }.into());
    let one = Snooze { rule: Some("fire".into()), minutes: 0.0 }.into();
    assert_eq!(good("request/snooze", r#"{"value": 0, "rule": "fire"}"#), one);
    assert_eq!(bad("request/snooze", "PRESS"), "\"PRESS\" is no number of minutes from 0 to 10080");
    assert_eq!(bad("request/snooze", r#"{"value": 1, "rule": 7}"#), "7 is no name of a rule or an alert");
    assert_eq!(good("request/acknowledge", "PRESS"), Acknowledge { alert: AlertSelector::Newest }.into());
    assert_eq!(
        good("request/acknowledge", r#"{"value": "fire"}"#),
        Acknowledge { alert: AlertSelector::Named("fire".into()) }.into()
    );
    assert_eq!(good("request/false_alarm", ""), FalseAlarm { alert: AlertSelector::Newest }.into());
    assert_eq!(good("request/reload", ""), Reload.into());
    assert!(bad("request/false_alarm", &"x".repeat(65)).contains("is no name of a rule or an alert"));
    let utf8 = commands::parse(&topics, "hearth/home/request/ask", &[0xff], false).unwrap().unwrap_err();
    assert_eq!(utf8.error, "a command must be UTF-8 text");

    assert_eq!(commands::parse(&topics, "hearth/home/request/summarise", b"", true), None, "it is retained");
    for topic in ["hearth/home/utterance", "hearth/homes/request/ask", "hearth/other/request/ask", "x", ""] {
        assert_eq!(commands::parse(&topics, topic, b"x", false), None);
    }
}

proptest! {
    #[test]
    fn no_payload_makes_the_parser_fall_over(topic in "hearth/home/(listening|interval|x)/set|hearth/home/request/(ask|forget|summarise|snooze|acknowledge|false_alarm|.{0,9})", payload in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(Err(refusal)) = commands::parse(&topics(), &topic, &payload, false) {
            prop_assert!(!refusal.error.is_empty());
        }
    }
}

#[test]
fn what_is_being_said_is_told_and_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/interim", None);
    let house = House::start(dir.path(), &MqttConfig { interim: true, ..external(broker.address) }, Vec::new());
    eventually("it connects", || house.metrics.connected.get());
    let saying = Hypothesis { tentative: "good mor".into(), ..Hypothesis::over("kitchen", Timestamp::UNIX_EPOCH) };
    for said in [saying.clone(), Hypothesis { tentative: String::new(), ..saying }] {
        house.live_feed.publish(LiveEvent::Hypothesis(said.clone()));
        let heard = listener.next();
        assert_eq!((&heard.json()["room"], &heard.json()["tentative"]), (&json!("kitchen"), &json!(said.tentative)));
        assert!(!heard.retain);
    }
    assert_eq!(house.store.outbox_len().unwrap(), 0);
    house.drain();
}

// ---- payloads

fn quote(utterance: Ulid, time: Timestamp, text: String) -> Evidence {
    Evidence { utterance, time, room: "kitchen".into(), text }
}

fn alert(evidence: Vec<String>) -> Alert {
    let time = "2026-01-01T12:00:00Z".parse().unwrap();
    Alert {
        id: Ulid::from_parts(1, 2),
        rule: "leak".into(),
        phase: AlertPhase::New,
        severity: Severity::Critical,
        room: None,
        time,
        probability: Some(0.987_654_3),
        answer: Some("Yes. The tap drips.".into()),
        evidence: evidence.into_iter().map(|text| quote(Ulid::from_parts(3, 4), time, text)).collect(),
    }
}

#[test]
fn an_alert_reads_as_documented() {
    let message = payload::alert(&topics(), &alert(vec!["There is water on the floor.".into()]));
    assert_eq!((message.topic.as_str(), message.retain), ("hearth/home/alert", false));
    let expected = json!({
        "id": "00000000010000000000000002", "schema": 1, "time": "2026-01-01T12:00:00Z",
        "event_type": "leak", "rule": "leak", "phase": "new", "severity": "critical", "room": null, "probability": 0.9877,
        "answer": "Yes. The tap drips.",
        "evidence": [{
            "utterance": "00000000030000000000000004", "time": "2026-01-01T12:00:00Z", "room": "kitchen",
            "text": "There is water on the floor.",
        }],
    });
    assert_eq!(serde_json::from_str::<Value>(&message.payload).unwrap(), expected);
}

#[test]
fn an_utterance_and_a_summary_read_as_documented() {
    let said = Utterance { id: Ulid::from_parts(1, 2), ..utterance(0) };
    let message = payload::utterance(&topics(), &said);
    assert_eq!((message.topic.as_str(), message.retain), ("hearth/home/utterance", false));
    let expected = json!({
        "id": "00000000010000000000000002", "schema": 1, "time": "2026-01-01T00:00:01Z", "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T00:00:01Z", "room": "home", "text": "this is sentence number 0", "confidence": 0.9,
        "no_speech": 0.01,
    });
    assert_eq!(serde_json::from_str::<Value>(&message.payload).unwrap(), expected);

    let digest = Digest {
        id: Ulid::from_parts(1, 2),
        time: said.end,
        from: said.start,
        to: said.end,
        reason: DigestReason::ConversationEnded,
        words: 5,
        room: None,
        text: "They counted.".into(),
    };
    assert_eq!(payload::summary_of_room(&topics(), &digest), None);
    let of_room = Digest { room: Some("living room".into()), ..digest.clone() };
    let of_room = payload::summary_of_room(&topics(), &of_room).unwrap();
    assert_eq!((of_room.topic.as_str(), of_room.retain), ("hearth/home/summary/living%20room", true));
    let message = payload::summary(&topics(), &digest);
    assert_eq!((message.topic.as_str(), message.retain), ("hearth/home/summary", true));
    let expected = json!({
        "id": "00000000010000000000000002", "schema": 1, "time": "2026-01-01T00:00:01Z", "from": "2026-01-01T00:00:00Z",
        "to": "2026-01-01T00:00:01Z", "reason": "conversation_ended", "words": 5, "room": null,
        "text": "They counted.",
    });
    assert_eq!(serde_json::from_str::<Value>(&message.payload).unwrap(), expected);
}

proptest! {
    #[test]
    fn a_payload_fits_and_keeps_its_identity_however_long_the_words(
        texts in prop::collection::vec("(?s).{0,40}", 0..400), repeats in 1..200_usize
    ) {
        let long = alert(texts.into_iter().map(|text| text.repeat(repeats)).collect());
        let message = payload::alert(&topics(), &long);
        prop_assert!(message.payload.len() <= payload::MAX_BYTES);
        let json: Value = serde_json::from_str(&message.payload).unwrap();
        prop_assert_eq!(&json["id"], &json!(long.id.to_string()));
        prop_assert_eq!(&json["answer"], &json!("Yes. The tap drips."));
        for quoted in json["evidence"].as_array().unwrap() {
            prop_assert!(quoted["utterance"].as_str().unwrap().parse::<Ulid>().is_ok());
        }
    }
}

// ---- Home Assistant

/// What Home Assistant 2026.2 was seen to demand of a device's discovery.
fn check_discovery(payload: &Value) {
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

#[test]
fn discovery_has_the_shape_home_assistant_takes() {
    let rules = Config::default().rules;
    let (message, announced) =
        discovery::announce(&topics(), &rules, &commands::entities(&topics()), BOTH, &AnnouncedEntities::default());
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
        ("snooze", "button"),
        ("forget", "button"),
        ("ask", "text"),
        ("microphone", "binary_sensor"),
        ("lag", "sensor"),
        ("tokens", "sensor"),
        ("memory", "sensor"),
    ] {
        assert_eq!(kinds.get(key), Some(&platform), "{key}");
    }
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(cmps["alert"]["evt_typ"], json!(names));
    assert_eq!(cmps["rule_left_on"]["name"], "Left on");
    assert_eq!(cmps["rule_left_on"]["off_dly"], 1800);
    assert_eq!(cmps["summary"]["dev_cla"], "timestamp");

    // The same again leaves nothing to take back; one rule less takes its two entities back, once.
    let (again, same) = discovery::announce(&topics(), &rules, &commands::entities(&topics()), BOTH, &announced);
    assert_eq!((again, &same), (message, &announced));
    let (fewer, now) = discovery::announce(&topics(), &rules[1..], &commands::entities(&topics()), BOTH, &announced);
    let fewer: Value = serde_json::from_str(&fewer.payload).unwrap();
    assert_eq!(fewer["cmps"]["rule_help"], json!({ "p": "binary_sensor" }));
    assert_eq!(fewer["cmps"]["probability_help"], json!({ "p": "sensor" }));
    let (later, _) = discovery::announce(&topics(), &rules[1..], &commands::entities(&topics()), BOTH, &now);
    check_discovery(&serde_json::from_str(&later.payload).unwrap());
    assert!(!later.payload.contains("rule_help"));

    let without_ears = Capabilities { hears: false, reads: true };
    let (reader, _) = discovery::announce(
        &topics(),
        &rules,
        &commands::entities(&topics()),
        without_ears,
        &AnnouncedEntities::default(),
    );
    assert!(!reader.payload.contains("\"microphone\"") && reader.payload.contains("\"ask\""));
    let only_hears = Capabilities { hears: true, reads: false };
    let (ears, _) =
        discovery::announce(&topics(), &[], &commands::entities(&topics()), only_hears, &AnnouncedEntities::default());
    assert!(ears.payload.contains("\"microphone\"") && !ears.payload.contains("\"ask\""));
}

#[test]
fn home_assistant_is_told_everything_again_when_it_starts_and_removed_rules_are_taken_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "#", None);
    let config = "homeassistant/device/hearth_home/config";
    let mqtt = external(broker.address);
    let rules = Config::default().rules;

    let house = House::start(dir.path(), &mqtt, rules.clone());
    assert!(listener.on(config).payload.contains("rule_help"));
    assert_eq!(listener.on("hearth/home/status").payload, "online");
    listener.on("hearth/home/health");
    listener.publish("homeassistant/status", "online", false);
    assert!(listener.on(config).payload.contains("rule_help"));
    assert_eq!(listener.on("hearth/home/status").payload, "online");
    house.drain();

    let house = House::start(dir.path(), &mqtt, rules[1..].to_vec());
    let taken_back = listener.on(config).json();
    assert_eq!(taken_back["cmps"]["rule_help"], json!({ "p": "binary_sensor" }));
    house.drain();
    let house = House::start(dir.path(), &mqtt, rules[1..].to_vec());
    assert!(!listener.on(config).payload.contains("rule_help"));
    house.drain();

    // Rules may change while the house runs.
    let house = House::start(dir.path(), &mqtt, rules[1..].to_vec());
    listener.on(config);
    house.rules.send_replace(rules[..2].to_vec());
    let changed = listener.on(config).json();
    assert_eq!(changed["cmps"]["rule_door"], json!({ "p": "binary_sensor" }));
    assert!(changed["cmps"]["rule_help"]["uniq_id"].is_string(), "{changed}");
    let info = listener.wait_for("the new rules", |h| h.topic == "hearth/home/info" && h.json()["rules"][0] == "help");
    assert_eq!(info.json()["rules"], json!(["help", "fire"]));
    house.drain();

    let house = House::start(dir.path(), &MqttConfig { discovery: false, ..mqtt }, Vec::new());
    assert_eq!(listener.on(config).payload, "", "discovery was switched off: everything is taken back");
    house.drain();
}

#[test]
fn a_renamed_machine_takes_back_what_it_left_under_its_former_name() {
    let former = topics();
    let study = Topics::new(&MqttConfig::default(), &"study".parse().unwrap());
    let retained =
        |topic: String| Message { topic, payload: "{}".into(), retain: true, provenance: Provenance::Nothing };
    let stored = [retained(former.rule("fire")), retained(study.interval()), retained("other/topic".into())];
    let taken: BTreeSet<String> = former.take_back(&stored, &study).into_iter().map(|m| m.topic).collect();
    let expected = ["hearth/home/status", "hearth/home/info", "hearth/home/health", "hearth/home/rule/fire"];
    let discovery = "homeassistant/device/hearth_home/config";
    assert_eq!(taken, expected.iter().chain([&discovery]).map(|t| (*t).to_string()).collect());
    assert_eq!(former.take_back(&stored, &former), [], "one that kept its name takes nothing back");

    // With another prefix only Home Assistant's entry moves.
    let prefix = MqttConfig { discovery_prefix: "ha".parse().unwrap(), ..MqttConfig::default() };
    let moved = Topics::new(&prefix, &"home".parse().unwrap());
    let taken: Vec<String> = former.take_back(&stored, &moved).into_iter().map(|m| m.topic).collect();
    assert_eq!(taken, [discovery]);
}

// ---- the documented schema

/// Every topic with its retain flag and what is sent on it, from fixed events.
fn examples() -> Vec<Message> {
    let (topics, time) = (topics(), "2026-01-01T12:00:00Z".parse().unwrap());
    let stamp = MessageHeader { id: Ulid::from_parts(1_767_268_800_000, 1), time };
    let said = Utterance { id: stamp.id, ..utterance(0) };
    let saying = Hypothesis {
        start: said.start,
        room: "home".into(),
        committed: vec!["this".into(), "is".into()],
        tentative: "sentence numb".into(),
    };
    let gap = Gap { id: stamp.id, room: "home".into(), from: said.start, to: time, reason: GapReason::DeviceLost };
    let digest = Digest {
        id: stamp.id,
        time,
        from: said.start,
        to: said.end,
        reason: DigestReason::ConversationEnded,
        words: 42,
        room: None,
        text: "Emma bakes a cake.".into(),
    };
    let evidence = [quote(stamp.id, time, "There is water on the floor.".into())];
    let rule = RuleState {
        rule: "leak",
        room: None,
        on: true,
        severity: Severity::Critical,
        probability: Some(0.91),
        answer: Some("Yes."),
        evidence: &evidence,
        acknowledged: false,
        snoozed_until: None,
    };
    let info = NodeInfo { whisper: Some("whisper".into()), listener: Some("nano".into()), rules: vec!["leak".into()] };
    let ask = Request { command: asks("Who called?"), transaction: Some("t-1".into()) };
    let answer = AskReply { question: "Who called?".into(), text: "Jack.".into(), probability: None, at: None };
    let invalid =
        InvalidCommand { command: "unknown", transaction: None, error: "there is no command request/x".into() };
    let metrics = Metrics::default();
    metrics.rooms.open(&"home".into());
    vec![
        payload::online(&topics),
        payload::info(&topics, stamp, &info),
        payload::health(
            &topics,
            stamp,
            &metrics,
            ProcessUsage { cpu_percent: 12.5, memory_mib: 180.0, uptime_s: 3600.0 },
        ),
        payload::listening(&topics, stamp, true),
        payload::interval(&topics, stamp, 15.0),
        payload::summary(&topics, &digest),
        payload::rule(&topics, stamp, &rule),
        payload::interim(&topics, stamp, &saying),
        payload::utterance(&topics, &said),
        payload::alert(&topics, &alert(vec!["There is water on the floor.".into()])),
        payload::gap(&topics, &gap),
        ask.response(&topics, stamp, &Ok(Reply::Ask(answer))),
        invalid.response(&topics, stamp),
    ]
}

#[test]
fn the_table_of_topics_says_what_is_sent() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/topics.md");
    let table = std::fs::read_to_string(&file).unwrap();
    let row = |message: &Message| {
        let kept = if message.retain { "yes" } else { "no" };
        format!("| `{}` | {kept} | `{}` |", message.topic, message.payload)
    };
    let expected: Vec<String> = examples().iter().map(row).collect();
    let found: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| `hearth/") && line.matches('|').count() == 4).collect();
    assert_eq!(
        found,
        expected,
        "{} does not say what is sent; it should say\n{}\n",
        file.display(),
        expected.join("\n")
    );
}
