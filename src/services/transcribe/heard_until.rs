//! Until when each room was heard, so that the next start can report the time in which nothing was heard.
//!
//! It is noted every half minute, and at the end. After a kill or a power cut the first sound of a room is preceded by a gap with the
//! reason `restart`: from the end of what was heard and stored last, to now. A file has no such gap: nothing in it is missed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tracing::warn;
use ulid::Ulid;

use crate::config::SourceConfig;
use crate::event::{AudioEvent, Gap, GapReason, RoomAudio};
use crate::services::Context;
use crate::store::{Store, StoreError};

/// Where it is noted: a JSON object of rooms and times.
const NOTE: &str = "heard_until";
const NOTE_EVERY: Duration = Duration::from_secs(30);
/// No restart is shorter.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);

pub(super) struct HeardUntil {
    places: BTreeMap<String, SoundOrigin>,
    /// Everything up to this time is stored.
    rooms: BTreeMap<String, Timestamp>,
    /// Rooms that deliver sound at the moment.
    active: BTreeSet<String>,
    /// Of the last run: rooms that were not heard since.
    before: BTreeMap<String, Timestamp>,
    /// Why the rooms of the last run were not heard.
    reason: GapReason,
    noted: Option<String>,
    due: Instant,
}

impl HeardUntil {
    /// As the last run left it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn load(context: &Context, store: &Store) -> Result<Self, StoreError> {
        let noted = store.note(NOTE)?;
        let mut before: BTreeMap<String, Timestamp> = match noted.as_deref().map(serde_json::from_str) {
            Some(Ok(rooms)) => rooms,
            Some(Err(error)) => {
                warn!(%error, "the note of how far hearing had come cannot be read; the gap before this start is not reported");
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        };
        for (room, until) in &mut before {
            *until = store.heard_until(room)?.map_or(*until, |stored| stored.max(*until));
        }
        // A microphone that was muted stays so over a restart.
        let reason = if context.metrics.listening.get() { GapReason::Restart } else { GapReason::Muted };
        let kind = |source: &SourceConfig| match source {
            SourceConfig::Microphone(_) | SourceConfig::Stdin(_) => SoundOrigin::Fixed,
            SourceConfig::File(_) => SoundOrigin::File,
            SourceConfig::Wyoming(_) => SoundOrigin::Network,
        };
        let places = context.config.sources().iter().map(|(room, source)| (room.clone(), kind(source))).collect();
        let due = Instant::now();
        Ok(Self { places, rooms: BTreeMap::new(), active: BTreeSet::new(), before, reason, noted, due })
    }

    /// Notes that sound comes, or ends. Returns the gap before the first sound of this run. While the clock is behind the last run the
    /// length of the gap is unknown: it is returned once the clock has passed that time.
    pub(super) fn accept(&mut self, sound: &RoomAudio, context: &Context) -> Option<Gap> {
        let room = &*sound.room;
        let place = self.places.get(room).copied().unwrap_or(SoundOrigin::Network);
        let time = match &sound.event {
            _ if place == SoundOrigin::File => return None,
            AudioEvent::Frame(frame) => {
                if !self.active.contains(room) {
                    self.active.insert(room.into());
                    self.rooms.entry(room.into()).or_insert(frame.time);
                }
                frame.time
            }
            AudioEvent::Gap(gap) => gap.from,
            AudioEvent::End => {
                self.active.remove(room);
                // A network microphone may stop at any time; that is no gap.
                if place == SoundOrigin::Network && context.metrics.listening.get() && !context.is_closing() {
                    self.rooms.remove(room);
                }
                return None;
            }
        };
        let from = self.before.get(room).copied().filter(|from| time.duration_since(*from) >= SHORTEST)?;
        self.before.remove(room);
        Some(Gap { id: Ulid::generate(), room: room.into(), from, to: time, reason: self.reason })
    }

    /// Everything that was said in a room until `time` is stored.
    pub(super) fn stored(&mut self, room: &str, time: Timestamp) {
        if let Some(until) = self.rooms.get_mut(room) {
            *until = time.max(*until);
        }
    }

    /// Everything that was said in any room until `time` is stored.
    pub(super) fn progress(&mut self, time: Timestamp) {
        let Self { rooms, active, .. } = self;
        rooms.iter_mut().filter(|(room, _)| active.contains(*room)).for_each(|(_, until)| *until = time.max(*until));
    }

    /// What is to be noted now, if it has changed: every half minute, or `at_once`.
    pub(super) fn take_note(&mut self, at_once: bool) -> Option<String> {
        if !at_once && Instant::now() < self.due {
            return None;
        }
        // Until its gap is reported, a room keeps the time of the last run.
        let mut all = self.rooms.clone();
        all.extend(self.before.clone());
        let note = serde_json::to_string(&all).expect("names and times are JSON");
        if self.noted.as_deref().unwrap_or("{}") == note {
            return None;
        }
        self.due = Instant::now() + NOTE_EVERY;
        Some(note)
    }

    /// Notes it for the next start.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn note(&mut self, store: &mut Store, note: String) -> Result<(), StoreError> {
        store.set_note(NOTE, &note)?;
        self.noted = Some(note);
        Ok(())
    }

    /// The sources have ended by themselves: no gap follows.
    pub(super) fn ended(&mut self) {
        self.rooms.clear();
        self.before.clear();
    }
}

/// What kind of source a room has.
#[derive(Clone, Copy, PartialEq)]
enum SoundOrigin {
    /// A microphone of this machine, or standard input: it is always to be heard.
    Fixed,
    File,
    Network,
}
