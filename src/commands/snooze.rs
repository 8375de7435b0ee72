//! `request/snooze`: silences a rule, or all of them, for a while.

use jiff::SignedDuration;
use serde::Serialize;

use super::{Body, CommandError, Definition, Done, ListenerPart};
use crate::clock;
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// The longest time: a week.
const MAX_MINUTES: f64 = 10_080.0;

/// Silence a rule (none: all of them) for some minutes; 0 ends that.
#[derive(Clone, Debug, PartialEq)]
pub struct Snooze {
    pub rule: Option<String>,
    pub minutes: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnoozeReply {
    pub(crate) rule: Option<String>,
    pub(crate) minutes: f64,
}

impl Definition for Snooze {
    const PATH: &'static str = "request/snooze";
    const DOCUMENTATION: &'static str = "minutes, 0 to 10080, in which no rule raises an alert, or only the one of `\"rule\"` beside `\"value\"`; 0 ends it";
    type Reply = SnoozeReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { rule: body.rule()?, minutes: body.minutes(MAX_MINUTES)? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        vec![Entity::button("snooze", "Snooze alerts for an hour", "mdi:sleep", topic, "60", Needs::Listener)]
    }
}

impl Snooze {
    pub(super) fn run<L: ListenerPart>(&self, listener: &mut L) -> Result<Done<SnoozeReply>, CommandError<L::Error>> {
        let now = listener.advance_to_now();
        let until = clock::after(now, SignedDuration::from_secs_f64(self.minutes * 60.0));
        match listener.listeners().snooze(self.rule.as_deref(), now, until) {
            Some(ended) => {
                let reply = SnoozeReply { rule: self.rule.clone(), minutes: self.minutes };
                Ok(Done::new(reply).with_outcome(ended))
            }
            None => {
                let rule = self.rule.as_deref().unwrap_or_default();
                Err(CommandError::Refused(format!("there is no rule \"{rule}\"")))
            }
        }
    }
}
