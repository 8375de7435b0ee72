//! `request/summarise`: a summary now.

use serde::Serialize;

use super::{Body, CommandError, Definition, Done, ListenerPart};
use crate::event::Digest;
use crate::listener::ListenerOutcome;
use crate::listener::writing::RequestedDigest;
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// Summarize what was said in one room, or in all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Summarize {
    pub room: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SummarizeReply {
    /// A line for each summary.
    pub(crate) text: String,
    pub(crate) words: usize,
}

impl Definition for Summarize {
    const PATH: &'static str = "request/summarise";
    const DOCUMENTATION: &'static str = "nothing, or `{\"room\": \"kitchen\"}`. Where each room has a state: a summary of that \
        room, else one of each room in which something was said since its last summary";
    type Reply = SummarizeReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { room: body.room()? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        vec![Entity::button(
            "summarise",
            "Summarize now",
            "mdi:text-box-check-outline",
            topic,
            "PRESS",
            Needs::Listener,
        )]
    }
}

impl Summarize {
    pub(super) fn run<L: ListenerPart>(
        &self,
        listener: &mut L,
    ) -> Result<Done<SummarizeReply>, CommandError<L::Error>> {
        let now = listener.now();
        let rooms = listener.listeners().states_for(self.room.as_deref()).map_err(CommandError::Refused)?;
        let mut digests = Vec::new();
        for room in listener.listeners().rooms_with_news(rooms) {
            let room = room.as_deref();
            match listener.listeners().get_mut(room).0.begin_requested(now).map_err(L::Error::from)? {
                RequestedDigest::Made(digest) => digests.push(digest),
                RequestedDigest::Begun(mut digest) => {
                    let written = listener.write(&mut digest.draft);
                    let state = listener.listeners().get_mut(room).0;
                    match written {
                        Ok(()) => digests.push(state.finish_digest(*digest)),
                        Err(error) => {
                            state.give_up(*digest);
                            return Err(error);
                        }
                    }
                }
            }
        }
        let lines: Vec<_> = digests.iter().map(Digest::line).collect();
        let words = digests.iter().map(|digest| digest.words).sum();
        // That nothing was said is an answer. It takes the place of no summary.
        digests.retain(|digest| digest.words > 0);
        let outcome = ListenerOutcome { digests, ..ListenerOutcome::default() };
        Ok(Done::new(SummarizeReply { text: lines.join("\n"), words }).with_outcome(outcome))
    }
}
