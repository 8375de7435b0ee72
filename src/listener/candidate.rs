//! A second state that is read beside the live one, slice by slice, and may take its place: see [`super::renewal`].

use std::collections::VecDeque;

use griffin::State;
use ulid::Ulid;

use super::pace::Work;
use super::reader::Reader;
use super::surprise::{Measured, Surprise};
use super::{Listener, ListenerError};
use crate::event::Speaker;

/// What the live state measured of utterances is kept of so many, until the second state has read them, too.
const MOST_MEASURED: usize = 4_096;

/// See the module.
pub(crate) struct Candidate {
    /// A stream of its own, on the same weights.
    reader: Reader,
    several_rooms: bool,
    /// The text that is being read, and how many of its tokens were.
    tokens: Vec<u32>,
    read: usize,
    nats: f64,
    measures: bool,
    /// Where the text was said, and what all that were measured showed.
    room: String,
    surprise: Surprise,
}

impl Candidate {
    /// Begins a text. What is left of the one before is read no more.
    ///
    /// # Errors
    /// The text cannot be tokenized.
    pub(crate) fn begin(
        &mut self,
        text: &str,
        room: &str,
        speaker: Option<&Speaker>,
        measures: bool,
    ) -> Result<(), ListenerError> {
        self.tokens = self.reader.said(text, self.several_rooms.then_some(room), speaker)?;
        (self.read, self.nats, self.measures) = (0, 0.0, measures);
        self.room = room.into();
        Ok(())
    }

    /// Whether a text is being read.
    pub(crate) fn is_reading(&self) -> bool {
        self.read < self.tokens.len()
    }

    /// Goes on by a slice. Returns what the text showed when it is read and was measured.
    ///
    /// # Errors
    /// The model cannot read it.
    pub(crate) fn advance(&mut self) -> Result<Option<Measured>, ListenerError> {
        let rest = &self.tokens[self.read..];
        let (slice, rest) = rest.split_at(self.reader.pace.tokens(Work::Writing).min(rest.len()));
        self.nats += self.reader.read_slice(slice, rest.first().copied(), self.measures)?;
        self.read += slice.len();
        if !rest.is_empty() || !self.measures || self.tokens.len() < 2 {
            return Ok(None);
        }
        let measured = Measured { nats: self.nats, tokens: self.tokens.len() - 1 };
        self.surprise.note(measured, &self.room);
        Ok(Some(measured))
    }

    /// The median surprise of what was measured, once that was enough.
    pub(crate) fn young(&self) -> Option<f64> {
        self.surprise.young()
    }

    pub(crate) fn state(&self) -> &State {
        self.reader.state()
    }
}

impl Listener {
    /// A second state, which begins with the preamble.
    pub(crate) fn candidate(&self) -> Candidate {
        let reader = self.reader.new_stream();
        let tokens = reader.opening().to_vec();
        Candidate {
            reader,
            several_rooms: self.several_rooms,
            tokens,
            read: 0,
            nats: 0.0,
            measures: false,
            room: String::new(),
            surprise: Surprise::default(),
        }
    }

    /// Whether every utterance is measured from now on, for a comparison.
    pub(crate) fn compare(&mut self, on: bool) {
        self.reader.measure_all(on);
        self.measured = on.then(VecDeque::new);
    }

    /// What the live state measured since [`Listener::compare`].
    pub(crate) fn measured(&mut self, utterance: Ulid) -> Option<Measured> {
        let all = self.measured.as_mut()?;
        let at = all.iter().position(|(id, _)| *id == utterance)?;
        all.drain(..=at).next_back().map(|(_, measured)| measured)
    }

    pub(super) fn note_measured(&mut self, utterance: Ulid, measured: Measured) {
        if let Some(all) = &mut self.measured {
            if all.len() == MOST_MEASURED {
                all.pop_front();
            }
            all.push_back((utterance, measured));
        }
    }

    /// Makes the live state one with these tensors and so many tokens.
    #[cfg(test)]
    pub(crate) fn poison(&mut self, tokens_read: u64, tensors: &[griffin::StateTensor]) {
        self.reader.restore_tensors(tokens_read, tensors).expect("they are of this model");
    }

    /// The second state takes the place of the live one.
    pub(crate) fn take_over(&mut self, candidate: Candidate) {
        self.reader.restore(candidate.reader.into_state());
        self.surprise = candidate.surprise;
    }

    /// Whether the state is worse than it was when it was young, or predicts nothing at all.
    pub(crate) fn is_suspected(&self) -> bool {
        self.surprise.has_risen() || self.surprise.is_chance(self.reader.vocabulary())
    }
}
