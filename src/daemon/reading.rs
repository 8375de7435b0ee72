//! The reading thread: stored utterances into the live state, its digests and alerts into the store.
//!
//! Owns the listener and the place up to which it has read. Refuses to know how text was heard or how messages leave.
//! Invariant: what the listener says of an utterance is stored in one transaction with the mark that it was told of, so after
//! any crash every utterance is told of once; text read between the last snapshot and the crash is only read again.

mod announce;
mod answer;
mod forget;
mod meter;
pub(super) mod notes;
mod reload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use self::announce::Announcer;
use self::meter::Meter;
use super::patience::patiently;
use super::reload::Fresh;
use super::{Error, past};
use crate::clock;
use crate::config::{Config, Keep};
use crate::door::asked::Asked;
use crate::event::{Gap, Message, Utterance};
use crate::listener::history::{History, Policy};
use crate::listener::snapshot::Mark;
use crate::listener::{self, Listener, Outcome};
use crate::mqtt::topics::Topics;
use crate::scenes::{Scene, Scenes};
use crate::store::lines::Lines;
use crate::store::{self, Store};
use crate::vitals::Vitals;

/// What wakes the reader.
pub enum Wake {
    /// There is a new utterance in the store.
    Stored,
    /// The stream has reached this time, and nobody is speaking.
    Passed(Timestamp),
    /// Something was not heard.
    Gap(Gap),
    /// Somebody asked for something.
    Asked(Asked),
    /// Rules and schedules have changed.
    Reload(Fresh),
}

/// Utterances are considered one by one; behind by more than this they are read in one go and considered once, because what
/// is asked of the state is about now, not about an hour ago.
const CATCH_UP: u64 = 16;
/// How often the reader shows that it is alive while nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);
/// How often old text is deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// The reading thread's belongings.
pub struct Reading {
    listener: Listener,
    store: Store,
    announcer: Announcer,
    topics: Topics,
    config: Arc<Config>,
    vitals: Arc<Vitals>,
    scenes: Arc<Scenes>,
    meter: Meter,
    /// Told after each commit that put something into the outbox.
    outgoing: Arc<Notify>,
    closing: Arc<AtomicBool>,
    lines: Option<Arc<Mutex<Lines>>>,
    history: History,
    /// Sequence numbers of the last utterance in the state, and of the last one told of: ahead only after a crash, until the
    /// state has caught up.
    read: i64,
    told: i64,
    /// How far the stream has come.
    now: Timestamp,
    saved: i64,
    snapshot_due: Instant,
    retention_due: Instant,
}

/// What the reading thread shares with the house.
pub struct Shared {
    pub topics: Topics,
    pub config: Arc<Config>,
    pub vitals: Arc<Vitals>,
    pub scenes: Arc<Scenes>,
    pub outgoing: Arc<Notify>,
    pub closing: Arc<AtomicBool>,
    /// The hearing thread's file; none when no text is kept.
    pub lines: Option<Arc<Mutex<Lines>>>,
    pub history: History,
}

impl Reading {
    /// Takes up where the last run ended: the newest snapshot, the listener's memory, and the text read since.
    pub fn open(mut listener: Listener, mut store: Store, shared: Shared) -> Result<Self, Error> {
        let Shared { topics, config, vitals, scenes, outgoing, closing, lines, history } = shared;
        let (told, memory) = store.reader()?;
        let afresh = if super::forget::from_the_start(&store)? { 0 } else { told };
        let read = restore(&mut listener, &history, i64::MAX)?.unwrap_or(afresh).min(told);
        if let Some(memory) = memory
            && let Err(error) = listener.recall(&memory)
        {
            warn!(%error, "the rules begin at rest");
        }
        listener.set_interval(notes::interval(&store, config.digest.every_min)?);
        vitals.state_since.set(notes::state_since(&mut store, listener.state().tokens_read() == 0)?);
        let announcer = Announcer::new(&config.rules, &topics);
        store.enqueue(&announcer.settle(&store.retained()?))?;
        let snapshot_due = Instant::now() + snapshot_every(&config);
        let mut reading = Self {
            listener,
            store,
            announcer,
            topics,
            config,
            vitals,
            scenes,
            meter: Meter::default(),
            outgoing,
            closing,
            lines,
            history,
            read,
            told,
            now: Timestamp::UNIX_EPOCH,
            saved: read,
            snapshot_due,
            retention_due: Instant::now(),
        };
        if let Some(forgotten) = reading.store.forgetting()? {
            info!(utterances = forgotten.utterances, "what was to be forgotten is carried through");
            // Whether all of it followed is in the log.
            let _ = reading.follow(&forgotten)?;
        }
        Ok(reading)
    }

    /// Reads until nobody can wake it any more; then tells what is untold and leaves a snapshot.
    pub fn run(mut self, wakes: Receiver<Wake>) -> Result<(), Error> {
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
        let outcome = self.listener.finish(self.now)?;
        self.record(outcome, Vec::new())?;
        self.retain()?;
        self.save();
        Ok(())
    }

    fn woken(&mut self, wake: Wake) -> Result<(), Error> {
        match wake {
            Wake::Stored => Ok(()),
            Wake::Passed(time) => self.pass(time),
            Wake::Gap(gap) => {
                self.pass(gap.from)?;
                Ok(self.listener.gap(&gap)?)
            }
            Wake::Asked(asked) => self.answer(asked),
            Wake::Reload(fresh) => self.reload(&fresh),
        }
    }

    /// Reads what is in the store and not in the state.
    fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            self.vitals.reading_moved.mark();
            let batch = patiently(&self.closing, &self.vitals, || self.store.utterances_after(self.read, past::BATCH))?;
            let Some(&(last, _)) = batch.last() else { break };
            let behind = self.store.count_after(self.read)? > CATCH_UP;
            let (told, news): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(seq, _)| *seq <= self.told);
            if let Some(&(seq, _)) = told.last() {
                let told: Vec<_> = told.into_iter().map(|(_, utterance)| utterance).collect();
                self.measured(|listener| listener.replay(&told))?;
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
        self.measured(|listener| listener.hear(utterance))?;
        self.now = clock::forward(self.now, utterance.end);
        self.read = seq;
        self.told = seq;
        let outcome = if in_passing { Outcome::default() } else { self.listener.consider(self.now)? };
        self.record(outcome, Vec::new())
    }

    /// The stream has reached `time`.
    fn pass(&mut self, time: Timestamp) -> Result<(), Error> {
        self.now = clock::forward(self.now, time);
        let outcome = self.listener.tick(self.now)?;
        if outcome == Outcome::default() { Ok(()) } else { self.record(outcome, Vec::new()) }
    }

    /// Stores what came of reading, how far it has come, and the messages that tell of it, in one transaction.
    fn record(&mut self, outcome: Outcome, mut messages: Vec<Message>) -> Result<(), Error> {
        messages.extend(self.announcer.messages(&outcome, self.listener.standings(self.now)));
        let memory = self.listener.memory();
        let reading = store::Reading {
            digests: &outcome.digests,
            alerts: &outcome.alerts,
            processed: self.told,
            memory: &memory,
        };
        patiently(&self.closing, &self.vitals, || self.store.record_reading(reading, &messages))?;
        if !messages.is_empty() {
            self.outgoing.notify_one();
        }
        announce::log(&outcome);
        announce::show(outcome, &self.scenes);
        Ok(())
    }

    /// Lets the listener read, and keeps what a token of it cost.
    fn measured(&mut self, read: impl FnOnce(&mut Listener) -> Result<(), listener::Error>) -> Result<(), Error> {
        let (began, before) = (Instant::now(), self.listener.state().tokens_read());
        read(&mut self.listener)?;
        let age = self.listener.state().tokens_read();
        if let Some(cost) = self.meter.add(age - before, began.elapsed(), age) {
            self.vitals.token_ns.set((cost.us_per_token * 1e3) as u64);
            self.scenes.tell(Scene::Cost(cost));
        }
        Ok(())
    }

    fn figures(&self) -> Result<(), Error> {
        let state = self.listener.state();
        self.vitals.tokens.set(state.tokens_read());
        self.vitals.state_bytes.set(state.bytes());
        self.vitals.unread.set(self.store.count_after(self.read)?);
        self.vitals.reading_moved.mark();
        Ok(())
    }

    fn housekeeping(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.retention_due {
            self.retain()?;
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
            if self.read != self.saved {
                self.save();
            }
        }
        Ok(())
    }

    fn retain(&mut self) -> Result<(), Error> {
        if self.config.store.keep == Keep::Nothing {
            // The broker keeps the last summary and what the rules quote; this disk does not.
            self.store.forget_retained(&self.topics.summary())?;
            self.store.forget_retained(&self.topics.rules())?;
        }
        match self.store.enforce(Timestamp::now(), self.config.store.keep, self.told.min(self.read)) {
            Ok(rows) => debug!(rows, "old text is forgotten"),
            // Deleting can wait for the disk; reading need not.
            Err(error) if error.may_pass() => warn!(%error, "old text could not be deleted; it will be tried again"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Saves the state. That it fails is no reason to stop reading: the older snapshots and the transcript are still there.
    fn save(&mut self) {
        let time = if self.now == Timestamp::UNIX_EPOCH { Timestamp::now() } else { self.now };
        let oldest = match self.config.store.keep {
            Keep::Days(days) => clock::after(Timestamp::now(), SignedDuration::from_hours(-24 * i64::from(days))),
            Keep::Forever | Keep::Nothing => Timestamp::MIN,
        };
        match self.listener.save(&self.history, &Mark { read: self.read, time }) {
            Ok(()) => self.saved = self.read,
            Err(error) => return warn!(%error, "the state was not saved; the last snapshot stays"),
        }
        if let Err(error) = super::forget::has_snapshot(&mut self.store) {
            warn!(%error, "that there is a snapshot again was not stored; a restart reads everything again");
        }
        let policy = Policy::new(&self.config.listener, self.config.store.keep);
        if let Err(error) = self.history.thin(&policy, oldest) {
            warn!(%error, "old snapshots were not removed; it will be tried again with the next");
        }
    }
}

fn snapshot_every(config: &Config) -> Duration {
    Duration::from_secs_f64(config.listener.snapshot_min * 60.0)
}

/// Restores the newest snapshot that can be used and has read nothing from `before` on; returns the last utterance it has read.
fn restore(listener: &mut Listener, history: &History, before: i64) -> Result<Option<i64>, Error> {
    let began = Instant::now();
    let Some((state, mark)) = listener.recollect(history, |mark| mark.read < before)? else {
        info!("there is no snapshot to go on from; the state starts afresh");
        listener.resume(None);
        return Ok(None);
    };
    listener.resume(Some(state));
    let (tokens, ms) = (listener.state().tokens_read(), began.elapsed().as_millis() as u64);
    info!(tokens, ms, time = %mark.time, "went on from the last snapshot");
    Ok(Some(mark.read))
}
