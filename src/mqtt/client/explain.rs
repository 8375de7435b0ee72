//! From the errors of a session to messages that name the broker and, where one is known, the remedy.

use std::time::Duration;

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{ConnectReturnCode, StateError};
use rustls::CertificateError as Fault;

use super::STEADY;
use super::session::{self, CONNECT_TIMEOUT, SessionError, tls_fault};
use super::settings::{ClientError, ClientSettings};

/// The reason code of MQTT 5 with which a broker may refuse an older version. It is none of MQTT 3.1.1.
const UNSUPPORTED_VERSION_IN_MQTT_5: u8 = 0x84;

/// What helps where a broker wants a password and hearth has none.
const NO_PASSWORD: &str = "write the password into the file mqtt.password beside the config (the service is given \
                           /etc/hearth/mqtt.password when it starts), or name its file in [mqtt] password_file";

impl ClientSettings {
    /// The error for a connection that ended after `lasted`, or (None) was never established.
    pub(super) fn explain(&self, lasted: Option<Duration>, source: SessionError) -> ClientError {
        let (url, connecting) = (self.url.clone(), lasted.is_none());
        match source {
            SessionError::Refused(ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized) => {
                const CHECK: &str = "check [mqtt] username and password_file";
                let (who, remedy) = match &self.credentials {
                    Some((user, password)) if password.is_empty() => {
                        (format!("the user \"{user}\" without a password"), NO_PASSWORD)
                    }
                    Some((user, _)) => (format!("the user \"{user}\" with this password"), CHECK),
                    None => ("a client without username".into(), CHECK),
                };
                ClientError::Refused { url, who, remedy }
            }
            SessionError::Refused(ConnectReturnCode::RefusedProtocolVersion)
            | SessionError::Mqtt(StateError::Deserialization(PacketError::InvalidConnectReturnCode(
                UNSUPPORTED_VERSION_IN_MQTT_5,
            ))) => {
                let reason = "it refuses MQTT 3.1.1, which hearth speaks; let it take that version too (mosquitto: \
                              accept_protocol_versions 4,5)";
                ClientError::NotTaken { url, reason: reason.into() }
            }
            SessionError::Refused(ConnectReturnCode::BadClientId) => {
                let reason = format!(
                    "it refuses the client id \"{}\"; let it take that id, or set another `node`",
                    self.client_id
                );
                ClientError::NotTaken { url, reason }
            }
            SessionError::Refused(ConnectReturnCode::ServiceUnavailable) => {
                let reason = "it says that it cannot serve more clients now; look into its log and its limits";
                ClientError::NotTaken { url, reason: reason.into() }
            }
            SessionError::SpeaksTls => ClientError::SpeaksTls { secured: with_scheme(&url, "mqtts"), url },
            SessionError::NoTls => ClientError::NoTls { plain: with_scheme(&url, "mqtt"), url },
            SessionError::NoConnack => ClientError::NoBroker { url },
            SessionError::Silent => ClientError::Silent { url, seconds: CONNECT_TIMEOUT.as_secs() },
            SessionError::Tls(source) if source.get_ref().is_none() => {
                ClientError::Unreachable { url, source: source.into() }
            }
            SessionError::Tls(source) => {
                ClientError::Untrusted { url, remedy: remedy(tls_fault(&source)), source: source.into() }
            }
            SessionError::Mqtt(StateError::Deserialization(_)) if connecting => ClientError::NoBroker { url },
            source if connecting && is_closed(&source) => ClientError::Closed { url },
            source if lasted.is_some_and(|lasted| lasted < STEADY) && is_closed(&source) => {
                ClientError::KickedOut { url, client: self.client_id.clone() }
            }
            source if connecting => ClientError::Unreachable { url, source: source.into() },
            source => ClientError::Broken { url, source: source.into() },
        }
    }
}

impl ClientError {
    /// Whether the broker closed a connection that it had accepted, as it does when a packet is too long.
    pub(crate) fn is_closed_by_broker(&self) -> bool {
        match self {
            Self::KickedOut { .. } => true,
            Self::Broken { source, .. } => source.downcast_ref().is_some_and(is_closed),
            _ => false,
        }
    }
}

/// The same address with another scheme.
fn with_scheme(url: &str, scheme: &str) -> String {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    format!("{scheme}://{address}")
}

/// Whether the other end closed the connection.
fn is_closed(error: &SessionError) -> bool {
    match error {
        SessionError::Mqtt(StateError::ConnectionAborted) => true,
        SessionError::Io(io) | SessionError::Mqtt(StateError::Io(io)) => session::is_closed(io.kind()),
        _ => false,
    }
}

/// The remedy when a broker's certificate is not trusted.
fn remedy(error: Option<&rustls::Error>) -> &'static str {
    match error {
        Some(rustls::Error::InvalidCertificate(Fault::Expired | Fault::ExpiredContext { .. })) => {
            "give the broker a new certificate, or set this machine's clock"
        }
        Some(rustls::Error::InvalidCertificate(Fault::NotValidYet | Fault::NotValidYetContext { .. })) => {
            "set this machine's clock, or the one that made the certificate"
        }
        Some(rustls::Error::InvalidCertificate(Fault::NotValidForName | Fault::NotValidForNameContext { .. })) => {
            "give [mqtt] url the name that stands in the certificate"
        }
        _ => "if your network has its own certificate authority, set [mqtt] ca_file",
    }
}
