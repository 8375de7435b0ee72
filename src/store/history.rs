//! What was said and what came of it between two times, for people who look back. Nothing is changed.

use jiff::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::columns::{count, id};
use super::recent::{alert, digest, named, oldest_first};
use super::transcript::utterance;
use super::{Store, StoreError, from_nanos, schema, to_nanos};
use crate::event::{Alert, Digest, Gap, Utterance};

/// A stretch of time, and the room if only one is meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryRange<'a> {
    /// Only what ended after this time.
    pub since: Option<Timestamp>,
    /// Only what began before this time.
    pub until: Option<Timestamp>,
    pub room: Option<&'a str>,
}

impl HistoryRange<'_> {
    fn nanos(&self) -> (i64, i64) {
        (self.since.map_or(i64::MIN, to_nanos), self.until.map_or(i64::MAX, to_nanos))
    }
}

/// Something that happened. As JSON an object of one key, which names its kind, as in the live feed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryEntry {
    Utterance(Utterance),
    Gap(Gap),
    Digest(Digest),
    Alert(Alert),
}

impl HistoryEntry {
    /// When it began, or was made.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Utterance(said) => said.start,
            Self::Gap(gap) => gap.from,
            Self::Digest(digest) => digest.time,
            Self::Alert(alert) => alert.time,
        }
    }
}

impl Store {
    /// The utterances of a stretch of time after number `seq`, with their numbers, at most `limit`, in the order in which they were stored.
    ///
    /// # Errors
    /// The database cannot be read; so for every function here.
    pub fn utterances_in(
        &self,
        range: &HistoryRange<'_>,
        seq: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Utterance)>, StoreError> {
        let (since, until) = range.nanos();
        self.read(|connection| {
            let speaker = schema::speaker_columns(connection)?;
            connection
                .prepare_cached(&format!(
                    r#"SELECT seq, id, start, "end", room, text, confidence, no_speech, {speaker} FROM utterance
                       WHERE seq > ?1 AND "end" > ?2 AND start < ?3 AND (?4 IS NULL OR room = ?4) ORDER BY seq LIMIT ?5"#
                ))?
                .query_map(params![seq, since, until, range.room, count(limit)], utterance)?
                .collect()
        })
    }

    /// Whether anything was said in more than one room.
    ///
    /// # Errors
    /// As [`Store::utterances_in`].
    pub fn several_rooms_in(&self, range: &HistoryRange<'_>) -> Result<bool, StoreError> {
        let (since, until) = range.nanos();
        self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT count(DISTINCT room) > 1 FROM utterance
                       WHERE "end" > ?1 AND start < ?2 AND (?3 IS NULL OR room = ?3)"#,
                )?
                .query_row(params![since, until, range.room], |row| row.get(0))
        })
    }

    /// Whether it is known of anything who said it.
    ///
    /// # Errors
    /// As [`Store::utterances_in`].
    pub fn any_speaker_in(&self, range: &HistoryRange<'_>) -> Result<bool, StoreError> {
        let (since, until) = range.nanos();
        self.read(|connection| {
            let speaker = schema::speaker_columns(connection)?;
            connection
                .prepare_cached(&format!(
                    r#"SELECT EXISTS (SELECT 1 FROM utterance
                       WHERE coalesce({speaker}) IS NOT NULL AND "end" > ?1 AND start < ?2 AND (?3 IS NULL OR room = ?3))"#
                ))?
                .query_row(params![since, until, range.room], |row| row.get(0))
        })
    }

    /// The newest utterances of a stretch of time, oldest first.
    ///
    /// # Errors
    /// As [`Store::utterances_in`].
    pub fn newest_utterances_in(&self, range: &HistoryRange<'_>, limit: usize) -> Result<Vec<Utterance>, StoreError> {
        let (since, until) = range.nanos();
        self.read(|connection| {
            let speaker = schema::speaker_columns(connection)?;
            let rows = connection
                .prepare_cached(&format!(
                    r#"SELECT seq, id, start, "end", room, text, confidence, no_speech, {speaker} FROM utterance
                       WHERE "end" > ?1 AND start < ?2 AND (?3 IS NULL OR room = ?3) ORDER BY seq DESC LIMIT ?4"#
                ))?
                .query_map(params![since, until, range.room, count(limit)], |row| utterance(row).map(|(_, said)| said))?
                .collect();
            oldest_first(rows)
        })
    }

    /// The newest gaps of a stretch of time, oldest first.
    ///
    /// # Errors
    /// As [`Store::utterances_in`].
    pub fn newest_gaps_in(&self, range: &HistoryRange<'_>, limit: usize) -> Result<Vec<Gap>, StoreError> {
        schema::check_current(self)?;
        let (since, until) = range.nanos();
        self.read(|connection| {
            let rows = connection
                .prepare_cached(
                    r#"SELECT id, room, start, "end", reason FROM gap
                       WHERE "end" > ?1 AND start < ?2 AND (?3 IS NULL OR room = ?3) ORDER BY seq DESC LIMIT ?4"#,
                )?
                .query_map(params![since, until, range.room, count(limit)], |row| {
                    let (from, to) = (from_nanos(row.get(2)?), from_nanos(row.get(3)?));
                    Ok(Gap { id: id(row, 0)?, room: row.get(1)?, from, to, reason: named(row, 4)? })
                })?
                .collect();
            oldest_first(rows)
        })
    }

    /// The newest digests of a stretch of time, oldest first. Those of a room are those that are about it alone.
    ///
    /// # Errors
    /// As [`Store::utterances_in`]; or an older hearth wrote the database.
    pub fn newest_digests_in(&self, range: &HistoryRange<'_>, limit: usize) -> Result<Vec<Digest>, StoreError> {
        schema::check_current(self)?;
        let (since, until) = range.nanos();
        self.read(|connection| {
            let rows = connection
                .prepare_cached(
                    r#"SELECT id, time, start, "end", reason, words, room, text, sentences FROM digest
                       WHERE time > ?1 AND time < ?2 AND (?3 IS NULL OR room = ?3) ORDER BY seq DESC LIMIT ?4"#,
                )?
                .query_map(params![since, until, range.room, count(limit)], digest)?
                .collect();
            oldest_first(rows)
        })
    }

    /// The newest phases of alerts of a stretch of time, oldest first. Those of a room were raised by its state, or quote what was said there.
    ///
    /// # Errors
    /// As [`Store::newest_digests_in`].
    pub fn newest_alerts_in(&self, range: &HistoryRange<'_>, limit: usize) -> Result<Vec<Alert>, StoreError> {
        schema::check_current(self)?;
        let (since, until) = range.nanos();
        self.read(|connection| {
            let rows = connection
                .prepare_cached(
                    r#"SELECT id, time, rule, phase, severity, room, probability, answer, evidence FROM alert
                       WHERE time > ?1 AND time < ?2 AND (?3 IS NULL OR room = ?3 OR id IN
                         (SELECT alert.id FROM alert, json_each(alert.evidence) WHERE json_each.value ->> 'room' = ?3))
                       ORDER BY seq DESC LIMIT ?4"#,
                )?
                .query_map(params![since, until, range.room, count(limit)], alert)?
                .collect();
            oldest_first(rows)
        })
    }

    /// The newest of everything that happened in a stretch of time, at most `limit`, oldest first.
    ///
    /// # Errors
    /// As [`Store::newest_digests_in`].
    pub fn history(&self, range: &HistoryRange<'_>, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut all: Vec<HistoryEntry> = Vec::new();
        all.extend(self.newest_utterances_in(range, limit)?.into_iter().map(HistoryEntry::Utterance));
        all.extend(self.newest_gaps_in(range, limit)?.into_iter().map(HistoryEntry::Gap));
        all.extend(self.newest_digests_in(range, limit)?.into_iter().map(HistoryEntry::Digest));
        all.extend(self.newest_alerts_in(range, limit)?.into_iter().map(HistoryEntry::Alert));
        // Of one time, what was said stands before what came of it.
        all.sort_by_key(HistoryEntry::time);
        let dropped = all.len().saturating_sub(limit);
        Ok(all.split_off(dropped))
    }
}
