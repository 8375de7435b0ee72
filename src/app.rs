//! The running house: `run(config, shutdown)`. Longer than most files: every channel and part, in the order in which they start and end.
//!
//! Owns every channel with its capacity, every thread and task, and the order of closing. Refuses to know how anything is heard,
//! read or sent. Invariant: closing runs downstream. The source stops first; each part ends when its input has ended, having
//! handed on what it held; publishing ends last.
//!
//! | channel | holds | when it is full |
//! |---|---|---|
//! | sources → hearing | one minute of frames for each | a file or stdin waits; a microphone drops frames and records a gap |
//! | speech → Whisper | one minute of segments | the channel before it fills; of a live source, segments that ended 20 s ago are given up for newer ones, and told as a gap |
//! | hearing → reading | 64 wakes | a wake is dropped: the text is in the store, and the next wake finds it |
//! | broker → gathering | 64 utterances of other machines | it waits: they stay at the broker |
//! | publishing → house, house → hearing | 16 commands | the command is answered with "busy" |
//! | publishing → house | one wish to be listened to or not | a newer one takes its place |
//! | anyone → outbox | what `[store]` allows | the oldest messages go, and health says how many |

pub mod bootstrap;
mod dispatch;
mod lifecycle;
mod systemd;

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::info;

use self::bootstrap::Resources;
use crate::api::web::WebServer;
use crate::api::{Api, DaemonInfo};
use crate::audio::{self, SourceControl};
use crate::commands::interval::stored_interval;
use crate::commands::{PendingCommand, Request};
use crate::config::Config;
use crate::listener;
use crate::listener::snapshot_store::SnapshotStore;
use crate::live::LiveFeed;
use crate::metrics::Metrics;
use crate::mqtt::discovery::Capabilities;
use crate::mqtt::payload::{self, MessageHeader};
use crate::mqtt::topics::Topics;
use crate::redact::Redactor;
use crate::retention::age;
pub use crate::services::Error;
use crate::services::ingest::{self, IngestInputs};
use crate::services::listen::{self, ListenerEvent, ListenerWorker};
use crate::services::publish::{self, PublishInputs};
use crate::services::transcribe::TranscribeWorker;
use crate::services::transcript_writer::TranscriptWriter;
use crate::services::{api, mute_hook, restore_live_view};
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

/// One minute of frames: longer than any decode, 4 MiB.
const AUDIO_CAPACITY: usize = 60_000 / 16;
const WAKE_CAPACITY: usize = 64;
const REQUEST_CAPACITY: usize = 16;

/// How long closing may take in all; the unit's `TimeoutStopSec` is longer.
const GRACE: Duration = Duration::from_secs(25);
/// How long of it the outbox may take to empty.
const PUBLISHING_GRACE: Duration = Duration::from_secs(5);

/// Runs the house until `shutdown` is ready or the source ends; then drains it.
///
/// # Errors
/// Something it needs is missing, or a part of it ended unasked; what was heard until then was drained as far as possible.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>, metrics: Arc<Metrics>) -> Result<(), Error> {
    let mut shutdown = std::pin::pin!(shutdown);
    // From the first moment on: unheeded it would end a hearth that still loads its models.
    let mut hangup = signal(SignalKind::hangup())?;
    let config = Arc::new(config);
    let loading = config.clone();
    let resources = tokio::select! {
        resources = tokio::task::spawn_blocking(move || Resources::load(&loading)) => resources??,
        () = &mut shutdown => return Ok(()),
    };
    let page = match config.page.listen {
        Some(listen) => Some(WebServer::open(listen, &resources.dir).await?),
        None => None,
    };
    let mut house = App::start(config, resources, page, metrics)?;
    let ended = house.watch(shutdown, &mut hangup).await;
    let drained = house.drain().await;
    ended.and(drained)
}

/// Everything that is running.
struct App {
    /// As it was at the start; rules and schedules are the reader's.
    config: Arc<Config>,
    supervisor: Supervisor,
    control: Arc<SourceControl>,
    closing: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    /// The sender by which requests reach the reader; dropped to close it.
    reader: Option<SyncSender<ListenerEvent>>,
    /// Where hearing learns that it is to drop what it holds.
    forget: SyncSender<PendingCommand>,
    /// Commands that came over the broker, and from this machine.
    requests: mpsc::Receiver<Request>,
    asked: mpsc::Receiver<PendingCommand>,
    /// Dropped to close the socket and the page.
    close_doors: Option<watch::Sender<()>>,
    /// Whether the household wants to be listened to: anybody's newest wish, and whether it was heeded. Whoever shows it follows
    /// the wish, too, and ends when it is dropped.
    wishes: Option<watch::Sender<bool>>,
    listening: watch::Receiver<bool>,
    drain_gathering: Option<oneshot::Sender<()>>,
    drain_publishing: Option<oneshot::Sender<()>>,
    store: Store,
    topics: Topics,
    outgoing: Arc<Notify>,
    metrics: Arc<Metrics>,
    _lock: store::Lock,
}

impl App {
    fn start(
        config: Arc<Config>,
        resources: Resources,
        page: Option<WebServer>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let Resources { dir, lock, mut store, topics, pipeline, lines, listener, broker, info } = resources;
        let settings = store::OutboxLimits::from(&config.store);
        let mut supervisor = Supervisor::default();
        let live_feed = Arc::new(LiveFeed::default());
        restore_live_view::heard(&store, &live_feed)?;
        let (control, outgoing) = (Arc::new(SourceControl::default()), Arc::new(Notify::new()));
        let (closing, reopen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        control.set_listening(store.note(MUTED)?.as_deref() != Some("yes"));
        if config.hears() {
            // Nobody is to think the house muted, or without ears, until the source has begun.
            metrics.listening.set(control.listening());
            store.enqueue(&[payload::listening(&topics, MessageHeader::now(), control.listening())])?;
        }
        let minutes = stored_interval(&store, config.digest.every_min)?;
        store.enqueue(&[payload::interval(&topics, MessageHeader::now(), minutes)])?;

        let (requests_in, requests) = mpsc::channel(REQUEST_CAPACITY);
        let (wishes, listening) = watch::channel(control.listening());
        let (drain_publishing, drained) = oneshot::channel();
        let (asked_in, asked) = mpsc::channel(REQUEST_CAPACITY);
        let reads = listener.is_some();
        let about = DaemonInfo {
            node: config.node.to_string(),
            broker: broker.url().to_string(),
            hears: config.hears(),
            gathers: config.source.mqtt.is_some(),
            reads,
            page: page.as_ref().map(WebServer::url),
        };
        let api =
            Arc::new(Api::new(about, metrics.clone(), live_feed.clone(), Redactor::new(&config.privacy), asked_in));
        let (close_doors, closed) = watch::channel(());
        api::open(&mut supervisor, &dir, page, &api, &closed);

        let (rules, followed) = watch::channel(if reads { config.rules.clone() } else { Vec::new() });
        let publishing = PublishInputs {
            store: Store::open(&dir, settings)?,
            client: broker.clone(),
            topics: topics.clone(),
            rules: followed,
            capabilities: Capabilities { hears: config.hears(), reads: config.listener.enabled },
            discovery: config.mqtt.discovery,
            live_feed: config.mqtt.interim.then(|| live_feed.subscribe().1),
            info,
            metrics: metrics.clone(),
            redactor: Redactor::new(&config.privacy),
            wake: outgoing.clone(),
            requests: requests_in,
            listening: wishes.clone(),
            grace: PUBLISHING_GRACE,
        };
        supervisor.task(PUBLISHING, async move {
            publish::run(publishing, async move { drop(drained.await) }).await?;
            Ok(())
        });

        let lines = lines.map(|lines| Arc::new(Mutex::new(lines)));
        let clock = Arc::new(age::clock(&store)?);
        let history = SnapshotStore::open(&dir).map_err(listener::ListenerError::from)?;
        let reader = match listener {
            Some(listener) => {
                let (wake, wakes) = sync_channel(WAKE_CAPACITY);
                let shared = listen::Shared {
                    topics: topics.clone(),
                    config: config.clone(),
                    rules,
                    metrics: metrics.clone(),
                    live_feed: live_feed.clone(),
                    outgoing: outgoing.clone(),
                    closing: closing.clone(),
                    lines: lines.clone(),
                    history: history.clone(),
                    clock: clock.clone(),
                };
                let reading = ListenerWorker::open(listener, Store::open(&dir, settings)?, shared)?;
                supervisor.thread(READING, move || Ok(reading.run(wakes)?))?;
                Some(wake)
            }
            None => None,
        };

        let mut writing = Some(TranscriptWriter::new(lines, config.store.keep, clock.clone(), reopen.clone()));
        let mut drain_gathering = None;
        if let (Some(nodes), Some(reader)) = (&config.source.mqtt, &reader) {
            let gathering = IngestInputs {
                store: Store::open(&dir, settings)?,
                client: broker,
                nodes: nodes.clone(),
                own: [topics.utterance(), topics.gap()],
                writing: writing.take().expect("nobody has it yet"),
                metrics: metrics.clone(),
                live_feed: live_feed.clone(),
                reader: reader.clone(),
            };
            let (drain, drained) = oneshot::channel();
            drain_gathering = Some(drain);
            supervisor.task(GATHERING, async move {
                ingest::run(gathering, async move { drop(drained.await) }).await?;
                Ok(())
            });
        }

        let (forget, forgets) = sync_channel(REQUEST_CAPACITY);
        if let Some(pipeline) = pipeline {
            let sources = config.sources();
            let (audio_in, audio) = sync_channel(AUDIO_CAPACITY * sources.len());
            let hear = TranscribeWorker {
                pipeline,
                store: Store::open(&dir, settings)?,
                writing,
                history,
                keep: config.store.keep,
                clock,
                topics: topics.clone(),
                metrics: metrics.clone(),
                live_feed: live_feed.clone(),
                outgoing: outgoing.clone(),
                reader: reader.clone(),
                untold: Default::default(),
                closing: closing.clone(),
                forget: forgets,
                live: config.source.live(),
            };
            supervisor.thread(HEARING, move || Ok(hear.run(audio)?))?;

            let (source_control, source_metrics, sounds) = (control.clone(), metrics.clone(), config.clone());
            supervisor.thread(SOURCE, move || {
                Ok(audio::run(&sources, &sounds.base, audio_in, &source_control, &source_metrics)?)
            })?;
        }
        let (privacy, changes) = (config.privacy.clone(), wishes.subscribe());
        supervisor.task(HOOK, async move {
            mute_hook::run(privacy, changes).await;
            Ok(())
        });
        info!(state = %dir.display(), "hearth is up");
        Ok(Self {
            config,
            supervisor,
            control,
            closing,
            reopen,
            reader,
            forget,
            requests,
            asked,
            close_doors: Some(close_doors),
            wishes: Some(wishes),
            listening,
            drain_gathering,
            drain_publishing: Some(drain_publishing),
            store,
            topics,
            outgoing,
            metrics,
            _lock: lock,
        })
    }
}

const SOURCE: &str = "sources";
const HEARING: &str = "hearing";
const GATHERING: &str = "gathering";
const READING: &str = "reading";
const PUBLISHING: &str = "publishing";
const HOOK: &str = "hook";
/// What goes on when there is nothing more to hear and read.
const BEHIND: [&str; 4] = [PUBLISHING, HOOK, api::SOCKET, api::PAGE];
/// The note that the household muted the room.
const MUTED: &str = "muted";
