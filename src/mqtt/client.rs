//! The wire to the broker.
//!
//! Owns rumqttc, the connection's settings, the waits between attempts, and what an error means to the household ([`ClientError`]). Refuses
//! to know what is worth sending and when: see [`super::inflight`]. Invariant: nothing is queued here over a lost
//! connection; what the library still held is thrown away, since the outbox has it.
//!
//! rumqttc on its own is no queue: with its default clean session it silently loses what was accepted before a connection
//! broke. Hence its state is made anew after each loss. Its event loop must also never be dropped in the middle of a poll,
//! or a packet may be lost between its books and the wire: keep the future of [`Connection::poll`] until it is ready.

mod explain;
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

pub use settings::{ClientError, ClientSettings, credentials};

/// The largest packet either way. A message that does not fit is refused before it is sent: the library would reconnect
/// for ever over it. One that comes breaks the connection, so a machine with little memory is not filled by others.
pub const MAX_PACKET: usize = 1 << 20;
/// The client that the broker keeps messages for.
const PERSISTENT_ROLE: &str = "nodes";
/// No packet of MQTT is larger.
const LARGEST_PACKET: usize = 256 << 20;
/// A connection that lasted this long was a good one.
const STEADY: Duration = Duration::from_secs(10);
/// Packet ids the library uses. It stalls when it comes round to one that is still open, so it has more than the window.
const INFLIGHT: u16 = 32;
/// Requests the library takes before they are on the wire: the window, subscriptions and a farewell.
const CAPACITY: usize = 32;

impl ClientSettings {
    /// The name of a client beside a hearth's own.
    fn beside(&self, role: &str) -> String {
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

/// What happened on the wire.
#[derive(Debug)]
pub enum BrokerEvent {
    /// The broker took us in; nothing of an earlier connection is left but, when we are `known`, what it kept for us.
    Connected { known: bool },
    /// The oldest message that was handed over left under this packet id.
    Sent(u16),
    /// The broker has the message of this packet id.
    Acknowledged(u16),
    Message {
        topic: String,
        payload: Vec<u8>,
        retain: bool,
        /// By which it is acknowledged; 0 when nobody waits for that.
        packet: u16,
    },
    /// The broker passes on what we subscribed to, from now on.
    Subscribed,
    /// The broker does not let us listen to a topic.
    SubscriptionRefused,
    /// There is no connection, or none any more; the next poll waits a while and tries again.
    Lost(ClientError),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishRefusal {
    /// Too much is under way; try again after the next event.
    Busy,
    /// It can never be sent: it is too long or its topic is none.
    Never,
}

/// The half that sends.
#[derive(Clone, Debug)]
pub struct MqttSender(AsyncClient);

impl MqttSender {
    /// Hands a message over, with QoS 1. It is on its way only when [`BrokerEvent::Sent`] says so.
    pub fn try_publish(&self, message: &Message) -> Result<(), PublishRefusal> {
        let Message { topic, payload, retain, .. } = message;
        let fits = topic.len() + payload.len() + 16 <= MAX_PACKET && topic.len() <= usize::from(u16::MAX);
        if !fits || topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(PublishRefusal::Never);
        }
        self.0.try_publish(topic, QoS::AtLeastOnce, *retain, payload.as_bytes()).map_err(|_| PublishRefusal::Busy)
    }

    /// Hands over what is worth nothing later, with QoS 0: nobody tells whether it arrived.
    pub fn publish_qos0(&self, message: &Message) {
        let Message { topic, payload, retain, .. } = message;
        // Too much is under way: then it is not worth its place.
        let _ = self.0.try_publish(topic, QoS::AtMostOnce, *retain, payload.as_bytes());
    }

    /// Subscribes to all of `filters`, with QoS 1.
    pub fn subscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        let filters = filters.into_iter().map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).map_err(|_| PublishRefusal::Busy)
    }

    /// Takes back subscriptions.
    pub fn unsubscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        filters.into_iter().try_for_each(|filter| self.0.try_unsubscribe(filter).map_err(|_| PublishRefusal::Busy))
    }

    /// Tells the broker that a message is ours to keep, on a connection of [`persistent_session`].
    pub fn acknowledge(&self, packet: u16) -> Result<(), PublishRefusal> {
        let mut message = Publish::new("", QoS::AtLeastOnce, "");
        message.pkid = packet;
        self.0.try_ack(&message).map_err(|_| PublishRefusal::Busy)
    }

    /// Says goodbye; the next [`BrokerEvent::Lost`] is then no failure.
    pub fn disconnect(&self) -> Result<(), PublishRefusal> {
        self.0.try_disconnect().map_err(|_| PublishRefusal::Busy)
    }
}

/// The half that must be polled for anything to happen.
pub struct Connection {
    settings: ClientSettings,
    events: EventLoop,
    /// Seen on the wire, not yet told.
    seen: VecDeque<BrokerEvent>,
    back_off: Backoff,
    not_before: Option<Instant>,
    connected: Option<Instant>,
}

/// A client that will connect when it is polled, and whose end is told by its will.
pub fn open(settings: ClientSettings) -> (MqttSender, Connection) {
    let mut options = settings.options();
    let offline = payload::OFFLINE.as_bytes();
    options.set_last_will(LastWill::new(&settings.status, offline, QoS::AtLeastOnce, true));
    connect(settings, options)
}

/// A client beside a hearth's own, under the name `role`, without a will; it takes whatever a broker may hold.
pub fn observe(settings: ClientSettings, role: &str) -> (MqttSender, Connection) {
    let mut options = settings.options();
    options.set_client_id(settings.beside(role)).set_max_packet_size(LARGEST_PACKET, MAX_PACKET);
    connect(settings, options)
}

/// A client for which the broker keeps every message that it subscribed to until it is acknowledged, also while it is away.
/// It takes whatever a broker may hold: one that it refused would come again for ever.
pub fn persistent_session(settings: ClientSettings) -> (MqttSender, Connection) {
    let mut options = settings.options();
    options
        .set_client_id(settings.beside(PERSISTENT_ROLE))
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
    // Small packets both ways: waiting to fill one costs 40 ms each time.
    let mut network = events.network_options();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (sender, events)
}

impl Connection {
    /// The next thing that happens on the wire. After a loss it waits, longer each time, and connects again.
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
                // Between a loss and our telling of it, more may have been handed over.
                self.forget();
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

    /// Throws away what the library would send of its own accord on the next connection.
    fn forget(&mut self) {
        self.events.clean();
        self.events.pending.clear();
    }

    /// Leaves a broker that lives and does not do its part. What happened until then, and the loss.
    pub fn leave(&mut self) -> impl Iterator<Item = BrokerEvent> {
        self.lose(|settings, _| ClientError::Unacknowledged {
            url: settings.url.clone(),
            seconds: settings.acknowledge_timeout().as_secs(),
        });
        self.seen.drain(..)
    }

    /// Ends with whatever the broker said before the connection went away, then the loss.
    fn lose(&mut self, explain: impl FnOnce(&ClientSettings, Option<Duration>) -> ClientError) {
        let told: Vec<_> = self.events.state.events.drain(..).collect();
        self.seen.extend(told.into_iter().filter_map(translate));
        self.forget();
        self.events.state = MqttState::new(INFLIGHT, self.events.mqtt_options.manual_acks());
        let lasted = self.connected.take().map(|since| since.elapsed());
        // A broker that throws us out at once, say because another client uses our name, is no success.
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

/// Connects once, as `hearth check` does, without disturbing a hearth that is running.
///
/// # Errors
/// When the broker does not take us in within `timeout`.
pub async fn probe(settings: &ClientSettings, timeout: Duration) -> Result<(), ClientError> {
    once(settings, "check", timeout).await
}

/// Has the broker forget what it keeps for a client of [`persistent_session`].
///
/// # Errors
/// When the broker does not take us in within `timeout`.
pub async fn forget(settings: &ClientSettings, timeout: Duration) -> Result<(), ClientError> {
    once(settings, PERSISTENT_ROLE, timeout).await
}

async fn once(settings: &ClientSettings, role: &str, timeout: Duration) -> Result<(), ClientError> {
    let mut options = settings.options();
    options.set_client_id(settings.beside(role));
    let (sender, mut events) = start(options);
    let seconds = timeout.as_secs();
    match tokio::time::timeout(timeout, events.poll()).await {
        Err(_) => return Err(ClientError::Silent { url: settings.url.clone(), seconds }),
        Ok(Err(error)) => return Err(settings.explain(None, error)),
        Ok(Ok(_)) => {}
    }
    if sender.try_disconnect().is_ok() {
        // The farewell is a courtesy: whether it arrives does not matter.
        let _ = tokio::time::timeout(timeout, events.poll()).await;
    }
    Ok(())
}
