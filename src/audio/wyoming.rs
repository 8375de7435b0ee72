//! Network microphones: the Wyoming protocol of Home Assistant's satellites, over TCP.
//!
//! Owns the listener, and which room a client is. Refuses to know who they are beyond their address and the name they give.
//! Invariant: whatever a client sends or leaves out ends that client alone.

mod client;
mod protocol;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::client::{ClientRoom, Satellite};
use super::sink::BlockingSink;
use super::{AudioError, SourceControl};
use crate::config;
use crate::event::RoomAudio;
use crate::metrics::Metrics;

/// More microphones than a house has rooms are no microphones.
const MAX_CLIENTS: usize = 16;
/// How long a request to stop may go unnoticed.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };
/// What all clients share.
struct WyomingServer<'a> {
    settings: &'a config::WyomingConfig,
    /// The room of a microphone that nobody has named.
    room: &'a str,
    control: &'a SourceControl,
    metrics: &'a Metrics,
    clients: AtomicUsize,
    /// Rooms that went away in the middle of a stream, and when.
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
    let shared =
        WyomingServer { settings, room, control, metrics, clients: AtomicUsize::new(0), lost: Mutex::default() };
    std::thread::scope(|threads| {
        while !control.stopped() {
            if !ready(&listener, &GLANCE).map_err(|error| failed(error.into()))? {
                continue;
            }
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The client went away again, or the process is out of files for the moment.
                    tracing::debug!(%error, "a network microphone was not taken in");
                    let _ = control.wait_until(Instant::now() + Duration::from_millis(100));
                    continue;
                }
            };
            if let Some(reason) = shared.turns_away(peer) {
                tracing::warn!(%peer, "a network microphone was turned away: {reason}");
                continue;
            }
            shared.clients.fetch_add(1, Relaxed);
            let (client, shared) = (Satellite::new(stream, peer, &shared, out.clone()), &shared);
            let thread = std::thread::Builder::new().name("wyoming".into()).spawn_scoped(threads, move || {
                client.and_then(Satellite::run).unwrap_or_else(|ended| ended.tell(peer));
                shared.clients.fetch_sub(1, Relaxed);
            });
            thread.map_err(|source| AudioError::Thread { source })?;
        }
        Ok(())
    })
}

/// Something can be read from it, or taken in.
fn ready(from: &impl AsFd, within: &Timespec) -> Result<bool, Errno> {
    match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(within)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

impl<'a> WyomingServer<'a> {
    fn turns_away(&self, peer: SocketAddr) -> Option<&'static str> {
        let rooms = &self.settings.rooms;
        if !rooms.is_empty() && !rooms.contains_key(&peer.ip().to_canonical()) {
            return Some("its address has no room in [source.wyoming.rooms]");
        }
        (self.clients.load(Relaxed) >= MAX_CLIENTS).then_some("there are too many of them")
    }

    fn lost(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Timestamp>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A room is not heard any more, and nobody said so.
    fn lose(&self, room: &Arc<str>) {
        let mut lost = self.lost();
        lost.insert(room.clone(), Timestamp::now());
        // Names are given by whoever connects; they must not pile up.
        if lost.len() > MAX_CLIENTS {
            lost.pop_first();
        }
    }

    /// The room of a client: by its address, by the name it gave, or the one for all others; a second one in it has a number.
    fn hear(&'a self, peer: SocketAddr, name: Option<&str>, out: SyncSender<RoomAudio>) -> ClientRoom<'a> {
        let named = self.settings.rooms.get(&peer.ip().to_canonical()).map(config::Name::as_str);
        let room = named.or(name).unwrap_or(self.room);
        // Held until the room is in the list, so that two that come at once do not take the same.
        let _taking = self.lost();
        let listed = self.metrics.rooms.each();
        let free = |name: &str| listed.iter().all(|(taken, _)| **taken != *name);
        let numbered = (2..).map(|n| format!("{room}-{n}"));
        let room = std::iter::once(room.to_owned()).chain(numbered).find(|name| free(name));
        let name: Arc<str> = room.expect("numbers do not end").into();
        tracing::info!(%peer, room = &*name, "a network microphone is heard");
        ClientRoom::new(BlockingSink::new(out, &name, self.control, self.metrics), name, self.metrics)
    }
}
