//! The listen service: the thread that reads stored utterances into the states, and stores their digests and alerts.
//!
//! The results of a turn are stored in one transaction with the number of its last utterance, after the rules were asked about all of
//! them. So after any crash every utterance is processed once; text read between the last snapshot and the crash is only
//! read again.

mod backlog;
mod commands;
mod events;
mod forget;
mod learning;
mod outcome_messages;
mod renewing;
mod settings_store;
mod slices;
pub(crate) mod state_at;
#[cfg(test)]
mod test_worker;
mod token_rate;
mod unrecorded;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::warn;
use ulid::Ulid;

pub(crate) use self::events::{ListenerEvent, ListenerEvents};
use self::learning::Learning;
use self::outcome_messages::OutcomeMessages;
use self::renewing::Renewal;
use self::slices::{READ_WHILE_CLOSING, stopped};
use self::token_rate::TokenRateMeter;
use self::unrecorded::Unrecorded;
use super::store_retry::StoreOutage;
use super::{Context, ServiceError, channels, restore_live_view};
use crate::clock;
use crate::commands::interval::stored_interval;
use crate::config::{Config, Rule};
use crate::grounding::CheckCounts;
use crate::listener::pace::WorkClock;
use crate::listener::snapshot::ReadPosition;
use crate::listener::snapshot_store::SnapshotPolicy;
use crate::listener::{self, Listener, ListenerOutcome, Listeners};
use crate::live::LiveEvent;
use crate::metrics::StateHealth;
use crate::mqtt::payload::{self, MessageHeader};
use crate::retention::Retention;
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

/// A state without a snapshot begins with so many of the last utterances: what a household says in a day or so, and what the 2B
/// model reads in an hour. More would only delay what is said now.
const NEW_STATE_UTTERANCES: usize = 2_000;
/// How often the thread shows the watchdog that it lives while nothing events it.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) const NAME: &str = "listen";

/// What only this service needs.
pub(crate) struct ListenInputs {
    pub(crate) listener: Listener,
    /// The rules that are in force, for whoever announces them.
    pub(crate) rules: watch::Sender<Vec<Rule>>,
    /// What the work is measured by.
    pub(crate) clock: Arc<dyn WorkClock>,
}

/// Starts the thread. It ends when every sender of the returned channel is dropped.
///
/// # Errors
/// The store or the snapshots cannot be read, or the system refuses a new thread.
pub(crate) fn spawn(
    supervisor: &mut Supervisor,
    context: &Context,
    inputs: ListenInputs,
) -> Result<SyncSender<ListenerEvent>, ServiceError> {
    let (sender, events) = sync_channel(channels::LISTENER_EVENTS);
    let worker = ListenerWorker::open(context.clone(), inputs)?;
    supervisor.thread(NAME, move || Ok(worker.run(events)?))?;
    Ok(sender)
}

/// Does the work in this thread, until no more events come.
///
/// # Errors
/// As the service: the store cannot be read, or the model fails.
#[cfg(feature = "bench")]
pub(crate) fn run(context: Context, inputs: ListenInputs, events: impl ListenerEvents) -> Result<(), ServiceError> {
    ListenerWorker::open(context, inputs)?.run(events)
}

/// Publishes the minutes between digests that are in force, also without a listener.
///
/// # Errors
/// The store cannot be read or written.
pub(crate) fn announce_interval(context: &Context, store: &mut Store) -> Result<(), store::StoreError> {
    let minutes = stored_interval(store, context.config.digest.every_min)?;
    store.enqueue(&[payload::interval(&context.topics, MessageHeader::now(), minutes)])
}

/// The thread that owns the states.
struct ListenerWorker {
    context: Context,
    /// The config of the context, with the rules and digests of the last reload.
    config: Arc<Config>,
    listeners: Listeners,
    store: Store,
    outcome_messages: OutcomeMessages,
    rules: watch::Sender<Vec<Rule>>,
    meter: TokenRateMeter,
    retention: Retention,
    /// Sequence number of the last utterance that the states have read.
    read: i64,
    /// Sequence number of the last utterance whose digests and alerts are stored. After a crash it is ahead of `read` until the
    /// states have caught up.
    processed: i64,
    /// Sequence number of the last utterance in which words that are enough for an alert were searched before it was read.
    spotted: i64,
    /// How far the stream has come.
    now: Timestamp,
    clock: Arc<dyn WorkClock>,
    snapshot_due: Duration,
    learning: Learning,
    /// Utterances that the states have read from memory and that are not stored yet.
    read_ahead: BTreeSet<Ulid>,
    unrecorded: Unrecorded,
    store_outage: StoreOutage,
    /// What is heard is said now: texts are written beside it.
    live: bool,
    /// A shutdown stopped work in its midst: what the states know is not stored any more.
    stopped: bool,
    /// What the listeners kept when something was stored last.
    memory: String,
    /// A fresh state that is read beside a live one, and states of which one is wanted.
    renewal: Option<Renewal>,
    renewals_asked: VecDeque<Option<String>>,
    last_heard: Duration,
}

impl ListenerWorker {
    /// Continues where the last run ended: with the newest snapshots, what the listeners stored, and the text since then.
    fn open(context: Context, ListenInputs { mut listener, rules, clock }: ListenInputs) -> Result<Self, ServiceError> {
        let config = context.config.clone();
        let live = config.source.is_live();
        listener.set_pace(Arc::new(slices::pace(&context, live, clock.clone())));
        let mut store = context.open_store()?;
        let retention = context.retention();
        let (processed, memory) = store.reader()?;
        let mut listeners = Listeners::new(listener, config.listener.states, context.snapshots.clone())?;
        let read =
            listeners.restore(|mark| mark.read <= processed, store.back_from(processed, NEW_STATE_UTTERANCES)?)?;
        let ended = match memory.map(|memory| listeners.recall(&memory, Timestamp::now())) {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                warn!(%error, "the state of the rules cannot be read; no alert is on");
                ListenerOutcome::default()
            }
            None => ListenerOutcome::default(),
        };
        remember_talk(&mut listeners, &store, processed)?;
        listeners.set_interval(stored_interval(&store, config.digest.every_min)?);
        context.metrics.state_since.set(settings_store::state_since(&mut store, listeners.tokens_read() == 0)?);
        let learning = Learning::start(&config, &mut store, &mut listeners)?;
        let standings = listeners.standings(Timestamp::UNIX_EPOCH);
        let outcome_messages = OutcomeMessages::new(&config.rules, &context.topics, &config.listener.model, standings);
        store.enqueue(&outcome_messages.settle(&store.retained()?))?;
        let snapshot_due = clock.now() + snapshot_every(&config);
        let mut worker = Self {
            context,
            listeners,
            store,
            outcome_messages,
            rules,
            config,
            meter: TokenRateMeter::default(),
            retention,
            read,
            processed,
            spotted: 0,
            now: Timestamp::UNIX_EPOCH,
            clock,
            snapshot_due,
            learning,
            read_ahead: BTreeSet::new(),
            unrecorded: Unrecorded::default(),
            store_outage: StoreOutage::default(),
            live,
            stopped: false,
            memory: String::new(),
            renewal: None,
            renewals_asked: VecDeque::new(),
            last_heard: Duration::ZERO,
        };
        worker.record(ended, Vec::new())?;
        worker.settle_renewal()?;
        restore_live_view::digests_and_alerts(&worker.store, &worker.context.live_feed, &worker.listeners.alerts())?;
        worker.retention.clone().resume_pending(&mut worker)?;
        Ok(worker)
    }

    /// Reads until every sender is gone; then publishes what is left and saves a snapshot.
    fn run(mut self, mut events: impl ListenerEvents) -> Result<(), ServiceError> {
        self.tell_speed()?;
        loop {
            self.catch_up()?;
            self.retry_record()?;
            self.do_periodic_work()?;
            let busy = self.is_writing() || self.is_renewing();
            let mut came = events.next(if busy { Duration::ZERO } else { IDLE });
            while let Ok(event) = came {
                // What is in the store by now was said before this event.
                self.catch_up()?;
                self.handle(event)?;
                came = events.next(Duration::ZERO);
            }
            if matches!(came, Err(RecvTimeoutError::Disconnected)) {
                break;
            }
            self.write_slice()?;
            self.renew()?;
        }
        self.drop_renewal();
        // Speech recognition may have taken all of the time.
        self.context.set_back_closing(READ_WHILE_CLOSING / 2);
        self.catch_up()?;
        // What is left is read at the next start, and the digest is made of all of it then.
        if self.has_read_everything()? {
            let outcome = self.evaluate(false);
            if let Some(outcome) = self.unless_stopped(outcome)? {
                self.record(outcome, Vec::new())?;
                self.write_the_rest()?;
            }
        }
        self.wait_until_recorded()?;
        let read = self.processed.min(self.read);
        self.retention.clone().enforce(&mut self, read)?;
        self.snapshot_due = self.clock.now();
        self.save_if_due();
        Ok(())
    }

    fn handle(&mut self, event: ListenerEvent) -> Result<(), ServiceError> {
        match event {
            ListenerEvent::UtteranceStored => Ok(()),
            ListenerEvent::UtteranceUnstored(utterance) => self.read_unstored(&utterance),
            ListenerEvent::StreamReached(time) => self.pass(time),
            ListenerEvent::Gap(gap) => {
                self.pass(gap.from)?;
                let told = self.listeners.gap(&gap).map_err(ServiceError::from);
                self.unless_stopped(told).map(drop)
            }
            ListenerEvent::Command(pending) => self.carry_out(pending),
        }
    }

    /// The stream has reached `time`.
    fn pass(&mut self, time: Timestamp) -> Result<(), ServiceError> {
        self.now = clock::forward(self.now, time);
        let passed = self.pass_time();
        let outcome = self.unless_stopped(passed)?.unwrap_or_default();
        if outcome == ListenerOutcome::default() { Ok(()) } else { Ok(self.record(outcome, Vec::new())?) }
    }

    /// Lets the listeners read, and measures the time for a token.
    fn measured(
        &mut self,
        read: impl FnOnce(&mut Listeners) -> Result<(), listener::ListenerError>,
    ) -> Result<(), ServiceError> {
        let (began, before) = (self.clock.now(), self.listeners.tokens_read());
        read(&mut self.listeners)?;
        let (now, age) = (self.clock.now(), self.listeners.tokens_read());
        let surprise = self.listeners.surprise().nats;
        if let Some(cost) = self.meter.add(age - before, now - began, now, (age, surprise)) {
            self.context.metrics.token_ns.set((cost.us_per_token * 1e3) as u64);
            self.context.live_feed.publish(LiveEvent::TokenCost(cost));
        }
        Ok(())
    }

    fn update_metrics(&self) -> Result<(), ServiceError> {
        self.context.metrics.tokens.set(self.listeners.tokens_read());
        self.context.metrics.state_bytes.set(self.listeners.bytes());
        self.context.metrics.digests_given_up.set(self.listeners.given_up());
        self.context.metrics.asked.set(self.listeners.asked());
        let renewal = self.renewal_health();
        self.context.metrics.state.set(StateHealth { surprise: self.listeners.surprise(), renewal });
        let CheckCounts { told, dropped, repeated, softened } = self.listeners.checked();
        let sentences = &self.context.metrics.sentences;
        sentences.told.set(told);
        sentences.dropped.set(dropped);
        sentences.repeated.set(repeated);
        sentences.softened.set(softened);
        self.context.metrics.unread.set(self.store.count_after(self.read)?);
        self.context.metrics.reading_heartbeat.beat();
        Ok(())
    }

    fn do_periodic_work(&mut self) -> Result<(), ServiceError> {
        let read = self.processed.min(self.read);
        self.retention.clone().tick(self, read)?;
        self.learn_if_due()?;
        // During a shutdown each snapshot may be the last: what is still being transcribed may take longer than the grace.
        if self.context.is_closing() {
            self.snapshot_due = self.clock.now();
        }
        self.save_if_due();
        Ok(())
    }

    fn save_if_due(&mut self) {
        // A snapshot must hold nothing that is not stored: it could not be forgotten later.
        // One with utterances that the rules were not asked about could not be used.
        let stored = self.read_ahead.is_empty() && self.unrecorded.is_empty() && self.read <= self.processed;
        if stored && self.clock.now() >= self.snapshot_due {
            self.snapshot_due = self.clock.now() + snapshot_every(&self.config);
            self.save();
        }
    }

    /// Saves the states. A failure is no reason to stop: the older snapshots and the transcript are still there.
    fn save(&mut self) {
        let time = if self.now == Timestamp::UNIX_EPOCH { Timestamp::now() } else { self.now };
        let oldest = self.retention.limit().oldest();
        let policy = SnapshotPolicy::new(&self.config.listener, self.config.store.keep);
        if let Err(error) = self.listeners.save(&ReadPosition { read: self.read, time }, &policy, oldest) {
            warn!(%error, "the snapshots are not as they should be; those that were made stay, and it is tried again");
        }
    }
}

/// Gives the states the talk that they have read, so that texts can be checked against it.
fn remember_talk(listeners: &mut Listeners, store: &Store, until: i64) -> Result<(), store::StoreError> {
    let mut seq = store.back_from(until, NEW_STATE_UTTERANCES)?;
    loop {
        let batch = store.utterances_after(seq, state_at::BATCH)?;
        let Some(&(last, _)) = batch.last() else { return Ok(()) };
        seq = last;
        listeners.remember(&batch);
    }
}

fn snapshot_every(config: &Config) -> Duration {
    Duration::from_secs_f64(config.listener.snapshot_min * 60.0)
}
