//! A broker inside this process, for the demo and where no other broker is installed.
//!
//! It is built with the cargo feature `embedded-broker` (on by default). Without the feature, [`start`] returns an error that
//! says to install mosquitto.

#[cfg(feature = "embedded-broker")]
mod embedded;
#[cfg(feature = "embedded-broker")]
mod front;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "embedded-broker")]
pub use embedded::start;

use super::client::{self, ClientError, ClientSettings};

/// How often the broker is probed, and how long it may take to answer.
const PROBE_EVERY: Duration = Duration::from_secs(20);
/// It is dead when it fails so many times in a row.
const PROBES: u32 = 3;
/// How long the broker may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker that runs in this process until its end.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedBroker {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where hearth itself connects: other clients cannot take its place there.
    pub own: SocketAddr,
}

/// Why there is no embedded broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(
        "this hearth was built without an embedded broker: install mosquitto (apt-get install mosquitto) and set [mqtt] \
         url = \"mqtt://127.0.0.1\""
    )]
    NotBuiltIn,
    #[error(
        "the embedded broker may listen on {0} only with a password, since others could reach it: set [mqtt] username, and \
         write the password into mqtt.password beside the config or the file that [mqtt] password_file names; or listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    #[error(
        "the embedded broker cannot listen on {address}: {source}; if another broker runs there, set [mqtt] url to \
         \"mqtt://{address}\" to use it, else set another [mqtt] listen"
    )]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the embedded broker's thread cannot be started: {0}")]
    Thread(io::Error),
    #[error("the embedded broker does not listen on {0} after {secs} s; see its messages in the log", secs = START_TIMEOUT.as_secs())]
    NotListening(SocketAddr),
    #[error("the embedded broker no longer answers ({0}): hearth ends, so that it is started again")]
    Dead(ClientError),
}

/// Connects to the embedded broker every [`PROBE_EVERY`], and returns when it does not answer any more.
pub(crate) async fn watch(settings: &ClientSettings) -> BrokerError {
    watch_every(settings, PROBE_EVERY).await
}

async fn watch_every(settings: &ClientSettings, interval: Duration) -> BrokerError {
    let mut failures = 0;
    loop {
        tokio::time::sleep(interval).await;
        match client::probe_own(settings, interval).await {
            Ok(()) => failures = 0,
            Err(error) if failures + 1 == PROBES => return BrokerError::Dead(error),
            Err(_) => failures += 1,
        }
    }
}

/// Whether this build has an embedded broker.
///
/// # Errors
/// [`BrokerError::NotBuiltIn`] if it has none.
pub(crate) fn check_built_in() -> Result<(), BrokerError> {
    if cfg!(feature = "embedded-broker") { Ok(()) } else { Err(BrokerError::NotBuiltIn) }
}

/// Whether the broker may listen there: only loopback addresses need no password.
///
/// # Errors
/// [`BrokerError::Unprotected`] if it may not.
pub(crate) fn check_protected(listen: SocketAddr, credentials: Option<&(String, String)>) -> Result<(), BrokerError> {
    let protected = credentials.is_some_and(|(_, password)| !password.is_empty());
    if listen.ip().is_loopback() || protected { Ok(()) } else { Err(BrokerError::Unprotected(listen)) }
}

/// There is no embedded broker in this build.
///
/// # Errors
/// Always [`BrokerError::NotBuiltIn`].
#[cfg(not(feature = "embedded-broker"))]
pub fn start(_listen: SocketAddr, _credentials: Option<(String, String)>) -> Result<EmbeddedBroker, BrokerError> {
    Err(BrokerError::NotBuiltIn)
}

#[cfg(all(test, feature = "embedded-broker"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Config;
    use crate::mqtt::topics::Topics;

    fn settings(broker: EmbeddedBroker) -> ClientSettings {
        let Config { mqtt, node, .. } = Config::default();
        ClientSettings::new(&mqtt, &Topics::new(&mqtt, &node), broker.address).unwrap().connected_at(broker.own)
    }

    #[tokio::test]
    async fn a_broker_that_accepts_connections_and_answers_none_is_dead() {
        // The system accepts the connections for this listener.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = silent.local_addr().unwrap();
        let error = watch_every(&settings(EmbeddedBroker { address: own, own }), Duration::from_millis(50)).await;
        assert!(error.to_string().contains("no longer answers"), "{error}");
    }

    #[tokio::test]
    async fn clients_that_take_every_place_do_not_keep_hearth_from_its_own_broker() {
        let broker = start("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let connect = |n: usize| {
            let mut client = TcpStream::connect(broker.address).unwrap();
            let id = format!("client{n}");
            let mut packet = vec![0x10, 12 + id.len() as u8];
            packet.extend(b"\0\x04MQTT\x04\x02\0\x3c\0");
            packet.push(id.len() as u8);
            packet.extend(id.as_bytes());
            client.write_all(&packet).unwrap();
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            (client, answer)
        };
        let clients: Vec<_> = (0..=front::CLIENTS).map(connect).collect();
        assert_eq!(clients.last().unwrap().1, [0x20, 2, 0, 3], "all places are taken");
        client::probe_own(&settings(broker), Duration::from_secs(60)).await.unwrap();
    }
}
