//! A broker inside this process, for the demo and for a house without one.
//!
//! Owns rumqttd. Refuses to keep anything over a restart: its retained messages live in memory, so hearth publishes all of
//! them again at each start. Invariant: without a password it listens on loopback only.
//!
//! rumqttd has no way to stop: its threads (`broker`, and one of its own for routing) end with the process. Its memory is
//! bounded by two segments of 1 MiB for each topic that somebody subscribed to.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::client::MAX_PACKET;

const SEGMENT_BYTES: usize = 1 << 20;
const SEGMENTS: usize = 2;
/// Messages handed to one subscriber at a time. rumqttd cuts the replay of retained messages off there, so it must be more
/// than there are; to a subscriber with QoS 1 it replays 100 per filter, which cannot be set.
const REPLAY: u64 = 4_096;
const CONNECTIONS: usize = 128;
/// A client that says nothing is dropped after this.
const HANDSHAKE_MS: u16 = 10_000;
/// How long the threads may take to listen.
const START: Duration = Duration::from_secs(5);

/// Why there is no embedded broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(
        "the embedded broker may listen on {0} only with a password, since others could reach it: set [mqtt] username and \
         password_file, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    #[error(
        "the embedded broker cannot listen on {address}: {source}; if another broker runs there, set [mqtt] url to \
         \"mqtt://{address}\" to use it, else set another [mqtt] listen"
    )]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the embedded broker's thread cannot be started: {0}")]
    Thread(io::Error),
    #[error("the embedded broker does not listen on {0} after {secs} s; see its messages in the log", secs = START.as_secs())]
    Silent(SocketAddr),
}

/// Starts the broker on `listen`, for `credentials` alone when there are some. Port 0 is any free port. Returns the address
/// it listens on, once it does.
///
/// # Errors
/// When the address is open to others without a password, or in use.
pub fn start(listen: SocketAddr, credentials: Option<(String, String)>) -> Result<SocketAddr, BrokerError> {
    let protected = credentials.as_ref().is_some_and(|(_, password)| !password.is_empty());
    if !listen.ip().is_loopback() && !protected {
        return Err(BrokerError::Open(listen));
    }
    // rumqttd only logs that it cannot listen, and never says which port it got; so the port is taken here first.
    let address = TcpListener::bind(listen)
        .and_then(|listener| listener.local_addr())
        .map_err(|source| BrokerError::Listen { address: listen, source })?;
    let mut broker = Broker::new(config(address, credentials));
    thread::Builder::new()
        .name("broker".into())
        .spawn(move || {
            if let Err(error) = broker.start() {
                tracing::error!(%address, %error, "the embedded broker ended");
            }
        })
        .map_err(BrokerError::Thread)?;
    wait_for(address)?;
    Ok(address)
}

fn wait_for(address: SocketAddr) -> Result<(), BrokerError> {
    let knock = if address.ip().is_unspecified() {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    };
    let end = Instant::now() + START;
    while TcpStream::connect_timeout(&knock, START).is_err() {
        if Instant::now() > end {
            return Err(BrokerError::Silent(address));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn config(listen: SocketAddr, credentials: Option<(String, String)>) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: HANDSHAKE_MS,
        max_payload_size: MAX_PACKET,
        max_inflight_count: 100,
        auth: credentials.map(|pair| HashMap::from([pair])),
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "broker".into(), listen, tls: None, next_connection_delay_ms: 1, connections };
    Config {
        id: 0,
        router: RouterConfig {
            max_connections: CONNECTIONS,
            max_outgoing_packet_count: REPLAY,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("v4".into(), server)])),
        ..Config::default()
    }
}
