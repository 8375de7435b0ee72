//! Sends the outbox and the announcements to the broker, in order and as many as may be in flight.
//!
//! A row is removed from the outbox only after the broker acknowledged it, and is not sent again on the same connection.
//! Announcements go first, then health, then the rows, and last what the connection may break on (`packet_limit`).

mod last_queue;
mod packet_limit;
mod sending;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::last_queue::LastQueue;
use self::packet_limit::{LimitTracker, NotedLimit};
use super::{Context, PublishCounts};
use crate::event::{Destination, Message};
use crate::metrics::Metrics;
use crate::mqtt::client::{ClientSettings, MqttSender, PacketLimit, PublishRefusal};
use crate::mqtt::inflight::InflightWindow;
use crate::redact::Redactor;
use crate::services::outbox::acknowledged_rows::AcknowledgedRows;
use crate::services::outbox::from_memory::SentFromMemory;
use crate::services::outbox::guarded_store::GuardedStore;
use crate::services::outbox::row_queue::RowQueue;
use crate::store::{Store, StoreError};

/// A connection that broke so long ago has nothing to do with this one.
const OTHER_OUTAGE: Duration = Duration::from_secs(600);

/// Where the longest packet that the broker takes is noted.
const NOTE: &str = "packet_limit";

/// What a message in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutgoingKind {
    /// A row of the outbox.
    OutboxRow(i64),
    /// A message that the store has not taken.
    FromMemory(u64),
    /// An announcement; a lost one is made again at the next connection.
    Announcement,
    /// One of the messages of an announcement to Home Assistant, by its number.
    Discovery(u64),
    /// `offline`, the last message of all.
    Offline,
}

/// A message in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    kind: OutgoingKind,
    since: Instant,
    topic: String,
    /// The length of its packet.
    bytes: usize,
}

pub(super) struct OutboxSender {
    store: GuardedStore,
    sender: MqttSender,
    metrics: Arc<Metrics>,
    redactor: Redactor,
    inflight: InflightWindow<InFlight>,
    /// How long the broker may take to acknowledge.
    acknowledge_timeout: Duration,
    announcements: VecDeque<(OutgoingKind, Message)>,
    /// The newest health, if it was not sent yet.
    health: Option<Message>,
    rows: RowQueue,
    from_memory: SentFromMemory,
    acknowledged: AcknowledgedRows,
    last: LastQueue,
    limit: LimitTracker,
    /// What is noted of the limit.
    noted_limit: Option<NotedLimit>,
    /// What is in flight goes alone.
    alone: bool,
    /// No row is sent before that.
    hold_until: Option<Instant>,
}

impl OutboxSender {
    /// # Errors
    /// The store cannot be read.
    pub(super) fn open(
        context: &Context,
        store: Store,
        sender: MqttSender,
        settings: &ClientSettings,
    ) -> Result<Self, StoreError> {
        let noted_limit: Option<NotedLimit> =
            store.note(NOTE)?.and_then(|note| serde_json::from_str(&note).ok()).flatten();
        let sender = Self {
            store: GuardedStore::new(store),
            sender,
            metrics: context.metrics.clone(),
            redactor: context.redactor(),
            inflight: InflightWindow::default(),
            acknowledge_timeout: settings.acknowledge_timeout(),
            announcements: VecDeque::new(),
            health: None,
            rows: RowQueue::new(),
            from_memory: SentFromMemory::new(context, Destination::Broker),
            acknowledged: AcknowledgedRows::default(),
            last: LastQueue::default(),
            limit: LimitTracker::new(settings.url(), noted_limit.clone()),
            noted_limit,
            alone: false,
            hold_until: None,
        };
        sender.metrics.packet_limit.set(sender.limit.bytes().unwrap_or_default() as u64);
        Ok(sender)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.inflight.is_connected()
    }

    /// Nothing is in flight and nothing waits, as far as the store was read.
    pub(super) fn is_idle(&self) -> bool {
        self.inflight.count() == 0
            && self.announcements.is_empty()
            && self.rows.is_empty()
            && self.from_memory.is_empty()
            && self.last.is_empty()
    }

    pub(super) fn connected(&mut self) {
        self.start_over();
        self.inflight.connected();
    }

    /// Everything that was not acknowledged is due again. Returns on what the connection may have broken, if anything.
    pub(super) fn lost(&mut self, closed_by_broker: bool) -> Result<Option<String>, StoreError> {
        let suspect = self.limit.lost(closed_by_broker, self.inflight.tickets()).map(ToString::to_string);
        self.start_over();
        self.note_limit()?;
        self.flush()?;
        Ok(suspect)
    }

    /// The longest packet that the broker takes, where that is known.
    pub(super) fn packet_limit(&self) -> Option<usize> {
        self.limit.bytes()
    }

    /// Whether the broker is to be asked for it before the next connection; once.
    pub(super) fn asks_packet_limit(&mut self) -> bool {
        self.limit.asks()
    }

    pub(super) fn packet_limit_told(&mut self, told: PacketLimit) -> Result<(), StoreError> {
        self.limit.told(told);
        self.note_limit()
    }

    fn note_limit(&mut self) -> Result<(), StoreError> {
        self.metrics.packet_limit.set(self.limit.bytes().unwrap_or_default() as u64);
        let limit = self.limit.to_note();
        if limit == self.noted_limit {
            return Ok(());
        }
        let note = serde_json::to_string(&limit).expect("a number can be written as JSON");
        if self.write(|store| store.set_note(NOTE, &note))?.is_some() {
            self.noted_limit = limit;
        }
        Ok(())
    }

    fn start_over(&mut self) {
        self.inflight.lost();
        self.announcements.clear();
        self.rows.restart();
        self.from_memory.restart();
        self.last = LastQueue::default();
        self.metrics.too_long.set(0);
    }

    /// Keeps the rows of the outbox for a while; not again, where the connection broke before that was over.
    pub(super) fn hold(&mut self, time: Duration) {
        let now = Instant::now();
        self.hold_until = self.hold_until.filter(|at| now < *at + OTHER_OUTAGE).or(Some(now + time));
    }

    /// Ends that while.
    pub(super) fn release(&mut self) {
        self.hold_until = None;
    }

    pub(super) fn announce(&mut self, messages: impl IntoIterator<Item = (OutgoingKind, Message)>) {
        self.announcements.extend(messages);
    }

    /// Only the newest is worth sending.
    pub(super) fn set_health(&mut self, message: Message) {
        self.health = Some(message);
    }

    /// Leaves the rows of the outbox for the next start.
    pub(super) fn set_aside(&mut self) {
        self.announcements.clear();
        self.rows.stop();
        self.from_memory.stop();
        self.last = LastQueue::default();
        self.alone = false;
    }

    /// Publishes something that is worth nothing later, with QoS 0.
    pub(super) fn publish_qos0(&mut self, message: &Message) {
        if self.inflight.is_connected()
            && !self.rows.is_stopped()
            && let Some(prepared) = self.prepared(OutgoingKind::Announcement, message)
        {
            self.sender.publish_qos0(&prepared);
        }
    }

    pub(super) fn subscribe(&self, filters: impl IntoIterator<Item = String>) -> Result<(), PublishRefusal> {
        self.sender.subscribe(filters)
    }

    pub(super) fn disconnect(&self) -> Result<(), PublishRefusal> {
        self.sender.disconnect()
    }

    /// The newest message of every retained topic; none while the store fails.
    pub(super) fn retained(&mut self) -> Result<Option<Vec<Message>>, StoreError> {
        self.store.read(Store::retained)
    }

    /// Reads the outbox again if somebody may have stored something since the last time.
    pub(super) fn refresh(&mut self) -> Result<(), StoreError> {
        // Asked with each acknowledgement, and answered from memory: this needs no other thread to take over. A version that
        // cannot be read now counts as a change; reading more then logs why.
        if !self.rows.follow(self.store.version()) {
            return Ok(());
        }
        if let Some(waiting) = self.store.read(Store::waiting)? {
            self.metrics.outbox.set(waiting.messages.saturating_sub(self.acknowledged.count()));
            self.metrics.outbox_dropped.set(waiting.dropped + self.acknowledged.unsendable());
        }
        Ok(())
    }

    pub(super) fn sent(&mut self, packet: u16) {
        self.metrics.published.add(1);
        self.inflight.sent(packet);
    }

    pub(super) fn acknowledged(&mut self, packet: u16) -> Option<OutgoingKind> {
        let message = self.inflight.acknowledged(packet)?;
        self.limit.acknowledged(&message);
        let kind = message.kind;
        self.metrics.acknowledged.add(1);
        match kind {
            OutgoingKind::OutboxRow(seq) => self.acknowledged.add(seq),
            OutgoingKind::FromMemory(id) => self.from_memory.acknowledged(id),
            _ => {}
        }
        Some(kind)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        // While the store cannot be written its own time counts, or this would spin.
        let flush = self.acknowledged.flush_at().map(|at| self.store.write_retry_at().unwrap_or(at));
        let hold = self.hold_until.filter(|_| self.is_connected());
        [flush, self.store.read_retry_at(), hold, self.overdue_at()].into_iter().flatten().min()
    }

    /// When the broker will have kept a message waiting for too long.
    fn overdue_at(&self) -> Option<Instant> {
        self.inflight.tickets().map(|message| message.since + self.acknowledge_timeout).min()
    }

    /// The broker cannot acknowledge now: the time for that begins again.
    pub(super) fn wait_longer(&mut self) {
        let now = Instant::now();
        self.inflight.tickets_mut().for_each(|message| message.since = now);
    }

    /// The broker may live, but acknowledges nothing.
    pub(super) fn is_stalled(&self) -> bool {
        self.overdue_at().is_some_and(|at| at <= Instant::now())
    }

    pub(super) fn deadline_passed(&mut self, now: Instant) -> Result<(), StoreError> {
        if self.is_connected() {
            self.hold_until = self.hold_until.filter(|at| *at > now);
        }
        self.store.time_passed(now);
        if self.acknowledged.flush_at().is_some_and(|at| at <= now) { self.flush() } else { Ok(()) }
    }

    /// Removes from the outbox what was acknowledged.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let Some(rows) = self.acknowledged.take_removable() else { return Ok(()) };
        let unsendable = self.acknowledged.unsendable();
        if self.write(|store| store.acknowledge(&rows, unsendable))?.is_some() {
            self.acknowledged.removed();
        }
        Ok(())
    }

    pub(super) fn counts(&mut self) -> Result<PublishCounts, StoreError> {
        let left = self.store.read(Store::outbox_len)?.unwrap_or_default();
        Ok(PublishCounts {
            published: self.metrics.published.get(),
            acknowledged: self.metrics.acknowledged.get(),
            left,
        })
    }

    /// Writes to the store; none when that must wait.
    pub(super) fn write<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.rows.invalidate();
        self.store.write(act)
    }
}
