//! The reading thread: stored utterances into the live state, its digests and alerts into the store.
//!
//! Owns the listener and the place up to which it has read. Refuses to know how text was heard or how messages leave.
//! Invariant: what the listener says of an utterance is stored in one transaction with the mark that it was told of, so after
//! any crash every utterance is told of once; text read between the last snapshot and the crash is only read again.

mod announce;
mod meter;
pub(super) mod notes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use self::announce::Announcer;
use self::meter::Meter;
use super::Error;
use super::asked::{Answer, Asked};
use super::patience::patiently;
use crate::clock;
use crate::config::{Config, Keep};
use crate::event::{Gap, Message, Utterance};
use crate::listener::{self, Listener, Outcome, snapshot};
use crate::mqtt::commands::Command;
use crate::mqtt::payload::{self, Stamp};
use crate::mqtt::topics::Topics;
use crate::scenes::{Scene, Scenes};
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
}

/// Utterances are considered one by one; behind by more than this they are read in one go and considered once, because what
/// is asked of the state is about now, not about an hour ago.
const CATCH_UP: u64 = 16;
/// Utterances fetched from the store at a time.
const BATCH: usize = 64;
/// How often the reader shows that it is alive while nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);
/// How often old text is deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// What a snapshot says of itself, beside the state.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The sequence number of the last utterance in the state.
    read: i64,
}

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
    snapshot: PathBuf,
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
}

impl Reading {
    /// Takes up where the last run ended: the newest snapshot, the listener's memory, and the text read since.
    pub fn open(mut listener: Listener, mut store: Store, dir: &Path, shared: Shared) -> Result<Self, Error> {
        let Shared { topics, config, vitals, scenes, outgoing, closing } = shared;
        let snapshot = dir.join("state.snapshot");
        let (told, memory) = store.reader()?;
        let read = restore(&mut listener, &snapshot, told)?;
        if let Some(memory) = memory
            && let Err(error) = listener.recall(&memory)
        {
            warn!(%error, "the rules begin at rest");
        }
        listener.set_interval(notes::interval(&store, config.digest.every_min)?);
        vitals.state_since.set(notes::state_since(&mut store, listener.state().tokens_read() == 0)?);
        let announcer = Announcer::new(&config.rules, &topics);
        store.enqueue(&announcer.missing(&store.retained()?))?;
        let snapshot_due = Instant::now() + snapshot_every(&config);
        Ok(Self {
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
            snapshot,
            read,
            told,
            now: Timestamp::UNIX_EPOCH,
            saved: read,
            snapshot_due,
            retention_due: Instant::now(),
        })
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
        self.save()
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
        }
    }

    /// Reads what is in the store and not in the state.
    fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            self.vitals.reading_moved.mark();
            let batch = patiently(&self.closing, &self.vitals, || self.store.utterances_after(self.read, BATCH))?;
            let Some(&(last, _)) = batch.last() else { break };
            let behind = self.store.count_after(self.read)? > CATCH_UP;
            for (seq, utterance) in batch {
                if seq <= self.told {
                    self.measured(|listener| listener.replay(&utterance))?;
                    self.read = seq;
                } else {
                    self.read_aloud(seq, &utterance, behind && seq != last)?;
                }
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
        self.now = self.now.max(utterance.end);
        self.read = seq;
        self.told = seq;
        let outcome = if in_passing { Outcome::default() } else { self.listener.consider(self.now)? };
        self.record(outcome, Vec::new())
    }

    /// The stream has reached `time`.
    fn pass(&mut self, time: Timestamp) -> Result<(), Error> {
        self.now = self.now.max(time);
        let outcome = self.listener.tick(self.now)?;
        if outcome == Outcome::default() { Ok(()) } else { self.record(outcome, Vec::new()) }
    }

    fn answer(&mut self, asked: Asked) -> Result<(), Error> {
        let mut outcome = Outcome::default();
        let answer: Answer = match &asked.request.command {
            Command::Summarise => {
                let now = self.now.max(Timestamp::now());
                let digest = self.listener.summarise(now)?;
                let fields = fields(json!({ "text": digest.text, "words": digest.words }));
                outcome.digests.push(digest);
                Ok(fields)
            }
            Command::Ask(question) => {
                let answer = self.listener.ask(question)?;
                Ok(fields(json!({ "question": question, "text": answer.text, "probability": answer.probability })))
            }
            Command::Interval(minutes) => {
                self.listener.set_interval(*minutes);
                let configured = self.config.digest.every_min;
                patiently(&self.closing, &self.vitals, || notes::set_interval(&mut self.store, *minutes, configured))?;
                Ok(fields(json!({ "minutes": minutes })))
            }
            Command::Snooze { rule, minutes } => {
                self.now = self.now.max(Timestamp::now());
                let until = clock::after(self.now, SignedDuration::from_secs_f64(minutes * 60.0));
                match self.listener.snooze(rule.as_deref(), self.now, until) {
                    Some(ended) => {
                        outcome = ended;
                        Ok(fields(json!({ "rule": rule, "minutes": minutes })))
                    }
                    None => Err(format!("there is no rule \"{}\"", rule.as_deref().unwrap_or_default())),
                }
            }
            Command::Acknowledge(which) => match self.listener.acknowledge(which.name()) {
                Some(rule) => Ok(fields(json!({ "rule": rule }))),
                None => Err("no such alert is on".into()),
            },
            Command::FalseAlarm(which) => match self.listener.false_alarm(which.name(), self.now) {
                Some((id, rule, ended)) => {
                    outcome = ended;
                    patiently(&self.closing, &self.vitals, || {
                        self.store.record_false_alarm(id, rule.as_str(), self.now)
                    })?;
                    info!(kind = "false_alarm", %rule, %id, "the household says that an alert of {rule} was none");
                    Ok(fields(json!({ "rule": rule, "alert": id })))
                }
                None => Err("there was no such alert".into()),
            },
            Command::Listening(_) => Err("this command is not the reader's".into()),
        };
        let mut messages = Vec::from_iter(asked.message(&self.topics, &answer));
        if let Command::Interval(minutes) = asked.request.command {
            messages.push(payload::interval(&self.topics, Stamp::now(), minutes));
        }
        self.record(outcome, messages)?;
        asked.done(answer);
        Ok(())
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
        // While the house closes each snapshot may be the last: what is still being heard may outlast the grace.
        let closing = self.closing.load(Ordering::Relaxed);
        if closing || Instant::now() >= self.snapshot_due {
            self.snapshot_due = Instant::now() + snapshot_every(&self.config);
            if self.read != self.saved || !self.snapshot.exists() {
                self.save()?;
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

    /// Saves the state. That it fails is no reason to stop reading: the older snapshot and the transcript are still there.
    fn save(&mut self) -> Result<(), Error> {
        let note = serde_json::to_vec(&Note { read: self.read }).expect("a number is JSON");
        match self.listener.snapshot(&self.snapshot, &note) {
            Ok(()) => self.saved = self.read,
            Err(error) => warn!(%error, "the state was not saved; the last snapshot stays"),
        }
        Ok(())
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn snapshot_every(config: &Config) -> Duration {
    Duration::from_secs_f64(config.listener.snapshot_min * 60.0)
}

/// Restores the snapshot into the listener; returns the last utterance it has read. A bad one is kept aside, and reading starts
/// afresh behind what was told of.
fn restore(listener: &mut Listener, path: &Path, told: i64) -> Result<i64, Error> {
    if !path.exists() {
        return Ok(told);
    }
    let began = Instant::now();
    match listener.restore(path).map(|note| serde_json::from_slice::<Note>(&note)) {
        Ok(Ok(note)) => {
            let tokens = listener.state().tokens_read();
            info!(tokens, ms = began.elapsed().as_millis() as u64, "went on from the last snapshot");
            Ok(note.read.min(told))
        }
        Ok(Err(error)) => {
            aside(path, &error)?;
            Ok(told)
        }
        Err(error) => {
            aside(path, &error)?;
            Ok(told)
        }
    }
}

fn aside(path: &Path, error: &dyn std::error::Error) -> Result<(), Error> {
    let kept = snapshot::set_aside(path).map_err(listener::Error::from)?;
    warn!(%error, kept = %kept.display(), "the snapshot cannot be used; the state starts afresh, and the file is kept aside");
    Ok(())
}
