//! Which part carries a command out.
//!
//! A command is answered once: here, or by the part that it is handed to. Whether to listen is a watched value beside that (see
//! `microphone`), so that the newest one holds.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use jiff::Timestamp;
use tracing::{error, warn};

use super::App;
use crate::commands::microphone::MicrophoneState;
use crate::commands::{AppPart, Command, CommandAnswer, Forget, ForgetReply, ListenerCommand, PendingCommand, Reply};
use crate::event::Message;
use crate::services::listen::ListenerEvent;
use crate::services::outbox::unstored_messages::UnstoredMessages;

/// What is answered while the channel to a part is full.
const BUSY: &str = "busy: ask again in a moment";
const NO_LISTENER: &str = "nothing reads along on this machine ([listener] enabled = false)";

impl App {
    /// Carries a command out, or hands it to the part that does.
    pub(super) fn carry_out(&mut self, pending: PendingCommand) {
        match pending.request.command.clone() {
            Command::App(command) => {
                let answer = command.run(self);
                self.answer(pending, answer);
            }
            Command::Listener(ListenerCommand::Forget(forget)) if pending.is_from_broker() => {
                match self.demand_confirmation(&forget) {
                    Some(answer) => self.answer(pending, answer),
                    None => self.hand_over(pending, &ListenerCommand::Forget(forget)),
                }
            }
            Command::Listener(command) => self.hand_over(pending, &command),
        }
    }

    /// What is answered to a request over the broker that must be confirmed first.
    fn demand_confirmation(&mut self, forget: &Forget) -> Option<CommandAnswer> {
        let token = self.confirmation.demand(forget, Instant::now())?;
        let since = forget.since(Timestamp::now());
        Some(match self.store.would_forget(since) {
            Ok((utterances, said)) => {
                Ok(Reply::Forget(ForgetReply { confirm: Some(token), ..forget.reply(since, utterances, said) }))
            }
            Err(error) => Err(error.to_string()),
        })
    }

    fn hand_over(&mut self, pending: PendingCommand, command: &ListenerCommand) {
        let refused = match (command, &self.transcribe, &self.listener) {
            // It goes through transcription, which holds what was said last and is not stored yet.
            (ListenerCommand::Forget(_), Some(transcribe), _) => send(transcribe, pending, |pending| pending),
            (_, _, Some(listener)) => send(listener, ListenerEvent::Command(pending), |event| match event {
                ListenerEvent::Command(pending) => pending,
                _ => unreachable!("what comes back is what was sent"),
            }),
            (ListenerCommand::Reload(reload), _, None) => {
                let answer = reload.run_without_listener(&self.context.config);
                return self.answer(pending, answer);
            }
            (_, _, None) => return self.answer(pending, Err(NO_LISTENER.into())),
        };
        if let Some(pending) = refused {
            if matches!(command, ListenerCommand::Reload(_)) {
                error!("nothing has changed: {BUSY}");
            }
            self.answer(pending, Err(BUSY.into()));
        }
    }

    fn answer(&mut self, pending: PendingCommand, answer: CommandAnswer) {
        if let Some(message) = pending.message(&self.context.topics, &answer) {
            self.enqueue(&[message]);
        }
        pending.finish(answer);
    }

    fn enqueue(&mut self, messages: &[Message]) {
        match self.store.enqueue(messages) {
            Ok(()) => self.context.notify_outbox(),
            Err(error) => {
                warn!(%error, "an answer could not be stored; it is sent from memory");
                let mut answer = UnstoredMessages::default();
                answer.add(&self.context, messages.iter().cloned());
                answer.send(&self.context);
            }
        }
    }
}

impl AppPart for App {
    fn has_microphone(&self) -> bool {
        self.context.config.has_audio_source()
    }

    fn change_microphone(&mut self, change: impl FnOnce(MicrophoneState) -> MicrophoneState) -> MicrophoneState {
        self.microphone.ask(change);
        self.microphone.apply(&self.context, &mut self.store);
        self.microphone.state()
    }
}

/// Sends without waiting. Returns the command when the channel is full or closed.
fn send<T>(channel: &SyncSender<T>, item: T, unwrap: impl FnOnce(T) -> PendingCommand) -> Option<PendingCommand> {
    match channel.try_send(item) {
        Ok(()) => None,
        Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Some(unwrap(item)),
    }
}
