//! "Forget the last ten minutes": what goes, and in which order.
//!
//! Owns the judgement which messages carry what was said (`judge`, pure), and the steps that can be taken while nobody reads:
//! at the start, and by `hearth forget` beside a hearth that does not run. Refuses to know the live state: see `reading`.
//! Invariant: first the database forgets, in one transaction that also notes the rest; then the files; whoever is killed in
//! between is followed by one that carries it through.

use jiff::Timestamp;

use super::Error;
use crate::config::Keep;
use crate::listener::snapshot_store::SnapshotStore;
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{Forgotten, Store};
use crate::{listener, store};

/// The store forgets what was said after `since`, and every message that carries it.
pub fn forget(store: &mut Store, since: Timestamp, from: Option<i64>) -> Result<Forgotten, store::StoreError> {
    store.forget(since, from)
}

/// Where no text is kept, nothing tells when an utterance was heard but the snapshots: all behind the last of them that is older
/// than `since` may have been later.
pub fn from(keep: Keep, history: &SnapshotStore, since: Timestamp) -> Result<Option<i64>, Error> {
    if keep != Keep::Nothing {
        return Ok(None);
    }
    let of_all = history.all().and_then(|all| all.iter().map(SnapshotStore::list).collect::<Result<Vec<_>, _>>());
    let kept = of_all.map_err(listener::ListenerError::from)?;
    let older = kept.iter().flatten().map(|kept| kept.header.mark).filter(|mark| mark.time <= since);
    Ok(Some(older.map(|mark| mark.read).max().unwrap_or(0) + 1))
}

/// The files follow it, each whatever became of the others; the first error is returned. Only whoever owns the live state notes that
/// all have.
pub fn follow(
    store: &mut Store,
    forgotten: &Forgotten,
    lines: Option<&mut TranscriptJsonl>,
    history: &SnapshotStore,
) -> Result<(), Error> {
    let erased = store.erase();
    let Some(span) = forgotten.span else { return Ok(erased?) };
    let taken_out = lines.map_or(Ok(()), |lines| lines.forget(span));
    let of_all = history.all().and_then(|all| all.iter().map(|of_one| of_one.forget(span.0)).fold(Ok(()), Result::and));
    of_all.map_err(listener::ListenerError::from)?;
    Ok(erased.and(taken_out)?)
}
