//! Keeps `transcript.jsonl` up to date, for whichever service puts text into the transcript.
//!
//! The file is a copy for people. No trouble with it holds anybody up; what it misses now it gets with the next line.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tracing::warn;

use super::Context;
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, Store};

/// Writes the file, and opens it anew when asked to.
pub(crate) struct TranscriptWriter {
    context: Context,
}

impl TranscriptWriter {
    pub(crate) fn new(context: &Context) -> Self {
        Self { context: context.clone() }
    }

    /// The time, if the clock is believed.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.context.clock.now()
    }

    /// Writes what the store has more than the file.
    pub(crate) fn follow(&mut self, store: &Store) {
        self.attempt(|lines| lines.follow(store));
    }

    /// Opens the files anew when that was asked for.
    pub(crate) fn keep_up(&mut self) {
        if self.context.reopen_transcript.swap(false, Ordering::Relaxed) {
            self.attempt(TranscriptJsonl::reopen);
        }
    }

    fn attempt(&mut self, write: impl FnOnce(&mut TranscriptJsonl) -> Result<(), store::StoreError>) {
        if let Some(lines) = &self.context.transcript
            && let Err(error) = write(&mut lines.lock())
        {
            warn!(%error, "transcript.jsonl was not written; the next line brings what it misses");
        }
    }
}
