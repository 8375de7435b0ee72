//! One state for the house, or one for each room.
//!
//! Owns every listener, which of them hears a room, and how far each has read. Refuses to know the text that is stored.
//! Invariants: an utterance is read by one state, and once; all states stand on one copy of the weights.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::{info, warn};
use ulid::Ulid;

use super::snapshot::ReadPosition;
use super::snapshot_store::{SnapshotPolicy, SnapshotStore};
use super::{Listener, ListenerError, ListenerOutcome, PersistedState};
use crate::config::{self, States};
use crate::event::{Digest, Gap, Utterance};

/// Rooms with a state of their own, at most: no house has more, and a state of the 2B takes 17 MiB here and on disk for each
/// snapshot.
const ROOMS: usize = 16;

/// The listeners of a house. One thread owns them.
pub struct Listeners {
    states: States,
    /// Hears every room that has no listener of its own.
    house: RoomListener,
    rooms: BTreeMap<String, RoomListener>,
    /// That there are too many rooms was said.
    crowded: bool,
}

/// A listener and its snapshots.
struct RoomListener {
    listener: Listener,
    history: SnapshotStore,
    /// The number of the last utterance in its state, and in its newest snapshot.
    read: i64,
    saved: i64,
}

impl RoomListener {
    fn new(listener: Listener, history: SnapshotStore) -> Self {
        Self { listener, history, read: 0, saved: 0 }
    }

    /// Goes on from the newest snapshot that is `wanted`, or afresh with what is told behind `floor`.
    fn restore(&mut self, wanted: impl Fn(&ReadPosition) -> bool, floor: i64) -> Result<(), ListenerError> {
        let found = self.listener.load_latest(&self.history, wanted)?;
        let room = self.listener.room.as_deref().unwrap_or("house");
        match &found {
            Some((state, mark)) => {
                info!(room, tokens = state.tokens_read(), time = %mark.time, "went on from the last snapshot");
            }
            None => {
                info!(room, "there is no snapshot to go on from; the state starts afresh, with the text that is kept")
            }
        }
        (self.read, self.saved) = found.as_ref().map_or((floor, floor), |(_, mark)| (mark.read, mark.read));
        self.listener.resume(found.map(|(state, _)| state));
        Ok(())
    }
}

impl Listeners {
    /// The listeners of a house whose snapshots lie in `history`. Those of rooms watch for what `house` does; rooms with
    /// snapshots have one from the start.
    ///
    /// # Errors
    /// The directory of the snapshots cannot be read.
    pub fn new(house: Listener, states: States, history: SnapshotStore) -> Result<Self, ListenerError> {
        let rooms = if states == States::Room { history.rooms()? } else { Vec::new() };
        let house = if states == States::Room { house.in_several_rooms(true) } else { house };
        let mut listeners =
            Self { states, house: RoomListener::new(house, history), rooms: BTreeMap::new(), crowded: false };
        for room in rooms {
            listeners.seat(&room);
        }
        Ok(listeners)
    }

    /// The rooms with a state of their own.
    pub fn rooms(&self) -> BTreeSet<String> {
        self.rooms.keys().cloned().collect()
    }

    /// Who answers a question about `room`, or about the house: then, where each room has its state, each that has heard
    /// anything.
    ///
    /// # Errors
    /// There is no such room; who asked is told which there are.
    pub fn asked(&self, room: Option<&str>) -> Result<Vec<Option<String>>, String> {
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
                if all.is_empty() || self.house.listener.state().tokens_read() > 0 {
                    all.push(None);
                }
                Ok(all)
            }
        }
    }

    /// The listener of a room, or that of the house, and its snapshots.
    pub fn of(&mut self, room: Option<&str>) -> (&mut Listener, &SnapshotStore) {
        let seat = match room {
            Some(room) => self.rooms.get_mut(room).unwrap_or(&mut self.house),
            None => &mut self.house,
        };
        (&mut seat.listener, &seat.history)
    }

    /// Who hears `room`; a room that is new is given a listener.
    fn seat(&mut self, room: &str) -> &mut RoomListener {
        let new = self.states == States::Room && !self.rooms.contains_key(room);
        if new && self.rooms.len() < ROOMS {
            let seat = RoomListener::new(self.house.listener.another(room), self.house.history.of_room(room));
            self.rooms.insert(room.into(), seat);
        } else if new && !self.crowded {
            self.crowded = true;
            warn!(
                room,
                "{ROOMS} rooms have a state of their own; this room and those to come share the state of the house"
            );
        }
        self.rooms.get_mut(room).unwrap_or(&mut self.house)
    }

    fn seats(&self) -> impl Iterator<Item = &RoomListener> {
        std::iter::once(&self.house).chain(self.rooms.values())
    }

    fn seats_mut(&mut self) -> impl Iterator<Item = &mut RoomListener> {
        std::iter::once(&mut self.house).chain(self.rooms.values_mut())
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Listener> {
        self.seats_mut().map(|seat| &mut seat.listener)
    }

    fn gather(
        &mut self,
        act: impl FnMut(&mut Listener) -> Result<ListenerOutcome, ListenerError>,
    ) -> Result<ListenerOutcome, ListenerError> {
        self.each().map(act).collect()
    }

    /// Each state goes on from its newest snapshot that is `wanted`, or afresh with what is told behind `floor`. Returns the
    /// number behind which they are to be told everything again.
    ///
    /// # Errors
    /// A directory of snapshots cannot be read.
    pub fn restore(&mut self, wanted: impl Fn(&ReadPosition) -> bool, floor: i64) -> Result<i64, ListenerError> {
        self.seats_mut().try_for_each(|seat| seat.restore(&wanted, floor))?;
        Ok(self.seats().map(|seat| seat.read).min().unwrap_or(floor))
    }

    /// Each state that has read the utterance `from` or a later one goes back to before it, as [`Listeners::restore`] does.
    ///
    /// # Errors
    /// A directory of snapshots cannot be read.
    pub fn roll_back(&mut self, from: i64, floor: i64) -> Result<Option<i64>, ListenerError> {
        let mut told_again = None;
        for seat in self.seats_mut().filter(|seat| seat.read >= from) {
            seat.restore(|mark| mark.read < from, floor)?;
            told_again = told_again.into_iter().chain([seat.read]).min();
        }
        Ok(told_again)
    }

    /// Saves each state that has read something since its last snapshot. Then removes the snapshots that `policy` does not keep, or
    /// that were made before `oldest`, of every state that ever was: a quiet room's grow old as well, and so do those of a house
    /// that has one state again. All is tried; the first error is returned.
    ///
    /// # Errors
    /// A snapshot was not written, or not removed.
    pub fn save(
        &mut self,
        mark: &ReadPosition,
        policy: &SnapshotPolicy,
        oldest: Timestamp,
    ) -> Result<(), ListenerError> {
        let save = |seat: &mut RoomListener| {
            if seat.read != seat.saved {
                seat.listener.save(&seat.history, mark)?;
                seat.saved = seat.read;
            }
            Ok(())
        };
        let saved = self.seats_mut().map(save).fold(Ok(()), Result::and);
        let thinned = self.house.history.thin_all(policy, oldest);
        saved.and(thinned.map_err(ListenerError::from))
    }

    /// Reads an utterance; see [`Listener::hear`].
    pub fn hear(&mut self, seq: i64, utterance: &Utterance) -> Result<(), ListenerError> {
        let seat = self.seat(&utterance.room);
        seat.listener.hear(utterance)?;
        seat.read = seq;
        Ok(())
    }

    /// Reads utterances again that were considered before, as far as their state lacks them; see [`Listener::replay`].
    pub fn replay(&mut self, utterances: &[(i64, Utterance)]) -> Result<(), ListenerError> {
        for (seq, utterance) in utterances {
            let seat = self.seat(&utterance.room);
            if *seq > seat.read {
                seat.listener.replay(std::slice::from_ref(utterance))?;
                seat.read = *seq;
            }
        }
        Ok(())
    }

    /// Takes note of a stretch that was not heard.
    pub fn gap(&mut self, gap: &Gap) -> Result<(), ListenerError> {
        self.seat(&gap.room).listener.gap(gap)
    }

    /// Takes note of an utterance that was read and is untold again, if nothing that the listener told of lies behind it.
    pub fn untell(&mut self, utterance: &Utterance, told_until: &BTreeMap<Option<String>, Timestamp>) {
        let listener = &mut self.seat(&utterance.room).listener;
        if told_until.get(&listener.room).is_none_or(|until| utterance.end > *until) {
            listener.untell(utterance);
        }
    }

    /// See [`Listener::consider`].
    pub fn consider(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.gather(|listener| listener.consider(now))
    }

    /// See [`Listener::tick`].
    pub fn tick(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.gather(|listener| listener.tick(now))
    }

    /// See [`Listener::finish`].
    pub fn finish(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.gather(|listener| listener.finish(now))
    }

    /// A digest at once: of `room`, or of each room of which something is untold; one that says so if there is none.
    pub fn summarise(
        &mut self,
        room: Option<&str>,
        now: Timestamp,
    ) -> Result<Result<Vec<Digest>, String>, ListenerError> {
        let asked = match self.asked(room) {
            Ok(asked) => asked,
            Err(reason) => return Ok(Err(reason)),
        };
        let untold = |room: &Option<String>| self.of(room.as_deref()).0.untold.words() > 0;
        let (mut news, nothing): (Vec<_>, Vec<_>) = asked.into_iter().partition(untold);
        if news.is_empty() {
            news.extend(nothing.into_iter().next());
        }
        news.iter().map(|room| self.of(room.as_deref()).0.summarise(now)).collect::<Result<_, _>>().map(Ok)
    }

    /// See [`Listener::set_interval`].
    pub fn set_interval(&mut self, minutes: f64) {
        self.each().for_each(|listener| listener.set_interval(minutes));
    }

    /// See [`Listener::reload`]. What one listener takes all take: they stand on the same weights.
    pub fn reload(
        &mut self,
        digest: &config::DigestConfig,
        rules: &[config::Rule],
        now: Timestamp,
    ) -> Result<ListenerOutcome, ListenerError> {
        self.gather(|listener| listener.reload(digest, rules, now))
    }

    /// See [`Listener::forget`].
    pub fn forget(&mut self, alerts: &BTreeSet<String>, now: Timestamp) -> ListenerOutcome {
        self.each().map(|listener| listener.forget(alerts, now)).collect()
    }

    /// See [`Listener::snooze`].
    pub fn snooze(&mut self, rule: Option<&str>, now: Timestamp, until: Timestamp) -> Option<ListenerOutcome> {
        // Every listener has the same rules.
        let outcomes: Option<Vec<ListenerOutcome>> =
            self.each().map(|listener| listener.snooze(rule, now, until)).collect();
        outcomes.map(|outcomes| outcomes.into_iter().collect())
    }

    /// See [`Listener::acknowledge`].
    pub fn acknowledge(&mut self, named: Option<&str>) -> Option<config::Name> {
        self.alerting(named).acknowledge(named)
    }

    /// See [`Listener::false_alarm`].
    pub fn false_alarm(
        &mut self,
        named: Option<&str>,
        now: Timestamp,
    ) -> Option<(Ulid, config::Name, ListenerOutcome)> {
        self.alerting(named).false_alarm(named, now)
    }

    fn alerting(&mut self, named: Option<&str>) -> &mut Listener {
        self.each().max_by_key(|listener| listener.alert_meant(named)).expect("the house always has a listener")
    }

    /// Where each rule stands in each room: see [`Listener::standings`].
    pub fn standings(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (Option<&str>, &config::Name, bool, Option<Timestamp>)> {
        self.seats().map(|seat| &seat.listener).flat_map(move |listener| {
            let room = listener.room.as_deref();
            listener.standings(now).map(move |(rule, known, silent)| (room, rule, known, silent))
        })
    }

    /// What all listeners remember: see [`Listener::memory`].
    pub fn memory(&self) -> String {
        let rooms = self.rooms.iter().map(|(room, seat)| (room.clone(), seat.listener.remembered())).collect();
        PersistedState { rooms, ..self.house.listener.remembered() }.to_json()
    }

    /// Goes on from what [`Listeners::memory`] gave. Alerts of rooms that share the state of the house now end.
    ///
    /// # Errors
    /// It cannot be read; the listeners are as they were.
    pub fn recall(&mut self, memory: &str, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut memory = PersistedState::of_json(memory)?;
        let mut ended = ListenerOutcome::default();
        for (room, of_room) in std::mem::take(&mut memory.rooms) {
            let listener = &mut self.seat(&room).listener;
            if listener.room.is_some() {
                listener.remember(of_room);
            } else {
                let mut gone = listener.another(&room);
                gone.remember(of_room);
                ended.add(gone.retire(now));
            }
        }
        self.house.listener.remember(memory);
        Ok(ended)
    }

    /// The alerts that are on.
    pub fn alerts(&self) -> BTreeSet<Ulid> {
        self.seats().flat_map(|seat| seat.listener.alerts()).collect()
    }

    /// Tokens that all states have read.
    pub fn tokens_read(&self) -> u64 {
        self.seats().map(|seat| seat.listener.state().tokens_read()).sum()
    }

    /// What all states take in memory.
    pub fn bytes(&self) -> u64 {
        self.seats().map(|seat| seat.listener.state().bytes()).sum()
    }
}
