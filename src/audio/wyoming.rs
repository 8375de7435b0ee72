//! Network microphones: satellites that speak Home Assistant's Wyoming protocol over TCP.
//!
//! Each satellite has a thread of its own. Whatever one sends, or fails to send, ends that connection alone. A satellite is
//! identified only by its address and the name it gives: a silent connection gives way to a new one of the same satellite.

mod places;
mod protocol;
mod sample_layout;
mod satellite;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};

use self::places::Places;
use self::satellite::{ClientRoom, Satellite};
use super::sink::BlockingSink;
use super::{AudioError, SourceControl};
use crate::config;
use crate::event::RoomAudio;
use crate::metrics::Metrics;

/// How long a request to stop may go unnoticed: 40 ms.
const POLL_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

/// What all connections share.
struct WyomingServer<'a> {
    settings: &'a config::WyomingConfig,
    /// The room of a satellite that has no name.
    room: &'a str,
    control: &'a SourceControl,
    metrics: &'a Metrics,
    places: Places,
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
    let server = WyomingServer { settings, room, control, metrics, places: Places::default(), lost: Mutex::default() };
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
            let place = match server.place(&stream, peer) {
                Ok(place) => place,
                Err(reason) => {
                    tracing::warn!(%peer, "a network microphone was refused: {reason}");
                    continue;
                }
            };
            let server = &server;
            let satellite = Satellite::new(stream, peer, place, server, out.clone());
            let thread = std::thread::Builder::new().name("wyoming".into()).spawn_scoped(threads, move || {
                satellite.and_then(Satellite::run).unwrap_or_else(|ended| ended.log(peer));
                server.places.leave(place);
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
    /// The place of a new connection, or why it is refused.
    fn place(&self, stream: &TcpStream, peer: SocketAddr) -> Result<u64, String> {
        let rooms = &self.settings.rooms;
        let address = peer.ip().to_canonical();
        if !rooms.is_empty() && !rooms.contains_key(&address) {
            return Err("its address has no room in [source.wyoming.rooms]".into());
        }
        keep_alive(stream).map_err(|error| error.to_string())?;
        let handle = stream.try_clone().map_err(|error| error.to_string())?;
        self.places.enter(address, handle).ok_or_else(|| "there are too many of them, and all deliver".into())
    }

    fn lost_rooms(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Timestamp>> {
        self.lost.lock()
    }

    /// A room has disconnected in the middle of a stream, which brought sound until then.
    fn record_loss(&self, room: &Arc<str>, until: Timestamp) {
        let mut lost = self.lost_rooms();
        lost.insert(room.clone(), until);
        // The names come from whoever connects, so their number is limited.
        if lost.len() > places::MAX_CLIENTS {
            lost.pop_first();
        }
    }

    /// The room that a satellite is to have: by its address, by the name it gave, or the one for all others.
    fn wished_room<'n>(&'n self, peer: SocketAddr, name: Option<&'n str>) -> &'n str {
        let named = self.settings.rooms.get(&peer.ip().to_canonical()).map(config::Name::as_str);
        named.or(name).unwrap_or(self.room)
    }

    /// Opens the room of a satellite. A silent connection that the same satellite left behind gives way. If another has the room, a
    /// number is appended.
    ///
    /// None when the sources are stopped.
    fn open_room(&'a self, place: u64, wished: &str, out: &SyncSender<RoomAudio>) -> Option<ClientRoom<'a>> {
        loop {
            {
                // Held until the room is open, so that two satellites that connect at once do not take the same.
                let _guard = self.lost_rooms();
                let listed = self.metrics.rooms.each();
                let free = |name: &str| listed.iter().all(|(taken, _)| **taken != *name);
                if free(wished) || !self.places.take_over(place, wished) {
                    let numbered = (2..).map(|n| format!("{wished}-{n}"));
                    let room = std::iter::once(wished.to_owned()).chain(numbered).find(|name| free(name));
                    let name: Arc<str> = room.expect("one of the numbers is free").into();
                    self.places.set_room(place, &name);
                    tracing::info!(room = &*name, "a network microphone delivers audio");
                    let sink = BlockingSink::new(out.clone(), &name, self.control, self.metrics);
                    return Some(ClientRoom::new(sink, name, self.metrics));
                }
            }
            // The other thread ends its segment first.
            if self.control.wait_until(Instant::now() + Duration::from_millis(10)).is_break() {
                return None;
            }
        }
    }
}

/// The system asks a silent satellite whether it is still there, and closes the connection after half a minute without an answer.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    let every = Duration::from_secs(5);
    let settings = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(every).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&settings)
}
