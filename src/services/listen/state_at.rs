//! States of the past: a snapshot, and the stored text after it.
//!
//! The state of a moment has read what was said until then, and nothing later. The live state is not changed.

use jiff::Timestamp;

use super::NEW_STATE_UTTERANCES;
use crate::event::Utterance;
use crate::listener::{self, Listener, Listeners};
use crate::services::ServiceError;
use crate::store::Store;

/// Utterances that are fetched and read at a time.
pub(crate) const BATCH: usize = 64;

/// Calls `act` with the state at time `at`, of a room or of all rooms, and with the time of the last thing in that state, at most
/// `at`. None where no snapshot is as old. `progress` is called with the number of utterances after each batch.
///
/// # Errors
/// A snapshot or the store cannot be read, the model fails, or `act` does.
pub(crate) fn at<T>(
    listeners: &mut Listeners,
    store: &Store,
    room: Option<&str>,
    at: Timestamp,
    mut progress: impl FnMut(usize),
    act: impl FnOnce(&mut Listener, Timestamp) -> Result<T, listener::ListenerError>,
) -> Result<Option<T>, ServiceError> {
    let apart = listeners.rooms();
    let its_own = |said: &Utterance| room == apart.get(&said.room).map(String::as_str);
    let (listener, history) = listeners.get_mut(room);
    let Some((state, mark)) = listener.load_latest(history, |mark| mark.time <= at)? else { return Ok(None) };
    let done = listener.with_state(state, |listener| -> Result<T, ServiceError> {
        let (mut read, mut reached) = (mark.read, mark.time);
        // What the snapshot has read is talk that an answer may rest on.
        let mut seq = store.back_from(read, NEW_STATE_UTTERANCES)?;
        while seq < read {
            let batch = store.utterances_after(seq, BATCH)?;
            let Some(&(last, _)) = batch.last() else { break };
            seq = last;
            let before = batch.iter().filter(|(seq, said)| *seq <= read && its_own(said));
            before.for_each(|(_, said)| listener.remember(said));
        }
        loop {
            let batch = store.utterances_after(read, BATCH)?;
            let Some(&(last, _)) = batch.last() else { break };
            read = last;
            let said: Vec<_> =
                batch.into_iter().map(|(_, said)| said).filter(|said| said.end <= at && its_own(said)).collect();
            listener.replay(&said)?;
            reached = said.last().map_or(reached, |said| reached.max(said.end));
            progress(said.len());
        }
        Ok(act(listener, reached)?)
    })?;
    Ok(Some(done))
}
