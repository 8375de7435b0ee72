//! How publishing ends.
//!
//! Owns the phases of the end, and what is due at a time. Invariant: the outbox may empty for as long as the grace allows, and
//! "offline" is said after it; what waits stays on disk.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::outbox_sender::OutgoingKind;
use super::{PublishCounts, Publisher};
use crate::mqtt::client::{self, BrokerEvent};
use crate::mqtt::payload;
use crate::store;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PublishPhase {
    Running,
    /// Asked to end: the outbox may empty until then.
    Emptying(Instant),
    /// `offline` is on its way.
    Farewell(Instant),
    Done,
}

impl Publisher {
    pub(super) fn drain(&mut self, grace: Duration) {
        // Without a connection there is nothing to wait for, unless the first attempt is still being made.
        self.sending.release();
        let waits = self.sending.is_connected() || !self.outage.is_open();
        self.phase = if waits { PublishPhase::Emptying(Instant::now() + grace) } else { PublishPhase::Done };
    }

    pub(super) fn farewell(&mut self, until: Instant) {
        self.phase = PublishPhase::Farewell(until);
        self.sending.announce([(OutgoingKind::Farewell, payload::offline(&self.house.topics))]);
        // What is sent here can fail only for lack of a connection, which ends the phase.
        let _ = self.sending.pump();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let end = match self.phase {
            PublishPhase::Emptying(until) | PublishPhase::Farewell(until) => Some(until),
            PublishPhase::Running | PublishPhase::Done => None,
        };
        [end, self.tell_at, self.subscribing.next_deadline(), self.sending.next_deadline()].into_iter().flatten().min()
    }

    pub(super) fn deadline_passed(&mut self) -> Result<(), store::StoreError> {
        let now = Instant::now();
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_at = None;
            self.tell_everything()?;
        }
        self.subscribing.deadline_passed(now, &mut self.sending, &self.house.topics);
        match self.phase {
            PublishPhase::Emptying(until) if until <= now && self.sending.is_connected() => {
                // The grace is over: what waits stays on disk, but "offline" is still said, at once.
                self.sending.set_aside();
                self.farewell(now + Duration::from_secs(1));
            }
            PublishPhase::Emptying(until) | PublishPhase::Farewell(until) if until <= now => {
                self.phase = PublishPhase::Done
            }
            _ => {}
        }
        self.sending.deadline_passed(now)
    }

    pub(super) async fn finish(
        mut self,
        mut connection: client::Connection,
    ) -> Result<PublishCounts, store::StoreError> {
        self.sending.flush()?;
        // A proper goodbye makes the broker forget the will, so it is for those who said "offline" themselves.
        if self.farewell_heard && self.sending.disconnect().is_ok() {
            let until = Instant::now() + Duration::from_secs(1);
            while let Ok(event) = timeout_at(until, connection.poll()).await {
                if matches!(event, BrokerEvent::Lost(_)) {
                    break;
                }
            }
        }
        self.metrics.connected.set(false);
        let counts = self.sending.counts()?;
        info!(published = counts.published, acknowledged = counts.acknowledged, left = counts.left, "publishing ends");
        Ok(counts)
    }
}
