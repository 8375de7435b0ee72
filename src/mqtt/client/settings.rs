//! Address, credentials and certificates of a connection, and the errors a user can get.
//!
//! `Debug` of [`ClientSettings`] never prints the password.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::super::topics::Topics;
use crate::config::{Broker, MqttConfig};

/// Interval of pings on an idle connection; a dead one is noticed at the second ping.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A broker must acknowledge a message within this many keep-alive intervals.
const KEEP_ALIVES_TO_ACKNOWLEDGE: u32 = 10;

/// An error of the client library.
type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the password for MQTT cannot be read from {}: {source}; {}", path.display(), readable(source))]
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
    #[error("{url} refuses {who}: {remedy}")]
    Refused { url: String, who: String, remedy: &'static str },
    #[error("{url} is not trusted: {source}; {remedy}")]
    Untrusted { url: String, source: BoxedError, remedy: &'static str },
    #[error("{url} takes no connection: {reason}")]
    NotTaken { url: String, reason: String },
    #[error(
        "{url} takes hearth in, but does not pass commands on: what hearth sent itself did not come back within {seconds} s; its \
         access list must let hearth {needed}, see docs/mqtt.md"
    )]
    CommandsBlocked { url: String, needed: String, seconds: u64 },
    #[error("{url} cannot be reached: {source}; is the broker running, and is this its address?")]
    Unreachable { url: String, source: BoxedError },
    #[error(
        "{url} closed the connection while it was being made: does it want a username, or another one, or TLS (mqtts://), or does \
         it take MQTT 5 only? hearth speaks MQTT 3.1.1"
    )]
    Closed { url: String },
    #[error("{url} speaks TLS: set [mqtt] url = \"{secured}\"")]
    SpeaksTls { url: String, secured: String },
    #[error("{url} does not speak TLS; a broker without it is reached by [mqtt] url = \"{plain}\"")]
    NoTls { url: String, plain: String },
    #[error("{url} answers, but not as an MQTT broker does; is this the broker's address, and its port for MQTT?")]
    NoBroker { url: String },
    #[error("{url} does not answer within {seconds} s; is this the address of an MQTT broker?")]
    Silent { url: String, seconds: u64 },
    #[error(
        "{url} accepted the connection and soon closed it; if it does so again, another machine has the same node name \
         (client \"{client}\"), or the broker's rules forbid a topic or the length of a message"
    )]
    KickedOut { url: String, client: String },
    #[error("{url} has not acknowledged a message for {seconds} s, though it answers: all of them are sent again")]
    Unacknowledged { url: String, seconds: u64 },
    #[error("the connection to {url} broke: {source}")]
    Broken { url: String, source: BoxedError },
}

/// What helps where a password file cannot be read.
fn readable(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run this as root, or as the user that may read the file",
        _ => "check [mqtt] password_file",
    }
}

/// Where to connect, with which client id and credentials.
#[derive(Clone)]
pub struct ClientSettings {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) client_id: String,
    pub(super) credentials: Option<(String, String)>,
    pub(super) status: String,
    pub(super) keep_alive: Duration,
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("ClientSettings")
            .field("url", &self.url)
            .field("client_id", &self.client_id)
            .field("user", &user)
            .finish()
    }
}

impl ClientSettings {
    /// The connection that `mqtt` describes; `embedded` is where the embedded broker listens.
    ///
    /// # Errors
    /// The password or the certificates cannot be read.
    pub fn new(mqtt: &MqttConfig, topics: &Topics, embedded: SocketAddr) -> Result<Self, ClientError> {
        let (url, host, port, tls) = match &mqtt.url {
            Broker::Embedded => {
                let address = reachable(embedded);
                (format!("mqtt://{address}"), address.ip().to_string(), address.port(), false)
            }
            Broker::External { tls, host, port } => (mqtt.url.to_string(), host.clone(), *port, *tls),
        };
        let tls = if tls { Some(Arc::new(tls_config(&url, mqtt.ca_file.as_deref())?)) } else { None };
        Ok(Self {
            host,
            port,
            tls,
            client_id: topics.device_id(),
            credentials: credentials(mqtt)?,
            status: topics.status(),
            keep_alive: KEEP_ALIVE,
            url,
        })
    }

    /// The same settings with another keep-alive interval, of a second or more.
    pub fn with_keep_alive(self, keep_alive: Duration) -> Self {
        Self { keep_alive, ..self }
    }

    /// The same settings, but connected at `address`; the URL in messages stays.
    pub(crate) fn connected_at(self, address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), ..self }
    }

    /// How long a broker may take to acknowledge a message.
    pub(crate) fn acknowledge_timeout(&self) -> Duration {
        self.keep_alive * KEEP_ALIVES_TO_ACKNOWLEDGE
    }

    /// The broker's URL, for messages.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// The embedded broker may listen on all addresses of this machine: then the loopback address reaches it.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// Username and password from the config; without a password file the password is empty.
///
/// # Errors
/// The password file cannot be read, or there is a password file but no username.
pub(crate) fn credentials(mqtt: &MqttConfig) -> Result<Option<(String, String)>, ClientError> {
    let Some(username) = &mqtt.username else {
        return if mqtt.password_file.is_some() { Err(ClientError::NoUsername) } else { Ok(None) };
    };
    let password = match &mqtt.password_file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| ClientError::PasswordFile { path: path.clone(), source })?
            // Some editors put a byte-order mark before the text.
            .trim_start_matches('\u{feff}')
            .trim_end_matches(['\r', '\n'])
            .into(),
    };
    Ok(Some((username.clone(), password)))
}

fn tls_config(url: &str, ca_file: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let ca_error = |reason: String| ClientError::CaFile { path: path.into(), reason };
            let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| ca_error(error.to_string()))?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(ca_error("it holds none".into()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(ClientError::NoRoots { url: url.into() });
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
