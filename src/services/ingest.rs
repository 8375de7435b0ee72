//! The one task that takes what other machines heard.
//!
//! Owns the order "stored, then acknowledged, then told", and the window in which what was heard in several rooms is put in the
//! order of its time. Refuses to know what is done with the text. Invariant: the broker keeps an utterance for this machine
//! until it is on disk here; it is read once, however often it comes.
//!
//! While the store takes nothing, nothing more is taken from the broker: it waits there.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use super::channels::INGEST_BATCH;
use super::listen::ListenerEvent;
use super::store_retry::blocking;
use super::transcript_writer::TranscriptWriter;
use super::{Context, ServiceError};
use crate::clock;
use crate::config::NodesConfig;
use crate::event::{Gap, Utterance};
use crate::live::LiveEvent;
use crate::mqtt::client::{self, BrokerEvent, MqttSender};
use crate::mqtt::remote_event::{self, RemoteEvent};
use crate::mqtt::retry::OutageLog;
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

pub const NAME: &str = "gathering";
/// How often is looked whether something has waited for the window.
const LOOK: Duration = Duration::from_millis(250);
/// How often the reader is told that time passes in silence.
const PASSED: Duration = Duration::from_secs(1);
/// How long a store that takes nothing is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// How long ids are remembered: as long as a message may wait for a broker on the machine that sent it.
const KEEP_IDS: SignedDuration = SignedDuration::from_hours(24 * 60);
const KEEP_IDS_EVERY: Duration = Duration::from_secs(3600);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Where the topics that the broker was asked for are noted.
const ASKED: &str = "gathered_topics";

/// What only this service needs.
pub struct IngestInputs {
    pub client: client::ClientSettings,
    pub nodes: NodesConfig,
    pub writing: TranscriptWriter,
    pub reader: SyncSender<ListenerEvent>,
}

/// Starts the task. It ends, having stored what arrived, when the guard is dropped.
///
/// # Errors
/// The store cannot be opened.
pub fn spawn(supervisor: &mut Supervisor, context: &Context, inputs: IngestInputs) -> Result<DropGuard, ServiceError> {
    let stop = CancellationToken::new();
    let ingest = run(context.clone(), context.open_store()?, inputs, stop.clone().cancelled_owned());
    supervisor.task(NAME, async move { Ok(ingest.await?) });
    Ok(stop.drop_guard())
}

/// Takes what other machines heard until `drain` is ready.
///
/// # Errors
/// When the database is damaged or gone. A full disk is waited for, a broker too.
async fn run(
    context: Context,
    store: Store,
    inputs: IngestInputs,
    drain: impl Future<Output = ()>,
) -> Result<(), store::StoreError> {
    let IngestInputs { client, nodes, writing, reader } = inputs;
    let url = client.url().to_string();
    let (sender, mut connection) = client::persistent_session(client);
    let now = Instant::now();
    let mut gatherer = RemoteIngest {
        context,
        store,
        nodes,
        writing,
        reader,
        sender,
        url,
        arrived: Vec::new(),
        gaps: VecDeque::new(),
        unacknowledged: VecDeque::new(),
        asked: false,
        retry_at: now,
        passed_at: now,
        forget_at: now,
        trouble: OutageLog::default(),
        refusals: OutageLog::default(),
        outage: OutageLog::default(),
    };
    let mut drain = pin!(drain);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The poll is kept until it is ready: dropping it half-way could lose a packet.
        let mut poll = pin!(connection.poll());
        let event = loop {
            gatherer.acknowledge();
            let (some, full) = (!gatherer.arrived.is_empty(), gatherer.arrived.len() >= INGEST_BATCH);
            tokio::select! {
                biased;
                () = &mut drain => break None,
                _ = look.tick() => gatherer.look()?,
                event = &mut poll, if !full => break Some(event),
                // Nothing more has arrived by now: all of it is one transaction.
                () = sleep_until(gatherer.retry_at), if some => gatherer.keep()?,
            }
        };
        match event {
            Some(event) => gatherer.hear(event)?,
            None => break,
        }
    }
    gatherer.keep()?;
    gatherer.acknowledge();
    // What is not acknowledged comes again at the next start; the farewell is a courtesy.
    if gatherer.sender.disconnect().is_ok() {
        let farewell = async { while !matches!(connection.poll().await, BrokerEvent::Lost(_)) {} };
        let _ = timeout(FAREWELL, farewell).await;
    }
    Ok(())
}

struct RemoteIngest {
    context: Context,
    store: Store,
    nodes: NodesConfig,
    writing: TranscriptWriter,
    reader: SyncSender<ListenerEvent>,
    sender: MqttSender,
    url: String,
    /// Arrived and not stored: the packet, and what was heard.
    arrived: Vec<(u16, Option<RemoteEvent>)>,
    /// Gaps that the reader was not told of: it is when what was said before them can have come.
    gaps: VecDeque<(Instant, Gap)>,
    /// Stored, and the broker does not know.
    unacknowledged: VecDeque<u16>,
    /// That the broker passes on what other machines heard was said.
    asked: bool,
    retry_at: Instant,
    passed_at: Instant,
    forget_at: Instant,
    trouble: OutageLog,
    refusals: OutageLog,
    outage: OutageLog,
}

impl RemoteIngest {
    fn hear(&mut self, event: BrokerEvent) -> Result<(), store::StoreError> {
        match event {
            BrokerEvent::Connected { known } => return self.connected(known),
            BrokerEvent::Message { topic, payload, retain, packet } => {
                let heard = self.read(&topic, &payload, retain);
                self.arrived.push((packet, heard));
            }
            BrokerEvent::SubscriptionRefused => {
                let refusal = "the broker does not let hearth hear what other machines heard: check its access rules";
                if self.refusals.is_new_failure(refusal, Timestamp::now()) {
                    warn!(url = self.url, "{refusal}");
                }
            }
            BrokerEvent::Lost(error) => self.lost(&error),
            BrokerEvent::Subscribed if self.asked => {}
            BrokerEvent::Subscribed => {
                self.asked = true;
                info!(url = self.url, "other machines are heard");
            }
            BrokerEvent::Sent(_) | BrokerEvent::Acknowledged(_) => {}
        }
        Ok(())
    }

    fn connected(&mut self, known: bool) -> Result<(), store::StoreError> {
        if self.outage.ended() {
            info!(url = self.url, "connected to the broker again, for what other machines heard");
        }
        let filters = self.nodes.topics.iter().map(ToString::to_string);
        let topics: Vec<String> =
            filters.flat_map(|filter| [remote_event::gap_filter(&filter), Some(filter)]).flatten().collect();
        let store = &mut self.store;
        let note =
            blocking(|| store.note(ASKED)).or_else(|error| if error.may_pass() { Ok(None) } else { Err(error) })?;
        let before: Option<Vec<String>> = note.and_then(|note| serde_json::from_str(&note).ok());
        let forgot = "the broker forgot this machine; if it was away, what other machines heard meanwhile is lost: let the \
                      broker keep its sessions (mosquitto: persistence true)";
        if before.is_some() && !known && self.refusals.is_new_failure(forgot, Timestamp::now()) {
            warn!(url = self.url, "{forgot}");
        }
        let gone: Vec<String> = before.iter().flatten().filter(|topic| !topics.contains(topic)).cloned().collect();
        let asked = self.sender.unsubscribe(gone).and_then(|()| self.sender.subscribe(topics.clone()));
        if asked.is_err() {
            warn!(
                url = self.url,
                "the client takes no subscription: other machines are not heard until the next connection"
            );
        }
        if before.as_ref() != Some(&topics) {
            let note = serde_json::to_string(&topics).expect("topics can be written as JSON");
            blocking(|| store.set_note(ASKED, &note))
                .or_else(|error| if error.may_pass() { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }

    /// What a message says; none when there is nothing to store.
    fn read(&mut self, topic: &str, payload: &[u8], retain: bool) -> Option<RemoteEvent> {
        if [self.context.topics.utterance(), self.context.topics.gap()].iter().any(|own| own == topic) {
            return None;
        }
        match remote_event::parse(topic, payload, retain, Timestamp::now()) {
            Ok(heard) => Some(heard),
            Err(reason) => {
                self.context.metrics.others_refused.add(1);
                if self.refusals.is_new_failure(&format!("{topic}: {reason}"), Timestamp::now()) {
                    warn!(topic, "what another machine sent is refused: {reason}");
                }
                None
            }
        }
    }

    fn lost(&mut self, error: &client::ClientError) {
        let reason = error.to_string();
        if self.outage.is_new_failure(&reason, Timestamp::now()) {
            warn!(url = self.url, "{reason}; what other machines heard waits there");
        }
        // The broker sends again what it was not told of, under numbers of the next connection.
        self.arrived.iter_mut().for_each(|(packet, _)| *packet = 0);
        self.unacknowledged.clear();
    }

    /// Stores what arrived; then, and only then, the broker is told.
    fn keep(&mut self) -> Result<(), store::StoreError> {
        let (mut utterances, mut gaps): (Vec<Utterance>, Vec<Gap>) = (Vec::new(), Vec::new());
        for heard in self.arrived.iter().filter_map(|(_, heard)| heard.clone()) {
            match heard {
                RemoteEvent::Utterance(utterance) => utterances.push(utterance),
                RemoteEvent::Gap(gap) => gaps.push(gap),
            }
        }
        let Context { metrics, live_feed, .. } = &self.context;
        let told = utterances.len() + gaps.len();
        if told > 0 {
            match blocking(|| self.store.take_in(&utterances, &gaps, Timestamp::now())) {
                Ok(new) => {
                    let taken = new.utterances.len() + new.gaps.len();
                    metrics.others_taken.add(taken as u64);
                    metrics.others_repeated.add((told - taken) as u64);
                    new.utterances.into_iter().for_each(|said| live_feed.publish(LiveEvent::Utterance(said)));
                    new.gaps.iter().for_each(|gap| live_feed.publish(LiveEvent::Gap(gap.clone())));
                    self.gaps.extend(new.gaps.into_iter().map(|gap| (Instant::now(), gap)));
                    self.written();
                }
                Err(error) => return self.put_off(error),
            }
        }
        self.unacknowledged.extend(self.arrived.drain(..).map(|(packet, _)| packet).filter(|packet| *packet != 0));
        Ok(())
    }

    /// The store took something.
    fn written(&mut self) {
        if self.trouble.is_failing() {
            self.context.metrics.store_refuses.set(false);
        }
        if self.trouble.ended() {
            info!("the store takes what other machines heard again");
        }
    }

    fn put_off(&mut self, error: store::StoreError) -> Result<(), store::StoreError> {
        if !error.may_pass() {
            return Err(error);
        }
        self.context.metrics.store_refuses.set(true);
        if self.trouble.is_new_failure(&error.to_string(), Timestamp::now()) {
            warn!(%error, "what other machines heard waits at the broker");
        }
        self.retry_at = Instant::now() + RETRY;
        Ok(())
    }

    fn acknowledge(&mut self) {
        while let Some(packet) = self.unacknowledged.front() {
            if self.sender.acknowledge(*packet).is_err() {
                return;
            }
            self.unacknowledged.pop_front();
        }
    }

    /// Tells the reader what has waited for the window.
    fn look(&mut self) -> Result<(), store::StoreError> {
        let instant = Instant::now();
        if instant < self.retry_at {
            return Ok(());
        }
        let now = Timestamp::now();
        let before = clock::after(now, -self.nodes.window());
        let (moved, empty) = match blocking(|| self.store.release(before, now)) {
            Ok(released) => released,
            Err(error) => return self.put_off(error),
        };
        // A full channel drops the wake: the reader looks into the store by itself, too.
        if moved > 0 {
            debug!(moved, "what was heard in the house is in order");
            self.writing.follow(&self.store);
            let _ = self.reader.try_send(ListenerEvent::UtteranceStored);
            self.written();
        } else if empty && self.arrived.is_empty() && instant >= self.passed_at {
            self.passed_at = instant + PASSED;
            let _ = self.reader.try_send(ListenerEvent::StreamReached(before));
        }
        // What was said before a gap has come by now, or comes too late in any case.
        let waited = Duration::from_secs_f64(self.nodes.window_s.get());
        while let Some((_, gap)) = self.gaps.front().filter(|(arrived, _)| instant >= *arrived + waited) {
            if self.reader.try_send(ListenerEvent::Gap(gap.clone())).is_err() {
                break;
            }
            self.gaps.pop_front();
        }
        self.writing.keep_up();
        if instant >= self.forget_at {
            self.forget_arrivals()?;
            self.forget_at = instant + KEEP_IDS_EVERY;
        }
        Ok(())
    }

    /// Ids need not be kept for ever, by a clock that is believed.
    fn forget_arrivals(&mut self) -> Result<(), store::StoreError> {
        let Some(now) = self.writing.now() else { return Ok(()) };
        match blocking(|| self.store.forget_arrivals(clock::after(now, -KEEP_IDS))) {
            // It can wait for the disk.
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok(()),
        }
    }
}
