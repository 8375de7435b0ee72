//! Messages until the broker has acknowledged them, and the newest payload of every retained topic.
//!
//! A message leaves the outbox when it is acknowledged, when a newer one of its retained topic takes its place, when what it quotes is
//! forgotten (`text_tables`), or when the limits drop it, which is counted. Each is stored with its provenance: what it quotes.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{OutboxLimits, Store, StoreError, columns, from_nanos, log_dropped, to_nanos};
use crate::event::{Message, Provenance, Quoted};

/// What is in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxTotals {
    pub messages: u64,
    pub bytes: u64,
    /// Messages dropped by the limits since the database was made.
    pub dropped: u64,
}

impl Store {
    /// Puts messages into the outbox.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn enqueue(&mut self, messages: &[Message]) -> Result<(), StoreError> {
        let dropped = self.write(|transaction, settings| push(transaction, settings, messages))?;
        log_dropped(&self.path, dropped);
        Ok(())
    }

    /// The messages after number `seq`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn outbox_after(&self, seq: i64, limit: usize) -> Result<Vec<(i64, Message)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT topic, payload, retain, quoted_sources, quoted_until, replacement, seq FROM outbox
                     WHERE seq > ?1 ORDER BY seq LIMIT ?2",
                )?
                .query_map(params![seq, columns::count(limit)], |row| Ok((row.get(6)?, message(row)?)))?
                .collect()
        })
    }

    /// Removes what the broker acknowledged, and what no broker would take: `unsendable` says how many of them that were. A seq that
    /// has gone already is no error.
    pub fn acknowledge(&mut self, seqs: &[i64], unsendable: u64) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            count_dropped(transaction, unsendable)?;
            let mut delete = transaction.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?;
            seqs.iter().try_for_each(|seq| delete.execute([seq]).map(drop))
        })
    }

    /// How many messages are in the outbox.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn outbox_len(&self) -> Result<u64, StoreError> {
        self.waiting().map(|waiting| waiting.messages)
    }

    /// What is in the outbox, and what was dropped.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn waiting(&self) -> Result<OutboxTotals, StoreError> {
        self.read(|connection| {
            connection.prepare_cached("SELECT messages, bytes, dropped FROM outbox_total")?.query_row([], |row| {
                let unsigned = |at| row.get::<_, i64>(at).map(|n| n as u64);
                Ok(OutboxTotals { messages: unsigned(0)?, bytes: unsigned(1)?, dropped: unsigned(2)? })
            })
        })
    }

    /// The newest message of every retained topic, sent or not, in the order of the topics.
    pub fn retained(&self) -> Result<Vec<Message>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT topic, payload, 1, quoted_sources, quoted_until, replacement FROM retained ORDER BY topic",
                )?
                .query_map([], message)?
                .collect()
        })
    }

    /// Forgets every retained topic that starts with `prefix`, here and, by an empty message, at the broker. Returns how
    /// many there were.
    pub fn forget_retained(&mut self, prefix: &str) -> Result<usize, StoreError> {
        self.write(|transaction, settings| {
            let topics: Vec<String> = transaction
                .prepare_cached("SELECT topic FROM retained WHERE substr(topic, 1, length(?1)) = ?1")?
                .query_map([prefix], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let empty: Vec<Message> = topics.into_iter().map(Message::clear).collect();
            push(transaction, settings, &empty)?;
            Ok(empty.len())
        })
    }
}

/// Puts messages into the outbox and remembers retained ones; returns how many old ones the bounds gave up.
///
/// A retained message takes the place of an older one of its topic, but under a new seq: if the older one is on its way,
/// its acknowledgement finds nothing to remove, and the newer one is still sent after it.
pub(super) fn push(
    transaction: &Transaction<'_>,
    settings: &OutboxLimits,
    messages: &[Message],
) -> rusqlite::Result<u64> {
    let now = to_nanos(Timestamp::now());
    for message in messages {
        let Message { topic, payload, retain, provenance } = message;
        if *retain {
            transaction.prepare_cached("DELETE FROM outbox WHERE retain = 1 AND topic = ?1")?.execute([topic])?;
            remember(transaction, message)?;
        }
        let columns = QuotedColumns::of(provenance);
        transaction
            .prepare_cached(
                "INSERT INTO outbox(topic, payload, retain, created, bytes, quoted_sources, quoted_until, replacement)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                topic,
                payload,
                retain,
                now,
                (topic.len() + payload.len()) as i64,
                columns.sources,
                columns.until,
                columns.replacement
            ])?;
    }
    if messages.is_empty() { Ok(0) } else { bound_bytes(transaction, settings.outbox_max_bytes) }
}

fn remember(transaction: &Transaction<'_>, message: &Message) -> rusqlite::Result<()> {
    let Message { topic, payload, retain: _, provenance } = message;
    if payload.is_empty() {
        transaction.prepare_cached("DELETE FROM retained WHERE topic = ?1")?.execute([topic])?;
    } else {
        let columns = QuotedColumns::of(provenance);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO retained(topic, payload, quoted_sources, quoted_until, replacement)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![topic, payload, columns.sources, columns.until, columns.replacement])?;
    }
    Ok(())
}

/// A message's provenance, as the tables of messages hold it: all null where it quotes nothing.
pub(super) struct QuotedColumns<'a> {
    /// A JSON list of ids.
    pub(super) sources: Option<String>,
    pub(super) until: Option<i64>,
    pub(super) replacement: Option<&'a str>,
}

impl<'a> QuotedColumns<'a> {
    pub(super) fn of(provenance: &'a Provenance) -> Self {
        match provenance {
            Provenance::Nothing => Self { sources: None, until: None, replacement: None },
            Provenance::Speech(Quoted { sources, until, replacement }) => Self {
                sources: Some(serde_json::to_string(sources).expect("ids can be written as JSON")),
                until: Some(to_nanos(*until)),
                replacement: replacement.as_deref(),
            },
        }
    }
}

/// A message from the columns topic, payload, retain, quoted_sources, quoted_until, replacement.
fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let sources: Option<String> = row.get(3)?;
    let until: Option<i64> = row.get(4)?;
    let provenance = match (sources, until) {
        (Some(sources), Some(until)) => Provenance::Speech(Quoted {
            sources: serde_json::from_str(&sources).map_err(|source| columns::unreadable(3, source))?,
            until: from_nanos(until),
            replacement: row.get(5)?,
        }),
        _ => Provenance::Nothing,
    };
    Ok(Message { topic: row.get(0)?, payload: row.get(1)?, retain: row.get(2)?, provenance })
}

/// Gives up the oldest messages until what is left fits `max` bytes.
fn bound_bytes(transaction: &Transaction<'_>, max: u64) -> rusqlite::Result<u64> {
    let mut bytes: i64 =
        transaction.prepare_cached("SELECT bytes FROM outbox_total")?.query_row([], |row| row.get(0))?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut dropped = 0;
    while bytes > max {
        let oldest: Option<(i64, i64)> = transaction
            .prepare_cached("SELECT seq, bytes FROM outbox ORDER BY seq LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, size)) = oldest else { break };
        transaction.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?.execute([seq])?;
        bytes -= size;
        dropped += 1;
    }
    count_dropped(transaction, dropped)?;
    Ok(dropped)
}

/// Gives up the messages that were put in before `oldest`.
pub(super) fn bound_age(transaction: &Transaction<'_>, oldest: Timestamp) -> rusqlite::Result<u64> {
    // Messages are put in in the order of their seq, so the old ones are at the front; the clock may have jumped, hence
    // the comparison of times and not of the first one that is young enough.
    let dropped =
        transaction.prepare_cached("DELETE FROM outbox WHERE created < ?1")?.execute([to_nanos(oldest)])? as u64;
    count_dropped(transaction, dropped)?;
    Ok(dropped)
}

fn count_dropped(transaction: &Transaction<'_>, dropped: u64) -> rusqlite::Result<()> {
    if dropped > 0 {
        transaction.prepare_cached("UPDATE outbox_total SET dropped = dropped + ?1")?.execute([dropped as i64])?;
    }
    Ok(())
}
