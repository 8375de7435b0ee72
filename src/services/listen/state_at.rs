//! States of the past: a snapshot, and the stored text after it.
//!
//! The state of a moment has read what was said until then, and nothing later. The live state is not changed.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;

use super::NEW_STATE_UTTERANCES;
use crate::event::Utterance;
use crate::listener::past::PastState;
use crate::listener::{self, Listener, Listeners};
use crate::services::ServiceError;
use crate::store::Store;

/// Utterances that are fetched and read at a time.
pub(crate) const BATCH: usize = 64;

/// A state of the past that is being read up to its time.
pub(super) struct PastReading {
    past: PastState,
    room: Option<String>,
    /// The rooms that have states of their own.
    apart: BTreeSet<String>,
    at: Timestamp,
    /// The number of the last utterance that was looked at, and those that come next.
    read: i64,
    next: VecDeque<(i64, Utterance)>,
    /// The time of the last thing in the state.
    reached: Timestamp,
}

impl PastReading {
    /// Begins with the state of a room, or of all rooms, in the last snapshot before the time `at`. None where no snapshot is as old.
    ///
    /// # Errors
    /// A snapshot or the store cannot be read.
    pub(super) fn begin(
        listeners: &mut Listeners,
        store: &Store,
        room: Option<&str>,
        at: Timestamp,
    ) -> Result<Option<Self>, ServiceError> {
        let apart = listeners.rooms();
        let (listener, history) = listeners.get_mut(room);
        let Some((past, mark)) = listener.past(history, at)? else { return Ok(None) };
        let (room, reached, next) = (room.map(String::from), mark.time, VecDeque::new());
        let mut begun = Self { past, room, apart, at, read: mark.read, next, reached };
        // What the snapshot has read is talk that an answer may rest on.
        let mut seq = store.back_from(mark.read, NEW_STATE_UTTERANCES)?;
        while seq < mark.read {
            let batch = store.utterances_after(seq, BATCH)?;
            let Some(&(last, _)) = batch.last() else { break };
            seq = last;
            for (_, said) in batch.iter().filter(|(seq, _)| *seq <= mark.read) {
                if begun.is_its_own(said) {
                    begun.past.remember(said);
                }
            }
        }
        Ok(Some(begun))
    }

    fn is_its_own(&self, said: &Utterance) -> bool {
        self.room.as_ref() == self.apart.get(&said.room)
    }

    /// Reads on for a slice. False when all is read.
    ///
    /// # Errors
    /// The store cannot be read, or the model fails.
    pub(super) fn advance(&mut self, store: &Store) -> Result<bool, ServiceError> {
        if self.past.is_reading() {
            self.past.advance()?;
            return Ok(true);
        }
        if self.next.is_empty() {
            self.next = store.utterances_after(self.read, BATCH)?.into();
        }
        while let Some((seq, said)) = self.next.pop_front() {
            self.read = seq;
            if said.end <= self.at && self.is_its_own(&said) {
                self.past.begin(&said)?;
                self.reached = self.reached.max(said.end);
                return Ok(true);
            }
            if self.next.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `act` with the state, and with the time of the last thing in it.
    ///
    /// # Errors
    /// As `act`.
    pub(super) fn finish<T>(
        self,
        listeners: &mut Listeners,
        act: impl FnOnce(&mut Listener, Timestamp) -> Result<T, listener::ListenerError>,
    ) -> Result<T, ServiceError> {
        let Self { past, room, reached, .. } = self;
        let listener = listeners.get_mut(room.as_deref()).0;
        Ok(listener.with_past(past, |listener| act(listener, reached))?)
    }
}

/// Calls `act` with the state at time `at`, of a room or of all rooms, and with the time of the last thing in that state, at most
/// `at`. None where no snapshot is as old.
///
/// # Errors
/// A snapshot or the store cannot be read, the model fails, or `act` does.
pub(crate) fn at<T>(
    listeners: &mut Listeners,
    store: &Store,
    room: Option<&str>,
    at: Timestamp,
    act: impl FnOnce(&mut Listener, Timestamp) -> Result<T, listener::ListenerError>,
) -> Result<Option<T>, ServiceError> {
    let Some(mut reading) = PastReading::begin(listeners, store, room, at)? else { return Ok(None) };
    while reading.advance(store)? {}
    reading.finish(listeners, act).map(Some)
}

#[cfg(test)]
mod tests;
