//! Commands, on their way to whoever carries them out.
//!
//! Owns the desk they pass and the channel they go on by. Refuses to know the broker and the store. Invariant: a command either
//! goes on, once, or comes back with an answer that says why not; of a flood, most are dropped.

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::debug;

use crate::event::Message;
use crate::mqtt::commands::{self, Request};
use crate::mqtt::desk::{Admission, Desk};
use crate::mqtt::payload::{self, Stamp};
use crate::mqtt::topics::Topics;

/// Takes commands.
pub(super) struct Answering {
    desk: Desk,
    requests: mpsc::Sender<Request>,
}

impl Answering {
    pub(super) fn new(requests: mpsc::Sender<Request>, now: Timestamp) -> Self {
        Self { desk: Desk::new(now), requests }
    }

    /// Hands a command on. Returns what is to be answered at once, if anything is.
    pub(super) fn take(&mut self, topics: &Topics, topic: &str, payload: &[u8], retain: bool) -> Option<Message> {
        let parsed = commands::parse(topics, topic, payload, retain)?;
        let decline = |request: &Request, why: &str| payload::response(topics, Stamp::now(), request, Err(why.into()));
        match (self.desk.admit(Timestamp::now()), parsed) {
            (Admission::Dropped, _) => None,
            (Admission::Told, Ok(request)) => Some(decline(&request, "too many commands: wait a second")),
            (_, Err(refusal)) => Some(payload::refusal(topics, Stamp::now(), &refusal)),
            (Admission::Taken, Ok(request)) => {
                let (command, transaction) = (request.command.name(), request.transaction.clone());
                if self.desk.knows(command, transaction.as_ref()) {
                    return Some(decline(&request, "this transaction was carried out before"));
                }
                debug!(command, "a command");
                match self.requests.try_send(request) {
                    Ok(()) => {
                        self.desk.taken(command, transaction.as_ref());
                        None
                    }
                    Err(mpsc::error::TrySendError::Full(request)) => {
                        Some(decline(&request, "hearth is busy with other commands; try later"))
                    }
                    Err(mpsc::error::TrySendError::Closed(request)) => Some(decline(&request, "hearth is closing")),
                }
            }
        }
    }
}
