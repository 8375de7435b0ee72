//! What came of deleting text: an error, or a report for whoever asked. Each says what is left and what a person can do about it.

use jiff::Timestamp;

use crate::listener::ListenerError;
use crate::store::{StoreError, UnreadableNote};

/// Why text could not be deleted everywhere.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Listener(#[from] ListenerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the note of what must still be forgotten cannot be read (\"forgetting\" in hearth.db): files and snapshots may hold text \
         that was to be deleted; {}, or start the hearth that wrote the note",
        covered_by(.0)
    )]
    UnreadableNote(UnreadableNote),
}

/// What a person can do about a note that cannot be read.
fn covered_by(note: &UnreadableNote) -> String {
    match note.since {
        Some(since) => format!("run `hearth forget \"{since}\"`, or with an earlier time, which covers it"),
        None => "run `hearth forget` with the time of the first thing that is kept, which covers it".into(),
    }
}

/// What came of a request to forget.
#[derive(Debug)]
pub(crate) struct ForgetReport {
    pub(crate) utterances: u64,
    /// When the first thing that went was said, and the last; none when nothing was.
    pub(crate) said: Option<(Timestamp, Timestamp)>,
    /// Why something is left; it is tried again. None when all is gone.
    pub(crate) incomplete: Option<RetentionError>,
}

impl ForgetReport {
    /// Why something is left, for whoever asked.
    pub(crate) fn reason(&self) -> Option<String> {
        match self.incomplete.as_ref()? {
            error @ RetentionError::UnreadableNote(_) => Some(format!("what was asked for is forgotten, but {error}")),
            error => Some(format!("{error}; what is left goes within the hour, or at the next start")),
        }
    }
}
