//! `transcript.jsonl`, as whoever puts text into the transcript keeps it.
//!
//! Owns when its files are written, opened anew and deleted. Invariant: the file is a copy for people, and no trouble with it
//! holds anybody up; what it misses now it gets with the next line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::warn;

use crate::clock::trusted_clock::TrustedClock;
use crate::config::Keep;
use crate::retention::age::YOUNG;
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, Store};

/// How often old files are deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// The file, and how long its text is kept.
pub struct TranscriptWriter {
    /// None when no text is kept.
    lines: Option<Arc<Mutex<TranscriptJsonl>>>,
    keep: Keep,
    clock: Arc<TrustedClock>,
    /// SIGHUP came: open the files anew.
    reopen: Arc<AtomicBool>,
    retention_due: Instant,
}

impl TranscriptWriter {
    pub fn new(
        lines: Option<Arc<Mutex<TranscriptJsonl>>>,
        keep: Keep,
        clock: Arc<TrustedClock>,
        reopen: Arc<AtomicBool>,
    ) -> Self {
        Self { lines, keep, clock, reopen, retention_due: Instant::now() }
    }

    /// The file, for whoever takes lines out of it.
    pub fn lines(&self) -> Option<Arc<Mutex<TranscriptJsonl>>> {
        self.lines.clone()
    }

    /// The time, if the clock is believed.
    pub fn now(&self) -> Option<Timestamp> {
        self.clock.now()
    }

    /// Writes what the store has more than the file.
    pub fn follow(&mut self, store: &Store) {
        self.attempt(|lines| lines.follow(store));
    }

    /// Deletes what is too old, and opens the files anew when that was asked for.
    pub fn keep_up(&mut self) {
        if Instant::now() >= self.retention_due {
            self.retention_due = Instant::now() + RETENTION_EVERY;
            let (now, keep) = (self.clock.now().unwrap_or(YOUNG), self.keep);
            self.attempt(|lines| lines.enforce(now, keep));
        }
        if self.reopen.swap(false, Ordering::Relaxed) {
            self.attempt(TranscriptJsonl::reopen);
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&mut TranscriptJsonl) -> Result<(), store::StoreError>) {
        if let Some(lines) = &self.lines
            && let Err(error) = write(&mut locked(lines))
        {
            warn!(%error, "transcript.jsonl was not written; the next line brings what it misses");
        }
    }
}

/// The file that the reading thread, too, may take lines out of.
pub fn locked(lines: &Mutex<TranscriptJsonl>) -> MutexGuard<'_, TranscriptJsonl> {
    // Whoever panicked with it left whole lines.
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
