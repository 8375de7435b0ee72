//! Which snapshots are kept.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::config;

/// So many of the newest are kept whatever the policy says: if one is damaged, there is another.
pub(super) const NEWEST: usize = 2;

/// How many snapshots are kept, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// The last snapshot of each of so many hours, and of so many days, is kept.
    pub(crate) hourly: usize,
    pub(crate) daily: usize,
    pub(crate) max_bytes: u64,
}

impl SnapshotPolicy {
    /// With `[store] keep = "nothing"`, only the newest snapshots are kept.
    pub fn new(listener: &config::ListenerConfig, keep: config::Keep) -> Self {
        let max_bytes = u64::from(listener.snapshots_max_mib) << 20;
        match keep {
            config::Keep::Nothing => Self { hourly: 0, daily: 0, max_bytes },
            _ => Self { hourly: listener.snapshots_hourly, daily: listener.snapshots_daily, max_bytes },
        }
    }

    /// The policy for one of `states` states that share the bytes.
    pub(crate) fn divided_by(&self, states: usize) -> Self {
        Self { max_bytes: self.max_bytes / states as u64, ..*self }
    }
}

/// Decides which snapshots are kept, given their times and sizes, newest first.
pub(super) fn is_kept(snapshots: &[(Timestamp, u64)], policy: &SnapshotPolicy) -> Vec<bool> {
    let (mut hours, mut days) = (BTreeSet::new(), BTreeSet::new());
    let mut bytes = 0u64;
    let stays = |(at, (time, size)): (usize, &(Timestamp, u64))| {
        let (hour, day) = (time.as_second().div_euclid(3_600), time.as_second().div_euclid(86_400));
        // Newest first, so the first one of an hour or a day is its last snapshot.
        let hourly = hours.len() < policy.hourly && hours.insert(hour);
        let daily = days.len() < policy.daily && days.insert(day);
        let wanted = hourly || daily;
        bytes += if wanted || at < NEWEST { *size } else { 0 };
        at < NEWEST || (wanted && bytes <= policy.max_bytes)
    };
    snapshots.iter().enumerate().map(stays).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn policy(hourly: usize, daily: usize, max_bytes: u64) -> SnapshotPolicy {
        SnapshotPolicy { hourly, daily, max_bytes }
    }

    /// One snapshot each `minutes`, newest first, the newest at `end`.
    fn every(minutes: i64, count: i64, end: &str) -> Vec<(Timestamp, u64)> {
        let end: Timestamp = end.parse().unwrap();
        (0..count).map(|n| (end - SignedDuration::from_mins(n * minutes), 10)).collect()
    }

    fn kept(snapshots: &[(Timestamp, u64)], policy: &SnapshotPolicy) -> Vec<String> {
        let stays = is_kept(snapshots, policy);
        let times = snapshots.iter().zip(stays).filter(|(_, stays)| *stays);
        times.map(|((time, _), _)| time.strftime("%d %H:%M").to_string()).collect()
    }

    #[test]
    fn the_last_of_each_hour_and_each_day_is_kept_and_the_newest_two() {
        let month = every(5, 12 * 24 * 40, "2026-03-31T10:02:00Z");
        let all = kept(&month, &policy(24, 30, 1 << 30));
        assert_eq!(all[..5], ["31 10:02", "31 09:57", "31 08:57", "31 07:57", "31 06:57"]);
        assert_eq!(all.len(), 24 + 28, "24 hours, and what is older than the two days they touch");
        assert_eq!(all[24..26], ["29 23:57", "28 23:57"]);
        assert_eq!(kept(&month, &policy(0, 0, 1 << 30)), ["31 10:02", "31 09:57"]);
        assert_eq!(kept(&month, &policy(1, 2, 1 << 30)), ["31 10:02", "31 09:57", "30 23:57"]);
    }

    #[test]
    fn beyond_the_limit_of_bytes_the_oldest_are_removed_but_never_the_newest_two() {
        let day = every(60, 24, "2026-03-31T10:02:00Z");
        assert_eq!(kept(&day, &policy(24, 30, 45)).len(), 4);
        assert_eq!(kept(&day, &policy(24, 30, 0)).len(), 2);
    }

    #[test]
    fn pruning_repeatedly_keeps_the_same_as_pruning_once() {
        let policy = policy(6, 3, 1 << 30);
        let mut all = every(7, 2_000, "2026-03-31T10:02:00Z");
        all.reverse();
        let mut stepwise: Vec<(Timestamp, u64)> = Vec::new();
        for snapshot in &all {
            stepwise.insert(0, *snapshot);
            let stays = is_kept(&stepwise, &policy);
            stepwise = stepwise.into_iter().zip(stays).filter(|(_, stays)| *stays).map(|(it, _)| it).collect();
        }
        all.reverse();
        let stays = is_kept(&all, &policy);
        let once: Vec<_> = all.into_iter().zip(stays).filter(|(_, stays)| *stays).map(|(it, _)| it).collect();
        assert_eq!(stepwise, once);
    }
}
