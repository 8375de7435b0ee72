//! The wall clock, where something is deleted for its age.
//!
//! Owns the judgement whether it can be believed. Refuses to know what is deleted. Invariant: a clock that jumps, because it
//! has no battery or was told a wrong time, makes nothing old until it has stood by that for a day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tracing::{info, warn};

/// By how much it may part from the time since boot; time servers correct by seconds.
const JUMP: SignedDuration = SignedDuration::from_hours(1);
/// How long hearth may not have run for its clock to be believed at once.
const AWAY: SignedDuration = SignedDuration::from_hours(24);
/// How long it must stand by another time.
const PROOF: Duration = Duration::from_secs(24 * 3600);

/// A clock that is looked at now and then.
#[derive(Debug)]
pub(crate) struct TrustedClock(Mutex<ClockObservations>);

#[derive(Debug, Default)]
struct ClockObservations {
    /// When an earlier run last believed it.
    before: Option<Timestamp>,
    /// What it said at the last look, and the time since boot then.
    last: Option<(Timestamp, Duration)>,
    /// The time since boot from which on it is under proof.
    jumped: Option<Duration>,
}

impl TrustedClock {
    /// `before` is when an earlier run last believed it, if there was one.
    pub(crate) fn new(before: Option<Timestamp>) -> Self {
        Self(Mutex::new(ClockObservations { before, ..ClockObservations::default() }))
    }

    /// The time, if it is believed.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let up = super::since_boot();
        self.0.lock().observe(Timestamp::now(), up)
    }
}

impl ClockObservations {
    fn observe(&mut self, now: Timestamp, up: Duration) -> Option<Timestamp> {
        let far = match (self.last.replace((now, up)), self.before) {
            (Some((then, at)), _) => {
                let passed = SignedDuration::try_from(up.saturating_sub(at)).unwrap_or(SignedDuration::MAX);
                (now.duration_since(then) - passed).abs() > JUMP
            }
            (None, Some(before)) => !(-JUMP..=AWAY).contains(&now.duration_since(before)),
            (None, None) => false,
        };
        if far {
            warn!(%now, "the clock jumped, or nobody looked at it for long: nothing is deleted for its age until it has held still for a day");
            self.jumped = Some(up);
        } else if self.jumped.is_some_and(|since| up.saturating_sub(since) >= PROOF) {
            info!(%now, "the clock is believed again");
            self.jumped = None;
        }
        self.jumped.is_none().then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    const HOUR: u64 = 3_600;

    #[test]
    fn a_clock_that_goes_wrong_and_comes_back_is_believed_after_a_day_of_the_right_time() {
        let mut observations = ClockObservations::default();
        let right = |hours: i64| at("2026-03-01T00:00:00Z") + SignedDuration::from_hours(hours);
        let up = |hours: u64| Duration::from_secs(hours * HOUR);
        assert_eq!(observations.observe(right(0), up(0)), Some(right(0)), "the first run has nothing to delete");
        assert_eq!(observations.observe(right(1), up(1)), Some(right(1)));
        let wrong = |hours: i64| at("2038-01-19T03:14:07Z") + SignedDuration::from_hours(hours);
        assert!((2..20).all(|hours| observations.observe(wrong(hours), up(hours as u64)).is_none()));
        assert!(
            (20..44).all(|hours| observations.observe(right(hours), up(hours as u64)).is_none()),
            "it jumped again"
        );
        assert_eq!(observations.observe(right(44), up(44)), Some(right(44)));
    }

    #[test]
    fn a_pi_without_a_battery_learns_the_time_after_it_has_started() {
        let mut observations = ClockObservations::default();
        assert!(observations.observe(at("1970-01-01T00:00:10Z"), Duration::from_secs(10)).is_some());
        assert_eq!(observations.observe(at("2026-03-01T00:00:00Z"), Duration::from_secs(20)), None);
        let next = at("2026-03-02T00:00:01Z");
        assert_eq!(observations.observe(next, Duration::from_secs(24 * HOUR + 21)), Some(next));
    }

    #[test]
    fn after_a_restart_the_last_run_is_what_it_is_judged_by() {
        let before = at("2026-03-01T00:00:00Z");
        let first = |now: &str| {
            ClockObservations { before: Some(before), ..ClockObservations::default() }.observe(at(now), Duration::ZERO)
        };
        assert!(first("2026-03-01T05:00:00Z").is_some() && first("2026-02-28T23:30:00Z").is_some());
        assert!(first("2026-03-03T00:00:00Z").is_none() && first("2038-01-19T03:14:07Z").is_none());
        assert!(first("1970-01-01T00:00:10Z").is_none());
    }
}
