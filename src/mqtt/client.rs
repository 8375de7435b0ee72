//! The connection to the broker, over rumqttc.
//!
//! Nothing is queued here over a lost connection: what the library still held is thrown away, since the outbox has it. Which
//! messages are in flight is the task of [`super::inflight`].
//!
//! rumqttc alone is not a reliable queue: with its default clean session it silently loses messages that it accepted before
//! a connection broke. So its state is replaced after each loss. Its event loop must never be dropped during a poll, or a
//! packet may be lost between its bookkeeping and the socket: keep the future of [`Connection::poll`] until it is ready.

mod explain;
mod probe;
mod settings;

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::{
    AsyncClient, EventLoop, Incoming, LastWill, MqttOptions, MqttState, Outgoing, Publish, QoS, SubscribeFilter,
    TlsConfiguration, Transport,
};
use tokio::time::Instant;

use super::payload;
use super::retry::Backoff;
use crate::event::Message;

pub use probe::probe;
pub(crate) use probe::{end_persistent_session, probe_commands, probe_own};
pub(crate) use settings::credentials;
pub use settings::{ClientError, ClientSettings};

/// The largest packet in either direction, in bytes. A message that does not fit is refused before it is sent: the library
/// would reconnect for ever. An incoming one breaks the connection, so that others cannot fill this machine's memory.
pub(crate) const MAX_PACKET: usize = 1 << 20;
/// The role (suffix of the client id) of [`persistent_session`].
const PERSISTENT_ROLE: &str = "nodes";
/// The largest packet that MQTT allows, in bytes.
const LARGEST_PACKET: usize = 256 << 20;
/// A connection that lasted this long counts as a success: the back-off starts again.
const STEADY: Duration = Duration::from_secs(10);
/// Packet ids the library uses. It stalls when it wraps around to one that is not acknowledged yet, so there are more than
/// [`super::inflight::WINDOW`].
const INFLIGHT: u16 = 32;
/// Requests the library queues before they are sent: the window, subscriptions and a DISCONNECT.
const CAPACITY: usize = 32;

impl ClientSettings {
    /// The client id of an additional connection, beside the main one.
    fn id_for_role(&self, role: &str) -> String {
        format!("{}_{role}", self.client_id)
    }

    fn options(&self) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.host, self.port);
        options
            .set_keep_alive(self.keep_alive)
            .set_clean_session(true)
            .set_inflight(INFLIGHT)
            .set_max_packet_size(MAX_PACKET, MAX_PACKET);
        if let Some((user, password)) = &self.credentials {
            options.set_credentials(user, password);
        }
        if let Some(tls) = &self.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        }
        options
    }
}

/// What happened on the connection.
#[derive(Debug)]
pub enum BrokerEvent {
    /// The broker accepted the connection. Nothing of an earlier connection is left except, when we are `known`, the
    /// messages that the broker kept for this client.
    Connected { known: bool },
    /// The oldest message given to `MqttSender::try_publish` was sent with this packet id.
    Sent(u16),
    /// The broker acknowledged the message with this packet id.
    Acknowledged(u16),
    Message {
        topic: String,
        payload: Vec<u8>,
        retain: bool,
        /// The packet id for [`MqttSender::acknowledge`]; 0 if it needs no acknowledgement.
        packet: u16,
    },
    /// The broker accepted a subscription.
    Subscribed,
    /// The broker refused a subscription.
    SubscriptionRefused,
    /// The connection failed or ended. The next poll waits and connects again.
    Lost(ClientError),
}

/// Why a message was not accepted for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishRefusal {
    /// Too many requests are queued; try again after the next event.
    Busy,
    /// It can never be sent: it is too long or its topic is not valid.
    Never,
}

/// The sending half of a client.
#[derive(Clone, Debug)]
pub struct MqttSender(AsyncClient);

impl MqttSender {
    /// Queues a message with QoS 1. It was sent only when [`BrokerEvent::Sent`] says so.
    ///
    /// # Errors
    /// The queue is full, or the message can never be sent.
    pub(crate) fn try_publish(&self, message: &Message) -> Result<(), PublishRefusal> {
        let Message { topic, payload, retain, .. } = message;
        let fits = topic.len() + payload.len() + 16 <= MAX_PACKET && topic.len() <= usize::from(u16::MAX);
        if !fits || topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(PublishRefusal::Never);
        }
        self.0.try_publish(topic, QoS::AtLeastOnce, *retain, payload.as_bytes()).map_err(|_| PublishRefusal::Busy)
    }

    /// Sends a message with QoS 0: at most once, without acknowledgement. It is dropped if the queue is full.
    pub(crate) fn publish_qos0(&self, message: &Message) {
        let Message { topic, payload, retain, .. } = message;
        // A full queue: a later message will replace this one.
        let _ = self.0.try_publish(topic, QoS::AtMostOnce, *retain, payload.as_bytes());
    }

    /// Subscribes to all of `filters`, with QoS 1.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn subscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        let filters = filters.into_iter().map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).map_err(|_| PublishRefusal::Busy)
    }

    /// Unsubscribes from all of `filters`.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn unsubscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        filters.into_iter().try_for_each(|filter| self.0.try_unsubscribe(filter).map_err(|_| PublishRefusal::Busy))
    }

    /// Acknowledges a received message, on a connection of [`persistent_session`].
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn acknowledge(&self, packet: u16) -> Result<(), PublishRefusal> {
        let mut message = Publish::new("", QoS::AtLeastOnce, "");
        message.pkid = packet;
        self.0.try_ack(&message).map_err(|_| PublishRefusal::Busy)
    }

    /// Disconnects. The next [`BrokerEvent::Lost`] is then no failure.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn disconnect(&self) -> Result<(), PublishRefusal> {
        self.0.try_disconnect().map_err(|_| PublishRefusal::Busy)
    }
}

/// The half of a client that must be polled for anything to happen.
pub struct Connection {
    settings: ClientSettings,
    events: EventLoop,
    /// Events that were received but not yet returned by [`Connection::poll`].
    seen: VecDeque<BrokerEvent>,
    back_off: Backoff,
    not_before: Option<Instant>,
    connected: Option<Instant>,
}

/// The main client. It connects when polled; the broker publishes `offline` for it (its will) when it dies.
pub fn open(settings: ClientSettings) -> (MqttSender, Connection) {
    let mut options = settings.options();
    let offline = payload::OFFLINE.as_bytes();
    options.set_last_will(LastWill::new(&settings.status, offline, QoS::AtLeastOnce, true));
    connect(settings, options)
}

/// An additional client with `role` as suffix of its id, without a will. It accepts packets of any size.
pub(crate) fn observe(settings: ClientSettings, role: &str) -> (MqttSender, Connection) {
    let mut options = settings.options();
    options.set_client_id(settings.id_for_role(role)).set_max_packet_size(LARGEST_PACKET, MAX_PACKET);
    connect(settings, options)
}

/// A client with a persistent session: the broker keeps every message that it subscribed to until it is acknowledged, also
/// while the client is not connected. It accepts packets of any size: one that it refused would be sent again for ever.
pub fn persistent_session(settings: ClientSettings) -> (MqttSender, Connection) {
    let mut options = settings.options();
    options
        .set_client_id(settings.id_for_role(PERSISTENT_ROLE))
        .set_max_packet_size(LARGEST_PACKET, MAX_PACKET)
        .set_clean_session(false)
        .set_manual_acks(true);
    connect(settings, options)
}

fn connect(settings: ClientSettings, options: MqttOptions) -> (MqttSender, Connection) {
    let (sender, events) = start(options);
    let seen = VecDeque::new();
    let connection =
        Connection { settings, events, seen, back_off: Backoff::default(), not_before: None, connected: None };
    (MqttSender(sender), connection)
}

fn start(options: MqttOptions) -> (AsyncClient, EventLoop) {
    let (sender, mut events) = AsyncClient::new(options, CAPACITY);
    // Packets are small in both directions: Nagle's algorithm would delay each by up to 40 ms.
    let mut network = events.network_options();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (sender, events)
}

impl Connection {
    /// The next event. After a loss it waits, longer each time, and connects again.
    pub async fn poll(&mut self) -> BrokerEvent {
        loop {
            if let Some(event) = self.seen.pop_front() {
                return event;
            }
            if let Some(instant) = self.not_before {
                tokio::time::sleep_until(instant).await;
                self.not_before = None;
            }
            if self.connected.is_none() {
                // More may have been queued between the loss and the moment its event was returned.
                self.discard_queued();
            }
            match self.events.poll().await {
                Ok(event) => {
                    if let Some(event) = translate(event) {
                        if matches!(event, BrokerEvent::Connected { .. }) {
                            self.connected = Some(Instant::now());
                        }
                        return event;
                    }
                }
                Err(error) => self.lose(|settings, lasted| settings.explain(lasted, error)),
            }
        }
    }

    /// Discards what the library would send by itself on the next connection.
    fn discard_queued(&mut self) {
        self.events.clean();
        self.events.pending.clear();
    }

    /// Drops the connection to a broker that answers but does not acknowledge. Returns the events until then, and the loss.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = BrokerEvent> {
        self.lose(|settings, _| ClientError::Unacknowledged {
            url: settings.url.clone(),
            seconds: settings.acknowledge_timeout().as_secs(),
        });
        self.seen.drain(..)
    }

    /// Queues the events that came before the connection ended, then the loss.
    fn lose(&mut self, explain: impl FnOnce(&ClientSettings, Option<Duration>) -> ClientError) {
        let received: Vec<_> = self.events.state.events.drain(..).collect();
        self.seen.extend(received.into_iter().filter_map(translate));
        self.discard_queued();
        self.events.state = MqttState::new(INFLIGHT, self.events.mqtt_options.manual_acks());
        let lasted = self.connected.take().map(|since| since.elapsed());
        // A broker that ends the connection at once, say because another client has the same id, is no success.
        if lasted.is_some_and(|lasted| lasted >= STEADY) {
            self.back_off.succeeded();
        }
        self.not_before = Some(Instant::now() + self.back_off.failed(rand::random()));
        self.seen.push_back(BrokerEvent::Lost(explain(&self.settings, lasted)));
    }
}

fn translate(event: rumqttc::Event) -> Option<BrokerEvent> {
    match event {
        rumqttc::Event::Incoming(Incoming::ConnAck(ack)) => Some(BrokerEvent::Connected { known: ack.session_present }),
        rumqttc::Event::Incoming(Incoming::PubAck(ack)) => Some(BrokerEvent::Acknowledged(ack.pkid)),
        rumqttc::Event::Incoming(Incoming::Publish(publish)) => {
            let Publish { topic, payload, retain, pkid: packet, .. } = publish;
            Some(BrokerEvent::Message { topic, payload: payload.to_vec(), retain, packet })
        }
        rumqttc::Event::Incoming(Incoming::SubAck(ack)) => {
            let refused = ack.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure);
            Some(if refused { BrokerEvent::SubscriptionRefused } else { BrokerEvent::Subscribed })
        }
        rumqttc::Event::Outgoing(Outgoing::Publish(packet)) if packet != 0 => Some(BrokerEvent::Sent(packet)),
        _ => None,
    }
}
