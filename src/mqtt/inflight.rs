//! The messages in flight to the broker: queued in the client, or sent and not acknowledged.
//!
//! A ticket is returned as acknowledged at most once per connection, and only when the broker acknowledged its own packet.
//! After a loss the window is empty, so that everything not acknowledged is sent again, in order.
//!
//! This is needed because rumqttc reports the packet id only when a publish is sent, in the order in which they were queued.

use std::collections::{BTreeMap, VecDeque};

/// How many messages may be in flight at once, and so the most that is repeated after a loss. More gains little: a broker in
/// the local network answers within a millisecond.
pub const WINDOW: usize = 8;

/// The messages in flight on one connection, each known by a ticket.
#[derive(Clone, Debug)]
pub struct InflightWindow<T> {
    connected: bool,
    /// Queued in the client, not sent yet; oldest first.
    queued: VecDeque<T>,
    /// Sent, by packet id.
    sent: BTreeMap<u16, T>,
}

impl<T> Default for InflightWindow<T> {
    fn default() -> Self {
        Self { connected: false, queued: VecDeque::new(), sent: BTreeMap::new() }
    }
}

impl<T> InflightWindow<T> {
    /// A connection was established: messages may be queued.
    pub fn connected(&mut self) {
        self.lost();
        self.connected = true;
    }

    /// The connection ended: everything in flight must be sent again.
    pub fn lost(&mut self) {
        self.connected = false;
        self.queued.clear();
        self.sent.clear();
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// How many messages may be queued now.
    pub fn free_slots(&self) -> usize {
        if self.connected { WINDOW.saturating_sub(self.count()) } else { 0 }
    }

    /// How many messages are in flight.
    pub fn count(&self) -> usize {
        self.queued.len() + self.sent.len()
    }

    /// The tickets in flight, in no order.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &T> {
        self.queued.iter().chain(self.sent.values())
    }

    pub(crate) fn tickets_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.queued.iter_mut().chain(self.sent.values_mut())
    }

    /// A message was queued in the client.
    pub fn queued(&mut self, ticket: T) {
        self.queued.push_back(ticket);
    }

    /// The client sent its oldest message as `packet`.
    pub fn sent(&mut self, packet: u16) {
        if let Some(ticket) = self.queued.pop_front() {
            self.sent.insert(packet, ticket);
        }
    }

    /// The broker acknowledged `packet`. Returns its ticket, or None for a packet that was never sent.
    pub fn acknowledged(&mut self, packet: u16) -> Option<T> {
        self.sent.remove(&packet)
    }
}
