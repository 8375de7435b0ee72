//! What every service is given: the config, what all of them write to, and the signals that all of them heed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::ServiceError;
use super::outbox::unstored_messages::UnstoredQueue;
use crate::clock::trusted_clock::TrustedClock;
use crate::config::Config;
use crate::listener;
use crate::listener::snapshot_store::SnapshotStore;
use crate::live::LiveFeed;
use crate::metrics::Metrics;
use crate::mqtt::topics::Topics;
use crate::redact::Redactor;
use crate::retention::{Retention, age};
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, OutboxRoutes, Store};

/// Shared by all services. A clone is a handle to the same things.
#[derive(Clone)]
pub struct Context {
    /// The config as it was at the start. A reload changes rules and digests in the listener only.
    pub(crate) config: Arc<Config>,
    pub(crate) state_dir: Arc<Path>,
    pub topics: Arc<Topics>,
    pub metrics: Arc<Metrics>,
    /// What the web page and `hearth status` show.
    pub live_feed: Arc<LiveFeed>,
    pub(crate) clock: Arc<TrustedClock>,
    pub(crate) snapshots: SnapshotStore,
    /// `transcript.jsonl`; none when no text is kept.
    pub(crate) transcript: Option<Arc<Mutex<TranscriptJsonl>>>,
    /// SIGHUP came: the files of the transcript are to be opened anew.
    pub(crate) reopen_transcript: Arc<AtomicBool>,
    /// hearth is shutting down.
    pub(crate) closing: Arc<AtomicBool>,
    /// When that was first seen.
    closing_since: Arc<Mutex<Option<Instant>>>,
    /// Which webhooks are told of what.
    pub(crate) routes: OutboxRoutes,
    /// Messages that are sent although the store does not take them.
    pub(crate) unstored: Arc<UnstoredQueue>,
    outbox_changed: watch::Sender<()>,
}

impl Context {
    /// A context without a transcript file.
    ///
    /// # Errors
    /// The state directory cannot be read or written.
    pub fn open(config: Config, state_dir: &Path, metrics: Arc<Metrics>) -> Result<Self, ServiceError> {
        let store = Store::open(state_dir, store::OutboxLimits::from(&config.store))?;
        Ok(Self {
            state_dir: state_dir.into(),
            topics: Arc::new(Topics::new(&config.mqtt, &config.node)),
            metrics,
            live_feed: Arc::default(),
            clock: Arc::new(age::trusted_clock(&store)?),
            snapshots: SnapshotStore::open(state_dir).map_err(listener::ListenerError::from)?,
            transcript: None,
            reopen_transcript: Arc::default(),
            closing: Arc::default(),
            closing_since: Arc::default(),
            unstored: Arc::default(),
            outbox_changed: watch::Sender::new(()),
            routes: OutboxRoutes::of(&config),
            config: Arc::new(config),
        })
    }

    /// A connection to the database of its own.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn open_store(&self) -> Result<Store, store::StoreError> {
        let store = Store::open(&self.state_dir, store::OutboxLimits::from(&self.config.store))?;
        Ok(store.with_routes(self.routes.clone()))
    }

    /// What deletes text. The listener has it, or without one the thread that transcribes.
    pub(crate) fn retention(&self) -> Retention {
        Retention::new(
            &self.config,
            self.clock.clone(),
            self.snapshots.clone(),
            self.transcript.clone(),
            Some(self.live_feed.clone()),
            self.metrics.clone(),
        )
    }

    /// What every text passes before it leaves this process.
    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::new(&self.config.privacy)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// For how long hearth has been shutting down, as far as anybody looked; none while it is not.
    pub(crate) fn closing_for(&self) -> Option<Duration> {
        let mut since = self.closing_since.lock();
        self.is_closing().then(|| since.get_or_insert_with(Instant::now).elapsed())
    }

    /// From now on [`Self::closing_for`] goes on from `elapsed`, if it is later.
    pub(crate) fn set_back_closing(&self, elapsed: Duration) {
        if self.closing_for().is_some_and(|since| since > elapsed) {
            let since = Instant::now().checked_sub(elapsed);
            *self.closing_since.lock() = since;
        }
    }

    /// To be called after each commit that put a message into the outbox.
    pub fn notify_outbox(&self) {
        self.outbox_changed.send_replace(());
    }

    /// Changes at each [`Self::notify_outbox`] from now on.
    pub(crate) fn outbox_changes(&self) -> watch::Receiver<()> {
        self.outbox_changed.subscribe()
    }
}
