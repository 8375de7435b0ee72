//! A command on its way to whoever carries it out, and where its answer goes.
//!
//! Owns the difference between the two ways a command may come: over the broker, whose answer is a message like all others, and
//! from this machine, where somebody waits. Invariant: a command is answered once.

use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::event::Message;
use crate::mqtt::commands::Request;
use crate::mqtt::payload::{self, MessageHeader};
use crate::mqtt::topics::Topics;

/// What came of a command.
pub type CommandOutcome = Result<Map<String, Value>, String>;

/// A command, and who asked.
#[derive(Debug)]
pub struct PendingCommand {
    pub request: Request,
    /// Somebody on this machine; none for the broker.
    waiting: Option<oneshot::Sender<CommandOutcome>>,
}

impl PendingCommand {
    /// A command that came over the broker.
    pub fn from_broker(request: Request) -> Self {
        Self { request, waiting: None }
    }

    /// A command from this machine, and where its answer comes.
    pub fn local(request: Request) -> (Self, oneshot::Receiver<CommandOutcome>) {
        let (waiting, answer) = oneshot::channel();
        (Self { request, waiting: Some(waiting) }, answer)
    }

    /// The message that brings the answer, if it goes over the broker: to be stored with what the command changed.
    pub fn message(&self, topics: &Topics, answer: &CommandOutcome) -> Option<Message> {
        let afar = self.waiting.is_none();
        afar.then(|| payload::response(topics, MessageHeader::now(), &self.request, answer.clone()))
    }

    /// What the command changed is stored: whoever waits for the answer has it.
    pub fn answer(self, answer: CommandOutcome) {
        if let Some(waiting) = self.waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(answer);
        }
    }
}
