//! Messages that could not be stored yet: they are sent from memory, and stored when the store can be written again.
//!
//! A full disk must not delay an alert. The service that made a message keeps it until it is stored; the publisher, and the webhooks that
//! are told of it, send it meanwhile: each has a message of its own. It is delivered at least once. A message that was acknowledged before
//! it could be stored is not stored, unless it is retained.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::event::{Destination, Message};
use crate::services::Context;

/// The most that wait for one destination. The services that made the messages still have them.
const MOST: usize = 10_000;

/// A message that is not in the outbox.
#[derive(Debug)]
pub(crate) struct UnstoredMessage {
    pub(crate) message: Message,
    /// Whoever sends it was given it.
    handed_over: AtomicBool,
    delivered: AtomicBool,
    /// It is in the outbox, or is not to be sent any more.
    settled: AtomicBool,
}

impl UnstoredMessage {
    /// The broker acknowledged it, or the webhook took it.
    pub(crate) fn delivered(&self) {
        self.delivered.store(true, Relaxed);
    }

    /// It need not be sent from memory any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Relaxed)
    }

    /// It is to be sent on the next connection: the broker would otherwise keep an older message of a retained topic.
    pub(crate) fn is_due_again(&self) -> bool {
        !self.is_settled() && (self.message.retain || !self.delivered.load(Relaxed))
    }
}

/// The messages that wait for each destination, in order.
#[derive(Debug, Default)]
pub(crate) struct UnstoredQueue(Mutex<BTreeMap<Destination, VecDeque<Arc<UnstoredMessage>>>>);

impl UnstoredQueue {
    fn push(&self, message: Arc<UnstoredMessage>) {
        let mut queues = self.0.lock();
        let queue = queues.entry(message.message.destination.clone()).or_default();
        queue.push_back(message);
        if queue.len() > MOST {
            queue.pop_front();
        }
    }

    pub(crate) fn take(&self, destination: &Destination) -> VecDeque<Arc<UnstoredMessage>> {
        self.0.lock().remove(destination).unwrap_or_default()
    }
}

/// The messages that one part has made and not stored yet.
#[derive(Debug, Default)]
pub(crate) struct UnstoredMessages(Vec<Arc<UnstoredMessage>>);

impl UnstoredMessages {
    pub(crate) fn add(&mut self, context: &Context, messages: impl IntoIterator<Item = Message>) {
        for message in messages.into_iter().flat_map(|message| context.routes.expand(&message)) {
            // Only the newest of a retained topic counts.
            let same = |one: &Message| one.topic == message.topic && one.destination == message.destination;
            self.0.retain(|one| !(message.retain && one.message.retain && same(&one.message)));
            let flags = (AtomicBool::default(), AtomicBool::default(), AtomicBool::default());
            let (handed_over, delivered, settled) = flags;
            self.0.push(Arc::new(UnstoredMessage { message, handed_over, delivered, settled }));
        }
    }

    /// What must still be stored.
    pub(crate) fn to_store(&self) -> Vec<Message> {
        let due = self.0.iter().filter(|one| one.message.retain || !one.delivered.load(Relaxed));
        due.map(|one| one.message.clone()).collect()
    }

    /// They are stored, or must not be sent any more.
    pub(crate) fn settle(&mut self) {
        self.0.drain(..).for_each(|one| one.settled.store(true, Relaxed));
    }

    /// Gives whoever sends it what they were not given yet.
    pub(crate) fn send(&self, context: &Context) {
        for one in self.0.iter().filter(|one| !one.handed_over.swap(true, Relaxed)) {
            context.unstored.push(one.clone());
        }
        context.notify_outbox();
    }
}
