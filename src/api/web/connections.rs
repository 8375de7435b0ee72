//! The connections of the web server.
//!
//! Their number is limited, so that clients never use up the file descriptors that capture and the store need. Who has sent the token
//! keeps the connection; all others share a small number of slots, and have a few seconds to send a request.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutWriter;

use crate::api::client_slots::{ClientSlot, ClientSlots, SlotLimits};

/// A browser opens up to six connections at once.
const LIMITS: SlotLimits = SlotLimits { waiting: 32, waiting_per_origin: 12, served: 32 };
/// A request has arrived so long after the connection was opened, or after the last answer, or the connection is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer for so long is disconnected. A phone that leaves the network never closes its connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The slot of a connection, which a request with the token takes for good.
pub(super) type ConnectionSlot = Arc<ClientSlot<IpAddr>>;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until it is dropped.
///
/// # Errors
/// The address of the listening socket cannot be had any more.
pub(super) async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let slots = ClientSlots::new(LIMITS);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    let slot = Arc::new(slots.enter(peer));
                    connections.spawn(serve_connection(stream, slot, router.clone().layer(Extension(Peer(peer)))));
                }
                Err(error) => {
                    // The client has disconnected already, or the process is out of file descriptors for the moment.
                    tracing::debug!(%error, "a client of the page could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, slot: ConnectionSlot, router: Router) {
    if let Err(error) = close_when_gone(&stream) {
        return tracing::debug!(%error, "a client of the page disconnected");
    }
    let expelled = slot.expelled();
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_TIMEOUT));
    let service = TowerToHyperService::new(router.layer(Extension(slot)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    if let Some(Err(error)) = expelled.run_until_cancelled(connection).await {
        tracing::debug!(%error, "a client of the page disconnected");
    }
}

/// Lets the system close a connection whose other side does not answer any more.
fn close_when_gone(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive.with_retries(3))?;
    socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT))
}
