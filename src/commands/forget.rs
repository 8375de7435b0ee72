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
}

impl Definition for Forget {
    const PATH: &'static str = "request/forget";
    const DOCUMENTATION: &'static str = "minutes, up to 44640 (as the value, or as `\"minutes\"`): what was said in them is deleted \
        here, from what waits to be sent and from what is retained, and the state goes back to before it; what other machines heard \
        then and comes later is not taken; minutes are time that passed, whatever the clock was set to meanwhile; the answer has \
        `since`, how many `utterances` went, and `from` and `to`, between which they were said. What subscribers have received they \
        must forget themselves";
    type Reply = ForgetReply;

    fn parse(body: &Body) -> Result<Self, String> {
        let minutes = minutes(body.fields.get("minutes").unwrap_or(&body.value), MAX_MINUTES)?;
        if minutes > 0.0 { Ok(Self { minutes }) } else { Err("nothing is forgotten in no time: give minutes".into()) }
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
        ForgetReply { minutes: self.minutes, since: since.to_string(), utterances, from, to }
    }
}
