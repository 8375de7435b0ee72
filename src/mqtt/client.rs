//! The wire to the broker.
//!
//! Owns rumqttc, the connection's settings, the waits between attempts, and what an error means to the household. Refuses
//! to know what is worth sending and when: see [`super::delivery`]. Invariant: nothing is queued here over a lost
//! connection; what the library still held is thrown away, since the outbox has it.
//!
//! rumqttc on its own is no queue: with its default clean session it silently loses what was accepted before a connection
//! broke. Hence its state is made anew after each loss. Its event loop must also never be dropped in the middle of a poll,
//! or a packet may be lost between its books and the wire: keep the future of [`Connection::poll`] until it is ready.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, EventLoop, Incoming, LastWill, MqttOptions, MqttState, Outgoing,
    QoS, StateError, SubscribeFilter, TlsConfiguration, Transport,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::patience::BackOff;
use super::payload;
use super::topics::Topics;
use crate::config::{Broker, Mqtt};
use crate::event::Message;

/// The largest packet either way. A message that does not fit is refused before it is sent: the library would reconnect
/// for ever over it.
pub const MAX_PACKET: usize = 1 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A connection that lasted this long was a good one.
const STEADY: Duration = Duration::from_secs(10);
/// Packet ids the library uses. It stalls when it comes round to one that is still open, so it has more than the window.
const INFLIGHT: u16 = 32;
/// Requests the library takes before they are on the wire: the window, subscriptions and a farewell.
const CAPACITY: usize = 32;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the password for MQTT cannot be read from {}: {source}; check [mqtt] password_file", path.display())]
    PasswordFile { path: PathBuf, source: io::Error },
    #[error("[mqtt] password_file needs a username beside it")]
    NoUsername,
    #[error("no certificate can be read from {}: {reason}; [mqtt] ca_file must hold certificates in PEM form", path.display())]
    CaFile { path: PathBuf, reason: String },
    #[error(
        "this system trusts no certificates, so {url} cannot be verified: install ca-certificates or set [mqtt] ca_file"
    )]
    NoRoots { url: String },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{url} refuses {who}: check [mqtt] username and password_file")]
    Refused { url: String, who: String },
    #[error("{url} is not trusted: {source}; if the house has its own certificate authority, set [mqtt] ca_file")]
    Untrusted { url: String, source: ConnectionError },
    #[error("{url} cannot be reached: {source}; is the broker running, and is this its address?")]
    Unreachable { url: String, source: ConnectionError },
    #[error("{url} closed the connection while it was being made: does it want a username, or another one?")]
    Closed { url: String },
    #[error("{url} does not answer within {seconds} s; is this the address of an MQTT broker?")]
    Silent { url: String, seconds: u64 },
    #[error("the connection to {url} broke: {source}")]
    Broken { url: String, source: ConnectionError },
}

/// Where to connect and as whom.
#[derive(Clone)]
pub struct Settings {
    url: String,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    client_id: String,
    credentials: Option<(String, String)>,
    status: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("Settings")
            .field("url", &self.url)
            .field("client_id", &self.client_id)
            .field("user", &user)
            .finish()
    }
}

impl Settings {
    /// The connection that `mqtt` describes; `embedded` is where the embedded broker listens.
    ///
    /// # Errors
    /// When the password or the certificates cannot be read.
    pub fn new(mqtt: &Mqtt, topics: &Topics, embedded: SocketAddr) -> Result<Self, Error> {
        let (url, host, port, tls) = match &mqtt.url {
            Broker::Embedded => {
                let address = reachable(embedded);
                (format!("mqtt://{address}"), address.ip().to_string(), address.port(), false)
            }
            Broker::External { tls, host, port } => (mqtt.url.to_string(), host.clone(), *port, *tls),
        };
        let tls = if tls { Some(Arc::new(trust(&url, mqtt.ca_file.as_deref())?)) } else { None };
        Ok(Self {
            host,
            port,
            tls,
            client_id: topics.device_id(),
            credentials: credentials(mqtt)?,
            status: topics.status(),
            url,
        })
    }

    /// How people know the broker.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn options(&self) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.host, self.port);
        options
            .set_keep_alive(KEEP_ALIVE)
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

    fn explain(&self, connecting: bool, source: ConnectionError) -> Error {
        let url = self.url.clone();
        match source {
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => {
                let who = match &self.credentials {
                    Some((user, _)) => format!("the user \"{user}\" with this password"),
                    None => "a client without username".into(),
                };
                Error::Refused { url, who }
            }
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Error::Silent { url, seconds: 5 },
            ConnectionError::Tls(rumqttc::TlsError::Io(ref io)) if io.get_ref().is_none() => {
                Error::Unreachable { url, source }
            }
            ConnectionError::Tls(_) => Error::Untrusted { url, source },
            ConnectionError::MqttState(StateError::ConnectionAborted) if connecting => Error::Closed { url },
            ConnectionError::Io(ref io) if connecting && io.kind() == io::ErrorKind::ConnectionAborted => {
                Error::Closed { url }
            }
            source if connecting => Error::Unreachable { url, source },
            source => Error::Broken { url, source },
        }
    }
}

/// The embedded broker may listen on every address of the machine; we are on the same machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// Username and password, as the config gives them.
///
/// # Errors
/// When the password file cannot be read, or has no username beside it.
pub fn credentials(mqtt: &Mqtt) -> Result<Option<(String, String)>, Error> {
    let password = match &mqtt.password_file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| Error::PasswordFile { path: path.clone(), source })?
            .trim_end_matches(['\r', '\n'])
            .into(),
    };
    match &mqtt.username {
        Some(username) => Ok(Some((username.clone(), password))),
        None if mqtt.password_file.is_some() => Err(Error::NoUsername),
        None => Ok(None),
    }
}

fn trust(url: &str, ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let wrong = |reason: String| Error::CaFile { path: path.into(), reason };
            let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| wrong(error.to_string()))?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(wrong("it holds none".into()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Error::NoRoots { url: url.into() });
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// What happened on the wire.
#[derive(Debug)]
pub enum Event {
    /// The broker took us in; nothing of an earlier connection is left.
    Connected,
    /// The oldest message that was handed over left under this packet id.
    Sent(u16),
    /// The broker has the message of this packet id.
    Acknowledged(u16),
    Message {
        topic: String,
        payload: Vec<u8>,
        retain: bool,
    },
    /// The broker passes on what we subscribed to, from now on.
    Subscribed,
    /// The broker does not let us listen to a topic.
    Deaf,
    /// There is no connection, or none any more; the next poll waits a while and tries again.
    Lost(Error),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much is under way; try again after the next event.
    Busy,
    /// It can never be sent: it is too long or its topic is none.
    Never,
}

/// The half that sends.
#[derive(Clone, Debug)]
pub struct Sender(AsyncClient);

impl Sender {
    /// Hands a message over, with QoS 1. It is on its way only when [`Event::Sent`] says so.
    pub fn try_publish(&self, message: &Message) -> Result<(), Refusal> {
        let Message { topic, payload, retain } = message;
        let fits = topic.len() + payload.len() + 16 <= MAX_PACKET && topic.len() <= usize::from(u16::MAX);
        if !fits || topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(Refusal::Never);
        }
        self.0.try_publish(topic, QoS::AtLeastOnce, *retain, payload.as_bytes()).map_err(|_| Refusal::Busy)
    }

    /// Subscribes to all of `filters`, with QoS 1.
    pub fn subscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), Refusal> {
        let filters = filters.into_iter().map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).map_err(|_| Refusal::Busy)
    }

    /// Says goodbye; the next [`Event::Lost`] is then no failure.
    pub fn disconnect(&self) -> Result<(), Refusal> {
        self.0.try_disconnect().map_err(|_| Refusal::Busy)
    }
}

/// The half that must be polled for anything to happen.
pub struct Connection {
    settings: Settings,
    events: EventLoop,
    /// Seen on the wire, not yet told.
    seen: VecDeque<Event>,
    back_off: BackOff,
    not_before: Option<Instant>,
    connected: Option<Instant>,
}

/// A client that will connect when it is polled, and whose end is told by its will.
pub fn open(settings: Settings) -> (Sender, Connection) {
    let mut options = settings.options();
    let offline = payload::OFFLINE.as_bytes();
    options.set_last_will(LastWill::new(&settings.status, offline, QoS::AtLeastOnce, true));
    connect(settings, options)
}

/// A client beside a hearth's own, under the name `role`, without a will.
pub fn observe(settings: Settings, role: &str) -> (Sender, Connection) {
    let mut options = settings.options();
    options.set_client_id(format!("{}_{role}", settings.client_id));
    connect(settings, options)
}

fn connect(settings: Settings, options: MqttOptions) -> (Sender, Connection) {
    let (sender, events) = start(options);
    let seen = VecDeque::new();
    let connection =
        Connection { settings, events, seen, back_off: BackOff::default(), not_before: None, connected: None };
    (Sender(sender), connection)
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
    pub async fn poll(&mut self) -> Event {
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
                        if matches!(event, Event::Connected) {
                            self.connected = Some(Instant::now());
                        }
                        return event;
                    }
                }
                Err(error) => self.lose(error),
            }
        }
    }

    /// Throws away what the library would send of its own accord on the next connection.
    fn forget(&mut self) {
        self.events.clean();
        self.events.pending.clear();
    }

    /// Ends with whatever the broker said before the connection went away, then the loss.
    fn lose(&mut self, error: ConnectionError) {
        let told: Vec<_> = self.events.state.events.drain(..).collect();
        self.seen.extend(told.into_iter().filter_map(translate));
        self.forget();
        self.events.state = MqttState::new(INFLIGHT, false);
        let connected = self.connected.take();
        // A broker that throws us out at once, say because another client uses our name, is no success.
        if connected.is_some_and(|since| since.elapsed() >= STEADY) {
            self.back_off.succeeded();
        }
        self.not_before = Some(Instant::now() + self.back_off.failed(rand::random()));
        self.seen.push_back(Event::Lost(self.settings.explain(connected.is_none(), error)));
    }
}

fn translate(event: rumqttc::Event) -> Option<Event> {
    match event {
        rumqttc::Event::Incoming(Incoming::ConnAck(_)) => Some(Event::Connected),
        rumqttc::Event::Incoming(Incoming::PubAck(ack)) => Some(Event::Acknowledged(ack.pkid)),
        rumqttc::Event::Incoming(Incoming::Publish(publish)) => {
            Some(Event::Message { topic: publish.topic, payload: publish.payload.to_vec(), retain: publish.retain })
        }
        rumqttc::Event::Incoming(Incoming::SubAck(ack)) => {
            let refused = ack.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure);
            Some(if refused { Event::Deaf } else { Event::Subscribed })
        }
        rumqttc::Event::Outgoing(Outgoing::Publish(packet)) if packet != 0 => Some(Event::Sent(packet)),
        _ => None,
    }
}

/// Connects once, as `hearth check` does, without disturbing a hearth that is running.
///
/// # Errors
/// When the broker does not take us in within `timeout`.
pub async fn probe(settings: &Settings, timeout: Duration) -> Result<(), Error> {
    let mut options = settings.options();
    options.set_client_id(format!("{}_check", settings.client_id));
    let (sender, mut events) = start(options);
    let seconds = timeout.as_secs();
    match tokio::time::timeout(timeout, events.poll()).await {
        Err(_) => return Err(Error::Silent { url: settings.url.clone(), seconds }),
        Ok(Err(error)) => return Err(settings.explain(true, error)),
        Ok(Ok(_)) => {}
    }
    if sender.try_disconnect().is_ok() {
        // The farewell is a courtesy: whether it arrives does not matter.
        let _ = tokio::time::timeout(timeout, events.poll()).await;
    }
    Ok(())
}
