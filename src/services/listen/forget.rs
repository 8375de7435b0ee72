//! How the live states forget.
//!
//! Invariant: each goes on from a snapshot that had not heard what is forgotten, and reads again what stays.

use jiff::Timestamp;
use tracing::{info, warn};

use super::{AFRESH, ListenerWorker, state_at};
use crate::commands::ForgetResult;
use crate::live::LiveEvent;
use crate::retention::forget;
use crate::services::Error;
use crate::services::store_retry::retry_until_stored;
use crate::services::transcript_writer::locked;
use crate::store::Forgotten;

impl ListenerWorker {
    /// Forgets what was said after `since`.
    pub(super) fn forget_since(&mut self, since: Timestamp) -> Result<ForgetResult, Error> {
        let from = forget::from(self.config.store.keep, &self.context.snapshots, since)?;
        let forgotten = retry_until_stored(&self.context, || self.store.forget(since, from))?;
        let incomplete = self.follow(&forgotten)?.err();
        self.context.live_feed.publish(LiveEvent::Forgotten(since));
        Ok(ForgetResult { utterances: forgotten.utterances, incomplete })
    }

    /// The files, the state and what is remembered beside it follow the store. What cannot follow now does at the next start,
    /// and the reason is returned.
    pub(super) fn follow(&mut self, forgotten: &Forgotten) -> Result<Result<(), String>, Error> {
        let followed = self.in_the_files(forgotten);
        let outcome = self.listeners.forget(&forgotten.alerts, self.now.max(Timestamp::now()));
        self.announcer.forget();
        if let Some((from, _)) = forgotten.span {
            let afresh = self.store.back_from(self.told, AFRESH)?;
            self.read = self.listeners.roll_back(from, afresh)?.unwrap_or(self.read).min(self.read);
        }
        self.untell()?;
        self.record(outcome, Vec::new())?;
        let followed = followed.and_then(|()| Ok(self.store.forget_is_complete()?));
        Ok(followed.map_err(|error| {
            warn!(%error, "what was forgotten is not gone from every file yet; it is tried again within the hour");
            format!("{error}; what is left goes within the hour, or at the next start")
        }))
    }

    fn in_the_files(&mut self, forgotten: &Forgotten) -> Result<(), Error> {
        let mut lines = self.context.transcript.as_deref().map(locked);
        Ok(forget::follow(&mut self.store, forgotten, lines.as_deref_mut(), &self.context.snapshots)?)
    }

    /// What could not follow in the files is tried again.
    pub(super) fn forget_the_rest(&mut self) -> Result<(), Error> {
        let Some(forgotten) = self.store.pending_forget()?.forgotten else { return Ok(()) };
        match self.in_the_files(&forgotten).and_then(|()| Ok(self.store.forget_is_complete()?)) {
            Ok(()) => info!("what was forgotten is gone from every file"),
            Err(error) => warn!(%error, "what was forgotten is not gone from every file yet"),
        }
        Ok(())
    }

    /// What stays, and no digest that stays tells of, is untold again.
    fn untell(&mut self) -> Result<(), Error> {
        let told_until = self.store.told_until()?;
        let mut seq = 0;
        loop {
            let batch = self.store.utterances_after(seq, state_at::BATCH)?;
            let Some(&(last, _)) = batch.last() else { return Ok(()) };
            seq = last;
            let told = batch.iter().filter(|(seq, _)| *seq <= self.told);
            told.for_each(|(_, said)| self.listeners.untell(said, &told_until));
        }
    }
}
