//! Values of columns: what several tables write and read in the same way.

use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type};
use serde::Serialize;
use ulid::Ulid;

pub(super) fn id(row: &Row<'_>, at: usize) -> rusqlite::Result<Ulid> {
    let text: String = row.get(at)?;
    Ulid::from_str(&text).map_err(|source| unreadable(at, source))
}

/// A column whose text is not what this version writes there.
pub(super) fn unreadable(at: usize, source: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, FromSqlError::other(source).into())
}

/// The name an enum has in JSON, which is also its name in the database.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("reasons, phases and severities are written as one word"),
    }
}

/// A number of rows, as SQLite takes it.
pub(super) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
