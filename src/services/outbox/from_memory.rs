//! Sends messages that could not be stored.
//!
//! They are sent after the rows of the outbox, which are older. A retained one is sent again on each connection until it is stored,
//! because what the store knows of its topic is older.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::unstored_messages::{UnstoredMessage, UnstoredQueue};
use crate::event::{Destination, Message};
use crate::services::Context;

/// The most that are kept for the next connection. The services that made them store them later.
const MOST: usize = 10_000;

pub(crate) struct SentFromMemory {
    arriving: Arc<UnstoredQueue>,
    destination: Destination,
    /// By number, in order: what may have to be sent again.
    kept: BTreeMap<u64, Arc<UnstoredMessage>>,
    queue: VecDeque<u64>,
    next: u64,
    stopped: bool,
}

impl SentFromMemory {
    /// What is for `destination`.
    pub(crate) fn new(context: &Context, destination: Destination) -> Self {
        let arriving = context.unstored.clone();
        Self { arriving, destination, kept: BTreeMap::new(), queue: VecDeque::new(), next: 0, stopped: false }
    }

    /// Whether nothing waits, as of the last [`SentFromMemory::pop`].
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A new connection: what was not delivered is due again.
    pub(crate) fn restart(&mut self) {
        self.kept.retain(|_, one| one.is_due_again());
        self.queue = if self.stopped { VecDeque::new() } else { self.kept.keys().copied().collect() };
    }

    /// Sends nothing more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.queue.clear();
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Message)> {
        self.take_in();
        while let Some(id) = self.queue.pop_front() {
            match self.kept.get(&id) {
                Some(one) if !one.is_settled() => return Some((id, one.message.clone())),
                // It was stored meanwhile, and is sent as a row of the outbox.
                _ => drop(self.kept.remove(&id)),
            }
        }
        None
    }

    /// Puts back what was popped last.
    pub(crate) fn put_back(&mut self, id: u64) {
        self.queue.push_front(id);
    }

    pub(crate) fn acknowledged(&mut self, id: u64) {
        if let Some(one) = self.kept.get(&id) {
            one.delivered();
            if !one.is_due_again() {
                self.kept.remove(&id);
            }
        }
    }

    fn take_in(&mut self) {
        if self.stopped {
            return;
        }
        for one in self.arriving.take(&self.destination) {
            if one.message.retain {
                self.kept.retain(|_, other| !(other.message.retain && other.message.topic == one.message.topic));
            }
            self.kept.insert(self.next, one);
            self.queue.push_back(self.next);
            self.next += 1;
            if self.kept.len() > MOST {
                self.kept.pop_first();
            }
        }
    }
}
