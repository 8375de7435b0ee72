//! How the publish service shuts down, and what it does at a given time.
//!
//! The outbox may empty for as long as the grace allows, then `offline` is published; what still waits stays on disk.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::outbox_sender::OutgoingKind;
use super::{PublishCounts, Publisher};
use crate::mqtt::client::{self, BrokerEvent};
use crate::mqtt::payload;
use crate::store;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PublishPhase {
    Running,
    /// Asked to end: the outbox may empty until then.
    Emptying(Instant),
    /// `offline` is on its way; it is waited for until then.
    SendingOffline(Instant),
    Done,
}

impl Publisher {
    pub(super) fn begin_shutdown(&mut self) {
        // Without a connection there is nothing to wait for, unless the first attempt is still being made.
        self.outbox.release();
        let waits = self.outbox.is_connected() || !self.outage.is_failing();
        self.phase = if waits { PublishPhase::Emptying(Instant::now() + self.grace) } else { PublishPhase::Done };
    }

    pub(super) fn send_offline(&mut self, until: Instant) {
        self.phase = PublishPhase::SendingOffline(until);
        self.outbox.announce([(OutgoingKind::Offline, payload::offline(&self.context.topics))]);
        // What is sent here can fail only for lack of a connection, which ends the phase.
        let _ = self.outbox.pump();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let end = match self.phase {
            PublishPhase::Emptying(until) | PublishPhase::SendingOffline(until) => Some(until),
            PublishPhase::Running | PublishPhase::Done => None,
        };
        [end, self.announce_at, self.command_check.next_deadline(), self.outbox.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn deadline_passed(&mut self) -> Result<(), store::StoreError> {
        let now = Instant::now();
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce_at = None;
            self.announce_everything()?;
        }
        if self.command_check.deadline_passed(now, &mut self.outbox, &self.context.topics) {
            self.set_commands_ok(false)?;
        }
        match self.phase {
            PublishPhase::Emptying(until) if until <= now && self.outbox.is_connected() => {
                // The grace is over: what waits stays on disk, but "offline" is still sent, at once.
                self.outbox.set_aside();
                self.send_offline(now + Duration::from_secs(1));
            }
            PublishPhase::Emptying(until) | PublishPhase::SendingOffline(until) if until <= now => {
                self.phase = PublishPhase::Done
            }
            _ => {}
        }
        self.outbox.deadline_passed(now)
    }

    pub(super) async fn finish(
        mut self,
        mut connection: client::Connection,
    ) -> Result<PublishCounts, store::StoreError> {
        self.outbox.flush()?;
        // A DISCONNECT makes the broker discard the last will, so it is sent only after "offline" was.
        if self.offline_acknowledged && self.outbox.disconnect().is_ok() {
            let until = Instant::now() + Duration::from_secs(1);
            while let Ok(event) = timeout_at(until, connection.poll()).await {
                if matches!(event, BrokerEvent::Lost(_)) {
                    break;
                }
            }
        }
        self.context.metrics.connected.set(false);
        let counts = self.outbox.counts()?;
        info!(published = counts.published, acknowledged = counts.acknowledged, left = counts.left, "publishing ends");
        Ok(counts)
    }
}
