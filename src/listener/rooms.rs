//! The listeners of all rooms: one state for all, or one for each room ([`crate::config::States`]).
//!
//! Each utterance is read by one state, once. All states share one copy of the weights.

mod all;
mod renewing;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::{info, warn};
use ulid::Ulid;

use super::first_error;
use super::snapshot::ReadPosition;
use super::snapshot_store::{SnapshotPolicy, SnapshotStore};
use super::{Listener, ListenerError, ListenerOutcome};
use crate::config::States;
use crate::event::{Gap, Utterance};
use crate::grounding::CheckCounts;

/// At most so many rooms have a state of their own. A state of the 2B model takes 17 MiB, in memory and for each snapshot.
const MAX_ROOMS: usize = 16;

/// All listeners of a daemon. Used by one thread.
pub struct Listeners {
    states: States,
    /// Reads the utterances of every room that has no listener of its own.
    shared: RoomListener,
    rooms: BTreeMap<String, RoomListener>,
    /// That there are too many rooms was logged.
    warned: bool,
}

/// A listener and its snapshots.
struct RoomListener {
    listener: Listener,
    snapshots: SnapshotStore,
    /// The number of the last utterance in its state.
    read: i64,
    /// The number of the last utterance in its newest snapshot.
    saved: i64,
    /// The position of the snapshot that it was restored from last.
    restored: Option<ReadPosition>,
}

impl RoomListener {
    fn new(listener: Listener, snapshots: SnapshotStore) -> Self {
        Self { listener, snapshots, read: 0, saved: 0, restored: None }
    }

    /// Continues from the newest snapshot that is `wanted`, or from an empty state that will read the utterances after `floor`.
    fn restore(&mut self, wanted: impl Fn(&ReadPosition) -> bool, floor: i64) -> Result<(), ListenerError> {
        let found = self.listener.load_latest(&self.snapshots, wanted)?;
        let room = self.listener.room.as_deref().unwrap_or("house");
        match &found {
            Some((state, mark)) => {
                info!(room, tokens = state.tokens_read(), time = %mark.time, "the last snapshot is restored");
            }
            None => {
                info!(room, "there is no snapshot to restore; the state starts empty and reads the text that is kept")
            }
        }
        let read = found.as_ref().map_or(floor, |(_, position)| position.read);
        self.read = read;
        self.saved = read;
        self.restored = found.as_ref().map(|(_, position)| *position);
        self.listener.resume(found.map(|(state, _)| state));
        Ok(())
    }
}

impl Listeners {
    /// Starts with one listener for each room that has snapshots, if each room has its own state. They have the rules and the
    /// schedule of `shared`.
    ///
    /// # Errors
    /// The directory of the snapshots cannot be read.
    pub fn new(shared: Listener, states: States, snapshots: SnapshotStore) -> Result<Self, ListenerError> {
        let rooms = if states == States::Room { snapshots.rooms()? } else { Vec::new() };
        let shared = if states == States::Room { shared.in_several_rooms(true) } else { shared };
        let mut listeners =
            Self { states, shared: RoomListener::new(shared, snapshots), rooms: BTreeMap::new(), warned: false };
        for room in rooms {
            listeners.listener_for(&room);
        }
        Ok(listeners)
    }

    /// The rooms with a state of their own.
    pub fn rooms(&self) -> BTreeSet<String> {
        self.rooms.keys().cloned().collect()
    }

    /// The states that answer a question: that of `room`, or, without one, every state that has read anything.
    ///
    /// # Errors
    /// There is no such room; the message says which there are.
    pub fn states_for(&self, room: Option<&str>) -> Result<Vec<Option<String>>, String> {
        match (room, self.states) {
            (Some(room), _) if self.rooms.contains_key(room) => Ok(vec![Some(room.into())]),
            (Some(_), States::House) => {
                Err("all rooms share one state ([listener] states = \"house\"): ask without a room".into())
            }
            (Some(room), States::Room) => {
                let rooms: Vec<_> = self.rooms.keys().map(String::as_str).collect();
                Err(format!("nothing was heard in a room \"{room}\"; there are: {}", rooms.join(", ")))
            }
            (None, _) => {
                let mut all: Vec<_> = self.rooms.keys().cloned().map(Some).collect();
                if all.is_empty() || self.shared.listener.state().tokens_read() > 0 {
                    all.push(None);
                }
                Ok(all)
            }
        }
    }

    /// The listener of a room, or the shared one, and its snapshots.
    pub fn get_mut(&mut self, room: Option<&str>) -> (&mut Listener, &SnapshotStore) {
        let found = match room {
            Some(room) => self.rooms.get_mut(room).unwrap_or(&mut self.shared),
            None => &mut self.shared,
        };
        (&mut found.listener, &found.snapshots)
    }

    /// The listener that reads `room`. A new room gets one, if each has its own and there are not too many.
    fn listener_for(&mut self, room: &str) -> &mut RoomListener {
        let new = self.states == States::Room && !self.rooms.contains_key(room);
        if new && self.rooms.len() < MAX_ROOMS {
            let listener = self.shared.listener.for_room(room);
            let snapshots = self.shared.snapshots.of_room(room);
            self.rooms.insert(room.into(), RoomListener::new(listener, snapshots));
        } else if new && !self.warned {
            self.warned = true;
            warn!(room, "{MAX_ROOMS} rooms have a state of their own; this room and later ones share one state");
        }
        self.rooms.get_mut(room).unwrap_or(&mut self.shared)
    }

    fn all(&self) -> impl Iterator<Item = &RoomListener> {
        std::iter::once(&self.shared).chain(self.rooms.values())
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut RoomListener> {
        std::iter::once(&mut self.shared).chain(self.rooms.values_mut())
    }

    fn listeners(&mut self) -> impl Iterator<Item = &mut Listener> {
        self.all_mut().map(|room| &mut room.listener)
    }

    fn collect(
        &mut self,
        act: impl FnMut(&mut Listener) -> Result<ListenerOutcome, ListenerError>,
    ) -> Result<ListenerOutcome, ListenerError> {
        self.listeners().map(act).collect()
    }

    /// Each state continues from its newest snapshot that is `wanted`, or from an empty state. Returns the number after which the
    /// utterances must be read again; `floor` at least.
    ///
    /// # Errors
    /// A directory of snapshots cannot be read.
    pub fn restore(&mut self, wanted: impl Fn(&ReadPosition) -> bool, floor: i64) -> Result<i64, ListenerError> {
        self.all_mut().try_for_each(|room| room.restore(&wanted, floor))?;
        Ok(self.all().map(|room| room.read).min().unwrap_or(floor))
    }

    /// Each state that has read the utterance `from` or a later one goes back to before it, as [`Listeners::restore`] does. Returns
    /// the number after which the utterances must be read again; none when no state has read that far.
    ///
    /// # Errors
    /// A directory of snapshots cannot be read.
    pub fn roll_back(&mut self, from: i64, floor: i64) -> Result<Option<i64>, ListenerError> {
        let mut read_again = None;
        for room in self.all_mut().filter(|room| room.read >= from) {
            room.restore(|mark| mark.read < from, floor)?;
            read_again = read_again.into_iter().chain([room.read]).min();
        }
        Ok(read_again)
    }

    /// Saves each state that has read something since its last snapshot. Then removes the snapshots that `policy` does not keep or
    /// that were made before `oldest`, also of rooms that are quiet or have no state any more. Everything is tried; the first
    /// error is returned.
    ///
    /// # Errors
    /// A snapshot was not written, or not removed.
    pub fn save(
        &mut self,
        mark: &ReadPosition,
        policy: &SnapshotPolicy,
        oldest: Timestamp,
    ) -> Result<(), ListenerError> {
        let save = |room: &mut RoomListener| -> Result<(), ListenerError> {
            if room.read != room.saved {
                room.listener.save(&room.snapshots, mark)?;
                room.saved = room.read;
            }
            Ok(())
        };
        let saved = first_error(self.all_mut().map(save));
        let pruned = self.shared.snapshots.prune_all(policy, oldest);
        saved.and(pruned.map_err(ListenerError::from))
    }

    /// Reads an utterance; see [`Listener::hear`].
    ///
    /// # Errors
    /// The model cannot read it; so for every function here that returns a `Result`.
    pub fn hear(&mut self, seq: i64, utterance: &Utterance) -> Result<(), ListenerError> {
        let room = self.listener_for(&utterance.room);
        room.listener.hear(utterance)?;
        room.read = seq;
        Ok(())
    }

    /// An utterance that its state has read before it had a number has got one.
    pub(crate) fn mark_read(&mut self, seq: i64, room: &str) {
        self.listener_for(room).read = seq;
    }

    /// Reads utterances that a state lacks after [`Listeners::restore`]; see [`Listener::replay`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub fn replay(&mut self, utterances: &[(i64, Utterance)]) -> Result<(), ListenerError> {
        for (seq, utterance) in utterances {
            let room = self.listener_for(&utterance.room);
            if *seq > room.read {
                room.listener.replay(std::slice::from_ref(utterance))?;
                room.read = *seq;
            }
        }
        Ok(())
    }

    /// Takes utterances that the states have read already as talk that texts may rest on; those that a state lacks come with
    /// [`Listeners::replay`].
    pub(crate) fn remember(&mut self, utterances: &[(i64, Utterance)]) {
        for (seq, utterance) in utterances {
            let room = self.listener_for(&utterance.room);
            if *seq <= room.read {
                room.listener.remember(utterance);
            }
        }
    }

    /// Drops talk that is older than `oldest`; see [`Listener::remember`].
    pub(crate) fn keep_talk_since(&mut self, oldest: Timestamp) {
        self.listeners().for_each(|listener| listener.keep_talk_since(oldest));
    }

    /// See [`Listener::gap`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn gap(&mut self, gap: &Gap) -> Result<(), ListenerError> {
        self.listener_for(&gap.room).listener.gap(gap)
    }

    /// Makes an utterance part of the next digest again, after the digest that covered it was forgotten.
    pub(crate) fn mark_pending(&mut self, utterance: &Utterance, covered_until: &BTreeMap<Option<String>, Timestamp>) {
        let listener = &mut self.listener_for(&utterance.room).listener;
        if covered_until.get(&listener.room).is_none_or(|until| utterance.end > *until) {
            listener.mark_pending(utterance);
        }
    }

    /// The ids of the active alerts.
    pub(crate) fn alerts(&self) -> BTreeSet<Ulid> {
        self.all().flat_map(|room| room.listener.alerts()).collect()
    }

    /// What the check made of the sentences of all states since the start.
    pub(crate) fn checked(&self) -> CheckCounts {
        let mut all = CheckCounts::default();
        self.all().for_each(|room| all.merge(room.listener.checked.get()));
        all
    }

    /// How many tokens all states have read together.
    pub fn tokens_read(&self) -> u64 {
        self.all().map(|room| room.listener.state().tokens_read()).sum()
    }

    /// How many bytes of memory all states take.
    pub(crate) fn bytes(&self) -> u64 {
        self.all().map(|room| room.listener.state().bytes()).sum()
    }
}
