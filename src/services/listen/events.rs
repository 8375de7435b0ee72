//! What wakes the thread of the listener.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use jiff::Timestamp;

use crate::commands::PendingCommand;
use crate::event::{Gap, Utterance};

/// What the listener thread is woken for.
pub(crate) enum ListenerEvent {
    /// There is a new utterance in the store.
    UtteranceStored,
    /// This utterance could not be stored: it is read from memory, so that an alert need not wait for the disk.
    UtteranceUnstored(Utterance),
    /// The stream has reached this time, and nobody is speaking.
    StreamReached(Timestamp),
    /// A stretch of time was not heard.
    Gap(Gap),
    /// A command that the listener carries out.
    Command(PendingCommand),
}

/// Where events come from.
pub(crate) trait ListenerEvents {
    /// The next event, if one comes within `wait`.
    ///
    /// # Errors
    /// None came, or none can come any more.
    fn next(&mut self, wait: Duration) -> Result<ListenerEvent, RecvTimeoutError>;
}

impl ListenerEvents for Receiver<ListenerEvent> {
    fn next(&mut self, wait: Duration) -> Result<ListenerEvent, RecvTimeoutError> {
        self.recv_timeout(wait)
    }
}
