//! Waiting for a store that takes nothing for a while.
//!
//! A full disk, or a database that another process holds, is no reason to lose what was heard: the caller keeps it and tries
//! again, and what comes after it waits in its bounded channel.

use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::{error, info};

use super::Context;
use crate::store;

const RETRY: Duration = Duration::from_secs(1);
/// How often a failure that lasts is logged again.
const LOG_AGAIN: Duration = Duration::from_secs(60);
/// How long a shutdown waits for the store.
const CLOSING: Duration = Duration::from_secs(5);

/// Runs something that waits for the disk, in a task. On a runtime with one thread that thread is this task's own.
pub(crate) fn blocking<T>(act: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(act),
        _ => act(),
    }
}

/// A store that cannot be written for a while, as seen by a service that has other work meanwhile.
#[derive(Debug, Default)]
pub(crate) struct StoreOutage {
    logged: Option<Instant>,
    retry_at: Option<Instant>,
    /// How long the service waited for attempts that failed.
    waited: Duration,
}

impl StoreOutage {
    /// Tries to store something. None if the store cannot be written, or failed a moment ago.
    ///
    /// # Errors
    /// Of a kind that trying again does not mend.
    pub(crate) fn attempt<T>(
        &mut self,
        context: &Context,
        act: impl FnOnce() -> Result<T, store::StoreError>,
    ) -> Result<Option<T>, store::StoreError> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(None);
        }
        let began = Instant::now();
        match act() {
            Ok(done) => {
                self.retry_at = None;
                if self.logged.take().is_some() {
                    context.metrics.store_refuses.set(false);
                    info!("the store can be written again");
                }
                Ok(Some(done))
            }
            Err(error) if error.may_pass() => {
                // A store that is locked lets each attempt wait: most of the time is for other work.
                let took = began.elapsed();
                self.waited += took;
                self.retry_at = Some(Instant::now() + RETRY.max(4 * took));
                context.metrics.store_refuses.set(true);
                if self.logged.is_none_or(|at| at.elapsed() > LOG_AGAIN) {
                    error!(error = %error, "the store cannot be written; what is heard waits in memory, and alerts are sent from there");
                    self.logged = Some(Instant::now());
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How long the service waited for failed attempts since it had last caught up.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// The service has caught up with its work.
    pub(crate) fn caught_up(&mut self) {
        self.waited = Duration::ZERO;
    }
}

/// Calls `attempt` until it succeeds, and says in the metrics meanwhile that the store cannot be written.
///
/// # Errors
/// Of a kind that trying again does not mend; while hearth shuts down, any that lasts for 5 s.
pub(crate) fn retry_until_stored<T>(
    context: &Context,
    mut attempt: impl FnMut() -> Result<T, store::StoreError>,
) -> Result<T, store::StoreError> {
    let mut logged: Option<Instant> = None;
    let mut closing_since: Option<Instant> = None;
    loop {
        let error = match attempt() {
            Ok(done) => {
                if logged.is_some() {
                    context.metrics.store_refuses.set(false);
                    info!("the store can be written again");
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        if context.is_closing() {
            closing_since.get_or_insert_with(Instant::now);
        }
        if !error.may_pass() || closing_since.is_some_and(|since| since.elapsed() > CLOSING) {
            return Err(error);
        }
        if logged.is_none_or(|at| at.elapsed() > LOG_AGAIN) {
            error!(error = %error, "the store cannot be written; what was heard waits");
            context.metrics.store_refuses.set(true);
            logged = Some(Instant::now());
        }
        std::thread::sleep(RETRY);
    }
}
