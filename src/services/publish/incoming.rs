//! What the publish service does with a message that came.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::Publisher;
use super::command_intake::EarlyAnswer;
use super::outbox_sender::OutgoingKind;
use crate::event::Message;
use crate::mqtt::payload;
use crate::mqtt::retry::OutageLog;
use crate::store;

/// Home Assistant asks every device at once when it starts; each answers within this time.
const JITTER_S: f64 = 5.0;

/// What must be known of messages that came before.
#[derive(Default)]
pub(super) struct IncomingLog {
    /// Messages that were too long.
    too_long: OutageLog,
    /// Topics on which this connection deleted a retained message. The broker sends us the empty message that deletes it, which
    /// is no command.
    cleared: Vec<String>,
}

impl IncomingLog {
    pub(super) fn lost(&mut self) {
        self.cleared.clear();
    }
}

impl Publisher {
    pub(super) fn message(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), store::StoreError> {
        if self.context.topics.home_assistant().any(|birth| birth == topic) {
            if payload == payload::ONLINE.as_bytes() && !retain {
                self.outbox.release();
                let jitter = Duration::from_secs_f64(rand::random::<f64>() * JITTER_S);
                self.announce_at = Some(Instant::now() + jitter);
            }
            return Ok(());
        }
        if self.context.topics.command_probes().iter().any(|probe| probe == topic) {
            return if self.command_check.received(topic, payload) { self.set_commands_ok(true) } else { Ok(()) };
        }
        if payload.is_empty()
            && let Some(n) = self.incoming.cleared.iter().position(|cleared| cleared == topic)
        {
            self.incoming.cleared.swap_remove(n);
            return Ok(());
        }
        let answer = self.commands.take(&self.context.topics, topic, payload, retain);
        self.answer(answer)
    }

    /// A message came that is too long to be read.
    pub(super) fn too_long(&mut self, topic: &str, bytes: usize, retain: bool) -> Result<(), store::StoreError> {
        if self.incoming.too_long.is_new_failure(topic, Timestamp::now()) {
            warn!(topic, bytes, retain, "a message is too long, and was not read");
        }
        if retain && self.context.topics.path(topic).is_some() {
            // It would come with each connection.
            self.incoming.cleared.push(topic.into());
            self.outbox.announce([(OutgoingKind::Announcement, Message::clear(topic.into()))]);
        }
        let answer = self.commands.refuse(&self.context.topics, topic, bytes, retain);
        self.answer(answer)
    }

    fn answer(&mut self, answer: Option<EarlyAnswer>) -> Result<(), store::StoreError> {
        let Some(EarlyAnswer { message, is_stored }) = answer else { return Ok(()) };
        // A disk that is full is no reason to be silent.
        if !is_stored || self.outbox.write(|store| store.enqueue(std::slice::from_ref(&message)))?.is_none() {
            self.outbox.announce([(OutgoingKind::Announcement, message)]);
        }
        Ok(())
    }

    pub(super) fn set_commands_ok(&mut self, ok: bool) -> Result<(), store::StoreError> {
        let changed = self.context.metrics.commands_ok.get() != ok;
        self.context.metrics.commands_ok.set(ok);
        if ok {
            self.context.metrics.commands_needed.set(None);
        }
        if changed { self.queue_health() } else { Ok(()) }
    }

    /// What the broker's access list must allow, where commands do not come through.
    pub(super) fn set_commands_needed(&mut self, needed: Option<String>) -> Result<(), store::StoreError> {
        let changed = self.context.metrics.commands_needed.get() != needed;
        self.context.metrics.commands_needed.set(needed);
        if changed { self.queue_health() } else { Ok(()) }
    }
}
