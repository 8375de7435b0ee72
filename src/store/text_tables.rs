//! Every table that keeps text, and how its rows go: when somebody asks to forget, and when they grew old.
//!
//! Each implements [`TextTable`], and [`TEXT_TABLES`] lists them all. A test compares that list and the columns below with the
//! schema, so a new table or column cannot be added without saying how it forgets.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::heard::{ForgetRequest, TimeRanges, within};
use super::{Forgotten, feedback, heard, outbox, voices};
use crate::event::Message;

/// What a request to forget has deleted so far.
#[derive(Default)]
pub(super) struct Deleted {
    pub(super) forgotten: Forgotten,
    /// Ids of every utterance, digest and alert that went.
    pub(super) ids: BTreeSet<String>,
    /// When what is deleted was said, by the clocks it was heard by. Digests, alerts and messages are deleted by these times.
    pub(super) ranges: TimeRanges,
    /// When the first utterance that went began, and the last ended.
    pub(super) said: Option<(i64, i64)>,
    /// What takes the place of retained messages that went.
    pub(super) replacements: Vec<Message>,
}

impl Deleted {
    fn was_said(&mut self, start: i64, end: i64) {
        self.ranges.add(end.saturating_sub(1), end);
        self.said = Some(self.said.map_or((start, end), |(first, last)| (first.min(start), last.max(end))));
    }
}

/// What has grown too old.
pub(super) struct RowAgeLimit {
    /// Text before this time, in nanoseconds.
    pub(super) text_before: i64,
    /// Utterances up to this one were read; others stay.
    pub(super) read: i64,
    /// Messages that have waited since before this time.
    pub(super) messages_before: Timestamp,
}

/// How many rows went because they were too old.
#[derive(Default)]
pub(super) struct Aged {
    /// Rows of text.
    pub(super) text: u64,
    /// Messages that never reached a broker.
    pub(super) messages: u64,
}

/// Tables that keep text.
pub(super) trait TextTable {
    /// The tables it answers for.
    fn tables(&self) -> &'static [&'static str];

    /// Deletes what was said in the time of the request, and what tells of it.
    fn forget(
        &self,
        transaction: &Transaction<'_>,
        request: &ForgetRequest,
        deleted: &mut Deleted,
    ) -> rusqlite::Result<()>;

    /// Deletes what is older than `limit` allows.
    fn enforce(&self, transaction: &Transaction<'_>, limit: &RowAgeLimit, aged: &mut Aged) -> rusqlite::Result<()>;
}

/// In this order: messages are found by the ids of what went before them.
pub(super) const TEXT_TABLES: [&dyn TextTable; 7] =
    [&Utterances, &Inbox, &voices::Voices, &Digests, &Alerts, &Outbox, &Retained];

/// The transcript, with its index of words, which triggers keep in step.
struct Utterances;

impl TextTable for Utterances {
    fn tables(&self) -> &'static [&'static str] {
        &["utterance", "word"]
    }

    /// From the first utterance that was said in that time, every one: a state goes back to before it.
    fn forget(
        &self,
        transaction: &Transaction<'_>,
        request: &ForgetRequest,
        deleted: &mut Deleted,
    ) -> rusqlite::Result<()> {
        let first = heard::find(transaction, request)?.first;
        let notes = heard::take(transaction, request, first)?;
        deleted.ranges = notes.ranges;
        deleted.said = notes.said;
        // Where no text is kept, the notes alone know what was said.
        deleted.ids.extend(notes.ids);
        let Some(first) = first else { return Ok(()) };
        let rows: Vec<(i64, String, i64, i64)> = transaction
            .prepare_cached(r#"DELETE FROM utterance WHERE seq >= ?1 RETURNING seq, id, start, "end""#)?
            .query_map([first], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let last = rows.iter().map(|(seq, ..)| *seq).max().unwrap_or(first);
        deleted.forgotten.widen(first, last);
        deleted.forgotten.utterances += rows.len() as u64;
        for (_, id, start, end) in rows {
            deleted.was_said(start, end);
            deleted.ids.insert(id);
        }
        Ok(())
    }

    fn enforce(&self, transaction: &Transaction<'_>, limit: &RowAgeLimit, aged: &mut Aged) -> rusqlite::Result<()> {
        heard::bound(transaction)?;
        // Where no text is kept, every time is before the limit; the notes of the newest utterances stay.
        if limit.text_before < i64::MAX {
            transaction
                .prepare_cached(r#"DELETE FROM heard WHERE "end" < ?1 AND seq <= ?2"#)?
                .execute(params![limit.text_before, limit.read])?;
        }
        aged.text += transaction
            .prepare_cached(r#"DELETE FROM utterance WHERE "end" < ?1 AND seq <= ?2"#)?
            .execute(params![limit.text_before, limit.read])? as u64;
        Ok(())
    }
}

/// Utterances that wait to be put in the order of their time.
struct Inbox;

impl TextTable for Inbox {
    fn tables(&self) -> &'static [&'static str] {
        &["inbox"]
    }

    fn forget(
        &self,
        transaction: &Transaction<'_>,
        request: &ForgetRequest,
        deleted: &mut Deleted,
    ) -> rusqlite::Result<()> {
        let known = serde_json::to_string(&deleted.ids).expect("ids can be written as JSON");
        let sql = r#"DELETE FROM inbox WHERE "end" > ?1 OR id IN (SELECT value FROM json_each(?2)) RETURNING id, start, "end""#;
        let rows: Vec<(String, i64, i64)> = transaction
            .prepare_cached(sql)?
            .query_map(params![request.since, known], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        deleted.forgotten.utterances += rows.len() as u64;
        for (id, start, end) in rows {
            deleted.was_said(start, end);
            deleted.ids.insert(id);
        }
        Ok(())
    }

    /// They wait for seconds, and were not read yet.
    fn enforce(&self, _: &Transaction<'_>, _: &RowAgeLimit, _: &mut Aged) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// Summaries.
struct Digests;

impl TextTable for Digests {
    fn tables(&self) -> &'static [&'static str] {
        &["digest"]
    }

    fn forget(&self, transaction: &Transaction<'_>, _: &ForgetRequest, deleted: &mut Deleted) -> rusqlite::Result<()> {
        let sql = format!(r#"DELETE FROM digest WHERE {} RETURNING id"#, within(r#""end""#));
        let ids = delete_ids(transaction, &sql, &deleted.ranges)?;
        deleted.ids.extend(ids.iter().cloned());
        deleted.forgotten.digests.extend(ids);
        Ok(())
    }

    fn enforce(&self, transaction: &Transaction<'_>, limit: &RowAgeLimit, aged: &mut Aged) -> rusqlite::Result<()> {
        aged.text +=
            transaction.prepare_cached("DELETE FROM digest WHERE time < ?1")?.execute([limit.text_before])? as u64;
        Ok(())
    }
}

/// Alerts with what they quote; gaps hold no text and grow old with them.
struct Alerts;

impl TextTable for Alerts {
    fn tables(&self) -> &'static [&'static str] {
        &["alert", "gap"]
    }

    /// An alert that began before stays known by its id, without the phases that came later. What people said of the others goes, too.
    fn forget(&self, transaction: &Transaction<'_>, _: &ForgetRequest, deleted: &mut Deleted) -> rusqlite::Result<()> {
        let then = within("time");
        let sql = format!("SELECT id FROM alert WHERE {then} AND phase = 'new'");
        let began = delete_ids(transaction, &sql, &deleted.ranges)?;
        transaction.prepare_cached(&format!("DELETE FROM alert WHERE {then}"))?.execute([deleted.ranges.json()])?;
        feedback::forget(transaction, &began)?;
        deleted.ids.extend(began.iter().cloned());
        deleted.forgotten.alerts.extend(began);
        Ok(())
    }

    fn enforce(&self, transaction: &Transaction<'_>, limit: &RowAgeLimit, aged: &mut Aged) -> rusqlite::Result<()> {
        for sql in ["DELETE FROM alert WHERE time < ?1", r#"DELETE FROM gap WHERE "end" < ?1"#] {
            aged.text += transaction.prepare_cached(sql)?.execute([limit.text_before])? as u64;
        }
        Ok(())
    }
}

/// Messages that wait for the broker, or for a webhook.
struct Outbox;

impl TextTable for Outbox {
    fn tables(&self) -> &'static [&'static str] {
        &["outbox", "outbox_total"]
    }

    fn forget(&self, transaction: &Transaction<'_>, _: &ForgetRequest, deleted: &mut Deleted) -> rusqlite::Result<()> {
        // Nothing takes the place of what waits for a webhook.
        delete_quoting(transaction, "outbox", "retain AND destination = ''", deleted)
    }

    fn enforce(&self, transaction: &Transaction<'_>, limit: &RowAgeLimit, aged: &mut Aged) -> rusqlite::Result<()> {
        aged.messages += outbox::bound_age(transaction, limit.messages_before)?;
        Ok(())
    }
}

/// What the broker keeps of this machine.
struct Retained;

impl TextTable for Retained {
    fn tables(&self) -> &'static [&'static str] {
        &["retained"]
    }

    fn forget(&self, transaction: &Transaction<'_>, _: &ForgetRequest, deleted: &mut Deleted) -> rusqlite::Result<()> {
        delete_quoting(transaction, "retained", "1", deleted)
    }

    /// The newest message of a topic stays: it is what others show now, and the broker holds it too. Where no
    /// text is kept, those that quote any are cleared: see [`Store::forget_retained`](super::Store::forget_retained).
    fn enforce(&self, _: &Transaction<'_>, _: &RowAgeLimit, _: &mut Aged) -> rusqlite::Result<()> {
        Ok(())
    }
}

fn delete_ids(transaction: &Transaction<'_>, sql: &str, then: &TimeRanges) -> rusqlite::Result<BTreeSet<String>> {
    transaction.prepare_cached(sql)?.query_map([then.json()], |row| row.get(0))?.collect()
}

/// Deletes the messages of `table` that quote anything said in that time, or at a time that is not known, or any of the ids that went.
fn delete_quoting(
    transaction: &Transaction<'_>,
    table: &str,
    retain: &str,
    deleted: &mut Deleted,
) -> rusqlite::Result<()> {
    let ids = serde_json::to_string(&deleted.ids).expect("ids can be written as JSON");
    let sql = format!(
        "DELETE FROM {table} WHERE quoted_until = {} OR {} OR EXISTS
             (SELECT 1 FROM json_each({table}.quoted_sources) AS source WHERE source.value IN (SELECT value FROM json_each(?2)))
         RETURNING topic, {retain}, replacement",
        i64::MAX,
        within("quoted_until"),
    );
    let mut delete = transaction.prepare_cached(&sql)?;
    let mut rows = delete.query(params![deleted.ranges.json(), ids])?;
    while let Some(row) = rows.next()? {
        let (topic, retain, replacement) = (row.get(0)?, row.get::<_, bool>(1)?, row.get::<_, Option<String>>(2)?);
        if retain {
            deleted.replacements.push(match replacement {
                Some(payload) => Message::plain(topic, payload, true),
                None => Message::clear(topic),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::store::{OutboxLimits, Store};

    /// Tables in which nothing anybody said can stand, and why.
    const WITHOUT_TEXT: [(&str, &str); 6] = [
        ("arrival", "ids and times of what came from other machines"),
        (
            "feedback",
            "ids of alerts, rules, times and probabilities; it goes with an alert that is forgotten, and after a year",
        ),
        ("forgotten", "times of requests to forget"),
        ("heard", "ids and times of utterances; they go with them, and where no text is kept the newest stay"),
        ("meta", "numbers, times, names and settings: what is noted is listed in NOTES of tests/daemon/kept_text.rs"),
        ("sqlite_sequence", "SQLite's own counters"),
    ];

    /// Every column in which text can stand, or by which it is found. All of them go with their rows.
    const COLUMNS: [&str; 10] = [
        "utterance: seq id start end room text confidence no_speech speaker speaker_confidence",
        "inbox: id start end room text confidence no_speech arrived speaker speaker_confidence",
        "voice: utterance speaker model embedding seconds unity",
        "enrolled_voice: seq speaker utterance model embedding seconds created",
        "digest: seq id time start end reason words text room sentences",
        "alert: seq id time rule phase severity probability answer evidence room",
        "gap: seq id start end reason room",
        "outbox: seq topic payload retain created bytes quoted_sources quoted_until replacement destination",
        "outbox_total: destination messages bytes dropped",
        "retained: topic payload quoted_sources quoted_until replacement",
    ];

    #[test]
    fn every_table_and_column_says_how_it_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OutboxLimits::from(&config::StoreConfig::default())).unwrap();
        let names = |sql: &str| -> Vec<String> {
            store.read(|db| db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()).unwrap()
        };
        let tables = names("SELECT name FROM sqlite_schema WHERE type = 'table'");
        assert!(tables.len() > 12, "{tables:?}");
        for table in &tables {
            // The tables in which FTS5 keeps the index `word` follow it.
            let table = if table.starts_with("word_") { "word" } else { table };
            let kept_by = TEXT_TABLES.iter().filter(|part| part.tables().contains(&table)).count();
            let without = WITHOUT_TEXT.iter().filter(|(name, _)| *name == table).count();
            assert_eq!(
                kept_by + without,
                1,
                "table {table}: say in TEXT_TABLES how it forgets, or here why it need not"
            );
        }
        for table in TEXT_TABLES.iter().flat_map(|part| part.tables()) {
            assert!(tables.iter().any(|name| name == table), "there is no table {table}");
            if *table == "word" {
                continue;
            }
            let columns = names(&format!("SELECT name FROM pragma_table_info('{table}')")).join(" ");
            let known = COLUMNS.iter().any(|known| *known == format!("{table}: {columns}"));
            assert!(known, "{table} has the columns {columns}: how does a new one forget?");
        }
    }
}
