//! What goes last: messages on which the connection may break, sent one at a time when nothing else waits; and those that are too long
//! for the broker, which are not sent on this connection.

use std::collections::{BTreeSet, VecDeque};

use super::OutgoingKind;
use crate::event::Message;

#[derive(Default)]
pub(super) struct LastQueue {
    announcements: VecDeque<(OutgoingKind, Message)>,
    /// Rows of the outbox. They are read again when they are sent: what they quote may be forgotten by then.
    rows: BTreeSet<i64>,
    too_long_rows: BTreeSet<i64>,
    too_long_topics: BTreeSet<String>,
}

impl LastQueue {
    pub(super) fn add(&mut self, kind: OutgoingKind, message: Message) {
        match kind {
            OutgoingKind::OutboxRow(seq) => drop(self.rows.insert(seq)),
            _ => self.announcements.push_back((kind, message)),
        }
    }

    pub(super) fn add_too_long(&mut self, kind: OutgoingKind, topic: String) {
        match kind {
            OutgoingKind::OutboxRow(seq) => drop(self.too_long_rows.insert(seq)),
            _ => drop(self.too_long_topics.insert(topic)),
        }
    }

    /// How many are too long for the broker.
    pub(super) fn too_long(&self) -> u64 {
        (self.too_long_rows.len() + self.too_long_topics.len()) as u64
    }

    /// Whether a row is not to be sent in its turn.
    pub(super) fn holds(&self, seq: i64) -> bool {
        self.rows.contains(&seq) || self.too_long_rows.contains(&seq)
    }

    /// Nothing waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.announcements.is_empty() && self.rows.is_empty()
    }

    pub(super) fn pop_announcement(&mut self) -> Option<(OutgoingKind, Message)> {
        self.announcements.pop_front()
    }

    pub(super) fn rows(&self) -> Vec<i64> {
        self.rows.iter().copied().collect()
    }

    pub(super) fn remove_row(&mut self, seq: i64) {
        self.rows.remove(&seq);
    }
}
