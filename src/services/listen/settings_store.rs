//! The time at which the state was made, stored beside it.

use jiff::Timestamp;

use crate::store::{Store, StoreError};

const SINCE: &str = "state_since";

/// When the state was made; now, when it is a `fresh` one.
pub(super) fn state_since(store: &mut Store, fresh: bool) -> Result<Timestamp, StoreError> {
    let noted = store.note(SINCE)?.and_then(|note| note.parse().ok());
    match noted.filter(|_| !fresh) {
        Some(since) => Ok(since),
        None => {
            let now = Timestamp::now();
            set_state_since(store, now)?;
            Ok(now)
        }
    }
}

/// Notes when the state was made.
pub(super) fn set_state_since(store: &mut Store, since: Timestamp) -> Result<(), StoreError> {
    store.set_note(SINCE, &since.to_string())
}
