//! The connection to the broker, with the packets of rumqttc.
//!
//! Nothing is queued here over a lost connection, since the outbox has it. Which messages are in flight is the task of
//! [`super::inflight`].
//!
//! A message that is longer than [`MAX_PACKET`] is dropped while it arrives, and told as [`BrokerEvent::TooLong`]: memory stays
//! bounded, whatever others send, and the connection goes on.

mod explain;
mod packet_limit;
mod packets;
mod permissions;
mod probe;
mod session;
mod settings;

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::mqttbytes::v4::{Connect, Disconnect, LastWill, Login, PubAck, Publish, Subscribe, Unsubscribe};
use rumqttc::{QoS, Request, SubscribeFilter};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::session::{Session, SessionError};

use super::payload;
use super::retry::Backoff;
use crate::event::Message;

pub(crate) use packet_limit::longest_payload;
pub use packet_limit::{PacketLimit, ask_packet_limit, packet_bytes};
pub(crate) use permissions::missing_permissions;
pub use probe::probe;
pub(crate) use probe::{end_persistent_session, probe_commands, probe_own};
pub(crate) use settings::credentials;
pub use settings::{ClientError, ClientSettings};

/// The largest packet in either direction, in bytes, without its first two to five. A message that does not fit is refused before
/// it is sent.
pub(crate) const MAX_PACKET: usize = 1 << 20;
/// The role (suffix of the client id) of [`persistent_session`].
const PERSISTENT_ROLE: &str = "nodes";
/// A connection that lasted this long counts as a success: the back-off starts again.
const STEADY: Duration = Duration::from_secs(10);
/// Packet ids that rumqttc uses. It stalls when it wraps around to one that is not acknowledged yet, so there are more than
/// [`super::inflight::WINDOW`].
const INFLIGHT: u16 = 32;
/// Requests that are queued before they are sent: the window, subscriptions and a DISCONNECT.
const CAPACITY: usize = 32;

impl ClientSettings {
    /// The client id of an additional connection, beside the main one.
    fn id_for_role(&self, role: &str) -> String {
        format!("{}_{role}", self.client_id)
    }

    /// The packet that asks for a clean session.
    fn connect(&self, client_id: String) -> Connect {
        let login = self.credentials.as_ref().map(|(user, password)| Login::new(user, password));
        // Keep-alive intervals are seconds or minutes.
        let keep_alive = u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX);
        Connect { keep_alive, login, ..Connect::new(client_id) }
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
    /// A message whose payload of so many bytes was dropped, because it is too long. It is acknowledged like any other.
    TooLong { topic: String, bytes: usize, retain: bool, packet: u16 },
    /// A message that is too long is arriving: until all of it has come nothing else can, acknowledgements included.
    Dropping,
    /// The broker accepted a subscription.
    Subscribed,
    /// The broker refused a subscription.
    SubscriptionRefused,
    /// What the broker says about the longest packet it takes, after [`Connection::ask_packet_limit`].
    PacketLimit(PacketLimit),
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
pub struct MqttSender(mpsc::Sender<Request>);

impl MqttSender {
    /// Queues a message with QoS 1. It was sent only when [`BrokerEvent::Sent`] says so.
    ///
    /// # Errors
    /// The queue is full, or the message can never be sent.
    pub(crate) fn try_publish(&self, message: &Message) -> Result<(), PublishRefusal> {
        let Message { topic, payload, retain, .. } = message;
        let fits = packet_bytes(message) <= MAX_PACKET && topic.len() <= usize::from(u16::MAX);
        if !fits || topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(PublishRefusal::Never);
        }
        self.queue(Request::Publish(Publish {
            retain: *retain,
            ..Publish::new(topic, QoS::AtLeastOnce, payload.as_str())
        }))
    }

    /// Sends a message with QoS 0: at most once, without acknowledgement. It is dropped if the queue is full.
    pub(crate) fn publish_qos0(&self, message: &Message) {
        let Message { topic, payload, retain, .. } = message;
        // A full queue: a later message will replace this one.
        let _ = self.queue(Request::Publish(Publish {
            retain: *retain,
            ..Publish::new(topic, QoS::AtMostOnce, payload.as_str())
        }));
    }

    /// Subscribes to all of `filters`, with QoS 1.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn subscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        let filters = filters.into_iter().map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
        self.queue(Request::Subscribe(Subscribe::new_many(filters)))
    }

    /// Unsubscribes from all of `filters`.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn unsubscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        filters.into_iter().try_for_each(|filter| self.queue(Request::Unsubscribe(Unsubscribe::new(filter))))
    }

    /// Acknowledges a received message, on a connection of [`persistent_session`].
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn acknowledge(&self, packet: u16) -> Result<(), PublishRefusal> {
        self.queue(Request::PubAck(PubAck::new(packet)))
    }

    /// Disconnects. The next [`BrokerEvent::Lost`] is then no failure.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn disconnect(&self) -> Result<(), PublishRefusal> {
        self.queue(Request::Disconnect(Disconnect))
    }

    fn queue(&self, request: Request) -> Result<(), PublishRefusal> {
        self.0.try_send(request).map_err(|_| PublishRefusal::Busy)
    }
}

/// The half of a client that must be polled for anything to happen.
pub struct Connection {
    settings: ClientSettings,
    connect: Connect,
    manual_acks: bool,
    requests: mpsc::Receiver<Request>,
    session: Option<Session>,
    /// Events that were received but not yet returned by [`Connection::poll`].
    seen: VecDeque<BrokerEvent>,
    back_off: Backoff,
    not_before: Option<Instant>,
    connected: Option<Instant>,
    /// The broker is asked for its limit before the next connection.
    asks_limit: bool,
}

/// The main client. It connects when polled; the broker publishes `offline` for it (its will) when it dies.
pub fn open(settings: ClientSettings) -> (MqttSender, Connection) {
    let will = LastWill::new(&settings.status, payload::OFFLINE.as_bytes(), QoS::AtLeastOnce, true);
    let connect = Connect { last_will: Some(will), ..settings.connect(settings.client_id.clone()) };
    start(settings, connect, false)
}

/// An additional client with `role` as suffix of its id, without a will.
pub(crate) fn observe(settings: ClientSettings, role: &str) -> (MqttSender, Connection) {
    let connect = settings.connect(settings.id_for_role(role));
    start(settings, connect, false)
}

/// A client with a persistent session: the broker keeps every message that it subscribed to until it is acknowledged, also
/// while the client is not connected.
pub fn persistent_session(settings: ClientSettings) -> (MqttSender, Connection) {
    let connect = Connect { clean_session: false, ..settings.connect(settings.id_for_role(PERSISTENT_ROLE)) };
    start(settings, connect, true)
}

fn start(settings: ClientSettings, connect: Connect, manual_acks: bool) -> (MqttSender, Connection) {
    let (sender, requests) = mpsc::channel(CAPACITY);
    let connection = Connection {
        settings,
        connect,
        manual_acks,
        requests,
        session: None,
        seen: VecDeque::new(),
        back_off: Backoff::default(),
        not_before: None,
        connected: None,
        asks_limit: false,
    };
    (MqttSender(sender), connection)
}

impl Connection {
    /// The next event. After a loss it waits, longer each time, and connects again. A poll that is dropped loses nothing but
    /// an attempt to connect.
    pub async fn poll(&mut self) -> BrokerEvent {
        loop {
            if let Some(event) = self.seen.pop_front() {
                return event;
            }
            if let Some(instant) = self.not_before {
                tokio::time::sleep_until(instant).await;
                self.not_before = None;
            }
            if self.session.is_none() && self.asks_limit {
                let told = ask_packet_limit(&self.settings).await;
                self.asks_limit = false;
                return BrokerEvent::PacketLimit(told);
            }
            let done = match &mut self.session {
                Some(session) => session.step(&mut self.requests, &mut self.seen).await,
                None => self.connect().await,
            };
            if let Err(error) = done {
                self.lose(|settings, lasted| settings.explain(lasted, error));
            }
        }
    }

    /// Before the next connection is made, the broker is asked for the longest packet it takes.
    pub(crate) fn ask_packet_limit(&mut self) {
        self.asks_limit = true;
    }

    async fn connect(&mut self) -> Result<(), SessionError> {
        let (session, known) = Session::connect(&self.settings, self.connect.clone(), self.manual_acks).await?;
        // What was queued before belongs to no connection, or to one that is lost: the outbox has it.
        while self.requests.try_recv().is_ok() {}
        self.session = Some(session);
        self.connected = Some(Instant::now());
        self.seen.push_back(BrokerEvent::Connected { known });
        Ok(())
    }

    /// Drops the connection to a broker that answers but does not acknowledge. Returns the events until then, and the loss.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = BrokerEvent> {
        self.lose(|settings, _| ClientError::Unacknowledged {
            url: settings.url.clone(),
            seconds: settings.acknowledge_timeout().as_secs(),
        });
        self.seen.drain(..)
    }

    /// Queues the loss, after the events that came before the connection ended.
    fn lose(&mut self, explain: impl FnOnce(&ClientSettings, Option<Duration>) -> ClientError) {
        self.session = None;
        let lasted = self.connected.take().map(|since| since.elapsed());
        // A broker that ends the connection at once, say because another client has the same id, is no success.
        if lasted.is_some_and(|lasted| lasted >= STEADY) {
            self.back_off.succeeded();
        }
        self.not_before = Some(Instant::now() + self.back_off.failed(rand::random()));
        self.seen.push_back(BrokerEvent::Lost(explain(&self.settings, lasted)));
    }
}
