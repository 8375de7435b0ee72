//! Which part carries a command out.
//!
//! A command is answered once: here, or by the part that it is handed to. Whether to listen is a watched value beside that, so
//! that the newest one holds.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use jiff::Timestamp;
use tracing::{error, info, warn};

use super::App;
use crate::clock;
use crate::commands::microphone::MicrophoneState;
use crate::commands::{AppPart, Command, CommandAnswer, Forget, ForgetReply, ListenerCommand, PendingCommand, Reply};
use crate::event::Message;
use crate::mqtt::payload::{self, MessageHeader};
use crate::services::listen::ListenerEvent;
use crate::services::unstored_messages::UnstoredMessages;

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

    /// Opens or closes the microphone, as was last asked for. A microphone that was closed stays closed after a power cut, too.
    pub(super) fn apply_microphone(&mut self) {
        let state = *self.microphone_changes.borrow_and_update();
        let on = state.is_open();
        let until = state.paused_until();
        self.source_control.set_listening(on);
        // A source notices it at its next frame, and network microphones may send none for hours.
        if self.context.config.has_audio_source() {
            self.context.metrics.set_listening(on);
        }
        self.context.metrics.paused_until.set(until.unwrap_or_default());
        match until {
            Some(until) => info!(kind = "listening", on, %until, "listening is off until {until}"),
            None => info!(kind = "listening", on, "listening is {}", if on { "on" } else { "off" }),
        }
        self.microphone_messages.add([payload::listening(&self.context.topics, MessageHeader::now(), on, until)]);
        self.microphone_unstored = true;
        self.store_microphone();
    }

    /// Stores what was last asked of the microphone, and the message of it. Where the store refuses, everybody is told at once, and it
    /// is tried again.
    pub(super) fn store_microphone(&mut self) {
        if !self.microphone_unstored {
            return;
        }
        let state = *self.microphone_changes.borrow();
        let messages = self.microphone_messages.to_store();
        let store = &mut self.store;
        let stored = self.microphone_outage.attempt(&self.context, || {
            state.store(store)?;
            store.enqueue(&messages)
        });
        match stored {
            Ok(Some(())) => {
                self.microphone_messages.settle();
                self.microphone_unstored = false;
                self.context.notify_outbox();
            }
            Ok(None) => self.microphone_messages.send(&self.context),
            Err(error) => {
                error!(%error, "whether the microphone is open was not stored; a restart will not know");
                self.microphone_messages.send(&self.context);
                self.microphone_unstored = false;
            }
        }
    }

    /// Opens the microphone when its pause is over, and follows a clock that was corrected. What was asked for meanwhile holds.
    pub(super) fn check_pause(&mut self) {
        if let Some(microphone) = &self.microphone {
            microphone.send_if_modified(|state| {
                let now = state.at(Timestamp::now(), clock::since_boot());
                std::mem::replace(state, now) != now
            });
        }
    }

    fn enqueue(&mut self, messages: &[Message]) {
        match self.store.enqueue(messages) {
            Ok(()) => self.context.notify_outbox(),
            Err(error) => {
                warn!(%error, "an answer could not be stored; it is sent from memory");
                let mut answer = UnstoredMessages::default();
                answer.add(messages.iter().cloned());
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
        if let Some(microphone) = &self.microphone {
            microphone.send_modify(|state| *state = change(*state));
        }
        self.apply_microphone();
        *self.microphone_changes.borrow()
    }
}

/// Sends without waiting. Returns the command when the channel is full or closed.
fn send<T>(channel: &SyncSender<T>, item: T, unwrap: impl FnOnce(T) -> PendingCommand) -> Option<PendingCommand> {
    match channel.try_send(item) {
        Ok(()) => None,
        Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Some(unwrap(item)),
    }
}
