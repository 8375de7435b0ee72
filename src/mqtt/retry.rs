//! How long to wait for a broker, and how often to say so.
//!
//! Owns two small policies, both pure. Invariant: a broker that stays away costs one attempt a minute and one line in ten; one
//! that comes and goes, for whatever reasons, a bounded number.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const FIRST: f64 = 1.0;
const LONGEST: f64 = 60.0;
/// An outage is mentioned again after this, and it has no more reasons than so many in that time.
const REMIND: SignedDuration = SignedDuration::from_mins(10);
const REASONS: usize = 6;

/// Waits between attempts: 1 s, doubled up to 60 s, each shortened by up to a half at random so that a house full of
/// machines does not knock at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt failed; `random` is in 0 … 1. How long to wait before the next.
    pub fn failed(&mut self, random: f64) -> Duration {
        let longest = (FIRST * f64::from(2_u32.saturating_pow(self.failures.min(16)))).min(LONGEST);
        self.failures += 1;
        Duration::from_secs_f64((longest * (1.0 - random.clamp(0.0, 1.0) / 2.0)).max(FIRST))
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Says an outage once for each reason, and again every ten minutes, however often it comes and goes in between.
#[derive(Clone, Debug, Default)]
pub struct OutageLog {
    /// What was said in the last ten minutes.
    said: Vec<(String, Timestamp)>,
    open: bool,
    /// It was said since it was last over.
    aloud: bool,
}

impl OutageLog {
    /// Something fails for this `reason`: is it worth a line at `now`?
    pub fn is_new_failure(&mut self, reason: &str, now: Timestamp) -> bool {
        // What was said later than now was said before the clock was set back.
        self.said.retain(|(_, at)| (SignedDuration::ZERO..REMIND).contains(&now.duration_since(*at)));
        let due = self.said.len() < REASONS && self.said.iter().all(|(said, _)| said != reason);
        if due {
            self.said.push((reason.into(), now));
        }
        self.open = true;
        self.aloud |= due;
        due
    }

    /// Does something fail now?
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// All is well again: is that worth a line, because a failure was?
    pub fn over(&mut self) -> bool {
        self.open = false;
        std::mem::take(&mut self.aloud)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_a_minute_and_start_again_after_a_success() {
        let mut back_off = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| back_off.failed(0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(back_off.failed(1.0).as_secs(), 30);
        back_off.succeeded();
        assert_eq!(back_off.failed(1.0).as_secs(), 1);
    }

    #[test]
    fn an_outage_is_said_once_then_when_it_changes_and_every_ten_minutes() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let mut complaint = OutageLog::default();
        assert!(complaint.is_new_failure("refused", at(0)));
        assert!(!complaint.is_new_failure("refused", at(599)));
        assert!(complaint.is_new_failure("no route", at(599)));
        assert!(!complaint.is_new_failure("no route", at(1_198)));
        assert!(complaint.is_new_failure("no route", at(1_199)));
        assert!(complaint.over());
        assert!(!complaint.over());
        assert!(!complaint.is_new_failure("no route", at(1_200)), "it comes and goes: that was said");
        assert!(complaint.is_new_failure("no route", at(1_799)));
        assert!(complaint.is_new_failure("no route", at(0)), "the clock was set back");
    }

    #[test]
    fn what_fails_each_second_for_a_month_costs_a_line_in_ten_minutes_and_another_when_it_is_over() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let lines_of = |reason: &dyn Fn(i64) -> String| {
            let mut complaint = OutageLog::default();
            let lines = (0..30 * 86_400).map(|second| {
                let now = start + SignedDuration::from_secs(second);
                u64::from(complaint.is_new_failure(&reason(second), now)) + u64::from(complaint.over())
            });
            lines.sum::<u64>()
        };
        let tens_of_minutes = 30 * 24 * 6;
        assert_eq!(lines_of(&|_| "refused".into()), 2 * tens_of_minutes);
        assert_eq!(lines_of(&|second| format!("refused {}", second % 2)), 4 * tens_of_minutes);
        assert_eq!(
            lines_of(&|second| format!("refused {second}")),
            12 * tens_of_minutes,
            "there is always another reason"
        );
    }
}
