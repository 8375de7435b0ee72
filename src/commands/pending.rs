//! A command on its way to the part that carries it out, and where its answer goes.

use tokio::sync::oneshot;

use super::{Command, CommandAnswer, Request};
use crate::event::Message;
use crate::mqtt::payload::MessageHeader;
use crate::mqtt::topics::Topics;

/// A command that is to be carried out and answered once.
#[derive(Debug)]
pub struct PendingCommand {
    pub(crate) request: Request,
    origin: CommandOrigin,
}

/// Where a command came from.
#[derive(Debug)]
enum CommandOrigin {
    /// The broker: the answer is a message, stored in one transaction with what the command changed.
    Broker,
    /// The control socket or the page: somebody waits for the answer.
    Local(oneshot::Sender<CommandAnswer>),
    /// A signal: nobody is answered.
    Signal,
}

impl PendingCommand {
    /// A command that came over the broker.
    pub(crate) fn from_broker(request: Request) -> Self {
        Self { request, origin: CommandOrigin::Broker }
    }

    /// A command that came over the control socket or from the page, and where its answer arrives.
    pub(crate) fn from_local(request: Request) -> (Self, oneshot::Receiver<CommandAnswer>) {
        let (sender, answer) = oneshot::channel();
        (Self { request, origin: CommandOrigin::Local(sender) }, answer)
    }

    /// A command that a signal stands for.
    pub(crate) fn from_signal(command: impl Into<Command>) -> Self {
        Self { request: Request { command: command.into(), transaction: None }, origin: CommandOrigin::Signal }
    }

    /// It came over the broker.
    pub(crate) fn is_from_broker(&self) -> bool {
        matches!(self.origin, CommandOrigin::Broker)
    }

    /// The message that brings the answer, if it goes over the broker.
    pub(crate) fn message(&self, topics: &Topics, answer: &CommandAnswer) -> Option<Message> {
        match self.origin {
            CommandOrigin::Broker => Some(self.request.response(topics, MessageHeader::now(), answer)),
            CommandOrigin::Local(_) | CommandOrigin::Signal => None,
        }
    }

    /// What the command changed is stored: whoever waits is answered.
    pub(crate) fn finish(self, answer: CommandAnswer) {
        if let CommandOrigin::Local(sender) = self.origin {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        }
    }
}
