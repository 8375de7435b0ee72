//! Messages until the broker has acknowledged them.
//!
//! Owns the outbox and the newest payload of every retained topic. Refuses to know how messages travel. Invariant: a
//! message leaves the outbox when it is acknowledged, when a newer one of its retained topic takes its place, or when the
//! bounds give it up, which is counted.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::{OutboxLimits, Store, StoreError, tell_dropped, to_nanos};
use crate::event::Message;

/// What waits in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxTotals {
    pub messages: u64,
    pub bytes: u64,
    /// Messages that were given up by the bounds since the database was made.
    pub dropped: u64,
}

impl Store {
    /// Puts messages into the outbox.
    pub fn enqueue(&mut self, messages: &[Message]) -> Result<(), StoreError> {
        let dropped = self.write(|transaction, settings| push(transaction, settings, messages))?;
        tell_dropped(&self.path, dropped);
        Ok(())
    }

    /// The messages behind `seq`, oldest first, at most `limit`.
    pub fn outbox_after(&self, seq: i64, limit: usize) -> Result<Vec<(i64, Message)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT seq, topic, payload, retain FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
                .query_map(params![seq, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    Ok((row.get(0)?, Message { topic: row.get(1)?, payload: row.get(2)?, retain: row.get(3)? }))
                })?
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

    /// How many messages wait.
    pub fn outbox_len(&self) -> Result<u64, StoreError> {
        self.waiting().map(|waiting| waiting.messages)
    }

    /// What waits, and what was given up.
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
                .prepare_cached("SELECT topic, payload FROM retained ORDER BY topic")?
                .query_map([], |row| Ok(Message { topic: row.get(0)?, payload: row.get(1)?, retain: true }))?
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
            let empty: Vec<Message> =
                topics.into_iter().map(|topic| Message { topic, payload: String::new(), retain: true }).collect();
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
    for Message { topic, payload, retain } in messages {
        if *retain {
            transaction.prepare_cached("DELETE FROM outbox WHERE retain = 1 AND topic = ?1")?.execute([topic])?;
            remember(transaction, topic, payload)?;
        }
        transaction
            .prepare_cached("INSERT INTO outbox(topic, payload, retain, created, bytes) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![topic, payload, retain, now, (topic.len() + payload.len()) as i64])?;
    }
    if messages.is_empty() { Ok(0) } else { bound_bytes(transaction, settings.outbox_max_bytes) }
}

fn remember(transaction: &Transaction<'_>, topic: &str, payload: &str) -> rusqlite::Result<()> {
    if payload.is_empty() {
        transaction.prepare_cached("DELETE FROM retained WHERE topic = ?1")?.execute([topic])?;
    } else {
        transaction
            .prepare_cached(
                "INSERT INTO retained(topic, payload) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET payload = excluded.payload",
            )?
            .execute([topic, payload])?;
    }
    Ok(())
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
