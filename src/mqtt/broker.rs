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

/// Why there is no embedded broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(
        "this hearth was built without an embedded broker: install mosquitto (apt-get install mosquitto) and set [mqtt] \
         url = \"mqtt://127.0.0.1\""
    )]
    NotBuiltIn,
    #[error(
        "the embedded broker may listen on {0} only with a password, since others could reach it: set [mqtt] username and \
         password_file, or listen on 127.0.0.1"
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

/// Connects to the embedded broker from outside again and again, and returns when it does not answer any more.
pub(crate) async fn watch(settings: &ClientSettings) -> BrokerError {
    let mut failures = 0;
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        match client::probe_own(settings, PROBE_EVERY).await {
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

/// There is no embedded broker in this build.
///
/// # Errors
/// Always [`BrokerError::NotBuiltIn`].
#[cfg(not(feature = "embedded-broker"))]
pub fn start(_listen: SocketAddr, _credentials: Option<(String, String)>) -> Result<SocketAddr, BrokerError> {
    Err(BrokerError::NotBuiltIn)
}
