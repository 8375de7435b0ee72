//! A publishing service on a thread of its own, and what the tests of this folder share.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hearth::commands::microphone::MicrophoneState;
use hearth::commands::{Ask, Command, Request};
use hearth::config::{Config, MqttConfig, Rule};
use hearth::event::{Alert, AlertPhase, Evidence, Severity, Utterance};
use hearth::live::LiveFeed;
use hearth::metrics::Metrics;
use hearth::mqtt::client::{self, ClientSettings};
use hearth::mqtt::discovery::Capabilities;
use hearth::mqtt::payload::{self, NodeInfo};
use hearth::mqtt::topics::Topics;
use hearth::services::Context;
use hearth::services::publish::{PublishCounts, PublishInputs, run};
use hearth::store::{self, Store};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use ulid::Ulid;

use crate::mosquitto::LONG;

pub(crate) const BOTH: Capabilities = Capabilities { hears: true, reads: true, tells_speakers: false, page: None };
pub(crate) const ROOMY: store::OutboxLimits =
    store::OutboxLimits { outbox_max_bytes: 64 << 20, outbox_max_age: SignedDuration::from_hours(24 * 30) };

pub(crate) fn topics() -> Topics {
    Topics::new(&MqttConfig::default(), &Config::default().node)
}

pub(crate) fn external(address: SocketAddr) -> MqttConfig {
    MqttConfig { url: format!("mqtt://{address}").parse().unwrap(), ..MqttConfig::default() }
}

pub(crate) fn settings(mqtt: &MqttConfig) -> ClientSettings {
    ClientSettings::new(mqtt, &topics(), mqtt.listen).unwrap()
}

pub(crate) fn utterance(n: i64) -> Utterance {
    let start = Timestamp::from_second(1_767_225_600 + n).unwrap();
    Utterance {
        id: Ulid::generate(),
        start,
        end: start + SignedDuration::from_secs(1),
        room: "home".into(),
        text: format!("this is sentence number {n}"),
        confidence: 0.9,
        no_speech: 0.01,
        speaker: None,
    }
}

/// The publishing service of one node, on a thread of its own.
pub(crate) struct PublishingNode {
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) live_feed: Arc<LiveFeed>,
    pub(crate) context: Context,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) rules: watch::Sender<Vec<Rule>>,
    pub(crate) microphone: watch::Receiver<MicrophoneState>,
    pub(crate) drain: oneshot::Sender<()>,
    pub(crate) kill: oneshot::Sender<()>,
    pub(crate) thread: JoinHandle<Option<PublishCounts>>,
}

impl PublishingNode {
    pub(crate) fn start(dir: &Path, mqtt: &MqttConfig, rules: Vec<Rule>) -> Self {
        Self::with_grace(dir, mqtt, rules, Duration::from_secs(30))
    }

    pub(crate) fn with_grace(dir: &Path, mqtt: &MqttConfig, rules: Vec<Rule>, grace: Duration) -> Self {
        Self::with(dir, mqtt, settings(mqtt), rules, grace)
    }

    /// A node that drops a silent connection within two seconds.
    pub(crate) fn watchful(dir: &Path, mqtt: &MqttConfig) -> Self {
        let client = settings(mqtt).with_keep_alive(Duration::from_secs(1));
        Self::with(dir, mqtt, client, Vec::new(), LONG)
    }

    pub(crate) fn with(
        dir: &Path,
        mqtt: &MqttConfig,
        client: ClientSettings,
        rules: Vec<Rule>,
        grace: Duration,
    ) -> Self {
        let config = Config { mqtt: mqtt.clone(), ..Config::default() };
        let context = Context::open(config, dir, Arc::new(Metrics::default())).unwrap();
        let (ask, requests) = mpsc::channel(1);
        let (rules, followed) = watch::channel(rules);
        let (wish, microphone) = watch::channel(MicrophoneState::Open);
        let inputs = PublishInputs {
            client,
            rules: followed,
            info: NodeInfo::default(),
            requests: ask,
            microphone: wish,
            grace,
        };
        let (drain, drained) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let (publisher, own_store) = (context.clone(), context.open_store().unwrap());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let publishing = movable(run(publisher, own_store, inputs, async {
                let _ = drained.await;
            }));
            runtime.block_on(async {
                tokio::select! {
                    counts = publishing => Some(counts.unwrap()),
                    _ = killed => None,
                }
            })
        });
        let store = context.open_store().unwrap();
        let (metrics, live_feed) = (context.metrics.clone(), context.live_feed.clone());
        Self { store, context, metrics, live_feed, requests, rules, microphone, drain, kill, thread }
    }

    pub(crate) fn say(&mut self, n: i64) -> Ulid {
        let said = utterance(n);
        self.store.record_utterance(&said, &[payload::utterance(&topics(), &said)]).unwrap();
        self.context.notify_outbox();
        said.id
    }

    pub(crate) fn drain(self) -> PublishCounts {
        self.drain.send(()).unwrap();
        self.thread.join().unwrap().expect("it was not killed")
    }

    /// The process dies: the socket closes without a DISCONNECT.
    pub(crate) fn kill(self) {
        self.kill.send(()).unwrap();
        assert_eq!(self.thread.join().unwrap(), None);
    }
}

/// Compiles only for a task that a runtime with several threads may move.
pub(crate) fn movable<T: Send>(task: T) -> T {
    task
}

/// Polls a condition until it holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A proxy between hearth and the broker that can be closed.
pub(crate) struct NetworkLink {
    pub(crate) address: SocketAddr,
    open: Arc<AtomicBool>,
    passing: Arc<Mutex<Vec<TcpStream>>>,
}

impl NetworkLink {
    pub(crate) fn before(broker: SocketAddr) -> Self {
        Self::slow(broker, Duration::ZERO)
    }

    /// One that takes so long for each 4 KiB that the broker sends.
    pub(crate) fn slow(broker: SocketAddr, pause: Duration) -> Self {
        let subscriber = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = subscriber.local_addr().unwrap();
        let link = Self { address, open: Arc::new(AtomicBool::new(true)), passing: Arc::default() };
        let (open, passing) = (link.open.clone(), link.passing.clone());
        thread::spawn(move || {
            for inner in subscriber.incoming().map_while(Result::ok) {
                let Ok(outer) = TcpStream::connect(broker) else { continue };
                let mut passing = passing.lock().unwrap();
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                for (from, to, pause) in [(&inner, &outer, Duration::ZERO), (&outer, &inner, pause)] {
                    passing.push(from.try_clone().unwrap());
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(n @ 1..) = from.read(&mut buffer) {
                            thread::sleep(pause);
                            if to.write_all(&buffer[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        link
    }

    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.passing.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

/// A question about the present state.
pub(crate) fn asks(question: &str) -> Command {
    Ask { question: question.into(), at: None, room: None }.into()
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub(crate) fn probe(mqtt: &MqttConfig) -> Result<(), client::ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client::probe(&settings(mqtt), LONG))
}

pub(crate) fn quote(utterance: Ulid, time: Timestamp, text: String) -> Evidence {
    Evidence { utterance, time, room: "kitchen".into(), text }
}

pub(crate) fn alert(evidence: Vec<String>) -> Alert {
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
