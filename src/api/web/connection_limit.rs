//! Limits the number of connections of the web server, and ends idle ones.
//!
//! So that clients can never use up the file descriptors that capture and the store need.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::api::ANSWER_TIMEOUT;

/// Enough for a home's browsers, with a few connections each.
const MAX_CONNECTIONS: usize = 64;
/// A phone that leaves the network never closes its connection. The slowest answer takes less than this; an open page
/// receives figures every second.
const IDLE_TIMEOUT: Duration = ANSWER_TIMEOUT.saturating_add(Duration::from_secs(60));

pub(super) struct LimitedListener {
    listener: TcpListener,
    free: Arc<Semaphore>,
    idle: Duration,
}

impl LimitedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), idle: IDLE_TIMEOUT }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedConnection, SocketAddr) {
        let permit = self.free.clone().acquire_owned().await.expect("nobody closes it");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let idle = self.idle;
        (LimitedConnection { stream, idle, until: Box::pin(sleep(idle)), _permit: permit }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that counts towards the limit until it is dropped.
pub(super) struct LimitedConnection {
    stream: TcpStream,
    idle: Duration,
    until: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl LimitedConnection {
    /// Passes on the result of a read or write, and restarts the idle timer. While both are pending, the timer runs.
    fn with_idle_timeout<T>(&mut self, came: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if came.is_ready() {
            self.until.as_mut().reset(Instant::now() + self.idle);
            return came;
        }
        self.until.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let came = Pin::new(&mut this.stream).poll_read(context, into);
        this.with_idle_timeout(came, context)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let went = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.with_idle_timeout(went, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn limited(free: usize, idle: Duration) -> (LimitedListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (LimitedListener { listener, free: Arc::new(Semaphore::new(free)), idle }, address)
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_until_one_is_closed() {
        let (mut listener, address) = limited(1, IDLE_TIMEOUT).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let (connection, _) = listener.accept().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"?").await.unwrap();
        assert_eq!(listener.free.available_permits(), 0);
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("the limit is reached"),
            () = std::future::ready(()) => {}
        }
        drop(connection);
        let (mut connection, _) = listener.accept().await;
        assert_eq!(connection.read_u8().await.unwrap(), b'?');
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let (mut listener, address) = limited(1, Duration::from_millis(50)).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        silent.write_all(b"?").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'?');
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
