//! How the live states forget.
//!
//! Each goes on from a snapshot that had not read what is forgotten, and reads again what stays.

use jiff::Timestamp;

use super::{ListenerWorker, NEW_STATE_UTTERANCES, state_at};
use crate::commands::ForgetResult;
use crate::retention::{self, AgeLimit, TextOwner, TextStore};
use crate::services::ServiceError;
use crate::services::store_retry::retry_until_stored;
use crate::store::{Forgotten, Store, StoreError};

impl ListenerWorker {
    /// Forgets what was said after `since`.
    pub(super) fn forget_since(&mut self, since: Timestamp) -> Result<ForgetResult, ServiceError> {
        // What was said of older speech stays.
        self.wait_until_recorded()?;
        let report = self.retention.clone().forget(self, since)?;
        Ok(ForgetResult { utterances: report.utterances, said: report.said, incomplete: report.reason() })
    }

    /// Utterances that stay, and of which no digest tells any more, belong to the next digest again.
    fn restore_pending_digests(&mut self) -> Result<(), StoreError> {
        let told_until = self.store.told_until()?;
        let mut seq = 0;
        loop {
            let batch = self.store.utterances_after(seq, state_at::BATCH)?;
            let Some(&(last, _)) = batch.last() else { return Ok(()) };
            seq = last;
            let told = batch.iter().filter(|(seq, _)| *seq <= self.processed);
            told.for_each(|(_, said)| self.listeners.mark_pending(said, &told_until));
        }
    }
}

impl TextStore for ListenerWorker {
    fn name(&self) -> &'static str {
        "the live states"
    }

    /// What the listeners and the announcements quote is dropped, and each state goes back to before it had read anything of it.
    fn forget(&mut self, forgotten: &Forgotten) -> Result<(), retention::RetentionError> {
        self.drop_renewal();
        let ended = self.listeners.forget(&forgotten.alerts, self.now.max(Timestamp::now()));
        self.learn_from_answers()?;
        self.outcome_messages.forget();
        if !std::mem::take(&mut self.read_ahead).is_empty() {
            // They may hold what is forgotten. No snapshot was made meanwhile.
            let from = forgotten.span.map_or(i64::MAX, |(from, _)| from);
            let afresh = self.store.back_from(self.processed, NEW_STATE_UTTERANCES)?;
            let processed = self.processed;
            self.read = self.listeners.restore(|mark| mark.read < from && mark.read <= processed, afresh)?;
        } else if let Some((from, _)) = forgotten.span {
            let afresh = self.store.back_from(self.processed, NEW_STATE_UTTERANCES)?;
            self.read = self.listeners.roll_back(from, afresh)?.unwrap_or(self.read).min(self.read);
        }
        super::remember_talk(&mut self.listeners, &self.store, self.processed)?;
        self.restore_pending_digests()?;
        Ok(self.record(ended, Vec::new())?)
    }

    /// A state holds no text that could grow old; the talk beside it does.
    fn enforce(&mut self, limit: &AgeLimit) -> Result<(), retention::RetentionError> {
        self.listeners.keep_talk_since(limit.oldest());
        Ok(())
    }
}

impl TextOwner for ListenerWorker {
    fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    fn delete_rows(&mut self, since: Timestamp, from: Option<i64>) -> Result<Forgotten, StoreError> {
        retry_until_stored(&self.context, || self.store.forget(since, from))
    }
}
