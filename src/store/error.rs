//! Why something could not be stored or read. Each message says what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

/// How long a writer waits for another: longer than the slowest SD card takes to make a large transaction durable.
pub(super) const BUSY: Duration = Duration::from_secs(15);

/// Why something could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} cannot be made: {source}; choose another [store] dir, or make it writable", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{} cannot be opened for writing: {source}; make it and its directory writable for this user", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{} cannot be read: {source}; name the config of a hearth that has run, with --config, or ask as root about the service", path.display())]
    Absent { path: PathBuf, source: std::io::Error },
    #[error("{} is held: another hearth runs with this state directory; stop it, or set another [store] dir", path.display())]
    InUse { path: PathBuf },
    #[error("{} is no hearth database; move it away and start again: a new one is made", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "{} was written by a newer hearth (schema {found}, this one knows {known}); install that hearth again, or move the \
         file away and start with an empty one",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{} was written by an older hearth (schema {found}, this one knows {known}); start this hearth once: it brings the file up to date",
        path.display()
    )]
    Older { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{} is damaged: {source}; save what can be saved with `sqlite3 {} .recover`, move it away and start again: a new \
         one is made",
        path.display(), path.display()
    )]
    Damaged { path: PathBuf, source: rusqlite::Error },
    #[error("the disk that holds {} is full; free some space: nothing that was stored is lost", path.display())]
    Full { path: PathBuf },
    #[error(
        "{} was removed or replaced while hearth ran: nothing can be stored in it any more; hearth ends, and the next \
         start uses what is there then",
        path.display()
    )]
    Removed { path: PathBuf },
    #[error("{} cannot be written: {source}; make it and its directory writable for this user", path.display())]
    ReadOnly { path: PathBuf, source: rusqlite::Error },
    #[error(
        "{} cannot be read or written: {source}; the disk fails, or the system made it read-only after a fault: see `dmesg`, and \
         check the card",
        path.display()
    )]
    Failing { path: PathBuf, source: rusqlite::Error },
    #[error("{} is locked by another program for longer than {} s; close that program", path.display(), BUSY.as_secs())]
    Locked { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("{}: {doing}: {source}; check the disk and the permissions of its directory", path.display())]
    Lines { path: PathBuf, doing: &'static str, source: std::io::Error },
}

impl StoreError {
    /// Says whether trying again later can help without anybody touching the database: space is made, a card is mounted
    /// for writing again.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Failing { .. } | Self::Locked { .. } | Self::Lines { .. }
        )
    }
}

/// Turns an error of SQLite into one that says what to do.
pub(super) fn fault(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { path },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, source },
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            StoreError::ReadOnly { path, source }
        }
        // Also when a file system became read-only after a fault, while the file was open.
        Some(ErrorCode::SystemIoFailure) => StoreError::Failing { path, source },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { path },
        _ => StoreError::Sqlite { path, source },
    }
}
