//! Voices: the embedding of each utterance, and those that were enrolled under a name.
//!
//! An embedding is stored as one byte for each number, scaled to the largest, which is all that its direction needs, with a checksum and
//! the model that made it. One that is damaged is not guessed at, it is reported. No sound is stored.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::columns::count;
use super::heard::ForgetRequest;
use super::text_tables::{Aged, Deleted, RowAgeLimit, TextTable};
use super::{Store, StoreError, from_nanos, schema, set_meta, to_nanos};
use crate::event::{Speaker, StoredVoice, Utterance, VOICE_DIMENSIONS, VoiceEmbedding, Voiceprint};

/// Bytes of a checksum.
const CHECKSUM: usize = 4;
/// So many voices of one name are enrolled at most, the newest.
const ENROLLED: usize = 20;
/// Where the number of the last voice without a name is noted.
const NUMBER: &str = "voices";

/// What is stored of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakerRecord {
    pub name: String,
    /// Utterances that are kept.
    pub utterances: u64,
    /// When the last of them ended.
    pub heard: Option<Timestamp>,
}

impl Store {
    /// Every voice that was enrolled.
    ///
    /// # Errors
    /// The database cannot be read; so for every function here that reads.
    pub fn enrolled_voices(&self) -> Result<Vec<StoredVoice>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT speaker, model, embedding, seconds FROM enrolled_voice ORDER BY seq")?
                .query_map([], stored)?
                .collect()
        })
    }

    /// The last voices of people without a name.
    ///
    /// # Errors
    /// As [`Store::enrolled_voices`].
    pub fn unnamed_voices(&self, limit: usize) -> Result<Vec<StoredVoice>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT speaker, model, embedding, seconds FROM voice WHERE speaker GLOB 'voice [0-9]*'
                     ORDER BY utterance DESC LIMIT ?1",
                )?
                .query_map([count(limit)], stored)?
                .collect()
        })
    }

    /// The voice of an utterance; none if none is stored.
    ///
    /// # Errors
    /// As [`Store::enrolled_voices`].
    pub fn voice_of(&self, utterance: Ulid) -> Result<Option<StoredVoice>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT speaker, model, embedding, seconds FROM voice WHERE utterance = ?1")?
                .query_row([utterance.to_string()], stored)
                .optional()
        })
    }

    /// Everybody who is known by a name or a number, by name.
    ///
    /// # Errors
    /// As [`Store::enrolled_voices`]; or an older hearth wrote the database.
    pub fn speakers(&self) -> Result<Vec<SpeakerRecord>, StoreError> {
        schema::check_current(self)?;
        self.read(|connection| {
            connection
                .prepare_cached(
                    r#"SELECT name, count("end"), max("end") FROM
                         (SELECT speaker AS name, NULL AS "end" FROM enrolled_voice
                          UNION ALL SELECT speaker, "end" FROM utterance WHERE speaker IS NOT NULL)
                       GROUP BY name COLLATE NOCASE ORDER BY name COLLATE NOCASE"#,
                )?
                .query_map([], |row| {
                    let (utterances, heard) = (row.get::<_, i64>(1)? as u64, row.get::<_, Option<i64>>(2)?);
                    Ok(SpeakerRecord { name: row.get(0)?, utterances, heard: heard.map(from_nanos) })
                })?
                .collect()
        })
    }

    /// The number of the next voice that has no name. None is given twice.
    ///
    /// # Errors
    /// The database cannot be written; so for every function here that writes.
    pub fn next_voice_number(&mut self) -> Result<u64, StoreError> {
        self.write(|transaction, _| {
            let last: Option<i64> = transaction
                .query_row("SELECT value FROM meta WHERE key = ?1", [NUMBER], |row| row.get(0))
                .optional()?;
            let number = last.unwrap_or(0) + 1;
            set_meta(transaction, NUMBER, number)?;
            Ok(number as u64)
        })
    }

    /// Enrolls voices under a name, beside those it has.
    ///
    /// # Errors
    /// As [`Store::next_voice_number`].
    pub fn enroll(&mut self, name: &str, voices: &[Voiceprint]) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            for Voiceprint { embedding, model, seconds, .. } in voices {
                let row = params![name, model, bytes(embedding), seconds, to_nanos(Timestamp::now())];
                transaction
                    .prepare_cached(
                        "INSERT INTO enrolled_voice(speaker, model, embedding, seconds, created) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(row)?;
            }
            bound(transaction, name)
        })
    }

    /// Enrolls the voice of a stored utterance under a name, which is then who said it.
    ///
    /// # Errors
    /// As [`Store::next_voice_number`].
    pub fn enroll_utterance(&mut self, name: &str, utterance: Ulid) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            let id = utterance.to_string();
            enroll_stored(transaction, name, "utterance = ?2", &id)?;
            transaction.prepare_cached("UPDATE voice SET speaker = ?1 WHERE utterance = ?2")?.execute([name, &id])?;
            for table in ["utterance", "inbox"] {
                let sql = format!("UPDATE {table} SET speaker = ?1, speaker_confidence = 1 WHERE id = ?2");
                transaction.prepare_cached(&sql)?.execute([name, &id])?;
            }
            bound(transaction, name)
        })
    }

    /// Gives somebody another name, in what is enrolled and in what is stored. The voices of one without a name are enrolled.
    ///
    /// # Errors
    /// As [`Store::next_voice_number`].
    pub fn rename_speaker(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            if Speaker::unnamed(from).is_some() {
                enroll_stored(transaction, to, "speaker = ?2", from)?;
            }
            for table in ["enrolled_voice", "voice", "utterance", "inbox"] {
                let sql = format!("UPDATE {table} SET speaker = ?1 WHERE speaker = ?2 COLLATE NOCASE");
                transaction.prepare_cached(&sql)?.execute([to, from])?;
            }
            bound(transaction, to)
        })
    }

    /// Deletes the voices of a name, and takes the name out of what is stored and of messages that wait. What was said stays.
    ///
    /// # Errors
    /// As [`Store::next_voice_number`].
    pub fn forget_speaker(&mut self, name: &str) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            for sql in [
                "DELETE FROM enrolled_voice WHERE speaker = ?1",
                "DELETE FROM voice WHERE speaker = ?1 COLLATE NOCASE",
                "UPDATE utterance SET speaker = NULL, speaker_confidence = NULL WHERE speaker = ?1 COLLATE NOCASE",
                "UPDATE inbox SET speaker = NULL, speaker_confidence = NULL WHERE speaker = ?1 COLLATE NOCASE",
                "UPDATE outbox SET payload = json_remove(payload, '$.speaker', '$.speaker_confidence')
                 WHERE json_valid(payload) AND payload ->> '$.speaker' = ?1 COLLATE NOCASE",
            ] {
                transaction.prepare_cached(sql)?.execute([name])?;
            }
            Ok(())
        })?;
        self.erase()
    }
}

/// The voices of utterances, and those that are enrolled.
pub(super) struct Voices;

impl TextTable for Voices {
    fn tables(&self) -> &'static [&'static str] {
        &["voice", "enrolled_voice"]
    }

    fn forget(&self, transaction: &Transaction<'_>, _: &ForgetRequest, deleted: &mut Deleted) -> rusqlite::Result<()> {
        forget(transaction, &deleted.ids)
    }

    /// A voice goes with its utterance. What was enrolled was given by somebody for as long as they like.
    fn enforce(&self, transaction: &Transaction<'_>, _: &RowAgeLimit, _: &mut Aged) -> rusqlite::Result<()> {
        delete_orphans(transaction)
    }
}

/// Stores the voice of an utterance.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    utterance: &Utterance,
    voice: Option<&Voiceprint>,
) -> rusqlite::Result<()> {
    let Some(Voiceprint { embedding, model, seconds, unity }) = voice else { return Ok(()) };
    let speaker = utterance.speaker.as_ref().map(|speaker| &speaker.name);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO voice(utterance, speaker, model, embedding, seconds, unity) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![utterance.id.to_string(), speaker, model, bytes(embedding), seconds, unity])
        .map(drop)
}

/// Deletes the voices of these utterances, also where they were enrolled, and those of utterances that are not there any more.
fn forget(transaction: &Transaction<'_>, ids: &BTreeSet<String>) -> rusqlite::Result<()> {
    let ids = serde_json::to_string(ids).expect("ids can be written as JSON");
    for table in ["voice", "enrolled_voice"] {
        let sql = format!("DELETE FROM {table} WHERE utterance IN (SELECT value FROM json_each(?1))");
        transaction.prepare_cached(&sql)?.execute([&ids])?;
    }
    delete_orphans(transaction)
}

fn delete_orphans(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM voice WHERE NOT EXISTS (SELECT 1 FROM utterance WHERE id = voice.utterance)
                                 AND NOT EXISTS (SELECT 1 FROM inbox WHERE id = voice.utterance)",
        )?
        .execute([])
        .map(drop)
}

/// Enrolls the newest voices of utterances that are `chosen`.
fn enroll_stored(transaction: &Transaction<'_>, name: &str, chosen: &str, by: &str) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO enrolled_voice(speaker, utterance, model, embedding, seconds, created)
         SELECT ?1, utterance, model, embedding, seconds, ?3 FROM voice WHERE {chosen} ORDER BY utterance DESC LIMIT {ENROLLED}
         ON CONFLICT(utterance) DO UPDATE SET speaker = excluded.speaker"
    );
    transaction.prepare_cached(&sql)?.execute(params![name, by, to_nanos(Timestamp::now())]).map(drop)
}

/// Deletes the oldest voices of a name beyond the limit.
fn bound(transaction: &Connection, name: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM enrolled_voice WHERE speaker = ?1 AND seq NOT IN
                 (SELECT seq FROM enrolled_voice WHERE speaker = ?1 ORDER BY seq DESC LIMIT ?2)",
        )?
        .execute(params![name, count(ENROLLED)])
        .map(drop)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredVoice> {
    let bytes: Vec<u8> = row.get(2)?;
    Ok(StoredVoice { speaker: row.get(0)?, model: row.get(1)?, embedding: embedding(&bytes), seconds: row.get(3)? })
}

fn bytes(embedding: &VoiceEmbedding) -> Vec<u8> {
    let largest = embedding.numbers().iter().copied().fold(0.0, f32::max);
    let mut bytes: Vec<u8> = embedding.numbers().iter().map(|x| (x / largest * 255.0).round() as u8).collect();
    bytes.extend_from_slice(&checksum(&bytes));
    bytes
}

fn embedding(bytes: &[u8]) -> Option<VoiceEmbedding> {
    let (numbers, sum) = bytes.split_at_checked(VOICE_DIMENSIONS)?;
    let whole = sum == checksum(numbers);
    VoiceEmbedding::new(numbers.iter().map(|byte| f32::from(*byte)).collect()).filter(|_| whole)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    Sha256::digest(bytes)[..CHECKSUM].try_into().expect("a SHA-256 is longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_keeps_its_direction_and_one_that_is_damaged_is_none() {
        let numbers = (0..VOICE_DIMENSIONS).map(|n| (n * 7 % 31) as f32 / 31.0).collect();
        let voice = VoiceEmbedding::new(numbers).unwrap();
        let stored = bytes(&voice);
        assert!(embedding(&stored).unwrap().similarity(&voice) > 0.9999);
        let mut damaged = stored.clone();
        damaged[17] ^= 4;
        for bytes in [&damaged[..], &stored[1..], &stored[..40], &[]] {
            assert_eq!(embedding(bytes), None);
        }
    }
}
