//! A state of an earlier time: a snapshot that reads on from there, slice by slice, on a stream of its own.

use jiff::Timestamp;

use super::pace::Work;
use super::reader::Reader;
use super::snapshot::ReadPosition;
use super::snapshot_store::SnapshotStore;
use super::talk::RecentTalk;
use super::{Listener, ListenerError};
use crate::event::Utterance;

/// See the module.
pub(crate) struct PastState {
    reader: Reader,
    talk: RecentTalk,
    several_rooms: bool,
    /// The utterance that is being read, and how many of its tokens were.
    tokens: Vec<u32>,
    read: usize,
}

impl PastState {
    /// Takes an utterance that the snapshot has read as talk that an answer may rest on.
    pub(crate) fn remember(&mut self, utterance: &Utterance) {
        self.talk.add(utterance);
    }

    /// Begins an utterance. The one before must have been read.
    ///
    /// # Errors
    /// It cannot be tokenized.
    pub(crate) fn begin(&mut self, utterance: &Utterance) -> Result<(), ListenerError> {
        self.talk.add(utterance);
        let room = self.several_rooms.then_some(utterance.room.as_str());
        (self.tokens, self.read) = (self.reader.said(&utterance.text, room, utterance.speaker.as_ref())?, 0);
        Ok(())
    }

    /// Whether an utterance is being read.
    pub(crate) fn is_reading(&self) -> bool {
        self.read < self.tokens.len()
    }

    /// Goes on by a slice.
    ///
    /// # Errors
    /// The model cannot read it, or is not to go on.
    pub(crate) fn advance(&mut self) -> Result<(), ListenerError> {
        let end = self.tokens.len().min(self.read + self.reader.pace.tokens(Work::Writing));
        self.reader.ingest(&self.tokens[self.read..end], Work::Writing)?;
        self.read = end;
        Ok(())
    }
}

impl Listener {
    /// The newest state of `history` that is at most as old as `time`, and where it stands; none if there is none.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn past(
        &self,
        history: &SnapshotStore,
        time: Timestamp,
    ) -> Result<Option<(PastState, ReadPosition)>, ListenerError> {
        let found = self.load_latest(history, |mark| mark.time <= time)?;
        Ok(found.map(|(state, mark)| {
            let mut reader = self.reader.new_stream();
            reader.restore(state);
            let (talk, several_rooms) = (RecentTalk::default(), self.several_rooms);
            (PastState { reader, talk, several_rooms, tokens: Vec::new(), read: 0 }, mark)
        }))
    }

    /// Runs `act` with a state of the past in place of the live one, which is restored afterwards.
    pub(crate) fn with_past<T>(&mut self, past: PastState, act: impl FnOnce(&mut Self) -> T) -> T {
        let live = self.reader.restore(past.reader.into_state());
        let talk = std::mem::replace(&mut self.talk, past.talk);
        let done = act(self);
        self.reader.restore(live);
        self.talk = talk;
        done
    }
}
