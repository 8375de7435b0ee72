//! The reading thread: stored utterances into the live states, their digests and alerts into the store.
//!
//! Owns the listeners and the place up to which it has read. Refuses to know how text was heard or how messages leave.
//! Invariant: what a listener says of an utterance is stored in one transaction with the mark that it was told of, so after
//! any crash every utterance is told of once; text read between the last snapshot and the crash is only read again.

mod announce;
mod commands;
mod forget;
mod settings_store;
pub mod state_at;
mod token_rate;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use self::announce::OutcomeMessages;
use self::token_rate::TokenRateMeter;
use super::store_retry::retry_until_stored;
use super::{Error, restore_live_view};
use crate::clock::{self, trusted_clock::TrustedClock};
use crate::commands::PendingCommand;
use crate::commands::interval::stored_interval;
use crate::config::{Config, Keep, Rule};
use crate::event::{Gap, Message, Utterance};
use crate::listener::snapshot::ReadPosition;
use crate::listener::snapshot_store::{SnapshotPolicy, SnapshotStore};
use crate::listener::{self, Listener, ListenerOutcome, Listeners};
use crate::live::{LiveEvent, LiveFeed};
use crate::metrics::Metrics;
use crate::mqtt::topics::Topics;
use crate::retention::age::{self, YOUNG};
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, Store};

/// What wakes the reader.
pub enum ListenerEvent {
    /// There is a new utterance in the store.
    UtteranceStored,
    /// The stream has reached this time, and nobody is speaking.
    StreamReached(Timestamp),
    /// Something was not heard.
    Gap(Gap),
    /// Somebody asked for something.
    Command(PendingCommand),
}

/// Utterances are considered one by one; behind by more than this they are read in one go and considered once, because what
/// is asked of the state is about now, not about an hour ago.
const CATCH_UP: u64 = 16;
/// A state without a snapshot begins with so many of the last utterances that are kept: what a household says in a day or so, and
/// what the 2B reads in an hour. More would only delay what is said now.
const AFRESH: usize = 2_000;
/// How often the reader shows that it is alive while nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);
/// How often old text is deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// The reading thread's belongings.
pub struct ListenerWorker {
    listeners: Listeners,
    store: Store,
    announcer: OutcomeMessages,
    topics: Topics,
    config: Arc<Config>,
    /// The rules that are in force, for whoever tells of them.
    rules: watch::Sender<Vec<Rule>>,
    metrics: Arc<Metrics>,
    live_feed: Arc<LiveFeed>,
    meter: TokenRateMeter,
    /// Told after each commit that put something into the outbox.
    outgoing: Arc<Notify>,
    closing: Arc<AtomicBool>,
    lines: Option<Arc<Mutex<TranscriptJsonl>>>,
    history: SnapshotStore,
    clock: Arc<TrustedClock>,
    /// Sequence numbers of the last utterance that the states have read, and of the last one told of: ahead only after a crash,
    /// until the states have caught up.
    read: i64,
    told: i64,
    /// How far the stream has come.
    now: Timestamp,
    snapshot_due: Instant,
    retention_due: Instant,
}

/// What the reading thread shares with the house.
pub struct Shared {
    pub topics: Topics,
    pub config: Arc<Config>,
    pub rules: watch::Sender<Vec<Rule>>,
    pub metrics: Arc<Metrics>,
    pub live_feed: Arc<LiveFeed>,
    pub outgoing: Arc<Notify>,
    pub closing: Arc<AtomicBool>,
    /// The hearing thread's file; none when no text is kept.
    pub lines: Option<Arc<Mutex<TranscriptJsonl>>>,
    pub history: SnapshotStore,
    pub clock: Arc<TrustedClock>,
}

impl ListenerWorker {
    /// Takes up where the last run ended: the newest snapshots, what the listeners remember, and the text read since.
    pub fn open(listener: Listener, mut store: Store, shared: Shared) -> Result<Self, Error> {
        let Shared { topics, config, rules, metrics, live_feed, outgoing, closing, lines, history, clock } = shared;
        let (told, memory) = store.reader()?;
        let mut listeners = Listeners::new(listener, config.listener.states, history.clone())?;
        let read = listeners.restore(|mark| mark.read <= told, store.back_from(told, AFRESH)?)?;
        let ended = match memory.map(|memory| listeners.recall(&memory, Timestamp::now())) {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                warn!(%error, "the rules begin at rest");
                ListenerOutcome::default()
            }
            None => ListenerOutcome::default(),
        };
        listeners.set_interval(stored_interval(&store, config.digest.every_min)?);
        metrics.state_since.set(settings_store::state_since(&mut store, listeners.tokens_read() == 0)?);
        let announcer = OutcomeMessages::new(&config.rules, &topics);
        store.enqueue(&announcer.settle(&store.retained()?))?;
        let snapshot_due = Instant::now() + snapshot_every(&config);
        let mut reading = Self {
            listeners,
            store,
            announcer,
            topics,
            config,
            rules,
            metrics,
            live_feed,
            meter: TokenRateMeter::default(),
            outgoing,
            closing,
            lines,
            history,
            clock,
            read,
            told,
            now: Timestamp::UNIX_EPOCH,
            snapshot_due,
            retention_due: Instant::now(),
        };
        reading.record(ended, Vec::new())?;
        restore_live_view::told(&reading.store, &reading.live_feed, &reading.listeners.alerts())?;
        if let Some(forgotten) = reading.store.pending_forget()?.forgotten {
            info!(utterances = forgotten.utterances, "what was to be forgotten is carried through");
            // Whether all of it followed is in the log.
            let _ = reading.follow(&forgotten)?;
        }
        Ok(reading)
    }

    /// Reads until nobody can wake it any more; then tells what is untold and leaves a snapshot.
    pub fn run(mut self, wakes: Receiver<ListenerEvent>) -> Result<(), Error> {
        loop {
            self.catch_up()?;
            self.housekeeping()?;
            match wakes.recv_timeout(IDLE) {
                Ok(wake) => {
                    // What is in the store by now was said before whatever woke us.
                    self.catch_up()?;
                    self.woken(wake)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.catch_up()?;
        let outcome = self.listeners.finish(self.now)?;
        self.record(outcome, Vec::new())?;
        self.retain()?;
        self.save();
        Ok(())
    }

    fn woken(&mut self, wake: ListenerEvent) -> Result<(), Error> {
        match wake {
            ListenerEvent::UtteranceStored => Ok(()),
            ListenerEvent::StreamReached(time) => self.pass(time),
            ListenerEvent::Gap(gap) => {
                self.pass(gap.from)?;
                Ok(self.listeners.gap(&gap)?)
            }
            ListenerEvent::Command(pending) => self.carry_out(pending),
        }
    }

    /// Reads what is in the store and not in the state.
    fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            self.metrics.reading_heartbeat.beat();
            let batch = retry_until_stored(&self.closing, &self.metrics, || {
                self.store.utterances_after(self.read, state_at::BATCH)
            })?;
            let Some(&(last, _)) = batch.last() else { break };
            let behind = self.store.count_after(self.read)? > CATCH_UP;
            let (told, news): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(seq, _)| *seq <= self.told);
            if let Some(&(seq, _)) = told.last() {
                self.measured(|listeners| listeners.replay(&told))?;
                self.read = seq;
                self.figures()?;
            }
            for (seq, utterance) in news {
                self.read_aloud(seq, &utterance, behind && seq != last)?;
                self.figures()?;
            }
        }
        if self.config.store.keep == Keep::Nothing {
            self.retain()?;
        }
        self.figures()
    }

    /// Reads an utterance nobody was told of yet.
    fn read_aloud(&mut self, seq: i64, utterance: &Utterance, in_passing: bool) -> Result<(), Error> {
        // The silence before it may have ended a conversation: that is told before the next one begins.
        self.pass(utterance.start)?;
        self.measured(|listeners| listeners.hear(seq, utterance))?;
        self.now = clock::forward(self.now, utterance.end);
        self.read = seq;
        self.told = seq;
        let outcome = if in_passing { ListenerOutcome::default() } else { self.listeners.consider(self.now)? };
        self.record(outcome, Vec::new())
    }

    /// The stream has reached `time`.
    fn pass(&mut self, time: Timestamp) -> Result<(), Error> {
        self.now = clock::forward(self.now, time);
        let outcome = self.listeners.tick(self.now)?;
        if outcome == ListenerOutcome::default() { Ok(()) } else { self.record(outcome, Vec::new()) }
    }

    /// Stores what came of reading, how far it has come, and the messages that tell of it, in one transaction.
    fn record(&mut self, outcome: ListenerOutcome, mut messages: Vec<Message>) -> Result<(), Error> {
        messages.extend(self.announcer.messages(&outcome, self.listeners.standings(self.now)));
        let memory = self.listeners.memory();
        let reading = store::ListenerTurn {
            digests: &outcome.digests,
            alerts: &outcome.alerts,
            processed: self.told,
            memory: &memory,
        };
        retry_until_stored(&self.closing, &self.metrics, || self.store.record_reading(reading, &messages))?;
        if !messages.is_empty() {
            self.outgoing.notify_one();
        }
        announce::log(&outcome);
        announce::show(outcome, &self.live_feed);
        Ok(())
    }

    /// Lets the listeners read, and keeps what a token of it cost.
    fn measured(
        &mut self,
        read: impl FnOnce(&mut Listeners) -> Result<(), listener::ListenerError>,
    ) -> Result<(), Error> {
        let (began, before) = (Instant::now(), self.listeners.tokens_read());
        read(&mut self.listeners)?;
        let age = self.listeners.tokens_read();
        if let Some(cost) = self.meter.add(age - before, began.elapsed(), age) {
            self.metrics.token_ns.set((cost.us_per_token * 1e3) as u64);
            self.live_feed.publish(LiveEvent::TokenCost(cost));
        }
        Ok(())
    }

    fn figures(&self) -> Result<(), Error> {
        self.metrics.tokens.set(self.listeners.tokens_read());
        self.metrics.state_bytes.set(self.listeners.bytes());
        self.metrics.unread.set(self.store.count_after(self.read)?);
        self.metrics.reading_heartbeat.beat();
        Ok(())
    }

    fn housekeeping(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.retention_due {
            self.retain()?;
            self.forget_the_rest()?;
            self.retention_due = Instant::now() + RETENTION_EVERY;
        }
        if self.config.store.keep == Keep::Nothing && !self.store.is_erased() {
            // What was deleted, or delivered, would stand in the log until that is full. Held by a reader it is tried again.
            let _ = self.store.erase();
        }
        // While the house closes each snapshot may be the last: what is still being heard may outlast the grace.
        let closing = self.closing.load(Ordering::Relaxed);
        if closing || Instant::now() >= self.snapshot_due {
            self.snapshot_due = Instant::now() + snapshot_every(&self.config);
            self.save();
        }
        Ok(())
    }

    fn retain(&mut self) -> Result<(), Error> {
        // The broker keeps the last summary and what the rules quote; a disk that keeps nothing does not.
        let told = match self.config.store.keep {
            Keep::Nothing => vec![self.topics.summary(), self.topics.rules()],
            _ => Vec::new(),
        };
        let forgotten = told.iter().try_for_each(|prefix| self.store.forget_retained(prefix).map(drop));
        let read = self.told.min(self.read);
        match forgotten.and_then(|()| age::enforce(&mut self.store, &self.clock, self.config.store.keep, read)) {
            Ok(rows) => debug!(rows, "old text is forgotten"),
            // Deleting can wait for the disk; reading need not.
            Err(error) if error.may_pass() => warn!(%error, "old text could not be deleted; it will be tried again"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Saves the states. That it fails is no reason to stop reading: the older snapshots and the transcript are still there.
    fn save(&mut self) {
        let time = if self.now == Timestamp::UNIX_EPOCH { Timestamp::now() } else { self.now };
        let oldest = match self.config.store.keep {
            Keep::Days(days) => {
                let now = self.clock.now().unwrap_or(YOUNG);
                clock::after(now, SignedDuration::from_hours(-24 * i64::from(days)))
            }
            Keep::Forever | Keep::Nothing => Timestamp::MIN,
        };
        let policy = SnapshotPolicy::new(&self.config.listener, self.config.store.keep);
        if let Err(error) = self.listeners.save(&ReadPosition { read: self.read, time }, &policy, oldest) {
            warn!(%error, "the snapshots are not as they should be; those that were made stay, and it is tried again");
        }
    }
}

fn snapshot_every(config: &Config) -> Duration {
    Duration::from_secs_f64(config.listener.snapshot_min * 60.0)
}
