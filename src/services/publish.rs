//! The publish service: the task that sends the outbox to the broker and takes commands from it.
//!
//! It joins outbox, client and commands, and decides what is sent when a connection is made, when Home Assistant starts, every
//! 30 s, and at the end. Other services put messages into the outbox, and carry commands out. It never waits for a broker in
//! order to store, and an outage, a full disk or a bad command never ends it.
//!
//! SQLite blocks: for a millisecond when it reads, for as long as the disk needs when it writes. The task does so in place
//! ([`tokio::task::block_in_place`] on a runtime with several threads): nobody but this task waits, and a connection whose
//! keep-alive is 30 s does not mind.

mod command_check;
mod command_intake;
mod discovery_state;
mod events;
mod incoming;
mod interim;
mod outbox_sender;
mod shutdown;
mod timers;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::outbox::guarded_store::RETRY;
use super::process_cost::ProcessMeter;
use super::{Context, ServiceError};
use crate::commands::Request;
use crate::commands::microphone::MicrophoneState;
use crate::config::Rule;
use crate::event::Hypothesis;
use crate::live::LiveEvent;
use crate::mqtt::client::{self, BrokerEvent, Connection};
use crate::mqtt::payload::{self, MessageHeader, NodeInfo};
use crate::mqtt::retry::OutageLog;
use crate::store::{self, Store};
use crate::supervisor::Supervisor;

use command_check::CommandCheck;
use command_intake::CommandIntake;
use discovery_state::DiscoveryState;
use incoming::IncomingLog;
use outbox_sender::OutboxSender;
use shutdown::PublishPhase;
use timers::{Timers, at};

pub(crate) const NAME: &str = "publish";
/// How long the outbox may take to empty when hearth shuts down.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A broker that comes back accepts us before others have noticed: Home Assistant tries every 10 s. What it would miss for
/// ever, alerts first of all, waits so long, or until Home Assistant says that it is there.
const SETTLE: Duration = Duration::from_secs(12);

/// What only this service needs.
pub struct PublishInputs {
    pub client: client::ClientSettings,
    /// Versions and models, to be published.
    pub info: NodeInfo,
    /// They may change while hearth runs.
    pub rules: watch::Receiver<Vec<Rule>>,
    /// Where commands go. When it is full the sender of the command is told so.
    pub requests: mpsc::Sender<Request>,
    /// Whether the microphone is to listen: only the newest wish counts.
    pub microphone: watch::Sender<MicrophoneState>,
    /// How long the outbox may take to empty at the end.
    pub grace: Duration,
}

/// What was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishCounts {
    /// Messages that left, repeats included.
    pub published: u64,
    pub acknowledged: u64,
    /// Messages that stay in the outbox, on disk, for the next start.
    pub left: u64,
}

/// Starts the task. It empties the outbox and ends when the guard is dropped.
///
/// # Errors
/// The store cannot be opened.
pub(crate) fn spawn(
    supervisor: &mut Supervisor,
    context: &Context,
    inputs: PublishInputs,
) -> Result<DropGuard, ServiceError> {
    let stop = CancellationToken::new();
    let publish = run(context.clone(), context.open_store()?, inputs, stop.clone().cancelled_owned());
    supervisor.task(NAME, async move {
        publish.await?;
        Ok(())
    });
    Ok(stop.drop_guard())
}

/// Publishes until `drain` is ready, then empties the outbox for as long as the grace allows, publishes `offline` and ends.
///
/// # Errors
/// When the database is damaged or gone. A full disk is waited for, a broker too.
pub async fn run(
    context: Context,
    store: Store,
    inputs: PublishInputs,
    drain: impl Future<Output = ()>,
) -> Result<PublishCounts, store::StoreError> {
    let (sender, mut connection) = client::open(inputs.client.clone());
    let mut publisher = Publisher::open(context, store, sender, inputs)?;
    let mut timers = Timers::new();
    let mut drain = pin!(drain);
    while !publisher.is_done() {
        match publisher.next_event(&mut connection, &mut timers, drain.as_mut()).await? {
            Some(event) => publisher.handle(event)?,
            None if publisher.is_done() => {}
            // The broker acknowledges nothing any more.
            None => connection.abandon().try_for_each(|event| publisher.handle(event))?,
        }
    }
    publisher.finish(connection).await
}

/// The state of the task.
struct Publisher {
    context: Context,
    outbox: OutboxSender,
    discovery: DiscoveryState,
    commands: CommandIntake,
    command_check: CommandCheck,
    rules: watch::Receiver<Vec<Rule>>,
    outbox_changes: watch::Receiver<()>,
    /// Where interim transcripts come from; none where they are not published.
    interim: Option<broadcast::Receiver<Arc<LiveEvent>>>,
    url: String,
    outage: OutageLog,
    incoming: IncomingLog,
    /// There was a connection before.
    was_connected: bool,
    /// When everything is to be announced again.
    announce_at: Option<Instant>,
    phase: PublishPhase,
    /// The broker acknowledged `offline`.
    offline_acknowledged: bool,
    grace: Duration,
    process: ProcessMeter,
}

impl Publisher {
    fn open(
        context: Context,
        mut store: Store,
        sender: client::MqttSender,
        inputs: PublishInputs,
    ) -> Result<Self, store::StoreError> {
        let PublishInputs { client, info, mut rules, requests, microphone, grace } = inputs;
        match discovery_state::remove_former_topics(&mut store, &context.topics) {
            Err(error) if error.may_pass() => {
                warn!(%error, "what a former name left behind is taken back at the next start")
            }
            done => done?,
        }
        let discovery = DiscoveryState::open(&context, &store, rules.borrow_and_update().clone(), info)?;
        let interim = context.config.mqtt.interim.then(|| context.live_feed.subscribe().1);
        Ok(Self {
            outbox: OutboxSender::open(&context, store, sender, &client)?,
            discovery,
            commands: CommandIntake::new(
                requests,
                microphone,
                context.config.has_audio_source(),
                context.config.mqtt.clone(),
                std::time::Instant::now(),
            ),
            command_check: CommandCheck::new(client.clone()),
            rules,
            outbox_changes: context.outbox_changes(),
            interim,
            url: client.url().to_string(),
            outage: OutageLog::default(),
            incoming: IncomingLog::default(),
            was_connected: false,
            announce_at: None,
            phase: PublishPhase::Running,
            offline_acknowledged: false,
            grace,
            process: ProcessMeter::default(),
            context,
        })
    }

    fn is_done(&self) -> bool {
        self.phase == PublishPhase::Done
    }

    /// Sends what is due until the client has something to report. None when the task is done, or the connection is stalled.
    async fn next_event(
        &mut self,
        connection: &mut Connection,
        timers: &mut Timers,
        mut drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<BrokerEvent>, store::StoreError> {
        if self.outbox.asks_packet_limit() {
            connection.ask_packet_limit();
        }
        // The poll is kept until it is ready, since an attempt to connect takes longer than what else happens here.
        let mut poll = pin!(connection.poll());
        loop {
            self.send_due()?;
            if self.is_done() || self.outbox.is_stalled() {
                return Ok(None);
            }
            let deadline = self.next_deadline();
            tokio::select! {
                event = &mut poll => return Ok(Some(event)),
                Ok(()) = self.outbox_changes.changed() => {}
                () = &mut drain, if self.phase == PublishPhase::Running => self.begin_shutdown(),
                () = at(deadline) => self.deadline_passed()?,
                _ = timers.heartbeat.tick() => self.context.metrics.publishing_heartbeat.beat(),
                _ = timers.health.tick() => self.queue_health()?,
                hypothesis = interim::next(&mut self.interim) => self.publish_interim(&hypothesis),
                Ok(()) = self.rules.changed() => self.follow_rules()?,
                needed = self.command_check.diagnosed() => self.set_commands_needed(Some(needed))?,
            }
        }
    }

    /// Sends what may be sent, and takes the next step of the shutdown when there is nothing more.
    fn send_due(&mut self) -> Result<(), store::StoreError> {
        self.outbox.pump()?;
        if let PublishPhase::Emptying(until) = self.phase
            && self.outbox.is_connected()
            && self.outbox.is_idle()
        {
            self.send_offline(until);
        }
        Ok(())
    }

    /// Other rules: entities of those that went are removed, and those of new ones announced.
    fn follow_rules(&mut self) -> Result<(), store::StoreError> {
        self.discovery.set_rules(self.rules.borrow_and_update().clone());
        if self.outbox.is_connected() { self.announce_everything() } else { Ok(()) }
    }

    fn announce_everything(&mut self) -> Result<(), store::StoreError> {
        let retained = self.outbox.retained()?;
        if retained.is_none() {
            // The store fails; what it holds is announced when it works again.
            self.announce_at = Some(Instant::now() + RETRY);
        }
        let limit = self.outbox.packet_limit();
        let announcement = self.discovery.announcement(&self.context.topics, retained.unwrap_or_default(), limit);
        self.outbox.announce(announcement);
        self.queue_health()
    }

    fn queue_health(&mut self) -> Result<(), store::StoreError> {
        self.outbox.refresh()?;
        let message =
            payload::health(&self.context.topics, MessageHeader::now(), &self.context.metrics, self.process.read());
        self.outbox.set_health(message);
        Ok(())
    }

    fn publish_interim(&mut self, hypothesis: &Hypothesis) {
        self.outbox.publish_qos0(&payload::interim(&self.context.topics, MessageHeader::now(), hypothesis));
    }
}
