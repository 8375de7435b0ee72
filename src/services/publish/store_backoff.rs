//! A store that takes nothing, or tells nothing, for a while.
//!
//! Owns when it is tried again, and how often that is said. Invariant: a full disk, or one that is read-only, is asked each
//! [`RETRY`] and never ends anything.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::mqtt::retry::OutageLog;
use crate::services::store_retry::blocking;
use crate::store;

/// How long a store that is full or locked is left alone.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// A store that is full or locked is left alone for a while.
#[derive(Default)]
pub(super) struct StoreBackoff {
    retry_at: Option<Instant>,
    complaint: OutageLog,
}

impl StoreBackoff {
    /// When it is tried again; none while there is no trouble.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Uses the store; none when it is in trouble, which is said and tried again later.
    pub(super) fn attempt<T>(
        &mut self,
        act: impl FnOnce() -> Result<T, store::StoreError>,
    ) -> Result<Option<T>, store::StoreError> {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return Ok(None);
        }
        match blocking(act) {
            Ok(value) => {
                if self.complaint.ended() {
                    info!("the store works again");
                }
                Ok(Some(value))
            }
            Err(error) if error.may_pass() => {
                let reason = error.to_string();
                if self.complaint.is_new_failure(&reason, Timestamp::now()) {
                    warn!("{reason}");
                } else {
                    debug!("{reason}");
                }
                self.retry_at = Some(Instant::now() + RETRY);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The time came to try again, perhaps.
    pub(super) fn pass(&mut self, now: Instant) {
        self.retry_at = self.retry_at.filter(|at| *at > now);
    }
}
