//! Keeps `transcript.jsonl` up to date, for whichever service puts text into the transcript.
//!
//! The file is a copy for people. No trouble with it holds anybody up; what it misses now it gets with the next line.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::warn;

use super::Context;
use crate::retention::age::YOUNG;
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, Store};

/// How often old files are deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// Writes the file, opens it anew when asked to, and deletes what is too old.
pub struct TranscriptWriter {
    context: Context,
    retention_due: Instant,
}

impl TranscriptWriter {
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), retention_due: Instant::now() }
    }

    /// The time, if the clock is believed.
    pub fn now(&self) -> Option<Timestamp> {
        self.context.clock.now()
    }

    /// Writes what the store has more than the file.
    pub fn follow(&mut self, store: &Store) {
        self.attempt(|lines| lines.follow(store));
    }

    /// Deletes what is too old, and opens the files anew when that was asked for.
    pub fn keep_up(&mut self) {
        if Instant::now() >= self.retention_due {
            self.retention_due = Instant::now() + RETENTION_EVERY;
            let now = self.context.clock.now().unwrap_or(YOUNG);
            let keep = self.context.config.store.keep;
            self.attempt(|lines| lines.enforce(now, keep));
        }
        if self.context.reopen_transcript.swap(false, Ordering::Relaxed) {
            self.attempt(TranscriptJsonl::reopen);
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&mut TranscriptJsonl) -> Result<(), store::StoreError>) {
        if let Some(lines) = &self.context.transcript
            && let Err(error) = write(&mut locked(lines))
        {
            warn!(%error, "transcript.jsonl was not written; the next line brings what it misses");
        }
    }
}

/// The file, also after a thread panicked with it: it left whole lines.
pub fn locked(lines: &Mutex<TranscriptJsonl>) -> MutexGuard<'_, TranscriptJsonl> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
