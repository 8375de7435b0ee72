//! What is noted beside the state: since when there is one, and how often the household wants a summary.
//!
//! Invariant: a wish of the household outlives a restart, until the config says something new.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

const SINCE: &str = "state_since";
const INTERVAL: &str = "interval";

/// Minutes between summaries that were asked for, and what the config said then.
#[derive(Serialize, Deserialize)]
struct StoredInterval {
    minutes: f64,
    instead_of: f64,
}

/// When the state was made; now, when it is a `fresh` one.
pub(super) fn state_since(store: &mut Store, fresh: bool) -> Result<Timestamp, StoreError> {
    let noted = store.note(SINCE)?.and_then(|note| note.parse().ok());
    match noted.filter(|_| !fresh) {
        Some(since) => Ok(since),
        None => {
            let now = Timestamp::now();
            store.set_note(SINCE, &now.to_string())?;
            Ok(now)
        }
    }
}

/// Minutes between summaries; `configured` unless somebody asked for something else since that was written.
pub fn interval(store: &Store, configured: f64) -> Result<f64, StoreError> {
    let wish: Option<StoredInterval> = store.note(INTERVAL)?.and_then(|note| serde_json::from_str(&note).ok());
    Ok(wish.filter(|wish| wish.instead_of == configured).map_or(configured, |wish| wish.minutes))
}

pub(super) fn set_interval(store: &mut Store, minutes: f64, configured: f64) -> Result<(), StoreError> {
    let wish = StoredInterval { minutes, instead_of: configured };
    store.set_note(INTERVAL, &serde_json::to_string(&wish).expect("numbers are JSON"))
}
