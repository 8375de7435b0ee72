//! How old text is, by a clock that can be trusted.
//!
//! A clock that jumped far ahead makes nothing old until it has proved itself: a Raspberry Pi without a battery starts in the past,
//! and one wrong answer of a time server must not delete a month of text.

use jiff::{SignedDuration, Timestamp};

use crate::clock;
use crate::clock::trusted_clock::TrustedClock;
use crate::config::Keep;
use crate::store::{Store, StoreError};

/// By this time nothing is old.
pub(crate) const YOUNG: Timestamp = Timestamp::MIN;
/// A day is 24 hours: text is not kept longer when the clocks change.
pub(crate) fn days_before(now: Timestamp, days: u32) -> Timestamp {
    clock::after(now, SignedDuration::from_hours(-24 * i64::from(days)))
}

/// The note of when the clock was last believed.
const BELIEVED: &str = "clock";

/// The clock, as the last run left it.
pub(crate) fn trusted_clock(store: &Store) -> Result<TrustedClock, StoreError> {
    Ok(TrustedClock::new(store.note(BELIEVED)?.and_then(|time| time.parse().ok())))
}

/// Deletes text that `keep` no longer allows, up to the utterance `read`; returns how much went.
pub(crate) fn enforce(store: &mut Store, clock: &TrustedClock, keep: Keep, read: i64) -> Result<u64, StoreError> {
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
        let said = Utterance { id, start, end, room, text, confidence: 1.0, no_speech: 0.0, speaker: None };
        let read = store.record_utterance(&said, &[]).unwrap();
        let keep = Keep::Days(30);
        // The last run knew a time years before: the clock says that all of it is old.
        store.set_note(BELIEVED, "2020-01-01T00:00:00Z").unwrap();
        let jumped = trusted_clock(&store).unwrap();
        assert_eq!(enforce(&mut store, &jumped, keep, read).unwrap(), 0);
        assert_eq!(enforce(&mut store, &jumped, keep, read).unwrap(), 0);
        assert_eq!(store.note(BELIEVED).unwrap().unwrap(), "2020-01-01T00:00:00Z");
        // With `keep = "nothing"` nothing is kept, whatever the clock says.
        assert_eq!(enforce(&mut store, &TrustedClock::new(None), keep, read).unwrap(), 1);
        let read = store.record_utterance(&Utterance { id: Ulid::generate(), ..said }, &[]).unwrap();
        assert_eq!(enforce(&mut store, &jumped, Keep::Nothing, read).unwrap(), 1);
    }
}
