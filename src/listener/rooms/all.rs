//! What is asked of the listeners of all rooms: summaries, alerts, and what they keep over a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use ulid::Ulid;

use super::Listeners;
use crate::config;
use crate::event::{Digest, Utterance};
use crate::listener::feedback::LearnedShift;
use crate::listener::speed::MachineSpeed;
use crate::listener::{AnsweredAlert, Listener, ListenerError, ListenerOutcome, PersistedState, RuleStanding};

impl Listeners {
    /// See [`Listener::consider`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub fn consider(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.consider(now))
    }

    /// See [`Listener::evaluate`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn evaluate(&mut self, now: Timestamp, waited: bool) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.evaluate(now, waited))
    }

    /// See [`Listener::pass_time`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn pass_time(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.pass_time(now))
    }

    /// See [`Listener::begin_closing_digest`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn begin_closing_digests(&mut self, now: Timestamp) -> Result<(), ListenerError> {
        self.listeners().try_for_each(|listener| listener.begin_closing_digest(now))
    }

    /// Whether an alert still needs its sentence.
    pub(crate) fn has_sentences(&self) -> bool {
        self.all().any(|room| room.listener.has_sentences())
    }

    /// Whether anything is still to be written.
    pub(crate) fn is_writing(&self) -> bool {
        self.all().any(|room| room.listener.has_sentences() || room.listener.has_digest())
    }

    /// Goes on writing for about so long, or until something is finished, which is returned: the sentences of alerts before digests.
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn write(&mut self, slice: Duration) -> Result<ListenerOutcome, ListenerError> {
        let pace = self.shared.listener.reader.pace.clone();
        let (began, mut outcome) = (pace.now(), ListenerOutcome::default());
        while outcome == ListenerOutcome::default() && pace.now() - began < slice {
            let sentences = self.has_sentences();
            let has =
                |listener: &&mut Listener| if sentences { listener.has_sentences() } else { listener.has_digest() };
            let Some(listener) = self.listeners().find(has) else { break };
            listener.write_on(&mut outcome)?;
        }
        Ok(outcome)
    }

    /// See [`Listener::is_slow`].
    pub(crate) fn is_slow(&self) -> bool {
        self.shared.listener.is_slow()
    }

    /// See [`Listener::spot`].
    pub(crate) fn spot(&mut self, utterance: &Utterance) -> ListenerOutcome {
        self.listener_for(&utterance.room).listener.spot(utterance)
    }

    /// See [`Listener::measure`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn measure(&self) -> Result<MachineSpeed, ListenerError> {
        self.shared.listener.measure()
    }

    /// How often each rule's question was asked since the start, in all states.
    pub(crate) fn asked(&self) -> BTreeMap<String, u64> {
        let mut asked = BTreeMap::new();
        let monitors = self.all().flat_map(|room| &room.listener.rules).filter(|monitor| monitor.question.is_some());
        monitors.for_each(|monitor| *asked.entry(monitor.rule.name.to_string()).or_default() += monitor.asked);
        asked
    }

    /// Digests that were given up because a newer one was due.
    pub(crate) fn given_up(&self) -> u64 {
        self.all().map(|room| room.listener.given_up).sum()
    }

    /// See [`Listener::tick`].
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub(crate) fn tick(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        self.collect(|listener| listener.tick(now))
    }

    /// Makes a digest now of each of the states that [`Listeners::rooms_with_news`] chooses of `rooms`.
    ///
    /// # Errors
    /// As [`Listeners::hear`].
    pub fn summarize(&mut self, rooms: Vec<Option<String>>, now: Timestamp) -> Result<Vec<Digest>, ListenerError> {
        let chosen = self.rooms_with_news(rooms);
        chosen.iter().map(|room| self.get_mut(room.as_deref()).0.summarize(now)).collect()
    }

    /// Of the states `rooms` ([`Listeners::states_for`]) those of which something was said since the last digest; if there is none, one.
    pub(crate) fn rooms_with_news(&mut self, rooms: Vec<Option<String>>) -> Vec<Option<String>> {
        let has_news = |room: &Option<String>| self.get_mut(room.as_deref()).0.pending.has_words();
        let (mut chosen, without_news): (Vec<_>, Vec<_>) = rooms.into_iter().partition(has_news);
        if chosen.is_empty() {
            chosen.extend(without_news.into_iter().next());
        }
        chosen
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
