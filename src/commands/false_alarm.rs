//! `request/false_alarm`: an alert was none. It ends, and its rule's threshold rises ([`crate::listener::feedback`]).

use serde::Serialize;
use tracing::info;
use ulid::Ulid;

use super::{AlertSelector, Body, CommandError, Definition, Done, ListenerPart};
use crate::config::Name;
use crate::event::AlertVerdict;
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// An alert was none.
#[derive(Clone, Debug, PartialEq)]
pub struct FalseAlarm {
    pub alert: AlertSelector,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseAlarmReply {
    pub(crate) rule: Name,
    pub(crate) alert: Ulid,
}

impl Definition for FalseAlarm {
    const PATH: &'static str = "request/false_alarm";
    const DOCUMENTATION: &'static str = "an alert's id or its rule, or nothing for the newest: it ends, and its rule must read \
        \"no\", or its pattern match anew, before it fires again. If it had a probability, the rule's `threshold` rises a little ([alerts.md](alerts.md#when-an-alert-was-wrong))";
    type Reply = FalseAlarmReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { alert: body.alert()? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        vec![Entity::button("false_alarm", "False alarm", "mdi:bell-cancel", topic, "PRESS", Needs::Listener)]
    }
}

impl FalseAlarm {
    pub(super) fn run<L: ListenerPart>(
        &self,
        listener: &mut L,
    ) -> Result<Done<FalseAlarmReply>, CommandError<L::Error>> {
        let none = || CommandError::refused("there was no such alert");
        let answered = listener.listeners().answered(self.alert.name()).ok_or_else(none)?;
        let said = answered.feedback(AlertVerdict::FalseAlarm, &listener.config().listener.model, listener.now());
        // First, so that nothing has changed where it cannot be stored.
        listener.with_store(|store| store.record_feedback(&said))?;
        let now = listener.stream_time();
        let named = answered.id.to_string();
        let (alert, rule, ended) = listener.listeners().false_alarm(Some(&named), now).ok_or_else(none)?;
        listener.learn()?;
        info!(kind = "false_alarm", %rule, id = %alert, "an alert of {rule} was marked as a false alarm");
        Ok(Done::new(FalseAlarmReply { rule, alert }).with_outcome(ended))
    }
}
