//! Rules and schedules that changed, in the reader.
//!
//! Owns the order in which that is told. Invariant: the state is not touched, and what ended is told in the words of the rules
//! that were.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, info};

use super::{Error, ListenerWorker, OutcomeMessages, settings_store};
use crate::config::Config;
use crate::listener::ListenerOutcome;
use crate::mqtt::payload::{self, MessageHeader};
use crate::services::reload::Fresh;

impl ListenerWorker {
    /// Goes on with other rules and schedules, and answers whoever asked. A rule that the model cannot ask changes nothing,
    /// here and wherever rules are told.
    pub(super) fn reload(&mut self, mut fresh: Fresh) -> Result<(), Error> {
        let answer = match self.follow_rules(&fresh)? {
            Ok(()) => fresh.answer(),
            Err(reason) => Err(reason),
        };
        if let Some(asked) = fresh.asked.take() {
            self.record(ListenerOutcome::default(), Vec::from_iter(asked.message(&self.topics, &answer)))?;
            asked.answer(answer);
        }
        Ok(())
    }

    fn follow_rules(&mut self, fresh: &Fresh) -> Result<Result<(), String>, Error> {
        self.now = self.now.max(Timestamp::now());
        let outcome = match self.listeners.reload(&fresh.digest, &fresh.rules, self.now) {
            Ok(outcome) => outcome,
            Err(error) => {
                error!(%error, "the rules stay as they were");
                return Ok(Err(error.to_string()));
            }
        };
        self.config =
            Arc::new(Config { rules: fresh.rules.clone(), digest: fresh.digest.clone(), ..(*self.config).clone() });
        // What the household asked for holds until the config says something new.
        let minutes = settings_store::interval(&self.store, fresh.digest.every_min)?;
        self.listeners.set_interval(minutes);
        self.record(outcome, Vec::new())?;
        self.announcer = OutcomeMessages::new(&fresh.rules, &self.topics);
        // The broker learns how each rule stands.
        let mut messages = self.announcer.settle(&self.store.retained()?);
        messages.push(payload::interval(&self.topics, MessageHeader::now(), minutes));
        self.record(ListenerOutcome::default(), messages)?;
        self.rules.send_replace(fresh.rules.clone());
        info!(kind = "reload", rules = fresh.rules.len(), "rules and schedules are read again");
        Ok(Ok(()))
    }
}
