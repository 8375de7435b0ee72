//! The ingest service: the task that takes the utterances and gaps of other machines from the broker.
//!
//! They are stored, then acknowledged, then passed on to the listener. So the broker keeps an utterance for this machine until it is
//! on disk here, and it is read once, however often it comes. What was heard in several rooms waits for some seconds
//! (`window_s`), and is put in the order of its time.
//!
//! While the store cannot be written, nothing more is taken from the broker.

mod storing;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::channels::INGEST_BATCH;
use super::listen::ListenerEvent;
use super::store_retry::blocking;
use super::transcript_writer::TranscriptWriter;
use super::{Context, ServiceError};
use crate::config::NodesConfig;
use crate::event::Gap;
use crate::mqtt::client::{self, BrokerEvent, MqttSender};
use crate::mqtt::remote_event::{self, RemoteEvent};
use crate::mqtt::retry::OutageLog;
use crate::retention::{AgeLimit, age};
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

pub(crate) const NAME: &str = "ingest";
/// How often is checked whether something has waited for the window.
const CHECK: Duration = Duration::from_millis(250);
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
}
