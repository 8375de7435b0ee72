//! `request/acknowledge`: somebody knows of an alert, and wants no more updates of it. So it was none that is false: a threshold that
//! false alarms have raised falls again ([`crate::listener::feedback`]).

use serde::Serialize;
use tracing::warn;

use super::{AlertSelector, Body, CommandError, Definition, Done, ListenerPart};
use crate::config::Name;
use crate::event::AlertVerdict;
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// Somebody knows of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledge {
    pub alert: AlertSelector,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AcknowledgeReply {
    pub(crate) rule: Name,
}

impl Definition for Acknowledge {
    const PATH: &'static str = "request/acknowledge";
    const DOCUMENTATION: &'static str = "an alert's id or its rule, or nothing for the newest: no more updates of it, only its end; \
         a threshold that false alarms have raised falls a little again";
    type Reply = AcknowledgeReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { alert: body.alert()? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        vec![Entity::button("acknowledge", "Acknowledge alert", "mdi:check", topic, "PRESS", Needs::Listener)]
    }
}

impl Acknowledge {
    pub(super) fn run<L: ListenerPart>(
        &self,
        listener: &mut L,
    ) -> Result<Done<AcknowledgeReply>, CommandError<L::Error>> {
        let none = || CommandError::refused("no such alert is on");
        let answered =
            listener.listeners().answered(self.alert.name()).filter(|alert| alert.active).ok_or_else(none)?;
        let rule = listener.listeners().acknowledge(Some(&answered.id.to_string())).ok_or_else(none)?;
        let said = answered.feedback(AlertVerdict::Acknowledged, &listener.config().listener.model, listener.now());
        listener.with_store(|store| match store.record_feedback(&said) {
            // Nobody is to hear of an alert again and again because the disk is full.
            Err(error) if error.may_pass() => {
                warn!(%error, "an alert is acknowledged, and its rule does not learn from that");
                Ok(())
            }
            stored => stored,
        })?;
        listener.learn()?;
        Ok(Done::new(AcknowledgeReply { rule }))
    }
}
