//! How long to wait for a broker, and how often to say so.
//!
//! Owns two small policies, both pure. Invariant: a broker that stays away costs one attempt a minute and one line in ten.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const FIRST: f64 = 1.0;
const LONGEST: f64 = 60.0;
/// An outage is mentioned again after this.
const REMIND: SignedDuration = SignedDuration::from_mins(10);

/// Waits between attempts: 1 s, doubled up to 60 s, each shortened by up to a half at random so that a house full of
/// machines does not knock at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
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

/// Says an outage once, again when its reason changes, and every ten minutes, however often it comes and goes in between.
#[derive(Clone, Debug, Default)]
pub struct Complaint {
    said: Option<(String, Timestamp)>,
    open: bool,
}

impl Complaint {
    /// Something fails for this `reason`: is it worth a line at `now`?
    pub fn worth_saying(&mut self, reason: &str, now: Timestamp) -> bool {
        let due = match &self.said {
            Some((said, at)) => said != reason || now.duration_since(*at) >= REMIND,
            None => true,
        };
        if due {
            self.said = Some((reason.into(), now));
        }
        self.open = true;
        due
    }

    /// Does something fail now?
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// All is well again; says whether something failed before.
    pub fn over(&mut self) -> bool {
        std::mem::take(&mut self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_a_minute_and_start_again_after_a_success() {
        let mut back_off = BackOff::default();
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
        let mut complaint = Complaint::default();
        assert!(complaint.worth_saying("refused", at(0)));
        assert!(!complaint.worth_saying("refused", at(599)));
        assert!(complaint.worth_saying("no route", at(599)));
        assert!(!complaint.worth_saying("no route", at(1_198)));
        assert!(complaint.worth_saying("no route", at(1_199)));
        assert!(complaint.over());
        assert!(!complaint.over());
        assert!(!complaint.worth_saying("no route", at(1_200)), "it comes and goes: that was said");
        assert!(complaint.worth_saying("no route", at(1_799)));
    }
}
