//! Which message is where on its way to the broker.
//!
//! Owns the bookkeeping that makes a client library's queue durable: what was handed over, what is on the wire under which
//! packet id, what may be handed over next. Refuses to know what a message says, how it is stored or sent. Invariant: a
//! ticket is returned as acknowledged at most once per connection and only when the broker acknowledged its own packet;
//! after a loss nothing is remembered, so that everything not acknowledged is due again, in order.
//!
//! It is needed since rumqttc tells the packet id only when a publish leaves, in the order in which they were handed over.

use std::collections::{BTreeMap, VecDeque};

/// How many messages may be under way at once. It is the most that is repeated after a loss; more gains little, since a
/// broker in the house answers within a millisecond.
pub const WINDOW: usize = 8;

/// The messages under way on one connection, each known by a ticket.
#[derive(Clone, Debug)]
pub struct InflightWindow<T> {
    connected: bool,
    /// Handed to the client, not yet on the wire; oldest first.
    handed: VecDeque<T>,
    /// On the wire, by packet id.
    on_wire: BTreeMap<u16, T>,
}

impl<T> Default for InflightWindow<T> {
    fn default() -> Self {
        Self { connected: false, handed: VecDeque::new(), on_wire: BTreeMap::new() }
    }
}

impl<T> InflightWindow<T> {
    /// A connection was made: messages may be handed over.
    pub fn connected(&mut self) {
        self.lost();
        self.connected = true;
    }

    /// The connection went away: everything under way is due again.
    pub fn lost(&mut self) {
        self.connected = false;
        self.handed.clear();
        self.on_wire.clear();
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// How many messages may be handed over now.
    pub fn free_slots(&self) -> usize {
        if self.connected { WINDOW.saturating_sub(self.count()) } else { 0 }
    }

    /// How many messages are under way.
    pub fn count(&self) -> usize {
        self.handed.len() + self.on_wire.len()
    }

    /// The messages that are under way, in no order.
    pub fn tickets(&self) -> impl Iterator<Item = &T> {
        self.handed.iter().chain(self.on_wire.values())
    }

    /// A message was handed to the client.
    pub fn handed_over(&mut self, ticket: T) {
        self.handed.push_back(ticket);
    }

    /// The client put its oldest message on the wire as `packet`.
    pub fn sent(&mut self, packet: u16) {
        if let Some(ticket) = self.handed.pop_front() {
            self.on_wire.insert(packet, ticket);
        }
    }

    /// The broker acknowledged `packet`: which message that was; none when the broker made it up.
    pub fn acknowledged(&mut self, packet: u16) -> Option<T> {
        self.on_wire.remove(&packet)
    }
}
