//! How many browsers the page takes in at once.
//!
//! Owns the connections' number, and their end when nothing moves on them. Refuses to know what is said on them. Invariant: whoever
//! connects, however often and however silently, the process keeps its files for the microphone and the store.

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

use crate::api::PATIENCE;

/// A household's browsers, with a few connections each.
const SEATS: usize = 64;
/// A telephone that left the house never says so. The slowest answer takes less; a page that is looked at gets its figures each second.
const STILL: Duration = PATIENCE.saturating_add(Duration::from_secs(60));

pub(super) struct LimitedListener {
    listener: TcpListener,
    free: Arc<Semaphore>,
    still: Duration,
}

impl LimitedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(SEATS)), still: STILL }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedConnection, SocketAddr) {
        let seat = self.free.clone().acquire_owned().await.expect("nobody closes it");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let still = self.still;
        (LimitedConnection { stream, still, until: Box::pin(sleep(still)), _seat: seat }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds a seat.
pub(super) struct LimitedConnection {
    stream: TcpStream,
    still: Duration,
    until: Pin<Box<Sleep>>,
    _seat: OwnedSemaphorePermit,
}

impl LimitedConnection {
    /// What came of reading or writing: while nothing does, time runs out.
    fn moved<T>(&mut self, came: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if came.is_ready() {
            self.until.as_mut().reset(Instant::now() + self.still);
            return came;
        }
        self.until.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let came = Pin::new(&mut this.stream).poll_read(context, into);
        this.moved(came, context)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let went = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.moved(went, context)
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

    async fn seats(free: usize, still: Duration) -> (LimitedListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (LimitedListener { listener, free: Arc::new(Semaphore::new(free)), still }, address)
    }

    #[tokio::test]
    async fn who_finds_no_seat_waits_until_one_is_free() {
        let (mut seats, address) = seats(1, STILL).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let (seated, _) = seats.accept().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"?").await.unwrap();
        assert_eq!(seats.free.available_permits(), 0);
        tokio::select! {
            biased;
            _ = seats.accept() => panic!("there is no seat"),
            () = std::future::ready(()) => {}
        }
        drop(seated);
        let (mut seated, _) = seats.accept().await;
        assert_eq!(seated.read_u8().await.unwrap(), b'?');
    }

    #[tokio::test]
    async fn a_seat_on_which_nothing_moves_is_free_again() {
        let (mut seats, address) = seats(1, Duration::from_millis(50)).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let (mut seated, _) = seats.accept().await;
        silent.write_all(b"?").await.unwrap();
        assert_eq!(seated.read_u8().await.unwrap(), b'?');
        assert_eq!(seated.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
