//! The ingest service: the task that takes the utterances and gaps of other machines from the broker.
//!
//! They are stored, then acknowledged, then passed on to the listener. So the broker keeps an utterance for this machine until it is
//! on disk here, and it is read once, however often it comes. What was heard in several rooms waits for some seconds
//! (`window_s`), and is put in the order of its time.
//!
//! While the store cannot be written, nothing more is taken from the broker.

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
use crate::retention::{AgeLimit, age};
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

pub(crate) const NAME: &str = "ingest";
/// How often is checked whether something has waited for the window.
const CHECK: Duration = Duration::from_millis(250);
/// How often the listener learns that time passes in silence.
const PASSED: Duration = Duration::from_secs(1);
/// How long a store that takes nothing is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// How long ids are remembered: as long as a message may wait for a broker on the machine that sent it.
const KEEP_IDS: SignedDuration = SignedDuration::from_hours(24 * 60);
const KEEP_IDS_EVERY: Duration = Duration::from_secs(3600);
/// How long the DISCONNECT at the end may take.
const DISCONNECT: Duration = Duration::from_secs(1);
/// The note of the topics that were subscribed to.
const SUBSCRIBED: &str = "gathered_topics";

/// What only this service needs.
pub(crate) struct IngestInputs {
    pub(crate) client: client::ClientSettings,
    pub(crate) nodes: NodesConfig,
    pub(crate) transcript: TranscriptWriter,
    pub(crate) listener: SyncSender<ListenerEvent>,
}

/// Starts the task. It ends, having stored what arrived, when the guard is dropped.
///
/// # Errors
/// The store cannot be opened.
pub(crate) fn spawn(
    supervisor: &mut Supervisor,
    context: &Context,
    inputs: IngestInputs,
) -> Result<DropGuard, ServiceError> {
    let stop = CancellationToken::new();
    let ingest = run(context.clone(), context.open_store()?, inputs, stop.clone().cancelled_owned());
    supervisor.task(NAME, async move { Ok(ingest.await?) });
    Ok(stop.drop_guard())
}

/// Takes utterances of other machines until `drain` is ready.
///
/// # Errors
/// When the database is damaged or gone. A full disk is waited for, a broker too.
async fn run(
    context: Context,
    store: Store,
    inputs: IngestInputs,
    drain: impl Future<Output = ()>,
) -> Result<(), store::StoreError> {
    let IngestInputs { client, nodes, transcript, listener } = inputs;
    let url = client.url().to_string();
    let (sender, mut connection) = client::persistent_session(client);
    let now = Instant::now();
    let mut ingest = RemoteIngest {
        context,
        store,
        nodes,
        transcript,
        listener,
        sender,
        url,
        arrived: Vec::new(),
        gaps: VecDeque::new(),
        unacknowledged: VecDeque::new(),
        subscribed_logged: false,
        retry_at: now,
        passed_at: now,
        forget_ids_at: now,
        store_outage: OutageLog::default(),
        refusals: OutageLog::default(),
        outage: OutageLog::default(),
    };
    let mut drain = pin!(drain);
    let mut check = interval(CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The poll is kept until it is ready, since an attempt to connect takes longer than what else happens here.
        let mut poll = pin!(connection.poll());
        let event = loop {
            ingest.acknowledge();
            let (some, full) = (!ingest.arrived.is_empty(), ingest.arrived.len() >= INGEST_BATCH);
            tokio::select! {
                biased;
                () = &mut drain => break None,
                _ = check.tick() => ingest.release()?,
                event = &mut poll, if !full => break Some(event),
                // Nothing more has arrived by now: all of it is one transaction.
                () = sleep_until(ingest.retry_at), if some => ingest.store_arrived()?,
            }
        };
        match event {
            Some(event) => ingest.handle(event)?,
            None => break,
        }
    }
    ingest.store_arrived()?;
    ingest.acknowledge();
    // What is not acknowledged comes again at the next start.
    if ingest.sender.disconnect().is_ok() {
        let disconnected = async { while !matches!(connection.poll().await, BrokerEvent::Lost(_)) {} };
        let _ = timeout(DISCONNECT, disconnected).await;
    }
    Ok(())
}

/// The state of the task.
struct RemoteIngest {
    context: Context,
    store: Store,
    nodes: NodesConfig,
    transcript: TranscriptWriter,
    listener: SyncSender<ListenerEvent>,
    sender: MqttSender,
    url: String,
    /// Arrived and not stored: the packet, and what it holds; none where there is nothing to store.
    arrived: Vec<(u16, Option<RemoteEvent>)>,
    /// Gaps that wait until everything that was said before them can have arrived.
    gaps: VecDeque<(Instant, Gap)>,
    /// Stored, and not yet acknowledged to the broker.
    unacknowledged: VecDeque<u16>,
    /// It was logged that the broker sends what other machines hear.
    subscribed_logged: bool,
    retry_at: Instant,
    passed_at: Instant,
    forget_ids_at: Instant,
    store_outage: OutageLog,
    refusals: OutageLog,
    outage: OutageLog,
}

impl RemoteIngest {
    fn handle(&mut self, event: BrokerEvent) -> Result<(), store::StoreError> {
        match event {
            BrokerEvent::Connected { known } => return self.connected(known),
            BrokerEvent::Message { topic, payload, retain, packet } => {
                let heard = self.read(&topic, &payload, retain);
                self.arrived.push((packet, heard));
            }
            BrokerEvent::TooLong { topic, bytes, packet, .. } => {
                self.refuse(&topic, &format!("it has {bytes} bytes, too many to be read"));
                self.arrived.push((packet, None));
            }
            BrokerEvent::SubscriptionRefused => {
                let refusal = "the broker does not let hearth hear what other machines heard: check its access rules";
                if self.refusals.is_new_failure(refusal, Timestamp::now()) {
                    warn!(url = self.url, "{refusal}");
                }
            }
            BrokerEvent::Lost(error) => self.lost(&error),
            BrokerEvent::Subscribed if self.subscribed_logged => {}
            BrokerEvent::Subscribed => {
                self.subscribed_logged = true;
                info!(url = self.url, "other machines are heard");
            }
            BrokerEvent::Sent(_)
            | BrokerEvent::Acknowledged(_)
            | BrokerEvent::PacketLimit(_)
            | BrokerEvent::Dropping => {}
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
        let note = blocking(|| store.note(SUBSCRIBED))
            .or_else(|error| if error.may_pass() { Ok(None) } else { Err(error) })?;
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
            blocking(|| store.set_note(SUBSCRIBED, &note))
                .or_else(|error| if error.may_pass() { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }

    /// What a message holds; none when there is nothing to store.
    fn read(&mut self, topic: &str, payload: &[u8], retain: bool) -> Option<RemoteEvent> {
        if [self.context.topics.utterance(), self.context.topics.gap()].iter().any(|own| own == topic) {
            return None;
        }
        match remote_event::parse(topic, payload, retain, Timestamp::now()) {
            Ok(heard) if self.is_too_old(&heard) => {
                self.refuse(topic, "it was said longer ago than [store] keep allows text to be kept");
                None
            }
            Ok(heard) => Some(heard),
            Err(reason) => {
                self.refuse(topic, &reason.to_string());
                None
            }
        }
    }

    /// What would be deleted at once is not quoted in a summary or an alert first.
    fn is_too_old(&self, heard: &RemoteEvent) -> bool {
        let Context { config, clock, .. } = &self.context;
        let limit = AgeLimit { keep: config.store.keep, now: clock.now().unwrap_or(age::YOUNG) };
        let until = match heard {
            RemoteEvent::Utterance(utterance) => utterance.end,
            RemoteEvent::Gap(gap) => gap.to,
        };
        until < limit.oldest()
    }

    fn refuse(&mut self, topic: &str, reason: &str) {
        self.context.metrics.others_refused.add(1);
        if self.refusals.is_new_failure(&format!("{topic}: {reason}"), Timestamp::now()) {
            warn!(topic, "what another machine sent is refused: {reason}");
        }
    }

    fn lost(&mut self, error: &client::ClientError) {
        let reason = error.to_string();
        if self.outage.is_new_failure(&reason, Timestamp::now()) {
            warn!(url = self.url, "{reason}; what other machines heard waits there");
        }
        // The broker sends again what was not acknowledged, under packet ids of the next connection.
        self.arrived.iter_mut().for_each(|(packet, _)| *packet = 0);
        self.unacknowledged.clear();
    }

    /// Stores what arrived. Only after that it may be acknowledged.
    fn store_arrived(&mut self) -> Result<(), store::StoreError> {
        let (mut utterances, mut gaps): (Vec<Utterance>, Vec<Gap>) = (Vec::new(), Vec::new());
        for heard in self.arrived.iter().filter_map(|(_, heard)| heard.clone()) {
            match heard {
                RemoteEvent::Utterance(utterance) => utterances.push(utterance),
                RemoteEvent::Gap(gap) => gaps.push(gap),
            }
        }
        let Context { metrics, live_feed, .. } = &self.context;
        let arrived = utterances.len() + gaps.len();
        if arrived > 0 {
            match blocking(|| self.store.receive(&utterances, &gaps, Timestamp::now())) {
                Ok(new) => {
                    let taken = new.utterances.len() + new.gaps.len();
                    metrics.others_taken.add(taken as u64);
                    metrics.others_repeated.add((arrived - taken) as u64);
                    new.utterances.into_iter().for_each(|said| live_feed.publish(LiveEvent::Utterance(said)));
                    new.gaps.iter().for_each(|gap| live_feed.publish(LiveEvent::Gap(gap.clone())));
                    self.gaps.extend(new.gaps.into_iter().map(|gap| (Instant::now(), gap)));
                    self.store_works();
                }
                Err(error) => return self.retry_later(error),
            }
        }
        self.unacknowledged.extend(self.arrived.drain(..).map(|(packet, _)| packet).filter(|packet| *packet != 0));
        Ok(())
    }

    /// The store took something.
    fn store_works(&mut self) {
        if self.store_outage.is_failing() {
            self.context.metrics.store_refuses.set(false);
        }
        if self.store_outage.ended() {
            info!("the store takes what other machines heard again");
        }
    }

    fn retry_later(&mut self, error: store::StoreError) -> Result<(), store::StoreError> {
        if !error.may_pass() {
            return Err(error);
        }
        self.context.metrics.store_refuses.set(true);
        self.read_from_memory();
        if self.store_outage.is_new_failure(&error.to_string(), Timestamp::now()) {
            warn!(%error, "what other machines heard waits at the broker");
        }
        self.retry_at = Instant::now() + RETRY;
        Ok(())
    }

    /// An alert need not wait for the disk: the listener reads what waits. It is acknowledged only when it is stored.
    fn read_from_memory(&self) {
        let arrived = self.arrived.iter().filter_map(|(_, event)| match event {
            Some(RemoteEvent::Utterance(utterance)) => Some(utterance.clone()),
            _ => None,
        });
        // What waits to be put in order cannot be moved into the transcript.
        let inbox = self.store.inbox().unwrap_or_default();
        // What finds the channel full, or the inbox unreadable, is tried again with the next attempt to store.
        for utterance in inbox.into_iter().chain(arrived) {
            let _ = self.listener.try_send(ListenerEvent::UtteranceUnstored(utterance));
        }
    }

    fn acknowledge(&mut self) {
        while let Some(packet) = self.unacknowledged.front() {
            if self.sender.acknowledge(*packet).is_err() {
                return;
            }
            self.unacknowledged.pop_front();
        }
    }

    /// Passes on to the listener what has waited for the window.
    fn release(&mut self) -> Result<(), store::StoreError> {
        let instant = Instant::now();
        if instant < self.retry_at {
            return Ok(());
        }
        let now = Timestamp::now();
        let before = clock::after(now, -self.nodes.window());
        let (moved, empty) = match blocking(|| self.store.release(before, now)) {
            Ok(released) => released,
            Err(error) => return self.retry_later(error),
        };
        // A full channel drops the event: the listener reads the store by itself, too.
        if moved > 0 {
            debug!(moved, "utterances of several rooms are in order");
            self.transcript.follow(&self.store);
            let _ = self.listener.try_send(ListenerEvent::UtteranceStored);
            self.store_works();
        } else if empty && self.arrived.is_empty() && instant >= self.passed_at {
            self.passed_at = instant + PASSED;
            let _ = self.listener.try_send(ListenerEvent::StreamReached(before));
        }
        // What was said before a gap has come by now, or comes too late in any case.
        let waited = Duration::from_secs_f64(self.nodes.window_s.get());
        while let Some((_, gap)) = self.gaps.front().filter(|(arrived, _)| instant >= *arrived + waited) {
            if self.listener.try_send(ListenerEvent::Gap(gap.clone())).is_err() {
                break;
            }
            self.gaps.pop_front();
        }
        self.transcript.keep_up();
        if instant >= self.forget_ids_at {
            self.forget_arrivals()?;
            self.forget_ids_at = instant + KEEP_IDS_EVERY;
        }
        Ok(())
    }

    /// Ids need not be kept for ever. Only a trusted clock says how old they are.
    fn forget_arrivals(&mut self) -> Result<(), store::StoreError> {
        let Some(now) = self.transcript.now() else { return Ok(()) };
        match blocking(|| self.store.forget_arrivals(clock::after(now, -KEEP_IDS))) {
            // This can wait for the disk.
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok(()),
        }
    }
}
