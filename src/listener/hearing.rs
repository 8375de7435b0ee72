//! How a listener takes in what is said.

use jiff::Timestamp;

use super::asking_steps::AskingStep;
use super::quotes::{keep_last, quote};
use super::surprise::Measured;
use super::{Listener, ListenerError, digest, fillers};
use crate::event::{Gap, Utterance};

impl Listener {
    /// Reads an utterance into the state. Rules are evaluated by [`Listener::consider`].
    ///
    /// # Errors
    /// The text cannot be tokenized or read; so for every function here that returns a `Result`.
    pub fn hear(&mut self, utterance: &Utterance) -> Result<(), ListenerError> {
        if let Some(measured) = self.read(utterance)? {
            self.surprise.add(measured, utterance);
            self.note_measured(utterance.id, measured);
        }
        self.watch_newest();
        self.schedule.add(&mut self.pending, utterance.start, utterance.end, utterance.words());
        if let Some(now) = self.now.filter(|now| *now > utterance.end) {
            digest::DigestSchedule::came(&mut self.pending, now);
        }
        let quote = quote(utterance);
        let spotted = self.spotted.remove(&utterance.id);
        let mut found = false;
        for monitor in &mut self.rules {
            found |= monitor.search(&utterance.text, &quote, spotted);
        }
        let says_nothing = self.reader.steps.uses(AskingStep::Fillers) && fillers::says_nothing(&utterance.text);
        if found || !says_nothing {
            keep_last(&mut self.unasked, quote);
        }
        Ok(())
    }

    /// Reads utterances that a restored snapshot lacks and on which the rules were evaluated before: only the state changes.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub fn replay(&mut self, utterances: &[Utterance]) -> Result<(), ListenerError> {
        utterances.iter().try_for_each(|utterance| self.read(utterance).map(drop))
    }

    /// Tells the state that a stretch of time was not heard.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub fn gap(&mut self, gap: &Gap) -> Result<(), ListenerError> {
        let room = self.several_rooms.then_some(gap.room.as_str());
        self.reader.gap(gap.to.duration_since(gap.from).as_secs_f64(), room)
    }

    fn read(&mut self, utterance: &Utterance) -> Result<Option<Measured>, ListenerError> {
        self.talk.add(utterance);
        let room = self.several_rooms.then_some(utterance.room.as_str());
        self.reader.read_said(&utterance.text, room, utterance.speaker.as_ref())
    }

    /// Takes an utterance that the state has read already as talk that texts may rest on.
    pub fn remember(&mut self, utterance: &Utterance) {
        self.talk.add(utterance);
    }

    /// Drops talk that is older than `oldest`.
    pub(crate) fn keep_talk_since(&mut self, oldest: Timestamp) {
        self.talk.keep_since(oldest);
    }
}
