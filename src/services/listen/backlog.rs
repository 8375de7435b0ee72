//! Reads what is in the store and not yet in the states.
//!
//! How far the listener has read is stored together with the results, after the rules were asked about the utterances. So what was read
//! but not asked about before a crash is read and asked about again. During a shutdown it reads for some seconds more; the rest
//! waits in the store for the next start.

use std::time::{Duration, Instant};

use tracing::info;

use super::{ListenerWorker, state_at};
use crate::clock;
use crate::event::Utterance;
use crate::listener::ListenerOutcome;
use crate::services::ServiceError;
use crate::services::store_retry::retry_until_stored;

/// The rules are asked after each utterance. When more than this many wait, they are read in one go and the rules are asked once,
/// because their questions are about now, not about an hour ago.
const CATCH_UP: u64 = 16;
/// How long is read during a shutdown. The time that is left of it is for the last questions and the snapshot.
const READ_WHILE_CLOSING: Duration = Duration::from_secs(12);

impl ListenerWorker {
    /// Reads what is in the store and not yet in the state.
    pub(super) fn catch_up(&mut self) -> Result<(), ServiceError> {
        while self.may_read() {
            self.context.metrics.reading_heartbeat.beat();
            let batch = retry_until_stored(&self.context, || self.store.utterances_after(self.read, state_at::BATCH))?;
            if batch.is_empty() {
                break;
            }
            let behind = self.store.count_after(self.read)? > CATCH_UP;
            let (processed, new): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(seq, _)| *seq <= self.processed);
            self.read_again(&processed)?;
            let at_once = if behind { state_at::BATCH } else { 1 };
            new.chunks(at_once).try_for_each(|turn| self.read_new(turn))?;
            self.save_if_due();
        }
        let read = self.processed.min(self.read);
        self.retention.clone().was_read(self, read)?;
        self.update_metrics()
    }

    /// Whether nothing is left to read. What is left is logged.
    pub(super) fn has_read_everything(&mut self) -> Result<bool, ServiceError> {
        let unread = retry_until_stored(&self.context, || self.store.count_after(self.read))?;
        if unread > 0 {
            info!(unread, "utterances that were not read yet are left for the next start: {unread}");
        }
        Ok(unread == 0)
    }

    /// Whether there is time to read more.
    fn may_read(&mut self) -> bool {
        !self.context.is_closing() || self.closing_since.get_or_insert_with(Instant::now).elapsed() < READ_WHILE_CLOSING
    }

    /// Reads utterances whose alerts and digests are stored already.
    fn read_again(&mut self, processed: &[(i64, Utterance)]) -> Result<(), ServiceError> {
        for one in processed {
            if !self.may_read() {
                break;
            }
            self.measured(|listeners| listeners.replay(std::slice::from_ref(one)))?;
            self.now = clock::forward(self.now, one.1.end);
            self.read = one.0;
            self.update_metrics()?;
        }
        Ok(())
    }

    /// Reads new utterances, then asks the rules about all of them. Only after that they count as processed.
    fn read_new(&mut self, turn: &[(i64, Utterance)]) -> Result<(), ServiceError> {
        let mut outcome = ListenerOutcome::default();
        for (seq, utterance) in turn {
            if !self.may_read() {
                break;
            }
            // The silence before it may have ended a conversation: its digest comes before the next one begins.
            self.now = clock::forward(self.now, utterance.start);
            outcome.add(self.listeners.tick(self.now)?);
            if self.read_ahead.remove(&utterance.id) {
                self.listeners.mark_read(*seq, &utterance.room);
            } else {
                self.measured(|listeners| listeners.hear(*seq, utterance))?;
            }
            self.now = clock::forward(self.now, utterance.end);
            self.read = *seq;
            self.update_metrics()?;
        }
        if self.read > self.processed {
            outcome.add(self.listeners.consider(self.now)?);
            self.processed = self.read;
            self.record(outcome, Vec::new())?;
        }
        Ok(())
    }
}
