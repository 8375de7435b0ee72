//! Messages until the broker, or the webhook, has acknowledged them, and the newest payload of every retained topic.
//!
//! A message leaves the outbox when it is acknowledged, when a newer one of its retained topic takes its place, when what it quotes is
//! forgotten (`text_tables`), or when the limits drop it, which is counted. Each is stored with its provenance: what it quotes.
//!
//! Each destination has rows, limits and counts of its own, so that none is held up by another: what is told to the broker and to two
//! webhooks is three rows.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{OutboxSettings, Store, StoreError, columns, from_nanos, log_dropped, to_nanos};
use crate::event::{Destination, Message, Provenance, Quoted};

/// How the broker is called in the tables. A webhook has a name.
const BROKER: &str = "";

impl Destination {
    /// As it stands in the tables.
    fn key(&self) -> &str {
        match self {
            Self::Broker | Self::Subscribers(_) => BROKER,
            Self::Webhook(name) => name,
        }
    }

    fn from_key(key: String) -> Self {
        if key == BROKER { Self::Broker } else { Self::Webhook(key.into()) }
    }
}

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

    /// The messages for the broker after number `seq`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn outbox_after(&self, seq: i64, limit: usize) -> Result<Vec<(i64, Message)>, StoreError> {
        self.outbox_of(&Destination::Broker, seq, limit)
    }

    /// As [`Store::outbox_after`], for any destination.
    pub(crate) fn outbox_of(
        &self,
        destination: &Destination,
        seq: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Message)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT topic, payload, retain, quoted_sources, quoted_until, replacement, destination, seq FROM outbox
                     WHERE destination = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
                )?
                .query_map(params![destination.key(), seq, columns::count(limit)], |row| {
                    Ok((row.get(7)?, message(row)?))
                })?
                .collect()
        })
    }

    /// Removes what the broker acknowledged, and what no broker would take: `unsendable` says how many of them that were. A seq that
    /// has gone already is no error.
    pub fn acknowledge(&mut self, seqs: &[i64], unsendable: u64) -> Result<(), StoreError> {
        self.acknowledge_of(&Destination::Broker, seqs, unsendable)
    }

    /// As [`Store::acknowledge`], for any destination.
    pub(crate) fn acknowledge_of(
        &mut self,
        destination: &Destination,
        seqs: &[i64],
        unsendable: u64,
    ) -> Result<(), StoreError> {
        self.write(|transaction, _| {
            count_dropped(transaction, destination.key(), unsendable)?;
            let mut delete = transaction.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?;
            seqs.iter().try_for_each(|seq| delete.execute([seq]).map(drop))
        })
    }

    /// Deletes what waits for webhooks that the config does not name any more, or that are not told of such events any more. Returns the
    /// names of those webhooks, and how many messages that were.
    pub(crate) fn remove_unrouted(&mut self) -> Result<Vec<(String, u64)>, StoreError> {
        self.write(|transaction, settings| {
            let routes: Vec<_> =
                settings.routes.all().map(|(name, events)| (name, events.collect::<Vec<_>>())).collect();
            let mut waiting: Vec<(String, String, u64)> = transaction
                .prepare("SELECT destination, topic, count(*) FROM outbox WHERE destination <> ?1 GROUP BY 1, 2")?
                .query_map([BROKER], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as u64)))?
                .collect::<rusqlite::Result<_>>()?;
            waiting.retain(|(name, event, _)| {
                !routes.iter().any(|(known, events)| known == name && events.contains(&event.as_str()))
            });
            for (name, event, _) in &waiting {
                transaction.execute("DELETE FROM outbox WHERE destination = ?1 AND topic = ?2", [name, event])?;
            }
            let counted: Vec<String> = transaction
                .prepare("SELECT destination FROM outbox_total WHERE destination <> ?1")?
                .query_map([BROKER], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for name in counted.iter().filter(|name| routes.iter().all(|(known, _)| known != name)) {
                transaction.execute("DELETE FROM outbox_total WHERE destination = ?1", [name])?;
            }
            Ok(waiting.into_iter().map(|(name, _, messages)| (name, messages)).collect())
        })
    }

    /// How many messages wait for the broker.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn outbox_len(&self) -> Result<u64, StoreError> {
        self.waiting().map(|waiting| waiting.messages)
    }

    /// What waits for the broker, and what was dropped.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn waiting(&self) -> Result<OutboxTotals, StoreError> {
        self.waiting_for(&Destination::Broker)
    }

    /// As [`Store::waiting`], for any destination.
    pub(crate) fn waiting_for(&self, destination: &Destination) -> Result<OutboxTotals, StoreError> {
        self.read(|connection| {
            let totals = connection
                .prepare_cached("SELECT messages, bytes, dropped FROM outbox_total WHERE destination = ?1")?
                .query_row([destination.key()], |row| {
                    let unsigned = |at| row.get::<_, i64>(at).map(|n| n as u64);
                    Ok(OutboxTotals { messages: unsigned(0)?, bytes: unsigned(1)?, dropped: unsigned(2)? })
                })
                .optional()?;
            Ok(totals.unwrap_or_default())
        })
    }

    /// The newest message of every retained topic, sent or not, in the order of the topics.
    pub fn retained(&self) -> Result<Vec<Message>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT topic, payload, 1, quoted_sources, quoted_until, replacement, '' FROM retained ORDER BY topic",
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

/// Puts messages into the outbox, one for each destination, and remembers retained ones of the broker; returns how many old ones the
/// bounds gave up.
///
/// A retained message takes the place of an older one of its topic, but under a new seq: if the older one is on its way,
/// its acknowledgement finds nothing to remove, and the newer one is still sent after it.
pub(super) fn push(
    transaction: &Transaction<'_>,
    settings: &OutboxSettings,
    messages: &[Message],
) -> rusqlite::Result<u64> {
    let mut dropped = 0;
    let mut filled: Vec<Destination> = Vec::new();
    for message in messages.iter().flat_map(|message| settings.routes.expand(message)) {
        insert(transaction, &message)?;
        if !filled.contains(&message.destination) {
            filled.push(message.destination);
        }
    }
    for destination in filled {
        dropped += bound_bytes(transaction, destination.key(), settings.limits.outbox_max_bytes)?;
    }
    Ok(dropped)
}

fn insert(transaction: &Transaction<'_>, message: &Message) -> rusqlite::Result<()> {
    let Message { destination, topic, payload, retain, provenance } = message;
    if *retain {
        transaction
            .prepare_cached("DELETE FROM outbox WHERE retain = 1 AND topic = ?1 AND destination = ?2")?
            .execute([topic, destination.key()])?;
        if *destination == Destination::Broker {
            remember(transaction, message)?;
        }
    }
    let columns = QuotedColumns::of(provenance);
    transaction
        .prepare_cached(
            "INSERT INTO outbox(topic, payload, retain, created, bytes, quoted_sources, quoted_until, replacement, destination)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            topic,
            payload,
            retain,
            to_nanos(Timestamp::now()),
            (topic.len() + payload.len()) as i64,
            columns.sources,
            columns.until,
            columns.replacement,
            destination.key()
        ])
        .map(drop)
}

fn remember(transaction: &Transaction<'_>, message: &Message) -> rusqlite::Result<()> {
    let Message { topic, payload, provenance, .. } = message;
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

/// A message from the columns topic, payload, retain, quoted_sources, quoted_until, replacement, destination.
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
    let destination = Destination::from_key(row.get(6)?);
    Ok(Message { destination, topic: row.get(0)?, payload: row.get(1)?, retain: row.get(2)?, provenance })
}

/// Gives up the oldest messages of a destination until what is left fits `max` bytes.
fn bound_bytes(transaction: &Transaction<'_>, destination: &str, max: u64) -> rusqlite::Result<u64> {
    let mut bytes: i64 = transaction
        .prepare_cached("SELECT bytes FROM outbox_total WHERE destination = ?1")?
        .query_row([destination], |row| row.get(0))?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut dropped = 0;
    while bytes > max {
        let oldest: Option<(i64, i64)> = transaction
            .prepare_cached("SELECT seq, bytes FROM outbox WHERE destination = ?1 ORDER BY seq LIMIT 1")?
            .query_row([destination], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, size)) = oldest else { break };
        transaction.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?.execute([seq])?;
        bytes -= size;
        dropped += 1;
    }
    count_dropped(transaction, destination, dropped)?;
    Ok(dropped)
}

/// Gives up the messages that were put in before `oldest`.
pub(super) fn bound_age(transaction: &Transaction<'_>, oldest: Timestamp) -> rusqlite::Result<u64> {
    // The clock may have jumped, hence the comparison of times and not of the first one that is young enough.
    let before = to_nanos(oldest);
    let old: Vec<(String, u64)> = transaction
        .prepare_cached("SELECT destination, count(*) FROM outbox WHERE created < ?1 GROUP BY destination")?
        .query_map([before], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?
        .collect::<rusqlite::Result<_>>()?;
    transaction.prepare_cached("DELETE FROM outbox WHERE created < ?1")?.execute([before])?;
    for (destination, dropped) in &old {
        count_dropped(transaction, destination, *dropped)?;
    }
    Ok(old.iter().map(|(_, dropped)| dropped).sum())
}

fn count_dropped(transaction: &Transaction<'_>, destination: &str, dropped: u64) -> rusqlite::Result<()> {
    if dropped > 0 {
        transaction
            .prepare_cached("UPDATE outbox_total SET dropped = dropped + ?1 WHERE destination = ?2")?
            .execute(params![dropped as i64, destination])?;
    }
    Ok(())
}
