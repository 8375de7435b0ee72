//! How the states of all rooms are judged and renewed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use super::Listeners;
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
            risen: states().any(Surprise::has_risen),
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

    /// The first state that is to be renewed, and why.
    pub(crate) fn renewal_due(
        &self,
        renew: RenewWhen,
        now: Option<(Timestamp, i8)>,
    ) -> Option<(Option<String>, Occasion)> {
        let due = |listener: &Listener| {
            let tokens = listener.state().tokens_read();
            listener.renewals.occasion(renew, tokens, listener.surprise.has_risen(), now)
        };
        self.all().find_map(|room| Some((room.listener.room.clone(), due(&room.listener)?)))
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

    /// Saves a second state as a snapshot of a room, so that it is the one which a restart goes on from. Returns the position that it stands
    /// under: later than that of any snapshot that has read as much, whatever the clock says.
    ///
    /// # Errors
    /// It cannot be written; nothing has changed.
    pub(crate) fn save_candidate(
        &mut self,
        room: Option<&str>,
        candidate: &Candidate,
        mark: ReadPosition,
    ) -> Result<ReadPosition, ListenerError> {
        let (listener, history) = self.get_mut(room);
        let same = history.list()?.into_iter().map(|kept| kept.header.mark).filter(|kept| kept.read == mark.read);
        let after = same.map(|kept| kept.time).max().map(|last| last + SignedDuration::from_millis(1));
        let mark = ReadPosition { time: after.map_or(mark.time, |after| after.max(mark.time)), ..mark };
        listener.save_state(candidate.state(), history, &mark)?;
        Ok(mark)
    }

    /// A second state, of which a snapshot was saved, takes the place of that of a room.
    pub(crate) fn take_over(
        &mut self,
        room: Option<&str>,
        candidate: Candidate,
        young: Option<f64>,
        renewals: Renewals,
    ) {
        let listener = self.get_mut(room).0;
        listener.take_over(candidate, young);
        listener.renewals = renewals;
    }

    /// After a crash: notes that the state of a room, which was restored with so many tokens, is a fresh one. False where it is another, or
    /// this is known.
    pub(crate) fn settle_renewal(
        &mut self,
        room: Option<&str>,
        tokens: u64,
        young: Option<f64>,
        renewals: Renewals,
    ) -> bool {
        let listener = self.get_mut(room).0;
        let is_it = listener.room.as_deref() == room && listener.state().tokens_read() == tokens;
        if !is_it || listener.renewals.count >= renewals.count {
            return false;
        }
        listener.renewals = renewals;
        listener.surprise = young.map(Surprise::of_young).unwrap_or_default();
        true
    }
}
