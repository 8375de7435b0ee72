//! The wall clock, where something is deleted because of its age.
//!
//! A clock that jumps, because it has no battery or was set to a wrong time, makes nothing old until it has been steady for a day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tracing::{info, warn};

/// By how much it may deviate from the time since boot. Time servers correct by seconds.
const JUMP: SignedDuration = SignedDuration::from_hours(1);
/// If hearth did not run for longer than this, its clock is not trusted at once.
const AWAY: SignedDuration = SignedDuration::from_hours(24);
/// How long the clock must be steady after a jump.
const PROOF: Duration = Duration::from_secs(24 * 3600);

/// The wall clock, with the judgment whether it can be trusted.
#[derive(Debug)]
pub(crate) struct TrustedClock(Mutex<ClockObservations>);

#[derive(Debug, Default)]
struct ClockObservations {
    /// The time at which an earlier run last trusted it.
    before: Option<Timestamp>,
    /// The time at the last observation, and the time since boot then.
    last: Option<(Timestamp, Duration)>,
    /// The time since boot at the last jump.
    jumped: Option<Duration>,
}

impl TrustedClock {
    /// `before` is the time at which an earlier run last trusted it, if there was one.
    pub(crate) fn new(before: Option<Timestamp>) -> Self {
        Self(Mutex::new(ClockObservations { before, ..ClockObservations::default() }))
    }

    /// The time, if it can be trusted.
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
            warn!(%now, "the clock jumped, or hearth did not run for long: nothing is deleted for its age until the clock has been steady for a day");
            self.jumped = Some(up);
        } else if self.jumped.is_some_and(|since| up.saturating_sub(since) >= PROOF) {
            info!(%now, "the clock is trusted again");
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
    fn a_clock_that_was_wrong_is_trusted_after_a_day_of_the_right_time() {
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
    fn after_a_restart_the_clock_is_judged_by_the_last_run() {
        let before = at("2026-03-01T00:00:00Z");
        let first = |now: &str| {
            ClockObservations { before: Some(before), ..ClockObservations::default() }.observe(at(now), Duration::ZERO)
        };
        assert!(first("2026-03-01T05:00:00Z").is_some() && first("2026-02-28T23:30:00Z").is_some());
        assert!(first("2026-03-03T00:00:00Z").is_none() && first("2038-01-19T03:14:07Z").is_none());
        assert!(first("1970-01-01T00:00:10Z").is_none());
    }
}
