//! What the parts of hearth that carry commands out offer to them.

use jiff::Timestamp;

use super::microphone::MicrophoneState;
use crate::config::{Config, DigestConfig, Rule};
use crate::event::Message;
use crate::listener::draft::Draft;
use crate::listener::{self, Listener, ListenerOutcome, Listeners};
use crate::mqtt::topics::Topics;
use crate::store::{self, Store};

/// The app, as commands see it.
pub(crate) trait AppPart {
    /// Whether this machine has a microphone, or another source of sound.
    fn has_microphone(&self) -> bool;

    /// Opens or closes the microphone, stores that, and tells subscribers. `change` gets the state that was last asked for; the new
    /// one is returned.
    fn change_microphone(&mut self, change: impl FnOnce(MicrophoneState) -> MicrophoneState) -> MicrophoneState;
}

/// The listener worker, as commands see it.
pub(crate) trait ListenerPart {
    /// Why the worker cannot go on.
    type Error: From<listener::ListenerError> + From<store::StoreError>;

    fn config(&self) -> &Config;

    fn topics(&self) -> &Topics;

    fn listeners(&mut self) -> &mut Listeners;

    /// How far the stream has come: the end of the newest speech or silence that was read.
    fn stream_time(&self) -> Timestamp;

    /// The time of the stream, or that of the clock where it is later.
    fn now(&self) -> Timestamp {
        self.stream_time().max(Timestamp::now())
    }

    /// As [`ListenerPart::now`]; the stream's time then goes on from there.
    fn advance_to_now(&mut self) -> Timestamp;

    /// Reads or writes the store. Where the disk takes nothing, the command is refused.
    fn with_store<T>(&mut self, act: impl FnOnce(&mut Store) -> Result<T, store::StoreError>)
    -> Result<T, Self::Error>;

    /// Does something with the state of a room (none: of all rooms together) as it was at `time`. `act` also gets the time up to
    /// which that state had heard. None where no snapshot is as old.
    fn with_state_at<T>(
        &mut self,
        room: Option<&str>,
        time: Timestamp,
        act: impl FnOnce(&mut Listener, Timestamp) -> Result<T, listener::ListenerError>,
    ) -> Result<Option<T>, Self::Error>;

    /// Puts the thresholds into force that follow from what is stored of people's answers to alerts.
    fn learn(&mut self) -> Result<(), Self::Error>;

    /// Writes a text to its end. Between its slices what was said is read, and the rules are asked. It is refused where hearth shuts
    /// down meanwhile.
    fn write(&mut self, draft: &mut Draft) -> Result<(), CommandError<Self::Error>>;

    /// A fresh state is read beside each of these, and takes its place.
    ///
    /// # Errors
    /// There is no text that it could read.
    fn renew(&mut self, rooms: Vec<Option<String>>) -> Result<(), String>;

    /// Deletes what was said after `since`, everywhere, and takes the state back to before it.
    fn forget(&mut self, since: Timestamp) -> Result<ForgetResult, Self::Error>;

    /// Puts other rules and another schedule into force. They are refused if the model cannot ask them.
    fn apply_rules(&mut self, rules: Vec<Rule>, digest: DigestConfig) -> Result<(), CommandError<Self::Error>>;
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForgetResult {
    pub(crate) utterances: u64,
    /// When the first thing that went was said, and the last, by the clocks they were heard by; none when nothing was.
    pub(crate) said: Option<(Timestamp, Timestamp)>,
    /// Why not all of it is gone yet; it is tried again later.
    pub(crate) incomplete: Option<String>,
}

/// A command that was carried out: its reply, and what is stored in one transaction with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done<R> {
    pub(crate) reply: R,
    /// Digests that were made, and alerts that ended.
    pub(crate) outcome: ListenerOutcome,
    /// Messages beside the answer.
    pub(crate) messages: Vec<Message>,
}

impl<R> Done<R> {
    pub(super) fn new(reply: R) -> Self {
        Self { reply, outcome: ListenerOutcome::default(), messages: Vec::new() }
    }

    pub(super) fn with_outcome(self, outcome: ListenerOutcome) -> Self {
        Self { outcome, ..self }
    }

    pub(super) fn map<T>(self, wrap: impl FnOnce(R) -> T) -> Done<T> {
        Done { reply: wrap(self.reply), outcome: self.outcome, messages: self.messages }
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum CommandError<E> {
    /// It cannot be carried out as it is; whoever sent it is told this, and nothing has changed.
    Refused(String),
    /// The part that carried it out cannot go on.
    Failed(E),
}

impl<E> CommandError<E> {
    pub(super) fn refused(reason: impl ToString) -> Self {
        Self::Refused(reason.to_string())
    }
}

impl<E> From<E> for CommandError<E> {
    fn from(error: E) -> Self {
        Self::Failed(error)
    }
}
