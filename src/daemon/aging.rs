//! What grew old goes, by a clock that is believed.
//!
//! Invariant: until a clock that jumped has proved itself, nothing is older than [`YOUNG`].

use jiff::Timestamp;

use crate::clock::steady::Steady;
use crate::config::Keep;
use crate::store::{Error, Store};

/// By this time nothing is old.
pub(super) const YOUNG: Timestamp = Timestamp::MIN;
/// The note of when the clock was last believed.
const BELIEVED: &str = "clock";

/// The clock, as the last run left it.
pub(super) fn clock(store: &Store) -> Result<Steady, Error> {
    Ok(Steady::new(store.note(BELIEVED)?.and_then(|time| time.parse().ok())))
}

/// Deletes text that `keep` no longer allows, up to the utterance `read`; returns how much went.
pub(super) fn enforce(store: &mut Store, clock: &Steady, keep: Keep, read: i64) -> Result<u64, Error> {
    let now = clock.now();
    let rows = store.enforce(now.unwrap_or(YOUNG), keep, read)?;
    // Where no text is kept this is asked after each utterance, and age matters to little.
    if let (Some(now), Keep::Days(_) | Keep::Forever) = (now, keep) {
        store.set_note(BELIEVED, &now.to_string())?;
    }
    Ok(rows)
}
