//! The places of network microphones: how many may be connected, and who has to give way.
//!
//! A microphone that lost power leaves a connection behind that nobody closes. It must neither keep its room from the same
//! microphone, nor its place from another one. Whoever delivers keeps both.

use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// More connections than this are refused, unless one of them is silent.
pub(super) const MAX_CLIENTS: usize = 16;
/// A connection without an event for so long gives its room to the same microphone. One that delivers sends several a second.
const SILENT: Duration = Duration::from_secs(2);
/// When all places are taken, a connection without sound for so long gives its place to a new one.
const SOUNDLESS: Duration = Duration::from_secs(30);

/// What is known of one connection.
#[derive(Clone, Debug)]
struct Place {
    id: u64,
    address: IpAddr,
    /// The name that the satellite gave.
    name: Option<String>,
    room: Option<Arc<str>>,
    /// Its last event was in the middle of a stream: more was to come.
    streaming: bool,
    last_event: Instant,
    last_sound: Instant,
    /// It has to give way, and its thread is about to end.
    expelled: bool,
}

impl Place {
    fn new(id: u64, address: IpAddr, now: Instant) -> Self {
        Self {
            id,
            address,
            name: None,
            room: None,
            streaming: false,
            last_event: now,
            last_sound: now,
            expelled: false,
        }
    }

    /// The connection is one that this microphone left behind.
    fn is_left_behind_by(&self, new: &Self, now: Instant) -> bool {
        let same_name = self.name == new.name;
        let same_address = self.address == new.address && (same_name || self.name.is_none() || new.name.is_none());
        // Two at different addresses may have one name. While one of them has nothing to say, it is not gone.
        let moved = same_name && self.name.is_some() && self.streaming;
        self.id != new.id && now.duration_since(self.last_event) > SILENT && (same_address || moved)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<PlaceList>);

#[derive(Debug, Default)]
struct PlaceList {
    places: Vec<(Place, TcpStream)>,
    next_id: u64,
}

impl PlaceList {
    fn find(&mut self, id: u64) -> Option<&mut Place> {
        self.places.iter_mut().map(|(place, _)| place).find(|place| place.id == id)
    }

    fn staying(&mut self) -> impl Iterator<Item = &mut (Place, TcpStream)> {
        self.places.iter_mut().filter(|(place, _)| !place.expelled)
    }
}

/// Ends a connection: its thread finds it closed.
fn expel((place, socket): &mut (Place, TcpStream)) {
    place.expelled = true;
    let _ = socket.shutdown(Shutdown::Both);
}

impl Places {
    /// The place of a new connection. None if all are taken by others that deliver. `socket` is a handle of the connection.
    pub(super) fn enter(&self, address: IpAddr, socket: TcpStream) -> Option<u64> {
        let now = Instant::now();
        let mut list = self.0.lock();
        if list.staying().count() >= MAX_CLIENTS {
            let silent = list.staying().filter(|(place, _)| now.duration_since(place.last_sound) > SOUNDLESS);
            expel(silent.min_by_key(|(place, _)| place.last_sound)?);
        }
        list.next_id += 1;
        let id = list.next_id;
        list.places.push((Place::new(id, address, now), socket));
        Some(id)
    }

    pub(super) fn leave(&self, id: u64) {
        self.0.lock().places.retain(|(place, _)| place.id != id);
    }

    /// The connection had to give way.
    pub(super) fn is_expelled(&self, id: u64) -> bool {
        self.0.lock().find(id).is_some_and(|place| place.expelled)
    }

    /// An event has come. `streaming` says whether more of a stream is to come after it.
    pub(super) fn record_event(&self, id: u64, sound: bool, streaming: bool) {
        let now = Instant::now();
        if let Some(place) = self.0.lock().find(id) {
            place.last_event = now;
            place.streaming = streaming;
            if sound {
                place.last_sound = now;
            }
        }
    }

    /// The satellite has given its name.
    pub(super) fn set_name(&self, id: u64, name: Option<&str>) {
        if let Some(place) = self.0.lock().find(id) {
            place.name = name.map(str::to_owned);
        }
    }

    /// The connection has opened a room.
    pub(super) fn set_room(&self, id: u64, room: &Arc<str>) {
        if let Some(place) = self.0.lock().find(id) {
            place.room = Some(room.clone());
        }
    }

    /// Ends the connection that has this room, if it was left behind by the microphone of connection `id`. True if the room becomes
    /// free, now or as soon as the other thread has ended its segment.
    pub(super) fn take_over(&self, id: u64, room: &str) -> bool {
        let now = Instant::now();
        let mut list = self.0.lock();
        let Some(new) = list.find(id).cloned() else { return false };
        let holder = list.places.iter_mut().find(|(place, _)| place.room.as_deref() == Some(room));
        match holder {
            Some((place, _)) if place.expelled => true,
            Some(holder) if holder.0.is_left_behind_by(&new, now) => {
                expel(holder);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: u64, address: &str, name: Option<&str>) -> Place {
        let mut place = Place::new(id, address.parse().unwrap(), Instant::now());
        place.name = name.map(str::to_owned);
        place.streaming = true;
        place
    }

    #[test]
    fn only_a_silent_connection_of_the_same_microphone_gives_way() {
        let old = place(1, "10.0.0.1", Some("hall"));
        let later = old.last_event + SILENT + Duration::from_millis(1);
        let gives_way = |old: &Place, new: &Place| old.is_left_behind_by(new, later);
        let back = place(2, "10.0.0.1", Some("hall"));
        assert!(gives_way(&old, &back) && !old.is_left_behind_by(&back, old.last_event + SILENT), "it delivers");
        assert!(gives_way(&old, &place(2, "10.0.0.1", None)), "it has not told its name yet");
        assert!(!gives_way(&old, &place(2, "10.0.0.1", Some("attic"))), "another one on the same machine");
        assert!(gives_way(&old, &place(2, "10.0.0.9", Some("hall"))), "it came back with another address");
        let paused = Place { streaming: false, ..old.clone() };
        assert!(!gives_way(&paused, &place(2, "10.0.0.9", Some("hall"))), "a namesake that has nothing to say");
        assert!(gives_way(&paused, &back), "the same microphone, which had nothing to say");
        assert!(!gives_way(&place(1, "10.0.0.1", None), &place(2, "10.0.0.9", None)), "two without a name");
        assert!(!gives_way(&old, &old));
    }
}
