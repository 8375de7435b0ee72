//! `request/acknowledge`: somebody knows of an alert, and wants no more updates of it.

use serde::Serialize;

use super::{AlertSelector, Body, CommandError, Definition, Done, ListenerPart};
use crate::config::Name;
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
    const DOCUMENTATION: &'static str =
        "an alert's id or its rule, or nothing for the newest: no more updates of it, only its end";
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
        match listener.listeners().acknowledge(self.alert.name()) {
            Some(rule) => Ok(Done::new(AcknowledgeReply { rule })),
            None => Err(CommandError::refused("no such alert is on")),
        }
    }
}
