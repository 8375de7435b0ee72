//! Takes commands from the broker, and hands them to the app.
//!
//! A command either goes on, once, or comes back with an answer that says why not; of a flood, most are dropped. `listening/set` is
//! never one too many: the newest takes the place of those before it, however many they were.
//!
//! What is answered to a command beyond the limit is not stored: nothing was done that somebody would have to learn of later, and a flood
//! must not wear out a disk.

use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::commands::limiter::{Admission, CommandLimiter};
use crate::commands::microphone::MicrophoneState;
use crate::commands::{self, AppCommand, Command, CommandAnswer, Listening, Reply, Request};
use crate::config::MqttConfig;
use crate::event::Message;
use crate::mqtt::payload::MessageHeader;
use crate::mqtt::topics::Topics;

/// What is answered to a command beyond the limit.
const TOO_MANY: &str = "too many commands: wait a second";

/// What is answered to a command at once.
pub(super) struct EarlyAnswer {
    pub(super) message: Message,
    /// It is stored until the broker has it; else it is sent once, from memory.
    pub(super) is_stored: bool,
}

impl EarlyAnswer {
    /// None for a command of which there are too many to answer each.
    fn new(admission: Admission, message: impl FnOnce() -> Message) -> Option<Self> {
        match admission {
            Admission::Dropped => None,
            _ => Some(Self { message: message(), is_stored: admission == Admission::Admitted }),
        }
    }
}

/// Takes commands.
pub(super) struct CommandIntake {
    limiter: CommandLimiter,
    requests: mpsc::Sender<Request>,
    microphone: watch::Sender<MicrophoneState>,
    has_microphone: bool,
    /// Says which commands are taken.
    config: MqttConfig,
}

impl CommandIntake {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        microphone: watch::Sender<MicrophoneState>,
        has_microphone: bool,
        config: MqttConfig,
        now: Instant,
    ) -> Self {
        Self { limiter: CommandLimiter::new(now), requests, microphone, has_microphone, config }
    }

    /// Hands a command on. Returns the answer if it is known already.
    pub(super) fn take(&mut self, topics: &Topics, topic: &str, payload: &[u8], retain: bool) -> Option<EarlyAnswer> {
        let parsed = commands::parse(topics, topic, payload, retain)?;
        let admission = self.limiter.admit(Instant::now());
        let request = match parsed {
            Ok(request) => request,
            Err(invalid) => return EarlyAnswer::new(admission, || invalid.response(topics, MessageHeader::now())),
        };
        let name = request.command.name();
        let answer = match &request.command {
            _ if !self.config.takes(name) => {
                Err(format!("\"{name}\" is not taken from the broker: see [mqtt] commands"))
            }
            Command::App(AppCommand::Listening(listening)) => self.set_listening(listening, &request),
            _ if admission == Admission::Admitted => self.hand_on(&request)?,
            _ => Err(TOO_MANY.into()),
        };
        EarlyAnswer::new(admission, || request.response(topics, MessageHeader::now(), &answer))
    }

    /// The answer to a command whose payload was so long that it was dropped; none when it is no command, or there are too many.
    pub(super) fn refuse(&mut self, topics: &Topics, topic: &str, bytes: usize, retain: bool) -> Option<EarlyAnswer> {
        let invalid = commands::too_long(topics, topic, bytes, retain)?;
        EarlyAnswer::new(self.limiter.admit(Instant::now()), || invalid.response(topics, MessageHeader::now()))
    }

    /// It is carried out as soon as the app gets to it, unless a newer one comes before that.
    fn set_listening(&mut self, listening: &Listening, request: &Request) -> CommandAnswer {
        if !self.has_microphone {
            return Err(commands::NO_MICROPHONE.into());
        }
        self.check_new(request)?;
        let state = listening.state();
        self.microphone.send_if_modified(|microphone| std::mem::replace(microphone, state) != state);
        self.limiter.remember(request.command.name(), request.transaction.as_ref());
        Ok(Reply::Listening(listening.reply()))
    }

    /// None when the command went on: whoever carries it out answers it.
    fn hand_on(&mut self, request: &Request) -> Option<CommandAnswer> {
        if let Err(repeated) = self.check_new(request) {
            return Some(Err(repeated));
        }
        match self.requests.try_send(request.clone()) {
            Ok(()) => {
                debug!(command = request.command.name(), "a command");
                self.limiter.remember(request.command.name(), request.transaction.as_ref());
                None
            }
            Err(mpsc::error::TrySendError::Full(_)) => Some(Err(commands::BUSY.into())),
            Err(mpsc::error::TrySendError::Closed(_)) => Some(Err(commands::CLOSING.into())),
        }
    }

    fn check_new(&self, request: &Request) -> Result<(), String> {
        if self.limiter.is_repeat(request.command.name(), request.transaction.as_ref()) {
            return Err("this transaction was carried out before".into());
        }
        Ok(())
    }
}
