//! How the daemon shuts down: each service ends after those that feed it, within a deadline whatever hangs.
//!
//! The sources stop first. Each service ends when its input has ended, and hands on what it held; the publisher and the webhooks end last.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::lifecycle::OUTLETS;
use super::systemd::SystemdNotifier;
use super::{App, AppError};
use crate::services::{capture, ingest, listen, publish, transcribe};
use crate::supervisor::{UnitExit, deadline};

/// How long a shutdown may take in all; the unit's `TimeoutStopSec` is longer.
const GRACE: Duration = Duration::from_secs(25);
/// How long of it is kept for publishing: the outbox, and `offline`.
const PUBLISH_GRACE: Duration = publish::GRACE.saturating_add(Duration::from_secs(1));

impl App {
    /// Ends every service in the order in which data flows.
    ///
    /// # Errors
    /// A service did not end in time, or failed: what it still held was not finished.
    pub(super) async fn drain(&mut self) -> Result<(), AppError> {
        info!("closing: what was heard is finished first");
        SystemdNotifier::stopping();
        let until = deadline(GRACE);
        let before_publishing = until - PUBLISH_GRACE;
        let mut failed = Vec::new();
        self.context.closing.store(true, Ordering::Relaxed);
        self.microphone.sources().stop();
        self.wait_for(capture::NAME, before_publishing, &mut failed).await;
        self.wait_for(transcribe::NAME, before_publishing, &mut failed).await;
        self.ingest = None;
        self.wait_for(ingest::NAME, before_publishing, &mut failed).await;
        self.listener = None;
        self.wait_for(listen::NAME, before_publishing, &mut failed).await;
        self.api = None;
        self.publish = None;
        self.webhooks = None;
        self.wait_for(publish::NAME, until, &mut failed).await;
        self.microphone.close(&self.context, &mut self.store);
        for service in OUTLETS {
            self.wait_for(service, until, &mut failed).await;
        }
        let stuck: Vec<_> = self.supervisor.running().collect();
        if !stuck.is_empty() {
            return Err(AppError::Stuck(stuck.join(", ")));
        }
        if !failed.is_empty() {
            return Err(AppError::Closing(failed.join("; ")));
        }
        info!("closed");
        Ok(())
    }

    /// Waits for the end of a service, for no longer than until `deadline`. Every service that fails meanwhile is logged and added to `failed`.
    async fn wait_for(&mut self, service: &'static str, deadline: Instant, failed: &mut Vec<String>) {
        let log = |ended: UnitExit| {
            if let Err(error) = ended.outcome {
                error!(part = ended.name, %error, "failed while closing");
                failed.push(format!("{}: {error}", ended.name));
            }
        };
        self.supervisor.ended_by(service, deadline, log).await;
    }
}
