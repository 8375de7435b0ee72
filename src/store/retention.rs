//! What is forgotten, and when.
//!
//! Owns the rule that text goes. Invariant: an utterance the listener has not read is never forgotten, and a message is
//! never forgotten with the text it tells of: it leaves by the outbox.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Transaction, params};

use super::{Store, StoreError, outbox, tell_dropped, to_nanos};
use crate::clock;
use crate::config::Keep;

impl Store {
    /// Forgets the text that `keep` no longer allows at `now`, of utterances up to `processed`, and messages that waited too
    /// long. Returns how many rows of text went.
    ///
    /// The outbox holds its own copy of what it has to tell, so with [`Keep::Nothing`] the transcript goes as soon as it
    /// was read; a message's text goes with its acknowledgement. The newest message of each retained topic stays: it is
    /// what the house shows now, and the broker holds it too.
    pub fn enforce(&mut self, now: Timestamp, keep: Keep, processed: i64) -> Result<u64, StoreError> {
        let before = match keep {
            Keep::Forever => None,
            Keep::Days(days) => Some(clock::after(now, SignedDuration::from_hours(-24 * i64::from(days)))),
            Keep::Nothing => Some(Timestamp::MAX),
        };
        let (forgotten, dropped) = self.write(|transaction, settings| {
            let forgotten = match before {
                Some(before) => forget(transaction, to_nanos(before), processed)?,
                None => 0,
            };
            let dropped = outbox::bound_age(transaction, clock::after(now, -settings.outbox_max_age))?;
            Ok((forgotten, dropped))
        })?;
        tell_dropped(&self.path, dropped);
        if forgotten > 0 {
            self.erase()?;
        }
        Ok(forgotten)
    }

    /// Text that was deleted is still in the write-ahead log: empties it, and gives free pages back. Waits for readers as for
    /// a writer; one that is still in the middle of a question then holds the log, and the next time will do.
    pub fn erase(&self) -> Result<(), StoreError> {
        let held = self.read(|connection| {
            connection.execute_batch("PRAGMA incremental_vacuum")?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        })?;
        if held { Err(StoreError::Locked { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Whether the write-ahead log may hold text.
    pub fn is_erased(&self) -> bool {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        std::fs::metadata(log).map_or(true, |log| log.len() == 0)
    }
}

fn forget(transaction: &Transaction<'_>, before: i64, processed: i64) -> rusqlite::Result<u64> {
    let mut rows = transaction
        .prepare_cached(r#"DELETE FROM utterance WHERE "end" < ?1 AND seq <= ?2"#)?
        .execute(params![before, processed])?;
    for sql in [
        r#"DELETE FROM gap WHERE "end" < ?1"#,
        "DELETE FROM digest WHERE time < ?1",
        "DELETE FROM alert WHERE time < ?1",
    ] {
        rows += transaction.prepare_cached(sql)?.execute([before])?;
    }
    Ok(rows as u64)
}
