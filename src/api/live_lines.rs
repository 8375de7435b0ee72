//! What happens, as lines for `hearth watch`: the recent past first, then each event, and the status where it changed.
//!
//! Who can open the control socket may read the database, so nothing is redacted here.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Api;
use super::status::Status;
use crate::live::{LiveEvent, LiveSnapshot};

/// How often the status is compared.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct LiveLines {
    api: Arc<Api>,
    /// The line that is next.
    next: Option<Value>,
    live_feed: broadcast::Receiver<Arc<LiveEvent>>,
    ticks: Interval,
    told: Option<Status>,
}

impl LiveLines {
    pub(super) fn new(api: Arc<Api>) -> Self {
        let (recent, live_feed) = api.live_feed.subscribe();
        let mut ticks = interval(STATUS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { api, next: Some(recent_line(&recent)), live_feed, ticks, told: None }
    }

    /// The next line; None when the daemon ends. It may be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Value> {
        if let Some(line) = self.next.take() {
            return Some(line);
        }
        loop {
            tokio::select! {
                event = self.live_feed.recv() => match event {
                    Ok(event) => return Some(json!({ "scene": *event })),
                    // The reader was too slow: it is told the recent past again.
                    Err(RecvError::Lagged(_)) => {
                        let (recent, live_feed) = self.api.live_feed.subscribe();
                        self.live_feed = live_feed;
                        return Some(recent_line(&recent));
                    }
                    Err(RecvError::Closed) => return None,
                },
                _ = self.ticks.tick() => {
                    let status = self.api.status();
                    if self.told.as_ref().is_none_or(|told| differ(told, &status)) {
                        let line = json!({ "status": status });
                        self.told = Some(status);
                        return Some(line);
                    }
                }
            }
        }
    }
}

fn recent_line(recent: &LiveSnapshot) -> Value {
    let LiveSnapshot { utterances, digests, alerts, .. } = recent;
    json!({ "recent": { "utterances": utterances, "digests": digests, "alerts": alerts } })
}

/// Whether something has changed that a person wants to know at once.
fn differ(told: &Status, now: &Status) -> bool {
    let seen = |status: &Status| {
        let (hears, tells) = (&status.hears, &status.tells);
        (hears.listening, hears.paused_until, hears.source_ok, tells.connected, tells.store_ok)
    };
    seen(told) != seen(now)
}
