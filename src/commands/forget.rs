//! `request/forget`: deletes what was said in the last minutes.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::body::minutes;
use super::{Body, CommandError, Definition, Done, ListenerPart};
use crate::clock;
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// The longest time that is forgotten at once: a month.
const MAX_MINUTES: f64 = 44_640.0;

/// Forget what was said in so many last minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct Forget {
    pub minutes: f64,
    /// The token with which an earlier request was answered: see [`super::confirmation`].
    pub confirm: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForgetReply {
    pub(crate) minutes: f64,
    pub(crate) since: String,
    /// How many were deleted.
    pub(crate) utterances: u64,
    /// When the first of them began, and the last ended, by the clocks they were heard by.
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// Nothing was deleted yet: the token that the request must be sent again with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confirm: Option<String>,
}

impl Definition for Forget {
    const PATH: &'static str = "request/forget";
    const DOCUMENTATION: &'static str = "minutes, up to 44640 (as the value, or as `\"minutes\"`): what was said in them is deleted \
        here, from what waits to be sent and from what is retained, and the state goes back to before it; what other machines heard \
        then and comes later is not taken; minutes are time that passed, whatever the clock was set to meanwhile; the answer has \
        `since`, how many `utterances` went, and `from` and `to`, between which they were said. More than 60 \
        minutes must be confirmed: the first request is answered with `status` `confirm`, what it would delete, and a token in \
        `confirm`; the same request with `\"confirm\"`, that token and another transaction deletes it within two minutes. What \
        subscribers have received they must forget themselves";
    type Reply = ForgetReply;

    fn parse(body: &Body) -> Result<Self, String> {
        let minutes = minutes(body.fields.get("minutes").unwrap_or(&body.value), MAX_MINUTES)?;
        let confirm = match body.fields.get("confirm") {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(token)) => Some(token.clone()),
            Some(_) => return Err("\"confirm\" is the token that the first request was answered with".into()),
        };
        if minutes > 0.0 {
            Ok(Self { minutes, confirm })
        } else {
            Err("nothing is forgotten in no time: give minutes".into())
        }
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        vec![Entity::button("forget", "Forget the last 10 minutes", "mdi:eraser", topic, "10", Needs::Nothing)]
    }
}

impl Forget {
    pub(super) fn run<L: ListenerPart>(&self, listener: &mut L) -> Result<Done<ForgetReply>, CommandError<L::Error>> {
        // What is played from a file has a time of its own, which may be ahead of the clock.
        let now = if listener.config().source.is_live() { Timestamp::now() } else { listener.now() };
        let since = self.since(now);
        let forgotten = listener.forget(since)?;
        let utterances = forgotten.utterances;
        match forgotten.incomplete {
            None => Ok(Done::new(self.reply(since, utterances, forgotten.said))),
            Some(reason) => Err(CommandError::Refused(reason)),
        }
    }

    /// From when on is forgotten.
    pub(crate) fn since(&self, now: Timestamp) -> Timestamp {
        clock::after(now, SignedDuration::from_secs_f64(-60.0 * self.minutes))
    }

    /// What is replied when all of it is gone.
    pub(crate) fn reply(&self, since: Timestamp, utterances: u64, said: Option<(Timestamp, Timestamp)>) -> ForgetReply {
        let (from, to) = said.unzip();
        ForgetReply { minutes: self.minutes, since: since.to_string(), utterances, from, to, confirm: None }
    }
}
