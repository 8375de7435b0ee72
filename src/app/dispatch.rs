//! What the house does because somebody asked.
//!
//! Owns which part a command goes to. Refuses to know how it came and where its answer goes. Invariant: a command is answered
//! once, here or by the part it goes to; the newest wish to be listened to or not is the one that holds.

use std::sync::mpsc::TrySendError;

use serde_json::Map;
use tracing::{error, info, warn};

use super::{App, HEARING, MUTED};
use crate::api::pending_command::{CommandOutcome, PendingCommand};
use crate::event::Message;
use crate::mqtt::commands::Command;
use crate::mqtt::payload::{self, MessageHeader};
use crate::services::listen::ListenerEvent;
use crate::services::reload::{self, Fresh};

/// What is answered while the channel to a part is full.
const BUSY: &str = "busy: ask again in a moment";

impl App {
    /// Does what a command asks, or hands it to the reader.
    pub(super) fn carry_out(&mut self, asked: PendingCommand) {
        let busy = || Err(BUSY.into());
        let (answer, asked): (CommandOutcome, PendingCommand) = match (&asked.request.command, &self.reader) {
            (Command::Listening(on), _) => {
                if let Some(wishes) = &self.wishes {
                    wishes.send_replace(*on);
                }
                self.listen();
                (Ok(Map::from_iter([("listening".to_string(), (*on).into())])), asked)
            }
            (Command::Reload, _) => return self.reload(Some(asked)),
            // It goes by hearing, which holds what was said last.
            (Command::Forget(_), _) if self.supervisor.running().any(|part| part == HEARING) => {
                match self.forget.try_send(asked) {
                    Ok(()) => return,
                    Err(TrySendError::Full(asked) | TrySendError::Disconnected(asked)) => (busy(), asked),
                }
            }
            (_, None) => (Err("nothing reads along on this machine ([listener] enabled = false)".into()), asked),
            (_, Some(reader)) => match reader.try_send(ListenerEvent::Command(asked)) {
                Ok(()) => return,
                Err(TrySendError::Full(wake) | TrySendError::Disconnected(wake)) => match wake {
                    ListenerEvent::Command(asked) => (busy(), asked),
                    _ => unreachable!("what comes back is what was sent"),
                },
            },
        };
        self.answer(asked, answer);
    }

    fn answer(&mut self, asked: PendingCommand, answer: CommandOutcome) {
        if let Some(message) = asked.message(&self.topics, &answer) {
            self.say(&[message]);
        }
        asked.answer(answer);
    }

    /// Opens or closes the ears, as was last wished. A household that muted the room finds it muted after a power cut, too.
    pub(super) fn listen(&mut self) {
        let on = *self.listening.borrow_and_update();
        self.control.set_listening(on);
        let noted = self.store.set_note(MUTED, if on { "no" } else { "yes" });
        if let Err(error) = noted {
            error!(%error, "whether the room is muted was not stored; a restart will not know");
        }
        info!(kind = "listening", on, "listening is {}", if on { "on" } else { "off" });
        self.say(&[payload::listening(&self.topics, MessageHeader::now(), on)]);
    }

    /// Reads the config file again: what else than rules and schedules has changed is named, and the reader takes those, or says
    /// why not. Where nobody reads there are none.
    pub(super) fn reload(&mut self, asked: Option<PendingCommand>) {
        let refused = match (reload::read(&self.config), &self.reader) {
            (Ok(new), reader) => {
                let needs_restart = reload::needs_restart(&self.config, &new);
                if !needs_restart.is_empty() {
                    warn!("[{}] changed, and takes effect with a restart", needs_restart.join("], ["));
                }
                let fresh = Fresh { rules: new.rules, digest: new.digest, needs_restart, asked };
                let Some(reader) = reader else {
                    let answer = fresh.answer();
                    return fresh.asked.into_iter().for_each(|asked| self.answer(asked, answer.clone()));
                };
                match reader.try_send(ListenerEvent::ConfigReloaded(Box::new(fresh))) {
                    Ok(()) => return,
                    Err(TrySendError::Full(wake) | TrySendError::Disconnected(wake)) => match wake {
                        ListenerEvent::ConfigReloaded(fresh) => (fresh.asked, BUSY.to_string()),
                        _ => unreachable!("what comes back is what was sent"),
                    },
                }
            }
            (Err(error), _) => (asked, error),
        };
        let (asked, error) = refused;
        error!("nothing has changed: {error}");
        asked.into_iter().for_each(|asked| self.answer(asked, Err(error.clone())));
    }

    fn say(&mut self, messages: &[Message]) {
        match self.store.enqueue(messages) {
            Ok(()) => self.outgoing.notify_one(),
            Err(error) => error!(%error, "an answer could not be stored and was not sent"),
        }
    }
}
