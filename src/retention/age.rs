//! What grew old goes, by a clock that is believed.
//!
//! Invariant: until a clock that jumped has proved itself, nothing is older than [`YOUNG`].

use jiff::Timestamp;

use crate::clock::trusted_clock::TrustedClock;
use crate::config::Keep;
use crate::store::{Store, StoreError};

/// By this time nothing is old.
pub const YOUNG: Timestamp = Timestamp::MIN;
/// The note of when the clock was last believed.
const BELIEVED: &str = "clock";

/// The clock, as the last run left it.
pub fn clock(store: &Store) -> Result<TrustedClock, StoreError> {
    Ok(TrustedClock::new(store.note(BELIEVED)?.and_then(|time| time.parse().ok())))
}

/// Deletes text that `keep` no longer allows, up to the utterance `read`; returns how much went.
pub fn enforce(store: &mut Store, clock: &TrustedClock, keep: Keep, read: i64) -> Result<u64, StoreError> {
    let now = clock.now();
    let rows = store.enforce(now.unwrap_or(YOUNG), keep, read)?;
    // Where no text is kept this is asked after each utterance, and age matters to little.
    if let (Some(now), Keep::Days(_) | Keep::Forever) = (now, keep) {
        store.set_note(BELIEVED, &now.to_string())?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use ulid::Ulid;

    use super::*;
    use crate::config;
    use crate::event::Utterance;
    use crate::store::OutboxLimits;

    #[test]
    fn what_is_old_by_a_clock_that_jumped_stays_until_the_clock_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), OutboxLimits::from(&config::StoreConfig::default())).unwrap();
        let start = Timestamp::now() - SignedDuration::from_hours(24 * 31);
        let (id, end) = (Ulid::generate(), start + SignedDuration::from_secs(1));
        let (room, text) = ("home".into(), "Good evening.".into());
        let said = Utterance { id, start, end, room, text, confidence: 1.0, no_speech: 0.0 };
        let read = store.record_utterance(&said, &[]).unwrap();
        let keep = Keep::Days(30);
        // The last run knew a time years before: the clock says that all of it is old.
        store.set_note(BELIEVED, "2020-01-01T00:00:00Z").unwrap();
        let jumped = clock(&store).unwrap();
        assert_eq!(enforce(&mut store, &jumped, keep, read).unwrap(), 0);
        assert_eq!(enforce(&mut store, &jumped, keep, read).unwrap(), 0);
        assert_eq!(store.note(BELIEVED).unwrap().unwrap(), "2020-01-01T00:00:00Z");
        // A house that keeps nothing keeps nothing by any clock.
        assert_eq!(enforce(&mut store, &TrustedClock::new(None), keep, read).unwrap(), 1);
        let read = store.record_utterance(&Utterance { id: Ulid::generate(), ..said }, &[]).unwrap();
        assert_eq!(enforce(&mut store, &jumped, Keep::Nothing, read).unwrap(), 1);
    }
}
