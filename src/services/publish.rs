//! The one task that speaks to the broker.
//!
//! Owns the joining of outbox, delivery, client and commands: what is said when a connection is made, when Home Assistant
//! starts, every 30 s, and at the end. Refuses to know what an utterance or an alert is: others put messages into the
//! outbox, and carry commands out. Invariant: it never waits for a broker in order to store, and an outage, a full disk or
//! a bad command never ends it.
//!
//! SQLite blocks: for a millisecond when it reads, for as long as the disk needs when it writes. The task does so in place
//! ([`tokio::task::block_in_place`] on a runtime with several threads): nobody but this task waits, and a connection whose
//! keep-alive is 30 s does not mind.

mod closing;
mod command_intake;
mod discovery_state;
mod interim;
mod outbox_sender;
mod process_cost;
mod store_backoff;
mod subscription;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::commands::Request;
use crate::config::Rule;
use crate::event::Hypothesis;
use crate::live::LiveEvent;
use crate::metrics::Metrics;
use crate::mqtt::client::{self, BrokerEvent};
use crate::mqtt::discovery::Capabilities;
use crate::mqtt::payload::{self, MessageHeader, NodeInfo};
use crate::mqtt::retry::OutageLog;
use crate::mqtt::topics::Topics;
use crate::redact::Redactor;
use crate::store::{self, Store};

use closing::PublishPhase;
use command_intake::CommandIntake;
use discovery_state::DiscoveryState;
use outbox_sender::{OutboxSender, OutgoingKind};
use process_cost::ProcessMeter;
use store_backoff::RETRY;
use subscription::CommandSubscription;

/// How often health is published.
const HEALTH: Duration = Duration::from_secs(30);
/// How often the task shows that it lives.
const PULSE: Duration = Duration::from_secs(2);
/// A broker that comes back takes us in before others have noticed: Home Assistant tries every 10 s. What it would miss for
/// ever, alerts first of all, waits so long, or until Home Assistant says that it is there.
const SETTLE: Duration = Duration::from_secs(12);
/// Home Assistant asks the whole house at once when it starts; everyone answers within this time.
const JITTER_S: f64 = 5.0;
/// Where the entities that Home Assistant knows of are noted.
const ANNOUNCED: &str = "announced";

/// What the task needs.
pub struct PublishInputs {
    /// Its own connection.
    pub store: Store,
    pub client: client::ClientSettings,
    pub topics: Topics,
    /// They may change while the house runs.
    pub rules: watch::Receiver<Vec<Rule>>,
    pub capabilities: Capabilities,
    /// Announce entities to Home Assistant.
    pub discovery: bool,
    /// Where what is being said is seen, if it is to be told before it is over.
    pub live_feed: Option<broadcast::Receiver<Arc<LiveEvent>>>,
    pub info: NodeInfo,
    pub metrics: Arc<Metrics>,
    /// What every message passes on its way out.
    pub redactor: Redactor,
    /// Whoever commits to the outbox calls `notify_one`, which is remembered if the task is busy.
    pub wake: Arc<Notify>,
    /// Where commands go. When it is full the asker is told so.
    pub requests: mpsc::Sender<Request>,
    /// Whether the household wants to be listened to: only the newest wish counts.
    pub listening: watch::Sender<bool>,
    /// How long the outbox may take to empty at the end.
    pub grace: Duration,
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishCounts {
    /// Messages that left, repeats included.
    pub published: u64,
    pub acknowledged: u64,
    /// Messages that stay in the outbox, on disk, for the next start.
    pub left: u64,
}

/// Publishes until `drain` is ready, then empties the outbox for as long as the grace allows, says `offline` and ends.
///
/// # Errors
/// When the database is damaged or gone. A full disk is waited for, a broker too.
pub async fn run(
    publishing: PublishInputs,
    drain: impl Future<Output = ()>,
) -> Result<PublishCounts, store::StoreError> {
    let PublishInputs {
        mut store,
        client,
        topics,
        mut rules,
        capabilities,
        discovery,
        mut live_feed,
        info,
        metrics,
        redactor,
        wake,
        requests,
        listening,
        grace,
    } = publishing;
    let (url, patience) = (client.url().to_string(), client.acknowledge_timeout());
    let (sender, mut connection) = client::open(client);
    match discovery_state::take_back_former(&mut store, &topics) {
        Err(error) if error.may_pass() => {
            warn!(%error, "what a former name left behind is taken back at the next start")
        }
        done => done?,
    }
    let before = store.note(ANNOUNCED)?.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default();
    let mut publisher = Publisher {
        sending: OutboxSender::new(store, sender, metrics.clone(), redactor, patience),
        house: DiscoveryState::new(topics, rules.borrow_and_update().clone(), capabilities, discovery, info, before),
        metrics,
        answering: CommandIntake::new(requests, listening, capabilities.hears, std::time::Instant::now()),
        subscribing: CommandSubscription::default(),
        url,
        outage: OutageLog::default(),
        known: false,
        farewell_heard: false,
        tell_at: None,
        phase: PublishPhase::Running,
        meter: ProcessMeter::default(),
    };
    let mut drain = pin!(drain);
    let mut pulse = interval(PULSE);
    let mut health = interval(HEALTH);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    health.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !publisher.is_done() {
        let event = {
            // The poll is kept until it is ready: dropping it half-way could lose a packet.
            let mut poll = pin!(connection.poll());
            loop {
                publisher.pump()?;
                if publisher.is_done() || publisher.sending.is_stalled() {
                    break None;
                }
                tokio::select! {
                    event = &mut poll => break Some(event),
                    () = wake.notified() => {}
                    () = &mut drain, if publisher.phase == PublishPhase::Running => publisher.drain(grace),
                    () = at(publisher.next_deadline()) => publisher.deadline_passed()?,
                    _ = pulse.tick() => publisher.metrics.publishing_heartbeat.beat(),
                    _ = health.tick() => publisher.health()?,
                    said = interim::next(&mut live_feed) => publisher.publish_qos0(&said),
                    Ok(()) = rules.changed() => publisher.rules(rules.borrow_and_update().clone())?,
                }
            }
        };
        match event {
            Some(event) => publisher.hear(event)?,
            None if publisher.is_done() => {}
            None => connection.leave().try_for_each(|event| publisher.hear(event))?,
        }
    }
    publisher.finish(connection).await
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

struct Publisher {
    sending: OutboxSender,
    house: DiscoveryState,
    metrics: Arc<Metrics>,
    answering: CommandIntake,
    subscribing: CommandSubscription,
    url: String,
    outage: OutageLog,
    /// There was a connection before.
    known: bool,
    /// The broker has our last word.
    farewell_heard: bool,
    /// When everything is to be told again.
    tell_at: Option<Instant>,
    phase: PublishPhase,
    meter: ProcessMeter,
}

impl Publisher {
    fn is_done(&self) -> bool {
        self.phase == PublishPhase::Done
    }

    fn hear(&mut self, event: BrokerEvent) -> Result<(), store::StoreError> {
        self.metrics.publishing_heartbeat.beat();
        match event {
            BrokerEvent::Connected { .. } => self.connected(),
            BrokerEvent::Sent(packet) => {
                self.sending.sent(packet);
                Ok(())
            }
            BrokerEvent::Acknowledged(packet) => self.acknowledged(packet),
            BrokerEvent::Message { topic, payload, retain, .. } => self.message(&topic, &payload, retain),
            BrokerEvent::Subscribed => {
                self.metrics.commands_ok.set(true);
                Ok(())
            }
            BrokerEvent::SubscriptionRefused => {
                self.metrics.commands_ok.set(false);
                let refusal = "the broker does not let hearth listen to its commands: check its access rules";
                if self.outage.is_new_failure(refusal, Timestamp::now()) {
                    warn!(url = self.url, "{refusal}");
                }
                Ok(())
            }
            BrokerEvent::Lost(error) => self.lost(&error),
        }
    }

    fn connected(&mut self) -> Result<(), store::StoreError> {
        self.metrics.connected.set(true);
        if self.known && self.phase == PublishPhase::Running {
            self.sending.hold(SETTLE);
        }
        if self.outage.over() || !self.known {
            self.known = true;
            info!(url = self.url, "connected to the broker");
        }
        self.sending.connected();
        self.subscribing.connected(&mut self.sending, &self.house.topics);
        self.tell_everything()
    }

    /// Other rules: entities of those that went are taken back, and those of new ones announced.
    fn rules(&mut self, rules: Vec<Rule>) -> Result<(), store::StoreError> {
        self.house.follow(rules);
        if self.sending.is_connected() { self.tell_everything() } else { Ok(()) }
    }

    fn tell_everything(&mut self) -> Result<(), store::StoreError> {
        let retained = self.sending.retained()?;
        if retained.is_none() {
            // The store is in trouble; what it holds is told when it works again.
            self.tell_at = Some(Instant::now() + RETRY);
        }
        let announcement = self.house.announcement(retained.unwrap_or_default());
        self.sending.announce(announcement);
        self.health()
    }

    fn acknowledged(&mut self, packet: u16) -> Result<(), store::StoreError> {
        match self.sending.acknowledged(packet) {
            Some(OutgoingKind::Discovery) => match self.house.announced() {
                Some(note) => self.sending.write(|store| store.set_note(ANNOUNCED, &note)).map(drop),
                None => Ok(()),
            },
            Some(OutgoingKind::Swept) => {
                self.subscribing.swept(&self.sending, &self.house.topics);
                Ok(())
            }
            Some(OutgoingKind::Farewell) => {
                self.farewell_heard = true;
                self.phase = PublishPhase::Done;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn message(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), store::StoreError> {
        if topic == self.house.topics.home_assistant() {
            if payload == payload::ONLINE.as_bytes() && !retain {
                self.sending.release();
                let jitter = Duration::from_secs_f64(rand::random::<f64>() * JITTER_S);
                self.tell_at = Some(Instant::now() + jitter);
            }
            return Ok(());
        }
        if let Some(answer) = self.answering.take(&self.house.topics, topic, payload, retain)
            && self.sending.write(|store| store.enqueue(std::slice::from_ref(&answer)))?.is_none()
        {
            // A disk that is full is no reason to be silent.
            self.sending.announce([(OutgoingKind::Own, answer)]);
        }
        Ok(())
    }

    fn lost(&mut self, error: &client::Error) -> Result<(), store::StoreError> {
        self.metrics.connected.set(false);
        self.metrics.commands_ok.set(false);
        self.subscribing.lost(matches!(error, client::Error::TooLong { .. }));
        let reason = error.to_string();
        if self.outage.is_new_failure(&reason, Timestamp::now()) {
            warn!(url = self.url, "{reason}; messages wait in the outbox");
        }
        self.tell_at = None;
        if self.phase != PublishPhase::Running {
            // The outbox is on disk, and the broker says "offline" for us.
            self.phase = PublishPhase::Done;
        }
        self.sending.lost()
    }

    fn health(&mut self) -> Result<(), store::StoreError> {
        self.sending.look()?;
        let topics = &self.house.topics;
        let message = payload::health(topics, MessageHeader::now(), &self.metrics, self.meter.read());
        self.sending.health(message);
        Ok(())
    }

    fn publish_qos0(&self, said: &Hypothesis) {
        self.sending.publish_qos0(&payload::interim(&self.house.topics, MessageHeader::now(), said));
    }

    /// Sends what may be sent, and takes the next step of the end when there is nothing more.
    fn pump(&mut self) -> Result<(), store::StoreError> {
        self.sending.pump()?;
        if let PublishPhase::Emptying(until) = self.phase
            && self.sending.is_connected()
            && self.sending.is_idle()
        {
            self.farewell(until);
        }
        Ok(())
    }
}
