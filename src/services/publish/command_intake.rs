//! Commands, on their way to whoever carries them out.
//!
//! Owns the desk they pass and the channel they go on by. Refuses to know the broker and the store. Invariant: a command either
//! goes on, once, or comes back with an answer that says why not; of a flood, most are dropped. Whether to listen is never one
//! too many: the newest wish takes the place of those before it, however many they were.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::event::Message;
use crate::mqtt::commands::{self, Command, Request};
use crate::mqtt::desk::{Admission, Desk};
use crate::mqtt::payload::{self, MessageHeader};
use crate::mqtt::topics::Topics;

/// Takes commands.
pub(super) struct CommandIntake {
    desk: Desk,
    requests: mpsc::Sender<Request>,
    listening: watch::Sender<bool>,
    /// There is something to mute.
    hears: bool,
}

impl CommandIntake {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        listening: watch::Sender<bool>,
        hears: bool,
        now: Timestamp,
    ) -> Self {
        Self { desk: Desk::new(now), requests, listening, hears }
    }

    /// Hands a command on. Returns what is to be answered at once, if anything is.
    pub(super) fn take(&mut self, topics: &Topics, topic: &str, payload: &[u8], retain: bool) -> Option<Message> {
        let parsed = commands::parse(topics, topic, payload, retain)?;
        let admission = self.desk.admit(Timestamp::now());
        let request = match parsed {
            Ok(request) => request,
            Err(refusal) if admission != Admission::Dropped => {
                return Some(payload::refusal(topics, MessageHeader::now(), &refusal));
            }
            Err(_) => return None,
        };
        let outcome = match request.command {
            Command::Listening(on) => self.listen(on, &request),
            _ if admission == Admission::Taken => self.hand_on(&request)?,
            _ => Err("too many commands: wait a second"),
        };
        let outcome = outcome.map_err(str::to_string);
        (admission != Admission::Dropped).then(|| payload::response(topics, MessageHeader::now(), &request, outcome))
    }

    /// The wish is carried out as soon as the house gets to it, unless a newer one comes before that.
    fn listen(&mut self, on: bool, request: &Request) -> Result<Map<String, Value>, &'static str> {
        if !self.hears {
            return Err("this machine has no ears: mute the ones that hear");
        }
        self.is_new(request)?;
        self.listening.send_if_modified(|wish| std::mem::replace(wish, on) != on);
        self.desk.taken(request.command.name(), request.transaction.as_ref());
        Ok(Map::from_iter([("listening".to_string(), on.into())]))
    }

    /// Somebody else answers what goes on: then there is nothing to be said here.
    fn hand_on(&mut self, request: &Request) -> Option<Result<Map<String, Value>, &'static str>> {
        if let Err(refused) = self.is_new(request) {
            return Some(Err(refused));
        }
        match self.requests.try_send(request.clone()) {
            Ok(()) => {
                debug!(command = request.command.name(), "a command");
                self.desk.taken(request.command.name(), request.transaction.as_ref());
                None
            }
            Err(mpsc::error::TrySendError::Full(_)) => Some(Err("hearth is busy with other commands; try later")),
            Err(mpsc::error::TrySendError::Closed(_)) => Some(Err("hearth is closing")),
        }
    }

    fn is_new(&self, request: &Request) -> Result<(), &'static str> {
        match self.desk.knows(request.command.name(), request.transaction.as_ref()) {
            true => Err("this transaction was carried out before"),
            false => Ok(()),
        }
    }
}
