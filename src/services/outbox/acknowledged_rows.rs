//! Rows of the outbox that the broker acknowledged and that are still on disk.
//!
//! They are removed many at a time: each transaction waits for the disk. A crash before that sends them again, under their own ids.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// So many rows are removed at once, or those that have gathered after [`FLUSH`].
const MOST: usize = 2_048;
const FLUSH: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct AcknowledgedRows {
    rows: BTreeSet<i64>,
    flush_at: Option<Instant>,
    /// Messages that can never be sent, and that the store has not counted yet.
    unsendable: u64,
}

impl AcknowledgedRows {
    pub(crate) fn add(&mut self, seq: i64) {
        self.rows.insert(seq);
        let at = if self.rows.len() >= MOST { Instant::now() } else { Instant::now() + FLUSH };
        self.flush_at = Some(self.flush_at.map_or(at, |before| before.min(at)));
    }

    /// Counts a message that can never be sent.
    pub(crate) fn count_unsendable(&mut self) {
        self.unsendable += 1;
    }

    pub(crate) fn unsendable(&self) -> u64 {
        self.unsendable
    }

    pub(crate) fn contains(&self, seq: i64) -> bool {
        self.rows.contains(&seq)
    }

    pub(crate) fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// When they are to be removed.
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// What is to be removed; none when there is nothing.
    pub(crate) fn take_removable(&mut self) -> Option<Vec<i64>> {
        if self.rows.is_empty() {
            self.flush_at = None;
            return None;
        }
        Some(self.rows.iter().copied().collect())
    }

    /// All of them were removed, and what can never be sent is counted.
    pub(crate) fn removed(&mut self) {
        *self = Self::default();
    }
}
