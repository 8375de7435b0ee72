//! What the listener worker does for commands.
//!
//! Every command is answered, in one transaction with what it changed.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::error;

use super::state_at::PastReading;
use super::{ListenerWorker, OutcomeMessages};
use crate::commands::interval::stored_interval;
use crate::commands::{
    CLOSING, Command, CommandAnswer, CommandError, Done, ForgetResult, ListenerPart, PendingCommand,
};
use crate::config::{Config, DigestConfig, Rule};
use crate::listener::draft::Draft;
use crate::listener::{self, Listener, ListenerError, ListenerOutcome, Listeners};
use crate::mqtt::payload::{self, MessageHeader};
use crate::mqtt::topics::Topics;
use crate::services::ServiceError;
use crate::store::{self, Store};

impl ListenerWorker {
    /// Carries a command out, and answers it.
    pub(super) fn carry_out(&mut self, pending: PendingCommand) -> Result<(), ServiceError> {
        let result = match &pending.request.command {
            Command::Listener(command) => command.run(self),
            Command::App(_) => Err(CommandError::Refused("this command is not for the listener".into())),
        };
        let mut outcome = ListenerOutcome::default();
        let mut messages = Vec::new();
        let answer: CommandAnswer = match result {
            Ok(Done { reply, outcome: came, messages: more }) => {
                outcome = came;
                messages = more;
                Ok(reply)
            }
            Err(CommandError::Refused(reason)) => Err(reason),
            // The disk may be full. The client can ask again.
            Err(CommandError::Failed(ServiceError::Store(error))) if error.may_pass() => Err(error.to_string()),
            Err(CommandError::Failed(ServiceError::Listener(ListenerError::Stopped))) => Err(CLOSING.into()),
            Err(CommandError::Failed(error)) => return Err(error),
        };
        // The answer goes before what else the command has to tell.
        messages.splice(0..0, pending.message(&self.context.topics, &answer));
        self.record(outcome, messages)?;
        pending.finish(answer);
        Ok(())
    }
}

impl ListenerPart for ListenerWorker {
    type Error = ServiceError;

    fn config(&self) -> &Config {
        &self.config
    }

    fn topics(&self) -> &Topics {
        &self.context.topics
    }

    fn listeners(&mut self) -> &mut Listeners {
        &mut self.listeners
    }

    fn stream_time(&self) -> Timestamp {
        self.now
    }

    fn advance_to_now(&mut self) -> Timestamp {
        self.now = self.now.max(Timestamp::now());
        self.now
    }

    fn with_store<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, store::StoreError>,
    ) -> Result<T, ServiceError> {
        Ok(act(&mut self.store)?)
    }

    fn with_state_at<T>(
        &mut self,
        room: Option<&str>,
        time: Timestamp,
        act: impl FnOnce(&mut Listener, Timestamp) -> Result<T, listener::ListenerError>,
    ) -> Result<Option<T>, ServiceError> {
        let Some(reading) = PastReading::begin(&mut self.listeners, &self.store, room, time)? else { return Ok(None) };
        let reading = self.read_past(reading)?;
        reading.finish(&mut self.listeners, act).map(Some)
    }

    fn learn(&mut self) -> Result<(), ServiceError> {
        Ok(self.learn_from_answers()?)
    }

    fn write(&mut self, draft: &mut Draft) -> Result<(), CommandError<ServiceError>> {
        self.write_draft(draft)?.then_some(()).ok_or_else(|| CommandError::Refused(CLOSING.into()))
    }

    fn renew(&mut self, rooms: Vec<Option<String>>) -> Result<(), String> {
        self.ask_renewal(rooms)
    }

    fn forget(&mut self, since: Timestamp) -> Result<ForgetResult, ServiceError> {
        self.forget_since(since)
    }

    /// The states are not touched. Alerts that end are told in the words of the rules that were.
    fn apply_rules(&mut self, rules: Vec<Rule>, digest: DigestConfig) -> Result<(), CommandError<ServiceError>> {
        self.now = self.now.max(Timestamp::now());
        let outcome = match self.listeners.reload(&digest, &rules, self.now) {
            Ok(outcome) => outcome,
            Err(error) => {
                error!(%error, "the rules stay as they were");
                return Err(CommandError::Refused(error.to_string()));
            }
        };
        let every_min = digest.every_min;
        self.config = Arc::new(Config { rules: rules.clone(), digest, ..(*self.config).clone() });
        self.learn_from_answers().map_err(ServiceError::from)?;
        // What was asked for over `interval/set` holds until the config says something new.
        let minutes = stored_interval(&self.store, every_min).map_err(ServiceError::from)?;
        self.listeners.set_interval(minutes);
        self.record(outcome, Vec::new()).map_err(ServiceError::from)?;
        self.outcome_messages = OutcomeMessages::new(
            &rules,
            &self.context.topics,
            &self.config.listener.model,
            self.listeners.standings(self.now),
        );
        // The broker learns how each rule stands.
        let retained = self.store.retained().map_err(ServiceError::from)?;
        let mut messages = self.outcome_messages.settle(&retained);
        messages.push(payload::interval(&self.context.topics, MessageHeader::now(), minutes));
        self.record(ListenerOutcome::default(), messages).map_err(ServiceError::from)?;
        self.rules.send_replace(rules);
        Ok(())
    }
}
