//! What is asked of the listeners of all rooms: summaries, alerts, and what they keep over a restart.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use ulid::Ulid;

use super::Listeners;
use crate::config;
use crate::event::Digest;
use crate::listener::feedback::LearnedShift;
use crate::listener::{AnsweredAlert, Listener, ListenerError, ListenerOutcome, PersistedState, RuleStanding};

impl Listeners {
    /// See [`Listener::consider`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub fn consider(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.consider(now))
    }

    /// See [`Listener::tick`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn tick(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.tick(now))
    }

    /// See [`Listener::finish`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn finish(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.finish(now))
    }

    /// Makes a digest now of each of the states `rooms` ([`Listeners::states_for`]) of which something was said since the last
    /// one; if of none, one digest that says so.
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub fn summarize(&mut self, rooms: Vec<Option<String>>, now: Timestamp) -> Result<Vec<Digest>, ListenerError> {
        let has_news = |room: &Option<String>| self.get_mut(room.as_deref()).0.pending.words() > 0;
        let (mut chosen, without_news): (Vec<_>, Vec<_>) = rooms.into_iter().partition(has_news);
        if chosen.is_empty() {
            chosen.extend(without_news.into_iter().next());
        }
        chosen.iter().map(|room| self.get_mut(room.as_deref()).0.summarize(now)).collect()
    }

    /// See [`Listener::set_interval`].
    pub(crate) fn set_interval(&mut self, minutes: f64) {
        self.listeners().for_each(|listener| listener.set_interval(minutes));
    }

    /// See [`Listener::reload`]. If one listener accepts the rules, all do, for they use the same model.
    ///
    /// # Errors
    /// As [`Listener::reload`].
    pub(crate) fn reload(
        &mut self,
        digest: &config::DigestConfig,
        rules: &[config::Rule],
        now: Timestamp,
    ) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.reload(digest, rules, now))
    }

    /// See [`Listener::forget`].
    pub(crate) fn forget(&mut self, alerts: &BTreeSet<String>, now: Timestamp) -> ListenerOutcome {
        self.listeners().map(|listener| listener.forget(alerts, now)).collect()
    }

    /// See [`Listener::snooze`].
    pub(crate) fn snooze(&mut self, rule: Option<&str>, now: Timestamp, until: Timestamp) -> Option<ListenerOutcome> {
        // Every listener has the same rules.
        let outcomes: Option<Vec<ListenerOutcome>> =
            self.listeners().map(|listener| listener.snooze(rule, now, until)).collect();
        outcomes.map(|outcomes| outcomes.into_iter().collect())
    }

    /// See [`Listener::answered`].
    pub(crate) fn answered(&mut self, named: Option<&str>) -> Option<AnsweredAlert> {
        self.listener_of_alert(named).answered(named)
    }

    /// See [`Listener::acknowledge`].
    pub fn acknowledge(&mut self, named: Option<&str>) -> Option<config::Name> {
        self.listener_of_alert(named).acknowledge(named)
    }

    /// See [`Listener::false_alarm`].
    pub(crate) fn false_alarm(
        &mut self,
        named: Option<&str>,
        now: Timestamp,
    ) -> Option<(Ulid, config::Name, ListenerOutcome)> {
        self.listener_of_alert(named).false_alarm(named, now)
    }

    /// See [`Listener::set_learned`]. A room that is new has what the others have.
    pub(crate) fn set_learned(&mut self, learned: &BTreeMap<config::Name, LearnedShift>) {
        self.listeners().for_each(|listener| listener.set_learned(learned));
    }

    fn listener_of_alert(&mut self, named: Option<&str>) -> &mut Listener {
        self.listeners()
            .max_by_key(|listener| listener.alert_meant(named))
            .expect("there is always the shared listener")
    }

    /// For each rule in each state, what people did about its alert.
    pub fn standings(&self, now: Timestamp) -> impl Iterator<Item = RuleStanding<'_>> {
        self.all().flat_map(move |room| room.listener.standings(now))
    }

    /// What is kept over a restart, of all listeners: see [`Listener::memory`].
    pub fn memory(&self) -> String {
        let rooms = self.rooms.iter().map(|(name, room)| (name.clone(), room.listener.persisted())).collect();
        PersistedState { rooms, ..self.shared.listener.persisted() }.to_json()
    }

    /// Continues from what [`Listeners::memory`] gave. Alerts of rooms that no longer have a state of their own end.
    ///
    /// # Errors
    /// It cannot be read; the listeners are as they were.
    pub fn recall(&mut self, memory: &str, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut memory = PersistedState::from_json(memory)?;
        let mut ended = ListenerOutcome::default();
        for (room, of_room) in std::mem::take(&mut memory.rooms) {
            let listener = &mut self.listener_for(&room).listener;
            if listener.room.is_some() {
                listener.restore_persisted(of_room);
            } else {
                let mut removed = listener.for_room(&room);
                removed.restore_persisted(of_room);
                ended.add(removed.retire(now));
            }
        }
        self.shared.listener.restore_persisted(memory);
        Ok(ended)
    }
}
