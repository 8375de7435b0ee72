//! The deletion of rows that are too old.
//!
//! An utterance that the listener has not read is never deleted. Messages have an age limit of their own: they do not go with the
//! text they tell of.

use jiff::{SignedDuration, Timestamp};

use super::text_tables::{Aged, RowAgeLimit, TEXT_TABLES};
use super::{Store, StoreError, feedback, log_dropped, to_nanos};
use crate::clock;
use crate::config::Keep;

impl Store {
    /// Deletes the text that `keep` no longer allows at `now`, of utterances up to `processed`, and messages that waited too long.
    /// Returns how many rows of text were deleted.
    ///
    /// The outbox holds its own copy of what it has to tell, so with [`Keep::Nothing`] the transcript goes as soon as it
    /// was read; a message's text goes with its acknowledgement. The newest message of each retained topic stays: it is
    /// what others show now, and the broker holds it too.
    pub fn enforce(&mut self, now: Timestamp, keep: Keep, processed: i64) -> Result<u64, StoreError> {
        let before = match keep {
            Keep::Forever => None,
            Keep::Days(days) => Some(clock::after(now, SignedDuration::from_hours(-24 * i64::from(days)))),
            Keep::Nothing => Some(Timestamp::MAX),
        };
        let aged = self.write(|transaction, settings| {
            let limit = RowAgeLimit {
                text_before: before.map_or(i64::MIN, to_nanos),
                read: processed,
                messages_before: clock::after(now, -settings.limits.outbox_max_age),
            };
            let mut aged = Aged::default();
            for table in TEXT_TABLES {
                table.enforce(transaction, &limit, &mut aged)?;
            }
            feedback::enforce(transaction, now)?;
            Ok(aged)
        })?;
        log_dropped(&self.path, aged.messages);
        if aged.text > 0 {
            self.erase()?;
        }
        Ok(aged.text)
    }

    /// Text that was deleted is still in the write-ahead log: empties it, and gives free pages back. Waits for readers as for
    /// a writer; one that is still in the middle of a question then holds the log, and the next time will do.
    pub(crate) fn erase(&self) -> Result<(), StoreError> {
        let held = self.read(|connection| {
            connection.execute_batch("PRAGMA incremental_vacuum")?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        })?;
        if held { Err(StoreError::Locked { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Whether the write-ahead log may hold text.
    pub(crate) fn is_erased(&self) -> bool {
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        std::fs::metadata(log).map_or(true, |log| log.len() == 0)
    }
}
