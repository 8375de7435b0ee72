//! A store that fails for a while: it is full, locked, or read-only.
//!
//! It is tried again each [`RETRY`], and that it fails is logged; only an error that time does not mend is returned.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::mqtt::retry::OutageLog;
use crate::services::store_retry::blocking;
use crate::store::{Store, StoreError};

/// How long a store that fails is left alone.
pub(crate) const RETRY: Duration = Duration::from_secs(5);

/// A store that is left alone for a while after it failed. A full disk can still be read, so reading and writing fail apart.
pub(crate) struct GuardedStore {
    store: Store,
    reading: StoreBackoff,
    writing: StoreBackoff,
}

impl GuardedStore {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, reading: StoreBackoff::default(), writing: StoreBackoff::default() }
    }

    /// Changes when another connection writes; none when it cannot be read.
    pub(crate) fn version(&self) -> Option<i64> {
        self.store.version().ok()
    }

    /// Reads; none when that must wait.
    pub(crate) fn read<T>(
        &mut self,
        act: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.reading.attempt(|| act(&self.store))
    }

    /// Writes; none when that must wait.
    pub(crate) fn write<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.writing.attempt(|| act(&mut self.store))
    }

    /// When reading is tried again; none while it works.
    pub(crate) fn read_retry_at(&self) -> Option<Instant> {
        self.reading.retry_at
    }

    /// When writing is tried again; none while it works.
    pub(crate) fn write_retry_at(&self) -> Option<Instant> {
        self.writing.retry_at
    }

    /// It is `now`: what was to wait until then need not wait any more.
    pub(crate) fn time_passed(&mut self, now: Instant) {
        self.reading.time_passed(now);
        self.writing.time_passed(now);
    }
}

#[derive(Default)]
struct StoreBackoff {
    retry_at: Option<Instant>,
    outage: OutageLog,
}

impl StoreBackoff {
    fn attempt<T>(&mut self, act: impl FnOnce() -> Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return Ok(None);
        }
        match blocking(act) {
            Ok(value) => {
                if self.outage.ended() {
                    info!("the store works again");
                }
                Ok(Some(value))
            }
            Err(error) if error.may_pass() => {
                let reason = error.to_string();
                if self.outage.is_new_failure(&reason, Timestamp::now()) {
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

    fn time_passed(&mut self, now: Instant) {
        self.retry_at = self.retry_at.filter(|at| *at > now);
    }
}
