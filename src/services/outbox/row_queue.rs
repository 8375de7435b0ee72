//! Rows of the outbox that were read ahead and are not handed over yet.
//!
//! On one connection each row is read once: rows up to the cursor were read before.

use std::collections::VecDeque;

use crate::event::Message;

/// Rows read from the outbox at a time.
pub(crate) const BATCH: usize = 32;

/// Reads from the start of the outbox when it is new, and again after [`RowQueue::restart`].
pub(crate) struct RowQueue {
    rows: VecDeque<(i64, Message)>,
    cursor: i64,
    /// Rows may be left behind the cursor.
    more: bool,
    /// The version of the store when the queue last followed it; none when it must follow in any case.
    version: Option<i64>,
    stopped: bool,
}

impl RowQueue {
    pub(crate) fn new() -> Self {
        Self { rows: VecDeque::new(), cursor: 0, more: true, version: None, stopped: false }
    }

    /// A new connection: every row is due again.
    pub(crate) fn restart(&mut self) {
        self.rows.clear();
        self.cursor = 0;
        self.version = None;
        self.more = !self.stopped;
    }

    /// Leaves the rows for the next start.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.rows.clear();
        self.more = false;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// No row waits, as far as the store was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.more
    }

    /// This process wrote to the store, which its version does not tell.
    pub(crate) fn invalidate(&mut self) {
        self.version = None;
    }

    /// Drops what was read ahead if the store has changed: it may be forgotten by now. Returns whether it has.
    pub(crate) fn follow(&mut self, version: Option<i64>) -> bool {
        if version.is_some() && version == self.version {
            return false;
        }
        self.version = version;
        if let Some((seq, _)) = self.rows.front() {
            self.cursor = seq - 1;
        }
        self.rows.clear();
        self.more = !self.stopped;
        true
    }

    /// The row behind which more are to be read; none when no more are needed.
    pub(crate) fn wants_rows_after(&self) -> Option<i64> {
        (self.rows.is_empty() && self.more).then_some(self.cursor)
    }

    /// Takes a batch of rows behind the cursor, but for those that `skip` names.
    pub(crate) fn extend(&mut self, batch: Vec<(i64, Message)>, skip: impl Fn(i64) -> bool) {
        self.more = batch.len() == BATCH;
        if let Some((last, _)) = batch.last() {
            self.cursor = *last;
        }
        self.rows.extend(batch.into_iter().filter(|(seq, _)| !skip(*seq)));
    }

    pub(crate) fn pop(&mut self) -> Option<(i64, Message)> {
        self.rows.pop_front()
    }

    /// Puts back what was popped last.
    pub(crate) fn put_back(&mut self, seq: i64, message: Message) {
        self.rows.push_front((seq, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(seqs: impl IntoIterator<Item = i64>) -> Vec<(i64, Message)> {
        seqs.into_iter().map(|seq| (seq, Message::clear(format!("row/{seq}")))).collect()
    }

    #[test]
    fn rows_are_read_in_batches_and_acknowledged_ones_are_skipped() {
        let mut queue = RowQueue::new();
        assert_eq!(queue.wants_rows_after(), Some(0));
        queue.extend(rows(1..=BATCH as i64), |seq| seq == 1);
        assert_eq!((queue.wants_rows_after(), queue.pop().unwrap().0), (None, 2));
        while queue.pop().is_some() {}
        assert_eq!(queue.wants_rows_after(), Some(BATCH as i64), "a full batch may have more behind it");
        queue.extend(Vec::new(), |_| false);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_store_that_changed_is_read_again_from_the_first_row_that_was_not_handed_over() {
        let mut queue = RowQueue::new();
        assert!(queue.follow(Some(7)));
        queue.extend(rows([1, 2, 3]), |_| false);
        queue.pop();
        assert!(!queue.follow(Some(7)) && queue.follow(Some(8)));
        assert_eq!(queue.wants_rows_after(), Some(1));
        queue.restart();
        assert_eq!(queue.wants_rows_after(), Some(0), "on a new connection every row is due again");
        queue.stop();
        queue.restart();
        assert!(queue.is_empty(), "what was left for the next start is not read again");
    }
}
