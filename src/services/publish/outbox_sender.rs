//! What is sent next, and what became of it.
//!
//! Owns the outbox's and the announcements' way to the client. Refuses to know what is announced when. Invariant: a row
//! is removed from the outbox only after the broker acknowledged it, and is not sent again on the same connection.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

use super::store_backoff::StoreBackoff;
use super::{Context, PublishCounts};
use crate::event::Message;
use crate::metrics::Metrics;
use crate::mqtt::client::{MqttSender, PublishRefusal};
use crate::mqtt::inflight::InflightWindow;
use crate::redact::Redactor;
use crate::store::{self, Store};

/// Rows read from the outbox at a time.
const BATCH: usize = 32;
/// Acknowledged rows are removed in one transaction when there are so many, or after [`FLUSH`]: each transaction waits for
/// the disk. A crash in between repeats them, under their own ids.
const ACKNOWLEDGED: usize = 2_048;
const FLUSH: Duration = Duration::from_millis(100);
/// A connection that broke so long ago has nothing to do with this one.
const OTHER_OUTAGE: Duration = Duration::from_secs(600);

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutgoingKind {
    /// A row of the outbox.
    OutboxRow(i64),
    /// An announcement; a lost one is made again at the next connection.
    Announcement,
    /// The announcement to Home Assistant.
    Discovery,
    /// The last of what removes old messages from the commands' topics.
    LastCleared,
    /// `offline`, the last message of all.
    Offline,
}

pub(super) struct OutboxSender {
    store: Store,
    sender: MqttSender,
    metrics: Arc<Metrics>,
    redactor: Redactor,
    /// What is under way, and since when.
    inflight: InflightWindow<(OutgoingKind, Instant)>,
    /// How long the broker may take to acknowledge.
    patience: Duration,
    /// Announcements that wait; they go before the outbox.
    own: VecDeque<(OutgoingKind, Message)>,
    /// The newest health, if it was not sent yet.
    health: Option<Message>,
    /// What the store was like when rows were read from it last; none when it must be looked at again.
    seen: Option<i64>,
    /// Rows read from the outbox, not yet handed over.
    due: VecDeque<(i64, Message)>,
    /// Rows up to this one were read on this connection.
    cursor: i64,
    /// Rows may be left behind the cursor.
    more: bool,
    /// Nothing of the outbox is sent before that.
    hold_until: Option<Instant>,
    /// Nothing of the outbox is sent any more.
    set_aside: bool,
    /// Acknowledged, not yet removed.
    acknowledged: BTreeSet<i64>,
    flush_at: Option<Instant>,
    /// A full disk can still be read, so the two fail apart.
    reading: StoreBackoff,
    writing: StoreBackoff,
    /// Messages that can never be sent, and that the store has not counted yet.
    unsendable: u64,
}

impl OutboxSender {
    pub(super) fn new(context: &Context, store: Store, sender: MqttSender, patience: Duration) -> Self {
        Self {
            store,
            sender,
            metrics: context.metrics.clone(),
            redactor: context.redactor(),
            inflight: InflightWindow::default(),
            patience,
            own: VecDeque::new(),
            health: None,
            seen: None,
            due: VecDeque::new(),
            cursor: 0,
            more: true,
            hold_until: None,
            set_aside: false,
            acknowledged: BTreeSet::new(),
            flush_at: None,
            reading: StoreBackoff::default(),
            writing: StoreBackoff::default(),
            unsendable: 0,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.inflight.is_connected()
    }

    /// Nothing is under way and nothing waits, as far as the store tells.
    pub(super) fn is_idle(&self) -> bool {
        self.inflight.count() == 0 && self.own.is_empty() && self.due.is_empty() && !self.more
    }

    pub(super) fn connected(&mut self) {
        self.start_over();
        self.inflight.connected();
    }

    /// Everything that was not acknowledged is due again.
    pub(super) fn lost(&mut self) -> Result<(), store::StoreError> {
        self.start_over();
        self.flush()
    }

    fn start_over(&mut self) {
        self.inflight.lost();
        self.own.clear();
        self.due.clear();
        self.cursor = 0;
        self.seen = None;
        self.more = !self.set_aside;
    }

    /// Keeps what is in the outbox there for a while; not again, where the connection broke before that was over.
    pub(super) fn hold(&mut self, time: Duration) {
        let now = Instant::now();
        self.hold_until = self.hold_until.filter(|at| now < *at + OTHER_OUTAGE).or(Some(now + time));
    }

    /// Ends that while.
    pub(super) fn release(&mut self) {
        self.hold_until = None;
    }

    pub(super) fn announce(&mut self, messages: impl IntoIterator<Item = (OutgoingKind, Message)>) {
        self.own.extend(messages);
    }

    /// Only the newest is worth sending.
    pub(super) fn set_health(&mut self, message: Message) {
        self.health = Some(message);
    }

    /// Leaves what is in the outbox for the next start.
    pub(super) fn set_aside(&mut self) {
        self.set_aside = true;
        self.own.clear();
        self.due.clear();
        self.more = false;
    }

    /// Publishes something that is worth nothing later, with QoS 0.
    pub(super) fn publish_qos0(&self, message: &Message) {
        if self.inflight.is_connected() && !self.set_aside {
            self.sender.publish_qos0(&self.redactor.message(message));
        }
    }

    pub(super) fn subscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        self.sender.subscribe(filters)
    }

    pub(super) fn disconnect(&self) -> Result<(), PublishRefusal> {
        self.sender.disconnect()
    }

    /// The newest message of every retained topic; none while the store is in trouble.
    pub(super) fn retained(&mut self) -> Result<Option<Vec<Message>>, store::StoreError> {
        self.read(Store::retained)
    }

    /// Hands over as much as may be under way: the next with each acknowledgement. A broker may hold acknowledgements back until
    /// it hears from us, as TCP does by itself.
    pub(super) fn pump(&mut self) -> Result<(), store::StoreError> {
        if self.is_connected() && self.inflight.free_slots() == 0 {
            return Ok(());
        }
        self.refresh()?;
        while self.inflight.free_slots() > 0 {
            let Some((ticket, message)) = self.next()? else { return Ok(()) };
            match self.sender.try_publish(&self.redactor.message(&message)) {
                Ok(()) => self.inflight.queued((ticket, Instant::now())),
                Err(PublishRefusal::Busy) => {
                    self.put_back(ticket, message);
                    return Ok(());
                }
                Err(PublishRefusal::Never) => self.give_up(ticket, &message),
            }
        }
        Ok(())
    }

    /// Somebody may have stored something since the last time.
    pub(super) fn refresh(&mut self) -> Result<(), store::StoreError> {
        // PendingCommand with each acknowledgement, and answered from memory: this needs no other thread to take over. One that cannot be
        // read now is asked for more below, and the trouble told there.
        let version = self.store.version().ok();
        if version.is_some() && version == self.seen {
            return Ok(());
        }
        self.seen = version;
        // What was read ahead may be forgotten by now.
        self.cursor = self.due.front().map_or(self.cursor, |(seq, _)| seq - 1);
        self.due.clear();
        self.more = !self.set_aside;
        if let Some(waiting) = self.read(Store::waiting)? {
            self.metrics.outbox.set(waiting.messages.saturating_sub(self.acknowledged.len() as u64));
            self.metrics.outbox_dropped.set(waiting.dropped + self.unsendable);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(OutgoingKind, Message)>, store::StoreError> {
        if let Some(own) = self.own.pop_front() {
            return Ok(Some(own));
        }
        if let Some(health) = self.health.take() {
            return Ok(Some((OutgoingKind::Announcement, health)));
        }
        if self.hold_until.is_some() {
            return Ok(None);
        }
        while self.due.is_empty() && self.more {
            let cursor = self.cursor;
            let Some(rows) = self.read(|store| store.outbox_after(cursor, BATCH))? else { return Ok(None) };
            self.more = rows.len() == BATCH;
            self.cursor = rows.last().map_or(cursor, |(seq, _)| *seq);
            let acknowledged = &self.acknowledged;
            self.due.extend(rows.into_iter().filter(|(seq, _)| !acknowledged.contains(seq)));
        }
        Ok(self.due.pop_front().map(|(seq, message)| (OutgoingKind::OutboxRow(seq), message)))
    }

    fn put_back(&mut self, ticket: OutgoingKind, message: Message) {
        match ticket {
            OutgoingKind::OutboxRow(seq) => self.due.push_front((seq, message)),
            _ => self.own.push_front((ticket, message)),
        }
    }

    fn give_up(&mut self, ticket: OutgoingKind, message: &Message) {
        let bytes = message.payload.len();
        error!(
            topic = message.topic,
            bytes, "a message can never be sent and is given up: it is too long, or its topic is none"
        );
        self.unsendable += 1;
        self.metrics.outbox_dropped.add(1);
        if let OutgoingKind::OutboxRow(seq) = ticket {
            self.remove_later(seq);
        }
    }

    pub(super) fn sent(&mut self, packet: u16) {
        self.metrics.published.add(1);
        self.inflight.sent(packet);
    }

    pub(super) fn acknowledged(&mut self, packet: u16) -> Option<OutgoingKind> {
        let (ticket, _) = self.inflight.acknowledged(packet)?;
        self.metrics.acknowledged.add(1);
        if let OutgoingKind::OutboxRow(seq) = ticket {
            self.remove_later(seq);
        }
        Some(ticket)
    }

    fn remove_later(&mut self, seq: i64) {
        self.acknowledged.insert(seq);
        let at = if self.acknowledged.len() >= ACKNOWLEDGED { Instant::now() } else { Instant::now() + FLUSH };
        self.flush_at = Some(self.flush_at.map_or(at, |before| before.min(at)));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        // While the store cannot be written its own time counts, or this would spin.
        let flush = self.flush_at.map(|at| self.writing.retry_at().unwrap_or(at));
        let hold = self.hold_until.filter(|_| self.is_connected());
        [flush, self.reading.retry_at(), hold, self.overdue_at()].into_iter().flatten().min()
    }

    /// When the broker will have kept a message waiting for too long.
    fn overdue_at(&self) -> Option<Instant> {
        self.inflight.tickets().map(|(_, since)| *since + self.patience).min()
    }

    /// The broker lives, maybe, but acknowledges nothing.
    pub(super) fn is_stalled(&self) -> bool {
        self.overdue_at().is_some_and(|at| at <= Instant::now())
    }

    pub(super) fn deadline_passed(&mut self, now: Instant) -> Result<(), store::StoreError> {
        if self.is_connected() {
            self.hold_until = self.hold_until.filter(|at| *at > now);
        }
        self.reading.pass(now);
        self.writing.pass(now);
        if self.flush_at.is_some_and(|at| at <= now) { self.flush() } else { Ok(()) }
    }

    /// Removes from the outbox what was acknowledged.
    pub(super) fn flush(&mut self) -> Result<(), store::StoreError> {
        if self.acknowledged.is_empty() {
            self.flush_at = None;
            return Ok(());
        }
        let rows: Vec<i64> = self.acknowledged.iter().copied().collect();
        let unsendable = self.unsendable;
        if self.write(|store| store.acknowledge(&rows, unsendable))?.is_some() {
            self.acknowledged.clear();
            self.unsendable = 0;
            self.flush_at = None;
        }
        Ok(())
    }

    pub(super) fn counts(&mut self) -> Result<PublishCounts, store::StoreError> {
        let left = self.read(Store::outbox_len)?.unwrap_or_default();
        Ok(PublishCounts {
            published: self.metrics.published.get(),
            acknowledged: self.metrics.acknowledged.get(),
            left,
        })
    }

    fn read<T>(
        &mut self,
        ask: impl FnOnce(&Store) -> Result<T, store::StoreError>,
    ) -> Result<Option<T>, store::StoreError> {
        self.reading.attempt(|| ask(&self.store))
    }

    /// Writes to the store; none when that must wait.
    pub(super) fn write<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, store::StoreError>,
    ) -> Result<Option<T>, store::StoreError> {
        self.seen = None;
        self.writing.attempt(|| act(&mut self.store))
    }
}
