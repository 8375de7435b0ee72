//! How long to wait between attempts to connect, and how often to log that they fail.
//!
//! A broker that stays away costs one attempt a minute and one log line in ten minutes. One that comes and goes, for any
//! number of reasons, costs a bounded number of lines.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const FIRST_S: f64 = 1.0;
const LONGEST_S: f64 = 60.0;
/// An outage is logged again after this time.
const REPEAT_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// At most so many different reasons are logged within [`REPEAT_AFTER`].
const MAX_REASONS: usize = 6;

/// Exponential back-off: 1 s, doubled up to 60 s, each wait shortened by up to a half at random so that many machines do
/// not connect at the same moment. (The jitter of the `backon` crate lengthens waits instead.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt failed. `random` is in 0 … 1. Returns how long to wait before the next attempt.
    pub(crate) fn failed(&mut self, random: f64) -> Duration {
        let longest = (FIRST_S * f64::from(2_u32.saturating_pow(self.failures.min(16)))).min(LONGEST_S);
        self.failures += 1;
        Duration::from_secs_f64((longest * (1.0 - random.clamp(0.0, 1.0) / 2.0)).max(FIRST_S))
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Decides which failures are logged: each reason once, and again after ten minutes, however often it comes and goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutageLog {
    /// What was logged in the last ten minutes.
    logged: Vec<(String, Timestamp)>,
    failing: bool,
    /// The present failure was logged, so its end is worth a line too.
    end_due: bool,
}

impl OutageLog {
    /// Something fails for this `reason`. Returns whether to log it at `now`. Reasons that differ in their numbers alone, as in
    /// the age of a certificate, are the same one.
    pub(crate) fn is_new_failure(&mut self, reason: &str, now: Timestamp) -> bool {
        let reason = without_numbers(reason);
        // Entries later than `now` are from before the clock was set back.
        self.logged.retain(|(_, at)| (SignedDuration::ZERO..REPEAT_AFTER).contains(&now.duration_since(*at)));
        let due = self.logged.len() < MAX_REASONS && self.logged.iter().all(|(logged, _)| *logged != reason);
        if due {
            self.logged.push((reason, now));
        }
        self.failing = true;
        self.end_due |= due;
        due
    }

    /// Whether something fails now.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    /// It works again. Returns whether to log that, because a failure was logged.
    pub(crate) fn ended(&mut self) -> bool {
        self.failing = false;
        std::mem::take(&mut self.end_due)
    }
}

/// The text with one `0` in place of each row of digits.
fn without_numbers(text: &str) -> String {
    let mut previous = ' ';
    let mut kept = String::with_capacity(text.len());
    for character in text.chars() {
        let digit = character.is_ascii_digit();
        if !digit || !previous.is_ascii_digit() {
            kept.push(if digit { '0' } else { character });
        }
        previous = character;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_a_minute_and_restart_after_a_success() {
        let mut back_off = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| back_off.failed(0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(back_off.failed(1.0).as_secs(), 30);
        back_off.succeeded();
        assert_eq!(back_off.failed(1.0).as_secs(), 1);
    }

    #[test]
    fn an_outage_is_logged_once_then_when_its_reason_changes_and_every_ten_minutes() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let mut outage = OutageLog::default();
        assert!(outage.is_new_failure("refused", at(0)));
        assert!(!outage.is_new_failure("refused", at(599)));
        assert!(outage.is_new_failure("no route", at(599)));
        assert!(!outage.is_new_failure("no route", at(1_198)));
        assert!(outage.is_new_failure("no route", at(1_199)));
        assert!(outage.ended());
        assert!(!outage.ended());
        assert!(!outage.is_new_failure("no route", at(1_200)), "it comes and goes: that was logged");
        assert!(outage.is_new_failure("no route", at(1_799)));
        assert!(outage.is_new_failure("no route", at(0)), "the clock was set back");
    }

    #[test]
    fn a_failure_whose_text_differs_in_its_numbers_alone_is_logged_once() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut outage = OutageLog::default();
        assert!(outage.is_new_failure("the certificate expired 9 s ago", now));
        assert!(!outage.is_new_failure("the certificate expired 10 s ago", now));
        assert!(outage.is_new_failure("no route", now));
    }

    #[test]
    fn a_failure_each_second_for_a_month_costs_two_lines_in_ten_minutes() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let lines_of = |reason: &dyn Fn(i64) -> String| {
            let mut outage = OutageLog::default();
            let lines = (0..30 * 86_400).map(|second| {
                let now = start + SignedDuration::from_secs(second);
                u64::from(outage.is_new_failure(&reason(second), now)) + u64::from(outage.ended())
            });
            lines.sum::<u64>()
        };
        let tens_of_minutes = 30 * 24 * 6;
        assert_eq!(lines_of(&|_| "refused".into()), 2 * tens_of_minutes);
        assert_eq!(lines_of(&|second| ["refused", "no route"][(second % 2) as usize].into()), 4 * tens_of_minutes);
        assert_eq!(
            lines_of(&|second| "x".repeat((second % 1_000) as usize)),
            12 * tens_of_minutes,
            "there is always another reason"
        );
    }
}
