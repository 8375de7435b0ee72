//! The newest utterances, digests and alerts, for displays that start later than the daemon.

use jiff::Timestamp;
use rusqlite::{Row, ToSql, params};
use serde::de::DeserializeOwned;

use super::columns::{count, id, unreadable};
use super::transcript::utterance;
use super::{Store, StoreError, from_nanos, to_nanos};
use crate::event::{Alert, Digest, Utterance};

impl Store {
    /// The last utterances, oldest first.
    ///
    /// # Errors
    /// The database cannot be read; so for every function here.
    pub(crate) fn last_utterances(&self, limit: usize) -> Result<Vec<Utterance>, StoreError> {
        self.read(|connection| {
            let rows = connection
                .prepare_cached(
                    r#"SELECT seq, id, start, "end", room, text, confidence, no_speech, speaker, speaker_confidence FROM utterance
                       ORDER BY seq DESC LIMIT ?1"#,
                )?
                .query_map(params![count(limit)], |row| utterance(row).map(|(_, said)| said))?
                .collect();
            oldest_first(rows)
        })
    }

    /// The last digests, oldest first.
    ///
    /// # Errors
    /// As [`Store::last_utterances`].
    pub fn last_digests(&self, limit: usize) -> Result<Vec<Digest>, StoreError> {
        self.digests("", params![count(limit)])
    }

    /// The last digests of a state that were over at `time`, oldest first. `room` is that of the state; none of one for all rooms.
    ///
    /// # Errors
    /// As [`Store::last_utterances`].
    pub(crate) fn digests_before(
        &self,
        time: Timestamp,
        room: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Digest>, StoreError> {
        self.digests(r#"WHERE room IS ?2 AND "end" <= ?3"#, params![count(limit), room, to_nanos(time)])
    }

    fn digests(&self, chosen: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Digest>, StoreError> {
        self.read(|connection| {
            let rows = connection
                .prepare_cached(&format!(
                    r#"SELECT id, time, start, "end", reason, words, room, text, sentences FROM digest
                       {chosen} ORDER BY seq DESC LIMIT ?1"#
                ))?
                .query_map(parameters, digest)?
                .collect();
            oldest_first(rows)
        })
    }

    /// The last phases of alerts, oldest first.
    ///
    /// # Errors
    /// As [`Store::last_utterances`].
    pub fn last_alerts(&self, limit: usize) -> Result<Vec<Alert>, StoreError> {
        self.read(|connection| {
            let rows = connection
                .prepare_cached(
                    "SELECT id, time, rule, phase, severity, room, probability, answer, evidence FROM alert
                     ORDER BY seq DESC LIMIT ?1",
                )?
                .query_map(params![count(limit)], alert)?
                .collect();
            oldest_first(rows)
        })
    }
}

/// A row of id, time, start, end, reason, words, room, text, sentences.
pub(super) fn digest(row: &Row<'_>) -> rusqlite::Result<Digest> {
    Ok(Digest {
        id: id(row, 0)?,
        time: from_nanos(row.get(1)?),
        from: from_nanos(row.get(2)?),
        to: from_nanos(row.get(3)?),
        reason: named(row, 4)?,
        words: usize::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
        room: row.get(6)?,
        text: row.get(7)?,
        sentences: serde_json::from_str(&row.get::<_, String>(8)?).unwrap_or_default(),
    })
}

/// A row of id, time, rule, phase, severity, room, probability, answer, evidence.
pub(super) fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    let evidence: String = row.get(8)?;
    Ok(Alert {
        id: id(row, 0)?,
        time: from_nanos(row.get(1)?),
        rule: row.get(2)?,
        phase: named(row, 3)?,
        severity: named(row, 4)?,
        room: row.get(5)?,
        probability: row.get(6)?,
        answer: row.get(7)?,
        evidence: serde_json::from_str(&evidence).unwrap_or_default(),
    })
}

pub(super) fn oldest_first<T>(rows: rusqlite::Result<Vec<T>>) -> rusqlite::Result<Vec<T>> {
    rows.map(|mut rows| {
        rows.reverse();
        rows
    })
}

/// Reads an enum that is stored by its JSON name.
pub(super) fn named<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let word: String = row.get(at)?;
    serde_json::from_value(word.into()).map_err(|source| unreadable(at, source))
}
