//! What is deleted because somebody asked, not because it grew old.
//!
//! The deletion is one transaction. In it is noted what the copies outside the database must still forget, so that a crash in
//! between is carried through at the next start. A note that cannot be read is kept, and reported, until a request covers it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::heard::ForgetRequest;
use super::text_tables::{Deleted, TEXT_TABLES};
use super::{Store, StoreError, from_nanos, heard, log_dropped, outbox, set_meta, to_nanos};

/// The note of a deletion that is not complete.
const PENDING: &str = "forgetting";
/// Where it is noted while the first place holds a note that cannot be read.
const PENDING_BESIDE: &str = "forgetting_beside";
/// When every deletion asked for until then was complete, in nanoseconds.
const COMPLETE: &str = "forgetting_complete";

/// What was deleted, and what the copies outside the database must delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Sequence numbers of the first and the last utterance that went; none when nothing was said.
    pub span: Option<(i64, i64)>,
    pub utterances: u64,
    /// Since when, of the request that is carried out now; none when a note is carried out.
    #[serde(skip)]
    pub(crate) since: Option<Timestamp>,
    /// The ranges of time of the request that is carried out now; none when a note is carried out.
    #[serde(skip)]
    pub(crate) ranges: Vec<(Timestamp, Timestamp)>,
    /// When the first utterance that went with this request began, and the last ended, by the clocks they were heard by.
    #[serde(skip)]
    pub(crate) said: Option<(Timestamp, Timestamp)>,
    /// Ids of the alerts, and of the summaries, that went with them.
    pub alerts: BTreeSet<String>,
    pub digests: BTreeSet<String>,
}

impl Forgotten {
    /// Takes the utterances from one sequence number to another into the span.
    pub(super) fn widen(&mut self, first: i64, last: i64) {
        let (from, to) = self.span.unwrap_or((first, last));
        self.span = Some((from.min(first), to.max(last)));
    }

    fn add(&mut self, other: Self) {
        if let Some((first, last)) = other.span {
            self.widen(first, last);
        }
        self.utterances += other.utterances;
        self.alerts.extend(other.alerts);
        self.digests.extend(other.digests);
    }
}

/// Deletions that are not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingForget {
    /// What the copies outside the database must still delete.
    pub forgotten: Option<Forgotten>,
    /// Something more must be deleted, and its note cannot be read.
    pub unreadable: Option<UnreadableNote>,
}

/// A note of a pending deletion that cannot be read: it is damaged, or of a newer hearth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableNote {
    /// A request that goes back to this time covers it; none when that is not known any more.
    pub since: Option<Timestamp>,
}

impl Store {
    /// Deletes what was said after `since`, by the time that has passed since then (see `heard`), in every table that keeps text, and
    /// notes what the copies outside the database must delete. Where no text is kept, `from` is the first utterance that may have been
    /// said after `since`, as far as snapshots show. What other machines heard then and comes later is not
    /// taken in. The write-ahead log is not erased yet.
    pub fn forget(&mut self, since: Timestamp, from: Option<i64>) -> Result<Forgotten, StoreError> {
        let newest = self.newest()?;
        let (forgotten, dropped) = self.write(|transaction, settings| {
            let pending = pending(transaction)?;
            let request = ForgetRequest::new(since);
            let noted = heard::find(transaction, &request)?;
            let mut deleted = Deleted { forgotten: pending.forgotten.unwrap_or_default(), ..Deleted::default() };
            for table in TEXT_TABLES {
                table.forget(transaction, &request, &mut deleted)?;
                debug!(tables = ?table.tables(), "forgotten");
            }
            let dropped = outbox::push(transaction, settings, &deleted.replacements)?;
            transaction
                .prepare_cached("INSERT INTO forgotten(since, until) VALUES (?1, ?2)")?
                .execute([to_nanos(since), to_nanos(Timestamp::now())])?;
            let mut forgotten = deleted.forgotten;
            forgotten.since = Some(since);
            forgotten.ranges = deleted.ranges.times();
            forgotten.said = deleted.said.map(|(first, last)| (from_nanos(first), from_nanos(last)));
            // The clock may have been set since a snapshot was made; the notes know better, as far as they go back.
            let from = from.and_then(|from| if noted.reaches_back { noted.first } else { Some(from) });
            if let Some(from) = from.filter(|from| *from <= newest) {
                forgotten.widen(from, newest);
            }
            let key = match &pending.unreadable {
                None => PENDING,
                Some(note) => match covered(transaction, note, since)? {
                    // It asked for something behind the last utterance that stays.
                    Some(stays) => {
                        forgotten.widen(stays + 1, newest.max(stays + 1));
                        PENDING
                    }
                    None => PENDING_BESIDE,
                },
            };
            let note = serde_json::to_string(&forgotten).expect("numbers and ids are JSON");
            set_meta(transaction, key, note)?;
            if key == PENDING {
                delete_note(transaction, PENDING_BESIDE)?;
            }
            Ok((forgotten, dropped))
        })?;
        log_dropped(&self.path, dropped);
        Ok(forgotten)
    }

    /// How many utterances [`Store::forget`] would delete now, and when the first of them began and the last ended.
    pub(crate) fn would_forget(&self, since: Timestamp) -> Result<(u64, Option<(Timestamp, Timestamp)>), StoreError> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let first = heard::find(&transaction, &ForgetRequest::new(since))?.first;
            let (waiting, seq) = (to_nanos(since), first.unwrap_or(i64::MAX));
            let sql = r#"SELECT count(*), min(start), max("end") FROM
                         (SELECT start, "end" FROM utterance WHERE seq >= ?1 UNION ALL SELECT start, "end" FROM inbox WHERE "end" > ?2)"#;
            transaction.query_row(sql, [seq, waiting], |row| {
                let said = row.get::<_, Option<i64>>(1)?.zip(row.get::<_, Option<i64>>(2)?);
                Ok((row.get::<_, i64>(0)? as u64, said.map(|(first, last)| (from_nanos(first), from_nanos(last)))))
            })
        })
    }

    /// Deletions that the copies outside the database have not followed yet.
    pub fn pending_forget(&self) -> Result<PendingForget, StoreError> {
        self.read(|connection| {
            // One transaction: a note and the requests it may be of are read as of one moment.
            let transaction = connection.unchecked_transaction()?;
            pending(&transaction)
        })
    }

    /// Every copy has followed what [`Store::pending_forget`] gave. A note that cannot be read stays.
    pub fn forget_is_complete(&mut self) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            let mut unreadable = false;
            for key in [PENDING, PENDING_BESIDE] {
                match note(transaction, key)? {
                    ForgetNote::Absent => {}
                    ForgetNote::Forgotten(_) => delete_note(transaction, key)?,
                    ForgetNote::Unreadable => unreadable = true,
                }
            }
            if unreadable {
                return Ok(());
            }
            set_meta(transaction, COMPLETE, to_nanos(Timestamp::now()))
        })
    }

    /// When the last thing that stored digests tell of was said, of each state that has any: a room's, or the one of all rooms.
    pub(crate) fn told_until(&self) -> Result<BTreeMap<Option<String>, Timestamp>, StoreError> {
        self.read(|connection| {
            let newest = r#"SELECT room, "end", max(seq) FROM digest WHERE words > 0 GROUP BY room"#;
            connection
                .prepare_cached(newest)?
                .query_map([], |row| Ok((row.get(0)?, from_nanos(row.get(1)?))))?
                .collect()
        })
    }
}

fn pending(connection: &Connection) -> rusqlite::Result<PendingForget> {
    let mut pending = PendingForget::default();
    for key in [PENDING, PENDING_BESIDE] {
        match note(connection, key)? {
            ForgetNote::Absent => {}
            ForgetNote::Forgotten(forgotten) => pending.forgotten.get_or_insert_default().add(forgotten),
            ForgetNote::Unreadable => {
                // Which of the requests were pending is not known: one that goes back to the first of them covers them all.
                let earliest = "SELECT min(since) FROM forgotten WHERE until >
                                coalesce((SELECT value FROM meta WHERE key = ?1), -9223372036854775808)";
                let since: Option<i64> = connection.query_row(earliest, [COMPLETE], |row| row.get(0))?;
                pending.unreadable = Some(UnreadableNote { since: since.map(from_nanos) });
            }
        }
    }
    Ok(pending)
}

/// What is noted of a pending deletion.
enum ForgetNote {
    Absent,
    Forgotten(Forgotten),
    Unreadable,
}

fn note(connection: &Connection, key: &str) -> rusqlite::Result<ForgetNote> {
    let value: Option<Value> =
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?;
    let Some(value) = value else { return Ok(ForgetNote::Absent) };
    let Value::Text(json) = value else { return Ok(ForgetNote::Unreadable) };
    Ok(serde_json::from_str(&json).map_or(ForgetNote::Unreadable, ForgetNote::Forgotten))
}

/// Whether a request that goes back to `since`, and whose rows are deleted, covers the note: then the last utterance that stays, or 0.
fn covered(transaction: &Transaction<'_>, note: &UnreadableNote, since: Timestamp) -> rusqlite::Result<Option<i64>> {
    let stays: Option<i64> = transaction.query_row("SELECT max(seq) FROM utterance", [], |row| row.get(0))?;
    let goes_back = note.since.is_some_and(|noted| since <= noted);
    Ok((goes_back || stays.is_none()).then_some(stays.unwrap_or(0)))
}

fn delete_note(transaction: &Transaction<'_>, key: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key]).map(drop)
}
