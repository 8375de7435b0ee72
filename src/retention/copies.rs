//! The copies of text that no thread holds for itself: files, and what is shown.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{AgeLimit, RetentionError, TextStore};
use crate::listener::ListenerError;
use crate::listener::snapshot::SnapshotError;
use crate::listener::snapshot_store::{SnapshotPolicy, SnapshotStore};
use crate::live::{LiveEvent, LiveFeed};
use crate::store::Forgotten;
use crate::store::transcript_jsonl::TranscriptJsonl;

/// `transcript.jsonl` and its older files.
#[derive(Clone)]
pub(super) struct TranscriptFile(pub(super) Arc<Mutex<TranscriptJsonl>>);

impl TextStore for TranscriptFile {
    fn name(&self) -> &'static str {
        "transcript.jsonl"
    }

    fn forget(&mut self, forgotten: &Forgotten) -> Result<(), RetentionError> {
        match forgotten.span {
            Some(span) => Ok(self.0.lock().forget(span)?),
            None => Ok(()),
        }
    }

    fn enforce(&mut self, limit: &AgeLimit) -> Result<(), RetentionError> {
        Ok(self.0.lock().enforce(limit.now, limit.keep)?)
    }
}

/// The snapshots of every state there ever was.
#[derive(Clone)]
pub(super) struct Snapshots {
    pub(super) store: SnapshotStore,
    pub(super) policy: SnapshotPolicy,
}

impl Snapshots {
    /// The last utterance in any snapshot that was made by `time`.
    pub(super) fn last_read(&self, time: Timestamp) -> Result<Option<i64>, SnapshotError> {
        let mut last = None;
        for of_one_state in self.store.all()? {
            let marks = of_one_state.list()?.into_iter().map(|stored| stored.header.mark);
            last = last.max(marks.filter(|mark| mark.time <= time).map(|mark| mark.read).max());
        }
        Ok(last)
    }
}

impl TextStore for Snapshots {
    fn name(&self) -> &'static str {
        "the snapshots"
    }

    fn forget(&mut self, forgotten: &Forgotten) -> Result<(), RetentionError> {
        let Some((from, _)) = forgotten.span else { return Ok(()) };
        let mut first = Ok(());
        for of_one_state in self.store.all().map_err(ListenerError::from)? {
            first = first.and(of_one_state.forget(from));
        }
        Ok(first.map_err(ListenerError::from)?)
    }

    /// The newest two of a state stay, however old: without them it could not go on.
    fn enforce(&mut self, limit: &AgeLimit) -> Result<(), RetentionError> {
        Ok(self.store.prune_all(&self.policy, limit.oldest()).map_err(ListenerError::from)?)
    }
}

/// What the page and `hearth status` show, and whoever looks at it now.
#[derive(Clone)]
pub(super) struct LiveView(pub(super) Arc<LiveFeed>);

impl TextStore for LiveView {
    fn name(&self) -> &'static str {
        "the live view"
    }

    /// After a restart it was filled from a database that had forgotten already.
    fn forget(&mut self, forgotten: &Forgotten) -> Result<(), RetentionError> {
        if !forgotten.ranges.is_empty() {
            self.0.publish(LiveEvent::Forgotten(forgotten.ranges.clone()));
        }
        Ok(())
    }

    /// It holds the last few of each kind, in memory alone.
    fn enforce(&mut self, _: &AgeLimit) -> Result<(), RetentionError> {
        Ok(())
    }
}
