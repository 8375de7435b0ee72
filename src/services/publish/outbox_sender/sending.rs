//! Which message is sent next, and handing it over to the client.

use std::borrow::Cow;

use tokio::time::Instant;
use tracing::error;

use super::{InFlight, OutboxSender, OutgoingKind};
use crate::event::Message;
use crate::mqtt::client::{PublishRefusal, packet_bytes};
use crate::services::outbox::row_queue::BATCH;
use crate::store::StoreError;

impl OutboxSender {
    /// Hands over as many messages as may be in flight: the next with each acknowledgement. A broker may hold acknowledgements
    /// back until it hears from us, as TCP does by itself.
    pub(in super::super) fn pump(&mut self) -> Result<(), StoreError> {
        let full = self.inflight.free_slots() == 0 || (self.alone && self.inflight.count() > 0);
        if self.is_connected() && full {
            return Ok(());
        }
        self.alone = false;
        self.refresh()?;
        while self.inflight.free_slots() > 0 {
            let sent = match self.next()? {
                Some((kind, message)) => self.send(kind, message, false),
                None => match self.next_alone()? {
                    Some((kind, message)) => self.send(kind, message, true),
                    None => return Ok(()),
                },
            };
            if !sent {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is sent of a message: without what must not be published, and shortened where it is too long for the broker.
    pub(super) fn prepared<'a>(&mut self, kind: OutgoingKind, message: &'a Message) -> Option<Cow<'a, Message>> {
        self.limit.fit(kind, self.redactor.message(message))
    }

    /// Hands a message over, or puts it where it waits. Returns whether another one may follow it.
    fn send(&mut self, kind: OutgoingKind, message: Message, mut alone: bool) -> bool {
        let Some(prepared) = self.prepared(kind, &message) else {
            self.last.add_too_long(kind, message.topic);
            self.metrics.too_long.set(self.last.too_long());
            return true;
        };
        let bytes = packet_bytes(&prepared);
        if !alone && self.limit.goes_last(&prepared.topic, bytes) {
            if let OutgoingKind::FromMemory(id) = kind {
                // It is behind everything else already.
                if self.inflight.count() > 0 {
                    self.from_memory.put_back(id);
                    return false;
                }
                alone = true;
            } else {
                self.last.add(kind, message);
                return true;
            }
        }
        match self.sender.try_publish(&prepared) {
            Ok(()) => {
                self.inflight.queued(InFlight { kind, since: Instant::now(), topic: prepared.topic.clone(), bytes });
                self.alone = alone;
                !alone
            }
            Err(PublishRefusal::Busy) => {
                self.put_back(kind, message);
                false
            }
            Err(PublishRefusal::Never) => {
                self.give_up(kind, &message);
                true
            }
        }
    }

    fn next(&mut self) -> Result<Option<(OutgoingKind, Message)>, StoreError> {
        if let Some(announcement) = self.announcements.pop_front() {
            return Ok(Some(announcement));
        }
        if let Some(health) = self.health.take() {
            return Ok(Some((OutgoingKind::Announcement, health)));
        }
        if self.hold_until.is_some() {
            return Ok(None);
        }
        while let Some(cursor) = self.rows.wants_rows_after() {
            let Some(batch) = self.store.read(|store| store.outbox_after(cursor, BATCH))? else { break };
            self.rows.extend(batch, |seq| self.acknowledged.contains(seq) || self.last.holds(seq));
        }
        let row = self.rows.pop().map(|(seq, message)| (OutgoingKind::OutboxRow(seq), message));
        Ok(row.or_else(|| self.from_memory.pop().map(|(id, message)| (OutgoingKind::FromMemory(id), message))))
    }

    /// The next of those that go last, when nothing is in flight.
    fn next_alone(&mut self) -> Result<Option<(OutgoingKind, Message)>, StoreError> {
        if self.inflight.count() > 0 {
            return Ok(None);
        }
        while let Some((kind, message)) = self.last.pop_announcement() {
            // One that is left alone for a while is announced again on another connection.
            if !self.rests(kind, &message) {
                return Ok(Some((kind, message)));
            }
        }
        if self.hold_until.is_some() {
            return Ok(None);
        }
        for seq in self.last.rows() {
            let Some(found) = self.store.read(|store| store.outbox_after(seq - 1, 1))? else { return Ok(None) };
            let kind = OutgoingKind::OutboxRow(seq);
            match found.into_iter().next().filter(|(found, _)| *found == seq) {
                Some((_, message)) if self.rests(kind, &message) => {}
                Some((_, message)) => {
                    self.last.remove_row(seq);
                    return Ok(Some((kind, message)));
                }
                // It was forgotten, or another one took its place.
                None => self.last.remove_row(seq),
            }
        }
        Ok(None)
    }

    /// Whether a message is left alone for a while, because the connection breaks on it.
    fn rests(&mut self, kind: OutgoingKind, message: &Message) -> bool {
        let length = self.prepared(kind, message).map(|prepared| packet_bytes(&prepared));
        length.is_some_and(|bytes| self.limit.rests(&message.topic, bytes))
    }

    fn put_back(&mut self, kind: OutgoingKind, message: Message) {
        match kind {
            OutgoingKind::OutboxRow(seq) => self.rows.put_back(seq, message),
            OutgoingKind::FromMemory(id) => self.from_memory.put_back(id),
            _ => self.announcements.push_front((kind, message)),
        }
    }

    fn give_up(&mut self, kind: OutgoingKind, message: &Message) {
        let bytes = message.payload.len();
        error!(
            topic = message.topic,
            bytes, "a message can never be sent and is given up: it is too long, or its topic is none"
        );
        self.acknowledged.count_unsendable();
        self.metrics.outbox_dropped.add(1);
        match kind {
            OutgoingKind::OutboxRow(seq) => self.acknowledged.add(seq),
            OutgoingKind::FromMemory(id) => self.from_memory.acknowledged(id),
            _ => {}
        }
    }
}
