//! Sends one webhook what waits for it.
//!
//! A row is removed from the outbox only after the receiver took it, and is read again before each attempt: what was forgotten meanwhile is
//! not sent any more. What is in the receiver's hands when it fails is sent again under the same id.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::event::{Destination, Message};
use crate::metrics::WebhookMetrics;
use crate::mqtt::retry::{Backoff, OutageLog};
use crate::redact::Redactor;
use crate::services::Context;
use crate::services::outbox::acknowledged_rows::AcknowledgedRows;
use crate::services::outbox::from_memory::SentFromMemory;
use crate::services::outbox::guarded_store::{GuardedStore, RETRY};
use crate::services::outbox::row_queue::{BATCH, RowQueue};
use crate::store::StoreError;
use crate::webhook::{PostVerdict, WebhookClient};

/// Where a message was found.
#[derive(Clone, Copy)]
enum QueuedIn {
    /// In the outbox.
    Outbox(i64),
    /// The store has not taken it.
    Memory(u64),
}

pub(super) struct WebhookSender {
    name: Arc<str>,
    destination: Destination,
    client: WebhookClient,
    redactor: Redactor,
    store: GuardedStore,
    changes: watch::Receiver<()>,
    rows: RowQueue,
    from_memory: SentFromMemory,
    acknowledged: AcknowledgedRows,
    metrics: Arc<WebhookMetrics>,
    back_off: Backoff,
    outage: OutageLog,
    refusals: OutageLog,
}

impl WebhookSender {
    /// # Errors
    /// The store cannot be opened.
    pub(super) fn open(context: &Context, name: &str, client: WebhookClient) -> Result<Self, StoreError> {
        let name: Arc<str> = name.into();
        let destination = Destination::Webhook(name.clone());
        Ok(Self {
            client,
            redactor: context.redactor(),
            store: GuardedStore::new(context.open_store()?),
            changes: context.outbox_changes(),
            rows: RowQueue::new(),
            from_memory: SentFromMemory::new(context, destination.clone()),
            acknowledged: AcknowledgedRows::default(),
            metrics: context.metrics.webhooks.open(&name),
            back_off: Backoff::default(),
            outage: OutageLog::default(),
            refusals: OutageLog::default(),
            destination,
            name,
        })
    }

    /// Sends until `stop` is cancelled, then what waits for no longer than `grace`, and nothing more where it fails.
    ///
    /// # Errors
    /// The database is damaged or gone.
    pub(super) async fn run(mut self, stop: CancellationToken, grace: Duration) -> Result<(), StoreError> {
        let mut over = pin!(async {
            stop.cancelled().await;
            sleep(grace).await;
        });
        loop {
            self.changes.mark_unchanged();
            let Some((found, message)) = self.next()? else {
                if stop.is_cancelled() {
                    break;
                }
                // A store that failed is tried again after a while.
                tokio::select! {
                    Ok(()) = self.changes.changed() => {}
                    () = sleep(RETRY) => self.store.time_passed(Instant::now()),
                    () = stop.cancelled() => {}
                }
                self.flush()?;
                continue;
            };
            let sent = self.redactor.message(&message);
            let verdict = tokio::select! {
                verdict = self.client.post(&sent.topic, &sent.payload) => verdict,
                () = &mut over => break,
            };
            drop(sent);
            match verdict {
                PostVerdict::Delivered => self.delivered(found)?,
                PostVerdict::Refused { reason } => self.refused(found, &reason)?,
                PostVerdict::Later { reason, wait } => {
                    self.put_back(found, message);
                    let wait = self.failed(&reason).max(wait.unwrap_or_default());
                    if self.wait(wait, &stop).await? {
                        break;
                    }
                }
            }
        }
        self.flush()
    }

    /// The next message, if the store can be read.
    fn next(&mut self) -> Result<Option<(QueuedIn, Message)>, StoreError> {
        if self.rows.follow(self.store.version()) {
            self.count()?;
        }
        while let Some(cursor) = self.rows.wants_rows_after() {
            let Self { store, destination, .. } = self;
            let Some(batch) = store.read(|store| store.outbox_of(destination, cursor, BATCH))? else { break };
            self.rows.extend(batch, |seq| self.acknowledged.contains(seq));
        }
        let row = self.rows.pop().map(|(seq, message)| (QueuedIn::Outbox(seq), message));
        Ok(row.or_else(|| self.from_memory.pop().map(|(id, message)| (QueuedIn::Memory(id), message))))
    }

    fn put_back(&mut self, found: QueuedIn, message: Message) {
        match found {
            QueuedIn::Outbox(seq) => self.rows.put_back(seq, message),
            QueuedIn::Memory(id) => self.from_memory.put_back(id),
        }
    }

    fn delivered(&mut self, found: QueuedIn) -> Result<(), StoreError> {
        self.metrics.sent.add(1);
        self.metrics.error.set(None);
        self.back_off.succeeded();
        if self.outage.ended() {
            info!(webhook = %self.name, "webhook {}: messages are taken again", self.name);
        }
        self.remove(found)
    }

    /// It will never be taken.
    fn refused(&mut self, found: QueuedIn, reason: &str) -> Result<(), StoreError> {
        let reason = format!("{} {reason}", self.client.shown());
        self.metrics.failed.add(1);
        self.metrics.dropped.add(1);
        if self.refusals.is_new_failure(&reason, Timestamp::now()) {
            warn!(webhook = %self.name, "webhook {}: {reason}; the message is given up", self.name);
        }
        self.metrics.error.set(Some(reason));
        self.acknowledged.count_unsendable();
        self.remove(found)
    }

    /// Returns how long to wait.
    fn failed(&mut self, reason: &str) -> Duration {
        let reason = format!("{} {reason}", self.client.shown());
        self.metrics.failed.add(1);
        if self.outage.is_new_failure(&reason, Timestamp::now()) {
            warn!(webhook = %self.name, "webhook {}: {reason}; messages wait in the outbox", self.name);
        }
        self.metrics.error.set(Some(reason));
        self.back_off.failed(rand::random())
    }

    /// Waits, and counts meanwhile what comes. Returns whether hearth shuts down: what waits then is sent after the next start.
    async fn wait(&mut self, time: Duration, stop: &CancellationToken) -> Result<bool, StoreError> {
        let mut pause = pin!(sleep(time));
        loop {
            tokio::select! {
                () = &mut pause => return Ok(false),
                () = stop.cancelled() => return Ok(true),
                Ok(()) = self.changes.changed() => self.count()?,
            }
        }
    }

    fn remove(&mut self, found: QueuedIn) -> Result<(), StoreError> {
        match found {
            QueuedIn::Outbox(seq) => self.acknowledged.add(seq),
            QueuedIn::Memory(id) => self.from_memory.acknowledged(id),
        }
        self.flush()
    }

    /// Removes from the outbox what was taken. Where the disk takes nothing that is tried again.
    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(rows) = self.acknowledged.take_removable() else { return Ok(()) };
        let unsendable = self.acknowledged.unsendable();
        let Self { store, destination, .. } = self;
        let removed = store.write(|store| store.acknowledge_of(destination, &rows, unsendable))?;
        if removed.is_some() {
            self.acknowledged.removed();
        }
        self.count()
    }

    /// Counts what waits.
    fn count(&mut self) -> Result<(), StoreError> {
        let Self { store, destination, .. } = self;
        if let Some(totals) = store.read(|store| store.waiting_for(destination))? {
            self.metrics.waiting.set(totals.messages.saturating_sub(self.acknowledged.count()));
            self.metrics.dropped.set(totals.dropped + self.acknowledged.unsendable());
        }
        Ok(())
    }
}
