//! What messages quote that were stored before messages said so themselves.
//!
//! Used once, when such a database is opened: it reads the payloads that hearth wrote until then. Nothing else finds out what a
//! message quotes by reading its payload. It would rather take a message for one that quotes than miss one.

use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde_json::{Value, json};
use ulid::Ulid;

use super::outbox::QuotedColumns;
use crate::event::{Provenance, Quoted};

/// What stood in a summary that was forgotten.
const FORGOTTEN: &str = "What was said then was forgotten.";

/// Fills in the provenance of every message that is stored.
pub(super) fn fill(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for table in ["outbox", "retained"] {
        let key = if table == "outbox" { "seq" } else { "topic" };
        let rows: Vec<(rusqlite::types::Value, String)> = transaction
            .prepare(&format!("SELECT {key}, payload FROM {table}"))?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let sql =
            format!("UPDATE {table} SET quoted_sources = ?2, quoted_until = ?3, replacement = ?4 WHERE {key} = ?1");
        let mut update = transaction.prepare(&sql)?;
        for (key, payload) in rows {
            let provenance = of(&payload);
            let columns = QuotedColumns::of(&provenance);
            update.execute(params![key, columns.sources, columns.until, columns.replacement])?;
        }
    }
    Ok(())
}

/// What a payload quotes. Empty ones, and those of gaps and of settings, quote nothing.
fn of(payload: &str) -> Provenance {
    let Ok(payload) = serde_json::from_str::<Value>(payload) else { return Provenance::Nothing };
    let has = |field: &str| !payload[field].is_null();
    let quotes = has("answer") || payload["evidence"].as_array().is_some_and(|all| !all.is_empty());
    let is_response = has("command") && has("status");
    let is_alert = has("event_type");
    let is_rule = has("state") && has("rule");
    let is_summary = has("words") && has("text");
    if !(is_response || is_alert || (is_rule && quotes) || has("text")) {
        return Provenance::Nothing;
    }
    let time = |field: &str| payload[field].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    // A summary may be made later than what it tells of; one without any time goes with whatever is forgotten first.
    let until = if is_summary { time("to").or(time("time")) } else { time("time") }.unwrap_or(Timestamp::MAX);
    let mut sources = Vec::new();
    collect_ids(&payload, &mut sources);
    let replacement = if is_rule && !is_alert {
        let mut at_rest = payload.clone();
        at_rest["state"] = "OFF".into();
        at_rest["answer"] = Value::Null;
        at_rest["probability"] = Value::Null;
        at_rest["evidence"] = json!([]);
        Some(at_rest.to_string())
    } else if is_summary && !is_response {
        let mut without_words = payload.clone();
        without_words["text"] = FORGOTTEN.into();
        without_words["words"] = 0.into();
        Some(without_words.to_string())
    } else {
        None
    };
    Provenance::Speech(Quoted { sources, until, replacement })
}

/// Every id that stands anywhere in a payload.
fn collect_ids(payload: &Value, found: &mut Vec<Ulid>) {
    match payload {
        Value::String(text) => found.extend(Ulid::from_string(text).ok()),
        Value::Array(items) => items.iter().for_each(|item| collect_ids(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect_ids(field, found)),
        _ => {}
    }
}
