//! Results of the listener that are not stored yet.
//!
//! An outcome, the messages about it, and how far was read are stored in one transaction. If the store cannot be written, the messages
//! are sent from memory, and stored later together with the next outcome.

use tracing::debug;

use super::{ListenerWorker, outcome_messages};
use crate::clock;
use crate::event::{Alert, Digest, Message, Utterance};
use crate::listener::ListenerOutcome;
use crate::services::outbox::unstored_messages::UnstoredMessages;
use crate::services::store_retry::retry_until_stored;
use crate::services::{Context, ServiceError};
use crate::store::{self, Store, StoreError};

#[derive(Default)]
pub(super) struct Unrecorded {
    waits: bool,
    digests: Vec<Digest>,
    alerts: Vec<Alert>,
    messages: UnstoredMessages,
}

impl Unrecorded {
    pub(super) fn is_empty(&self) -> bool {
        !self.waits
    }

    fn store(&mut self, context: &Context, store: &mut Store, processed: i64, memory: &str) -> Result<(), StoreError> {
        let messages = self.messages.to_store();
        let turn = store::ListenerTurn { digests: &self.digests, alerts: &self.alerts, processed, memory };
        store.record_reading(turn, &messages)?;
        self.messages.settle();
        *self = Self::default();
        if !messages.is_empty() {
            context.notify_outbox();
        }
        Ok(())
    }
}

impl ListenerWorker {
    /// Stores an outcome, how far the listener has read, and the messages about it, in one transaction. If the store cannot be written,
    /// the messages are sent from memory.
    pub(super) fn record(&mut self, outcome: ListenerOutcome, mut messages: Vec<Message>) -> Result<(), StoreError> {
        messages.extend(self.outcome_messages.messages(&outcome, self.listeners.standings(self.now)));
        self.unrecorded.waits = true;
        self.unrecorded.digests.extend(outcome.digests.iter().cloned());
        self.unrecorded.alerts.extend(outcome.alerts.iter().cloned());
        self.unrecorded.messages.add(&self.context, messages);
        let done = self.retry_record();
        outcome_messages::log(&outcome);
        outcome_messages::show(outcome, &self.context.live_feed);
        done
    }

    /// Tries again to store what is not stored yet.
    pub(super) fn retry_record(&mut self) -> Result<(), StoreError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        self.keep_memory();
        let Self { context, store, store_outage, unrecorded, processed, memory, .. } = self;
        let recorded = store_outage.attempt(context, || unrecorded.store(context, store, *processed, memory))?;
        if recorded.is_none() {
            unrecorded.messages.send(context);
        }
        Ok(())
    }

    /// Waits until everything is stored; during a shutdown for some seconds.
    pub(super) fn wait_until_recorded(&mut self) -> Result<(), StoreError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        self.keep_memory();
        let Self { context, store, unrecorded, processed, memory, .. } = self;
        retry_until_stored(context, || unrecorded.store(context, store, *processed, memory))
    }

    /// What the listeners keep is stored with the next results, unless it knows of utterances that do not count as processed.
    fn keep_memory(&mut self) {
        if !self.stopped {
            self.memory = self.listeners.memory();
        }
    }

    /// Reads an utterance that could not be stored. Once it is stored, it is not read again.
    pub(super) fn read_unstored(&mut self, utterance: &Utterance) -> Result<(), ServiceError> {
        if self.read_ahead.contains(&utterance.id) || self.store.is_known(utterance)? {
            return Ok(());
        }
        debug!(id = %utterance.id, "an utterance is read that is not stored");
        self.read_ahead.insert(utterance.id);
        self.note_heard();
        self.now = clock::forward(self.now, utterance.start);
        let found = self.read_and_ask(utterance);
        match self.unless_stopped(found)? {
            Some(outcome) => Ok(self.record(outcome, Vec::new())?),
            None => Ok(()),
        }
    }

    fn read_and_ask(&mut self, utterance: &Utterance) -> Result<ListenerOutcome, ServiceError> {
        let mut outcome = self.pass_time()?;
        let read = self.read;
        self.measured(|listeners| listeners.hear(read, utterance))?;
        self.now = clock::forward(self.now, utterance.end);
        outcome.add(self.evaluate(false)?);
        Ok(outcome)
    }
}
