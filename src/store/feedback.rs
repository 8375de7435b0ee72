//! What people said of alerts: the table `feedback`.
//!
//! It holds ids, names, times and probabilities and no text, so it outlives the transcript. It goes with a request to forget the alert, and
//! after [`KEPT`].

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Row, Transaction, params};

use super::columns::{id, unreadable, word};
use super::{Store, StoreError, from_nanos, to_nanos};
use crate::clock;
use crate::event::AlertFeedback;

/// What is older counts for nothing any more (`listener::feedback`).
const KEPT: SignedDuration = SignedDuration::from_hours(365 * 24);

impl Store {
    /// Stores what people said of an alert. A false alarm stands whatever else is said of the alert; else the first word does. Where no
    /// probability is known, the one is taken with which the alert began, if that is still stored.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn record_feedback(&mut self, feedback: &AlertFeedback) -> Result<(), StoreError> {
        let AlertFeedback { alert, rule, verdict, time, probability, rule_version, counts } = feedback;
        self.write(|transaction, _| {
            transaction
                .prepare_cached(
                    "INSERT INTO feedback(alert, rule, time, probability, verdict, rule_version, counts)
                     VALUES (?1, ?2, ?3, coalesce(?4, (SELECT probability FROM alert WHERE id = ?1 ORDER BY seq LIMIT 1)), ?5, ?6, ?7)
                     ON CONFLICT DO UPDATE SET verdict = excluded.verdict, time = excluded.time, counts = excluded.counts,
                         rule_version = excluded.rule_version
                     WHERE feedback.verdict = 'acknowledged' AND excluded.verdict = 'false_alarm'",
                )?
                .execute(params![alert.to_string(), rule, to_nanos(*time), probability, word(verdict), rule_version, counts])
                .map(drop)
        })
    }

    /// What people said of alerts, oldest first. A database that is only read may still be that of an older hearth.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn feedback(&self) -> Result<Vec<AlertFeedback>, StoreError> {
        self.read(|connection| {
            let tables = "SELECT max(name) FROM sqlite_schema WHERE name IN ('feedback', 'false_alarm')";
            let table: Option<String> = connection.prepare_cached(tables)?.query_row([], |row| row.get(0))?;
            let columns = match table.as_deref() {
                Some("feedback") => "alert, rule, verdict, time, probability, rule_version, counts FROM feedback",
                Some(_) => "alert, rule, 'false_alarm', time, probability, NULL, 1 FROM false_alarm",
                None => return Ok(Vec::new()),
            };
            let sql = format!("SELECT {columns} ORDER BY time, alert");
            connection.prepare_cached(&sql)?.query_map([], feedback)?.collect()
        })
    }

    /// What was stored by an older hearth, which noted no version, is of the version that a rule has now.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn adopt_feedback(&mut self, rule: &str, version: &str) -> Result<(), StoreError> {
        let sql = "UPDATE feedback SET rule_version = ?2 WHERE rule = ?1 AND rule_version IS NULL";
        self.write(|transaction, _| transaction.prepare_cached(sql)?.execute([rule, version]).map(drop))
    }

    /// What people said of the alerts of a rule, or of all rules, no longer counts. Returns the rules of which something did.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn reset_feedback(&mut self, rule: Option<&str>) -> Result<BTreeSet<String>, StoreError> {
        let sql = "UPDATE feedback SET counts = 0 WHERE counts = 1 AND (?1 IS NULL OR rule = ?1) RETURNING rule";
        self.write(|transaction, _| transaction.prepare_cached(sql)?.query_map([rule], |row| row.get(0))?.collect())
    }
}

/// What was said of alerts that are forgotten goes with them.
pub(super) fn forget(transaction: &Transaction<'_>, alerts: &BTreeSet<String>) -> rusqlite::Result<()> {
    let ids = serde_json::to_string(alerts).expect("ids can be written as JSON");
    let sql = "DELETE FROM feedback WHERE alert IN (SELECT value FROM json_each(?1))";
    transaction.prepare_cached(sql)?.execute([ids]).map(drop)
}

/// Deletes what is older than [`KEPT`].
pub(super) fn enforce(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let oldest = to_nanos(clock::after(now, -KEPT));
    transaction.prepare_cached("DELETE FROM feedback WHERE time < ?1")?.execute([oldest]).map(drop)
}

fn feedback(row: &Row<'_>) -> rusqlite::Result<AlertFeedback> {
    let verdict = serde_json::from_value(row.get::<_, String>(2)?.into()).map_err(|source| unreadable(2, source))?;
    Ok(AlertFeedback {
        alert: id(row, 0)?,
        rule: row.get(1)?,
        verdict,
        time: from_nanos(row.get(3)?),
        probability: row.get(4)?,
        rule_version: row.get(5)?,
        counts: row.get(6)?,
    })
}
