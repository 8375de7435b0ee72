//! What is forgotten because somebody asked, not because it grew old.
//!
//! Owns the deletion of a stretch of text, with every message that carries it. Refuses to know what messages say: whoever asks
//! judges them. Invariant: the deletion is one transaction, and noted in it until the rest of the house has forgotten too, so a
//! crash in between is carried through at the next start.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, from_nanos, outbox, set_meta, tell_dropped, to_nanos};
use crate::event::Message;

const PENDING: &str = "forgetting";

/// What was deleted, and what else has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Sequence numbers of the first and the last utterance that went; none when nothing was said.
    pub span: Option<(i64, i64)>,
    pub utterances: u64,
    /// Ids of the alerts, and of the summaries, that went with them.
    pub alerts: BTreeSet<String>,
    pub digests: BTreeSet<String>,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stays,
    Goes,
    /// Of a retained message: this takes its place, here and at the broker.
    Replaced(Message),
}

impl Store {
    /// Deletes what was said after `since`: from the first utterance that ended later on, whatever the clocks said meanwhile,
    /// every utterance; the digests and alerts made of them; and what `judge` says of the messages, given the ids of all that.
    /// Where no text is kept, `from` says which utterances it was. What other machines heard then and comes later is not taken.
    /// The write-ahead log is not erased yet.
    pub fn forget(
        &mut self,
        since: Timestamp,
        from: Option<i64>,
        judge: impl Fn(&Message, &BTreeSet<String>) -> Verdict,
    ) -> Result<Forgotten, StoreError> {
        let (before, newest) = (self.forgetting()?, self.newest()?);
        let (forgotten, dropped) = self.write(|transaction, settings| {
            let mut forgotten = before.unwrap_or_default();
            let ids = delete(transaction, to_nanos(since), &mut forgotten)?;
            transaction
                .prepare_cached("INSERT INTO forgotten(since, until) VALUES (?1, ?2)")?
                .execute([to_nanos(since), to_nanos(Timestamp::now())])?;
            if let Some(from) = from.filter(|from| *from <= newest) {
                let (first, last) = forgotten.span.unwrap_or((from, newest));
                forgotten.span = Some((first.min(from), last.max(newest)));
            }
            let dropped = judge_messages(transaction, settings, |message| judge(message, &ids))?;
            let note = serde_json::to_string(&forgotten).expect("numbers and ids are JSON");
            set_meta(transaction, PENDING, note)?;
            Ok((forgotten, dropped))
        })?;
        tell_dropped(&self.path, dropped);
        Ok(forgotten)
    }

    /// A deletion that the rest of the house has not followed yet.
    pub fn forgetting(&self) -> Result<Option<Forgotten>, StoreError> {
        let note = self.note(PENDING)?;
        // A note that cannot be read is of a hearth to come; what it asks for cannot be known.
        Ok(note.and_then(|note| serde_json::from_str(&note).ok()))
    }

    /// The rest of the house has followed.
    pub fn forgot(&mut self) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            transaction.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([PENDING]).map(drop)
        })
    }

    /// When the last thing that stored digests tell of was said, of each state that has any: a room's, or the house's.
    pub fn told_until(&self) -> Result<BTreeMap<Option<String>, Timestamp>, StoreError> {
        self.read(|connection| {
            let newest = r#"SELECT room, "end", max(seq) FROM digest WHERE words > 0 GROUP BY room"#;
            connection
                .prepare_cached(newest)?
                .query_map([], |row| Ok((row.get(0)?, from_nanos(row.get(1)?))))?
                .collect()
        })
    }
}

/// Deletes text; returns the ids of all that went.
fn delete(transaction: &Transaction<'_>, since: i64, forgotten: &mut Forgotten) -> rusqlite::Result<BTreeSet<String>> {
    let first: Option<i64> = transaction
        .prepare_cached(r#"SELECT min(seq) FROM utterance WHERE "end" > ?1"#)?
        .query_row([since], |row| row.get(0))?;
    let mut said = BTreeSet::new();
    if let Some(first) = first {
        let rows: Vec<(i64, String)> = transaction
            .prepare_cached("DELETE FROM utterance WHERE seq >= ?1 RETURNING seq, id")?
            .query_map([first], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let last = rows.iter().map(|(seq, _)| *seq).max().unwrap_or(first);
        let (from, to) = forgotten.span.unwrap_or((first, last));
        forgotten.span = Some((from.min(first), to.max(last)));
        forgotten.utterances += rows.len() as u64;
        said.extend(rows.into_iter().map(|(_, id)| id));
    }
    // What waits to be put in order was said lately.
    let waiting: BTreeSet<String> = transaction
        .prepare_cached(r#"DELETE FROM inbox WHERE "end" > ?1 RETURNING id"#)?
        .query_map([since], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    forgotten.utterances += waiting.len() as u64;
    said.extend(waiting);
    let gone = |sql: &str| -> rusqlite::Result<BTreeSet<String>> {
        transaction.prepare_cached(sql)?.query_map([since], |row| row.get(0))?.collect()
    };
    forgotten.digests.extend(gone(r#"DELETE FROM digest WHERE "end" > ?1 RETURNING id"#)?);
    let began = "SELECT id FROM alert WHERE time > ?1 AND phase = 'new'";
    forgotten.alerts.extend(gone(began)?);
    transaction.prepare_cached("DELETE FROM alert WHERE time > ?1")?.execute([since])?;
    said.extend(forgotten.digests.iter().chain(&forgotten.alerts).cloned());
    Ok(said)
}

/// Puts every message, waiting or retained, before `judge`. Returns how many the bounds of the outbox gave up.
fn judge_messages(
    transaction: &Transaction<'_>,
    settings: &super::OutboxLimits,
    judge: impl Fn(&Message) -> Verdict,
) -> rusqlite::Result<u64> {
    let mut replaced = Vec::new();
    for (table, key) in [("outbox", "seq"), ("retained", "topic")] {
        let retain = if table == "outbox" { "retain" } else { "1" };
        let mut select = transaction.prepare_cached(&format!("SELECT {key}, topic, payload, {retain} FROM {table}"))?;
        let mut rows = select.query([])?;
        let mut gone: Vec<rusqlite::types::Value> = Vec::new();
        while let Some(row) = rows.next()? {
            match judge(&Message { topic: row.get(1)?, payload: row.get(2)?, retain: row.get(3)? }) {
                Verdict::Stays => continue,
                Verdict::Goes => {}
                Verdict::Replaced(message) => replaced.push(message),
            }
            gone.push(row.get(0)?);
        }
        let mut delete = transaction.prepare_cached(&format!("DELETE FROM {table} WHERE {key} = ?1"))?;
        gone.iter().try_for_each(|key| delete.execute(params![key]).map(drop))?;
    }
    outbox::push(transaction, settings, &replaced)
}
