//! Utterances, gaps, digests and alerts, and how far the listener has read.
//!
//! The position of the listener and its results are stored in one transaction, so a crash repeats a turn of the listener completely or
//! not at all.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::columns::{count, id, word};
use super::{Store, StoreError, from_nanos, heard, log_dropped, outbox, schema, set_meta, to_nanos, voices};
use crate::event::{Alert, Digest, Gap, Message, Speaker, Utterance, Voiceprint};

/// The results of one turn of the listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerTurn<'a> {
    pub digests: &'a [Digest],
    pub alerts: &'a [Alert],
    /// The number of the last utterance that the live state has read.
    pub processed: i64,
    /// What [`Listeners::memory`](crate::listener::Listeners::memory) gives.
    pub memory: &'a str,
}

/// What to search the transcript for.
#[derive(Clone, Copy, Debug, Default)]
pub struct TranscriptQuery<'a> {
    /// All of these must be in an utterance, as whole words, without regard to case and accents.
    pub words: &'a str,
    /// Only what ended after this time.
    pub since: Option<Timestamp>,
    /// Only what began before this time.
    pub until: Option<Timestamp>,
    pub room: Option<&'a str>,
    /// At most so many utterances, the newest.
    pub limit: usize,
}

impl Store {
    /// Stores an utterance and its messages; returns its number, which only counts up.
    ///
    /// # Errors
    /// The database cannot be written; so for every function here that stores something.
    pub fn record_utterance(&mut self, utterance: &Utterance, messages: &[Message]) -> Result<i64, StoreError> {
        self.record_spoken(utterance, None, messages)
    }

    /// Stores an utterance, the voice it was said with, and its messages; returns its number.
    ///
    /// # Errors
    /// As [`Store::record_utterance`].
    pub fn record_spoken(
        &mut self,
        utterance: &Utterance,
        voice: Option<&Voiceprint>,
        messages: &[Message],
    ) -> Result<i64, StoreError> {
        let live = self.live;
        let (seq, dropped) = self.write(|transaction, settings| {
            if live {
                heard::note(transaction, utterance, true)?;
            }
            let Utterance { id, start, end, room, text, confidence, no_speech, speaker } = utterance;
            transaction
                .prepare_cached(
                    r#"INSERT INTO utterance(id, start, "end", room, text, confidence, no_speech, speaker, speaker_confidence)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"#,
                )?
                .execute(params![
                    id.to_string(),
                    to_nanos(*start),
                    to_nanos(*end),
                    room,
                    text,
                    confidence,
                    no_speech,
                    speaker.as_ref().map(|speaker| &speaker.name),
                    speaker.as_ref().map(|speaker| speaker.confidence)
                ])?;
            let seq = transaction.last_insert_rowid();
            voices::insert(transaction, utterance, voice)?;
            Ok((seq, outbox::push(transaction, settings, messages)?))
        })?;
        log_dropped(&self.path, dropped);
        Ok(seq)
    }

    /// Stores a gap and its messages.
    ///
    /// # Errors
    /// As [`Store::record_utterance`].
    pub fn record_gap(&mut self, gap: &Gap, messages: &[Message]) -> Result<(), StoreError> {
        let dropped = self.write(|transaction, settings| {
            insert_gap(transaction, gap)?;
            outbox::push(transaction, settings, messages)
        })?;
        log_dropped(&self.path, dropped);
        Ok(())
    }

    /// Stores the results of a turn of the listener, its position, and the messages.
    ///
    /// # Errors
    /// As [`Store::record_utterance`].
    pub fn record_reading(&mut self, reading: ListenerTurn<'_>, messages: &[Message]) -> Result<(), StoreError> {
        let dropped = self.write(|transaction, settings| {
            reading.digests.iter().try_for_each(|digest| insert_digest(transaction, digest))?;
            reading.alerts.iter().try_for_each(|alert| insert_alert(transaction, alert))?;
            set_meta(transaction, "processed", reading.processed)?;
            set_meta(transaction, "memory", reading.memory)?;
            outbox::push(transaction, settings, messages)
        })?;
        log_dropped(&self.path, dropped);
        Ok(())
    }

    /// How far the listener has read (0 at first), and what it keeps beside its state.
    ///
    /// # Errors
    /// The database cannot be read; so for every function below.
    pub fn reader(&self) -> Result<(i64, Option<String>), StoreError> {
        self.read(|connection| {
            let processed = connection
                .query_row("SELECT value FROM meta WHERE key = 'processed'", [], |row| row.get(0))
                .optional()?
                .unwrap_or(0);
            let memory =
                connection.query_row("SELECT value FROM meta WHERE key = 'memory'", [], |row| row.get(0)).optional()?;
            Ok((processed, memory))
        })
    }

    /// Until when a room was heard, by the utterances and gaps that are stored; none where there are none.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub(crate) fn heard_until(&self, room: &str) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT max("end") FROM
                         (SELECT "end" FROM utterance WHERE room = ?1 UNION ALL SELECT "end" FROM gap WHERE room = ?1)"#,
                )?
                .query_row([room], |row| row.get::<_, Option<i64>>(0))
                .map(|until| until.map(from_nanos))
        })
    }

    /// The utterances after number `seq`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub fn utterances_after(&self, seq: i64, limit: usize) -> Result<Vec<(i64, Utterance)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT seq, id, start, "end", room, text, confidence, no_speech, speaker, speaker_confidence FROM utterance
                       WHERE seq > ?1 ORDER BY seq LIMIT ?2"#,
                )?
                .query_map(params![seq, count(limit)], utterance)?
                .collect()
        })
    }

    /// The number of the newest utterance that was ever stored, also if it was deleted since; 0 when there was none.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub fn newest(&self) -> Result<i64, StoreError> {
        self.read(|connection| {
            connection
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'utterance'", [], |row| row.get(0))
                .optional()
                .map(|seq| seq.unwrap_or(0))
        })
    }

    /// The number after which the last `limit` utterances up to `seq` stand.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub(crate) fn back_from(&self, seq: i64, limit: usize) -> Result<i64, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT seq FROM utterance WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2")?
                .query_row(params![seq, count(limit)], |row| row.get(0))
                .optional()
                .map(|seq| seq.unwrap_or(0))
        })
    }

    /// The number after which the last `limit` utterances up to `seq` stand that were said in `room`; without one, in none of the rooms
    /// `apart`.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub(crate) fn back_from_in(
        &self,
        seq: i64,
        limit: usize,
        room: Option<&str>,
        apart: &BTreeSet<String>,
    ) -> Result<i64, StoreError> {
        let apart = serde_json::to_string(apart).expect("names are JSON");
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq FROM utterance WHERE seq <= ?1 AND
                       iif(?3 IS NULL, room NOT IN (SELECT value FROM json_each(?4)), room = ?3)
                     ORDER BY seq DESC LIMIT 1 OFFSET ?2",
                )?
                .query_row(params![seq, count(limit), room, apart], |row| row.get(0))
                .optional()
                .map(|seq| seq.unwrap_or(0))
        })
    }

    /// How many utterances are stored after number `seq`.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub(crate) fn count_after(&self, seq: i64) -> Result<u64, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT count(*) FROM utterance WHERE seq > ?1")?
                .query_row([seq], |row| row.get::<_, i64>(0))
                .map(|n| n as u64)
        })
    }

    /// The utterances that match `query`, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn search(&self, query: &TranscriptQuery<'_>) -> Result<Vec<Utterance>, StoreError> {
        // Each word is quoted, so nothing a person types is taken for FTS5's own syntax.
        let quoted: Vec<String> =
            query.words.split_whitespace().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
        if quoted.is_empty() {
            return Ok(Vec::new());
        }
        self.read(|connection| {
            let speaker = schema::speaker_columns(connection)?;
            connection
                .prepare_cached(&format!(
                    r#"SELECT seq, id, start, "end", room, utterance.text, confidence, no_speech, {speaker}
                       FROM word JOIN utterance ON utterance.seq = word.rowid
                       WHERE word MATCH ?1 AND "end" > ?2 AND start < ?3 AND (?4 IS NULL OR room = ?4)
                       ORDER BY seq DESC LIMIT ?5"#
                ))?
                .query_map(
                    params![
                        quoted.join(" "),
                        query.since.map_or(i64::MIN, to_nanos),
                        query.until.map_or(i64::MAX, to_nanos),
                        query.room,
                        count(query.limit)
                    ],
                    |row| utterance(row).map(|(_, utterance)| utterance),
                )?
                .collect()
        })
    }
}

pub(super) fn insert_gap(transaction: &Transaction<'_>, gap: &Gap) -> rusqlite::Result<()> {
    let Gap { id, room, from, to, reason } = gap;
    transaction
        .prepare_cached(r#"INSERT INTO gap(id, room, start, "end", reason) VALUES (?1, ?2, ?3, ?4, ?5)"#)?
        .execute(params![id.to_string(), room, to_nanos(*from), to_nanos(*to), word(reason)])
        .map(drop)
}

fn insert_digest(transaction: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
    let Digest { id, time, from, to, reason, words, room, text, sentences } = digest;
    let sentences = serde_json::to_string(sentences).expect("words and times can be written as JSON");
    transaction
        .prepare_cached(
            r#"INSERT INTO digest(id, time, start, "end", reason, words, text, room, sentences)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"#,
        )?
        .execute(params![
            id.to_string(),
            to_nanos(*time),
            to_nanos(*from),
            to_nanos(*to),
            word(reason),
            count(*words),
            text,
            room,
            sentences
        ])
        .map(drop)
}

fn insert_alert(transaction: &Transaction<'_>, alert: &Alert) -> rusqlite::Result<()> {
    let Alert { id, rule, phase, severity, room, time, probability, answer, evidence } = alert;
    let evidence = serde_json::to_string(evidence).expect("words and times can be written as JSON");
    transaction
        .prepare_cached(
            "INSERT INTO alert(id, time, rule, phase, severity, probability, answer, evidence, room)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            id.to_string(),
            to_nanos(*time),
            rule,
            word(phase),
            word(severity),
            probability,
            answer,
            evidence,
            room
        ])
        .map(drop)
}

pub(super) fn utterance(row: &Row<'_>) -> rusqlite::Result<(i64, Utterance)> {
    let utterance = Utterance {
        id: id(row, 1)?,
        start: from_nanos(row.get(2)?),
        end: from_nanos(row.get(3)?),
        room: row.get(4)?,
        text: row.get(5)?,
        confidence: row.get(6)?,
        no_speech: row.get(7)?,
        speaker: row
            .get::<_, Option<String>>(8)?
            .zip(row.get(9)?)
            .map(|(name, confidence)| Speaker { name, confidence }),
    };
    Ok((row.get(0)?, utterance))
}
