//! When the publisher does what it does regularly.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

/// How often health is published.
const HEALTH: Duration = Duration::from_secs(30);
/// How often the task shows the watchdog that it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What is done regularly.
pub(super) struct Timers {
    pub(super) heartbeat: Interval,
    pub(super) health: Interval,
}

impl Timers {
    pub(super) fn new() -> Self {
        let every = |period| {
            let mut interval = interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        Self { heartbeat: every(HEARTBEAT), health: every(HEALTH) }
    }
}

/// Waits until a time; for ever where there is none.
pub(super) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
