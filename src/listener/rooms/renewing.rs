//! How the states of all rooms are judged and renewed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use super::Listeners;
use crate::clock;
use crate::config::RenewWhen;
use crate::event::Utterance;
use crate::listener::candidate::Candidate;
use crate::listener::renewal::{Occasion, Renewals};
use crate::listener::snapshot::ReadPosition;
use crate::listener::surprise::{Measured, Surprise};
use crate::listener::{Listener, ListenerError};
use crate::metrics::{RenewalHealth, SurpriseHealth};

impl Listeners {
    /// How much what was read lately surprised the states: the one that it surprised most.
    pub(crate) fn surprise(&self) -> SurpriseHealth {
        let height = |surprise: &Surprise| surprise.median().unwrap_or_default();
        let states = || self.all().map(|room| &room.listener.surprise);
        let Some(most) = states().max_by(|a, b| height(a).total_cmp(&height(b))) else {
            return SurpriseHealth::default();
        };
        let rooms: BTreeMap<_, _> = states().flat_map(Surprise::rooms).map(|(r, n)| (r.into(), n)).collect();
        SurpriseHealth {
            nats: most.median(),
            spread: most.spread(),
            young: most.young(),
            risen: self.is_any_suspected(),
            outstanding: states().map(Surprise::outstanding).sum(),
            rooms,
        }
    }

    /// How the states were renewed, all together.
    pub(crate) fn renewals(&self) -> RenewalHealth {
        let all = || self.all().map(|room| room.listener.renewals);
        let (count, last) = (all().map(|one| one.count).sum(), all().filter_map(|one| one.last).max());
        RenewalHealth { count, last, ..RenewalHealth::default() }
    }

    /// The state that is to be renewed first, and why: one that is suspected goes before others.
    pub(crate) fn renewal_due(
        &self,
        renew: RenewWhen,
        now: Option<(Timestamp, i8)>,
    ) -> Option<(Option<String>, Occasion)> {
        let due = |listener: &Listener| {
            let tokens = listener.state().tokens_read();
            listener.renewals.occasion(renew, tokens, listener.is_suspected(), now)
        };
        let all = self.all().filter_map(|room| Some((room.listener.room.clone(), due(&room.listener)?)));
        // Of several that are as urgent, the first.
        all.min_by_key(|(_, occasion)| *occasion != Occasion::Suspected)
    }

    /// Whether one of the states may be worse than it was.
    pub(crate) fn is_any_suspected(&self) -> bool {
        self.all().any(|room| room.listener.is_suspected())
    }

    /// A second state beside that of a room.
    pub(crate) fn candidate(&mut self, room: Option<&str>) -> Candidate {
        self.get_mut(room).0.candidate()
    }

    /// Whether an utterance is read by the state of `room`.
    pub(crate) fn reads(&self, room: Option<&str>, utterance: &Utterance) -> bool {
        room == self.rooms.get_key_value(&utterance.room).map(|(name, _)| name.as_str())
    }

    /// See [`Listener::compare`].
    pub(crate) fn compare(&mut self, room: Option<&str>, on: bool) {
        self.get_mut(room).0.compare(on);
    }

    /// See [`Listener::measured`].
    pub(crate) fn measured(&mut self, room: Option<&str>, utterance: Ulid) -> Option<Measured> {
        self.get_mut(room).0.measured(utterance)
    }

    /// The state of `room` stays after a comparison.
    pub(crate) fn was_compared(&mut self, room: Option<&str>) {
        let listener = self.get_mut(room).0;
        listener.renewals.compared = listener.state().tokens_read();
    }

    /// The renewals of the state of `room`.
    pub(crate) fn renewals_of(&mut self, room: Option<&str>) -> Renewals {
        self.get_mut(room).0.renewals
    }

    /// The position under which a second state of a room is to be saved: later than that of any snapshot that has read as much, whatever
    /// the clock says, and one that no snapshot stands under.
    ///
    /// # Errors
    /// The directory of the snapshots cannot be read.
    pub(crate) fn free_position(
        &mut self,
        room: Option<&str>,
        mark: ReadPosition,
    ) -> Result<ReadPosition, ListenerError> {
        let kept: Vec<_> = self.get_mut(room).1.list()?.into_iter().map(|kept| kept.header.mark).collect();
        let after = |time: Timestamp| clock::after(time, SignedDuration::from_millis(1));
        let same = kept.iter().filter(|kept| kept.read == mark.read).map(|kept| after(kept.time)).max();
        let mut time = same.map_or(mark.time, |same| same.max(mark.time));
        // Their files are named by milliseconds.
        while kept.iter().any(|kept| kept.time.as_millisecond() == time.as_millisecond()) {
            time = after(time);
        }
        Ok(ReadPosition { time, ..mark })
    }

    /// Saves a second state as a snapshot of a room, so that it is the one which a restart goes on from.
    ///
    /// # Errors
    /// It cannot be written; nothing has changed.
    pub(crate) fn save_candidate(
        &mut self,
        room: Option<&str>,
        candidate: &Candidate,
        mark: &ReadPosition,
    ) -> Result<(), ListenerError> {
        let (listener, history) = self.get_mut(room);
        Ok(listener.save_state(candidate.state(), history, mark)?)
    }

    /// A second state, of which a snapshot was saved, takes the place of that of a room.
    pub(crate) fn take_over(&mut self, room: Option<&str>, candidate: Candidate, renewals: Renewals) {
        let listener = self.get_mut(room).0;
        listener.take_over(candidate);
        listener.renewals = renewals;
    }

    /// After a crash: notes that the state of a room is the fresh one that was saved under `mark`. False where it was restored from another
    /// snapshot, or this is known.
    pub(crate) fn settle_renewal(
        &mut self,
        room: Option<&str>,
        mark: &ReadPosition,
        young: Option<f64>,
        renewals: Renewals,
    ) -> bool {
        let restored = self.all().find(|one| one.listener.room.as_deref() == room).and_then(|one| one.restored);
        let listener = self.get_mut(room).0;
        if restored.as_ref() != Some(mark) || listener.renewals.count >= renewals.count {
            return false;
        }
        listener.renewals = renewals;
        listener.surprise = young.map(Surprise::of_young).unwrap_or_default();
        true
    }
}
