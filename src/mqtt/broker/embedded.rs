//! rumqttd as embedded broker.
//!
//! It keeps retained messages in memory only, so hearth publishes all of them again at each start. Without a password it
//! listens on loopback addresses only.
//!
//! Clients come through [`front`], which refuses what rumqttd must not see; rumqttd itself listens on a loopback port of its own.
//!
//! rumqttd cannot be stopped: its threads (`broker`, `broker-front`, and a router thread of its own) end with the process. Its
//! memory is bounded by two segments of 1 MiB for each topic with a subscriber.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::front;
use super::{BrokerError, EmbeddedBroker, START_TIMEOUT};
use crate::mqtt::client::MAX_PACKET;

const SEGMENT_BYTES: usize = 1 << 20;
const SEGMENTS: usize = 2;
/// Messages passed to one subscriber at a time. rumqttd truncates the replay of retained messages to this number, so it
/// must be larger than their count. To a subscriber with QoS 1 it replays 100 per filter, which cannot be configured.
const REPLAY: u64 = 4_096;
/// rumqttd has room for more clients than the front lets in: it learns later that one has gone.
const CONNECTIONS: usize = 4 * front::CLIENTS;

/// Starts the broker on `listen`. If there are `credentials` (user, password), it accepts only them. Port 0 means any free
/// port. Returns once the broker listens.
///
/// # Errors
/// The address is not loopback and there is no password, or the address is in use.
pub fn start(listen: SocketAddr, credentials: Option<(String, String)>) -> Result<EmbeddedBroker, BrokerError> {
    super::check_protected(listen, credentials.as_ref())?;
    let listener = TcpListener::bind(listen).map_err(|source| BrokerError::Listen { address: listen, source })?;
    let address = listener.local_addr().map_err(|source| BrokerError::Listen { address: listen, source })?;
    // rumqttd only logs that it cannot listen, and never reports its port. So a free one is found first.
    let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let inner = TcpListener::bind(inner)
        .and_then(|listener| listener.local_addr())
        .map_err(|source| BrokerError::Listen { address: inner, source })?;
    let mut broker = Broker::new(config(inner, credentials));
    thread::Builder::new()
        .name("broker".into())
        .spawn(move || {
            if let Err(error) = broker.start() {
                tracing::error!(%address, %error, "the embedded broker ended");
            }
        })
        .map_err(BrokerError::Thread)?;
    wait_for(inner)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BrokerError::Thread)?;
    thread::Builder::new()
        .name("broker-front".into())
        .spawn(move || {
            if let Err(error) = runtime.block_on(front::serve(listener, inner)) {
                tracing::error!(%address, %error, "the embedded broker ended");
            }
        })
        .map_err(BrokerError::Thread)?;
    Ok(EmbeddedBroker { address, own: inner })
}

fn wait_for(address: SocketAddr) -> Result<(), BrokerError> {
    let end = Instant::now() + START_TIMEOUT;
    while TcpStream::connect_timeout(&address, START_TIMEOUT).is_err() {
        if Instant::now() > end {
            return Err(BrokerError::NotListening(address));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn config(listen: SocketAddr, credentials: Option<(String, String)>) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: front::HANDSHAKE.as_millis() as u16,
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
