//! `request/renew`: a fresh state is read from the text that is kept, and takes the place of the live one.

use serde::Serialize;

use super::{Body, CommandError, Definition, Done, ListenerPart};
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// Renew the state of one room, or of all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Renew {
    pub room: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RenewReply {
    /// States that are renewed, one after the other.
    pub(crate) states: usize,
}

impl Definition for Renew {
    const PATH: &'static str = "request/renew";
    const DOCUMENTATION: &'static str = "nothing, or `{\"room\": \"kitchen\"}`: a fresh state is read from the text that is kept, and takes \
        the place of the live one without a comparison. The answer comes at once; `renewed` tells when it is done";
    type Reply = RenewReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { room: body.room()? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        let mut button = Entity::button("renew", "Renew the state", "mdi:autorenew", topic, "PRESS", Needs::Listener);
        button.config["ent_cat"] = "config".into();
        vec![button]
    }
}

impl Renew {
    pub(super) fn run<L: ListenerPart>(&self, listener: &mut L) -> Result<Done<RenewReply>, CommandError<L::Error>> {
        let rooms = listener.listeners().states_for(self.room.as_deref()).map_err(CommandError::Refused)?;
        let states = rooms.len();
        listener.renew(rooms).map_err(CommandError::Refused)?;
        Ok(Done::new(RenewReply { states }))
    }
}
