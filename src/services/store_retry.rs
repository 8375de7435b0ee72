//! Waiting for a store that will work again.
//!
//! A full disk or a store that another process holds is no reason to lose what was heard: the caller keeps it and tries
//! again, and what comes behind it waits in its bounded channel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::{error, info};

use crate::metrics::Metrics;
use crate::store;

const RETRY: Duration = Duration::from_secs(1);
/// How often a lasting failure is told again.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// How long closing waits for it.
const CLOSING: Duration = Duration::from_secs(5);

/// Runs something that waits for the disk, in a task. On a runtime with one thread that thread is this task's own.
pub fn blocking<T>(act: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(act),
        _ => act(),
    }
}

/// Calls `attempt`, and says in `metrics` that the store takes nothing, until it succeeds or fails in a way that time does not heal;
/// once `closing` is set, for 5 s more.
pub fn retry_until_stored<T>(
    closing: &AtomicBool,
    metrics: &Metrics,
    mut attempt: impl FnMut() -> Result<T, store::StoreError>,
) -> Result<T, store::StoreError> {
    let mut told: Option<Instant> = None;
    let mut closing_since: Option<Instant> = None;
    loop {
        let error = match attempt() {
            Ok(done) => {
                if told.is_some() {
                    metrics.store_refuses.set(false);
                    info!("the store takes text again");
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        if closing.load(Ordering::Relaxed) {
            closing_since.get_or_insert_with(Instant::now);
        }
        if !error.may_pass() || closing_since.is_some_and(|since| since.elapsed() > CLOSING) {
            return Err(error);
        }
        if told.is_none_or(|at| at.elapsed() > TELL_AGAIN) {
            error!(error = %error, "the store takes nothing; what was heard waits");
            metrics.store_refuses.set(true);
            told = Some(Instant::now());
        }
        std::thread::sleep(RETRY);
    }
}
