//! Network microphones: satellites that speak Home Assistant's Wyoming protocol over TCP.
//!
//! Each satellite has a thread of its own. Whatever one sends, or fails to send, ends that connection alone. A satellite is
//! identified only by its address and the name it gives.

mod protocol;
mod satellite;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::satellite::{ClientRoom, Satellite};
use super::sink::BlockingSink;
use super::{AudioError, SourceControl};
use crate::config;
use crate::event::RoomAudio;
use crate::metrics::Metrics;

/// More connections than this are refused.
const MAX_CLIENTS: usize = 16;
/// How long a request to stop may go unnoticed: 40 ms.
const POLL_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

/// What all connections share.
struct WyomingServer<'a> {
    settings: &'a config::WyomingConfig,
    /// The room of a satellite that has no name.
    room: &'a str,
    control: &'a SourceControl,
    metrics: &'a Metrics,
    connections: AtomicUsize,
    /// Rooms that disconnected in the middle of a stream, and when.
    lost: Mutex<BTreeMap<Arc<str>, Timestamp>>,
}

pub(super) fn run(
    settings: &config::WyomingConfig,
    room: &str,
    out: SyncSender<RoomAudio>,
    control: &SourceControl,
    metrics: &Metrics,
) -> Result<(), AudioError> {
    let address = settings.listen;
    let failed = |source| AudioError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    tracing::info!(address = %listener.local_addr().map_err(failed)?, "network microphones may connect");
    let server =
        WyomingServer { settings, room, control, metrics, connections: AtomicUsize::new(0), lost: Mutex::default() };
    std::thread::scope(|threads| {
        while !control.stopped() {
            if !ready(&listener, &POLL_TIME).map_err(|error| failed(error.into()))? {
                continue;
            }
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The satellite has disconnected already, or the process is out of file descriptors for the moment.
                    tracing::debug!(%error, "a network microphone could not be accepted");
                    let _ = control.wait_until(Instant::now() + Duration::from_millis(100));
                    continue;
                }
            };
            if let Some(reason) = server.refusal(peer) {
                tracing::warn!(%peer, "a network microphone was refused: {reason}");
                continue;
            }
            server.connections.fetch_add(1, Relaxed);
            let server = &server;
            let satellite = Satellite::new(stream, peer, server, out.clone());
            let thread = std::thread::Builder::new().name("wyoming".into()).spawn_scoped(threads, move || {
                satellite.and_then(Satellite::run).unwrap_or_else(|ended| ended.log(peer));
                server.connections.fetch_sub(1, Relaxed);
            });
            thread.map_err(|source| AudioError::Thread { source })?;
        }
        Ok(())
    })
}

/// A connection can be accepted, or bytes can be read, within that time.
fn ready(from: &impl AsFd, within: &Timespec) -> Result<bool, Errno> {
    match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(within)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

impl<'a> WyomingServer<'a> {
    fn refusal(&self, peer: SocketAddr) -> Option<&'static str> {
        let rooms = &self.settings.rooms;
        if !rooms.is_empty() && !rooms.contains_key(&peer.ip().to_canonical()) {
            return Some("its address has no room in [source.wyoming.rooms]");
        }
        (self.connections.load(Relaxed) >= MAX_CLIENTS).then_some("there are too many of them")
    }

    fn lost_rooms(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Timestamp>> {
        self.lost.lock()
    }

    /// A room has disconnected in the middle of a stream.
    fn record_loss(&self, room: &Arc<str>) {
        let mut lost = self.lost_rooms();
        lost.insert(room.clone(), Timestamp::now());
        // The names come from whoever connects, so their number is limited.
        if lost.len() > MAX_CLIENTS {
            lost.pop_first();
        }
    }

    /// Opens the room of a satellite: by its address, by the name it gave, or the one for all others. If the room is taken, a number
    /// is appended.
    fn open_room(&'a self, peer: SocketAddr, name: Option<&str>, out: SyncSender<RoomAudio>) -> ClientRoom<'a> {
        let named = self.settings.rooms.get(&peer.ip().to_canonical()).map(config::Name::as_str);
        let room = named.or(name).unwrap_or(self.room);
        // Held until the room is open, so that two satellites that connect at once do not take the same.
        let _guard = self.lost_rooms();
        let listed = self.metrics.rooms.each();
        let free = |name: &str| listed.iter().all(|(taken, _)| **taken != *name);
        let numbered = (2..).map(|n| format!("{room}-{n}"));
        let room = std::iter::once(room.to_owned()).chain(numbered).find(|name| free(name));
        let name: Arc<str> = room.expect("one of the numbers is free").into();
        tracing::info!(%peer, room = &*name, "a network microphone delivers audio");
        ClientRoom::new(BlockingSink::new(out, &name, self.control, self.metrics), name, self.metrics)
    }
}
