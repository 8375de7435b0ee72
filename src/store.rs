//! The transcript, what was derived from it, and the outbox, in one SQLite database; `transcript.jsonl` beside it.
//!
//! Every SQL statement of hearth is in this module. What a caller hands over together is one transaction: an utterance is never on disk
//! without the message about it, or the other way round.
//!
//! One [`Store`] is one connection, and each thread opens its own. SQLite's write-ahead log lets them read beside one writer;
//! writers wait for each other.

mod columns;
mod day;
mod error;
mod feedback;
mod forgetting;
mod heard;
mod history;
mod inbox;
mod lock;
mod outbox;
mod provenance;
mod recent;
mod retention;
mod routes;
mod schema;
mod text_tables;
mod transcript;
pub mod transcript_jsonl;
mod voices;

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use rustix::fs::{Access, access};
use tracing::warn;

pub use error::StoreError;
pub(crate) use forgetting::Forgotten;
pub use forgetting::UnreadableNote;
pub use history::{HistoryEntry, HistoryRange};
pub(crate) use lock::Lock;
pub use routes::OutboxRoutes;
pub use transcript::{ListenerTurn, TranscriptQuery};
pub use voices::SpeakerRecord;

use crate::percent_encode;
use error::{BUSY, fault};

const FILE: &str = "hearth.db";

/// The limits of the outbox.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutboxLimits {
    /// At most so many bytes of topics and payloads; the oldest messages are dropped first.
    pub outbox_max_bytes: u64,
    /// How long a message may wait.
    pub outbox_max_age: SignedDuration,
}

impl From<&crate::config::StoreConfig> for OutboxLimits {
    fn from(config: &crate::config::StoreConfig) -> Self {
        Self {
            outbox_max_bytes: u64::from(config.outbox_max_mib) << 20,
            outbox_max_age: SignedDuration::from_hours(24 * i64::from(config.outbox_max_days.get())),
        }
    }
}

/// How messages are put into the outbox.
#[derive(Clone, Debug)]
struct OutboxSettings {
    /// Of each destination.
    limits: OutboxLimits,
    routes: OutboxRoutes,
}

/// One connection to `hearth.db`.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Device and number of the file that is open.
    file: (u64, u64),
    settings: OutboxSettings,
    /// What is stored is heard now: see `heard`.
    live: bool,
}

impl Store {
    /// Opens `hearth.db` in `dir`, making both when there are none: the directory for this user alone, the file too.
    ///
    /// # Errors
    /// When the directory cannot be made or written, the file is no database, not hearth's, damaged or from a newer hearth.
    pub fn open(dir: &Path, settings: OutboxLimits) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| StoreError::Directory { path: dir.into(), source })?;
        make(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(|source| fault(&path, source))?;
        connection.busy_timeout(BUSY).map_err(|source| fault(&path, source))?;
        let file = identity(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let mut store = Self::of(connection, path, file, settings);
        // SQLite does not wait while another connection turns a new file into a WAL file: it says "locked" at once.
        let begun = Instant::now();
        loop {
            match schema::prepare(&mut store) {
                Ok(()) => return Ok(store),
                Err(StoreError::Locked { .. }) if begun.elapsed() < BUSY => thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(error),
            }
        }
    }

    fn of(connection: Connection, path: PathBuf, file: (u64, u64), limits: OutboxLimits) -> Self {
        let settings = OutboxSettings { limits, routes: OutboxRoutes::default() };
        Self { connection, path, file, settings, live: false }
    }

    /// What is stored from now on goes to these webhooks, too.
    pub(crate) fn with_routes(mut self, routes: OutboxRoutes) -> Self {
        self.settings.routes = routes;
        self
    }

    /// Opens `hearth.db` in `dir` for reading, beside a daemon that may write it: nothing is created or changed.
    ///
    /// # Errors
    /// There is no database, it is not hearth's, or of a newer hearth.
    pub fn open_read_only(dir: &Path, settings: OutboxLimits) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let file = identity(&path).map_err(|source| StoreError::Absent { path: path.clone(), source })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(|source| fault(&path, source))?;
        connection.busy_timeout(BUSY).map_err(|source| fault(&path, source))?;
        let store = Self::of(connection, path, file, settings);
        schema::check_owner(&store)?;
        Ok(store)
    }

    /// Looks whether [`Store::open`] would open the database in `dir`, or make one. Nothing is made or changed, and no file is left. True
    /// if there is one.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn inspect(dir: &Path, settings: OutboxLimits) -> Result<bool, StoreError> {
        let writable = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
        let path = dir.join(FILE);
        if Self::is_new_in(dir) {
            let exists = dir.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
            let fault = match exists.is_dir() {
                true => writable(exists).err().map(std::io::Error::from),
                false => Some(ErrorKind::NotADirectory.into()),
            };
            return fault.map_or(Ok(false), |source| Err(StoreError::Directory { path: dir.into(), source }));
        }
        writable(dir).map_err(|source| StoreError::Directory { path: dir.into(), source: source.into() })?;
        access(&path, Access::READ_OK | Access::WRITE_OK)
            .map_err(|source| StoreError::Open { path: path.clone(), source: source.into() })?;
        let name = path.to_str().filter(|_| !dir.join(format!("{FILE}-wal")).exists());
        // Somebody has it open, or had: its other files are there already.
        let Some(name) = name else { return Self::open_read_only(dir, settings).map(|_| true) };
        // A database that nobody has open is read as it lies; else SQLite would make its other files, and leave them.
        let uri = format!("file:{}?immutable=1", percent_encode::encode(name));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri, flags).map_err(|source| fault(&path, source))?;
        let file = identity(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        schema::check_owner(&Self::of(connection, path, file, settings))?;
        Ok(true)
    }

    /// Whether opening a database in `dir` will make a new one, though there may be an empty file.
    pub(crate) fn is_new_in(dir: &Path) -> bool {
        /// Every database begins with a header of so many bytes.
        const HEADER: u64 = 100;
        match std::fs::metadata(dir.join(FILE)) {
            Ok(file) => file.len() < HEADER,
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    /// Whether there is a database in `dir` that this user can see.
    pub(crate) fn exists_in(dir: &Path) -> bool {
        dir.join(FILE).is_file()
    }

    /// Whether the utterances that are stored here are heard now, by a microphone: then the time since boot is noted. The speech of a
    /// file is as old as its own times.
    pub fn hears_live(&mut self, live: bool) {
        self.live = live;
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file that is open still has its name. SQLite goes on writing into a file that was removed.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn check_in_place(&self) -> Result<(), StoreError> {
        match identity(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Ok(()),
            _ => Err(StoreError::Removed { path: self.path.clone() }),
        }
    }

    /// A number that changes when another connection has changed the database.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn version(&self) -> Result<i64, StoreError> {
        self.read(|connection| connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0)))
    }

    /// The value that [`Store::set_note`] stored under `key`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn note(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()
        })
    }

    /// Stores a small value under `key`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn set_note(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.write(|transaction, _| set_meta(transaction, key, value))
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        ask(&self.connection).map_err(|source| fault(&self.path, source))
    }

    /// Runs one transaction, which is durable when this returns. It takes the write lock at its start, because SQLite refuses a
    /// reader that becomes a writer after another one wrote.
    fn write<T>(
        &mut self,
        act: impl FnOnce(&Transaction<'_>, &OutboxSettings) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Self { connection, path, settings, .. } = self;
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = act(&transaction, settings)?;
            transaction.commit()?;
            Ok(value)
        };
        let done = run().map_err(|source| fault(path, source));
        // What is in a file without a name is lost, and must not count as stored.
        self.check_in_place()?;
        done
    }
}

/// Makes the file if there is none, for this user alone: SQLite gives its other two files the mode of this one. A file that is there is not
/// opened: closing it would release the locks of every connection that this process has, and the next program that reads the database
/// would remove the write-ahead log beside it, with all that is stored from then on.
fn make(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(access(path, Access::READ_OK | Access::WRITE_OK)?),
        made => made.map(drop),
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

fn set_meta(transaction: &Transaction<'_>, key: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO meta(key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute(params![key, value])
        .map(drop)
}

/// Nanoseconds since the epoch, as stored. The largest is in the year 2262; later times are stored as that.
fn to_nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(if time.as_nanosecond() < 0 { i64::MIN } else { i64::MAX })
}

fn from_nanos(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).expect("the years 1677 to 2262 are within the calendar")
}

/// Logs that messages were dropped because the outbox was full; the count is stored with the outbox.
fn log_dropped(path: &Path, dropped: u64) {
    if dropped > 0 {
        warn!(dropped, path = %path.display(), "the outbox is full: its oldest messages were dropped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> OutboxLimits {
        OutboxLimits::from(&crate::config::StoreConfig::default())
    }

    /// Locks on a file as the kernel lists them.
    fn locks_on(path: &Path) -> usize {
        let file = format!(":{}", std::fs::metadata(path).unwrap().ino());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().filter(|lock| lock.split_whitespace().any(|field| field.ends_with(&file))).count()
    }

    #[test]
    fn the_database_stays_locked_however_often_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path(), limits()).unwrap();
        let held = locks_on(first.path());
        assert_ne!(held, 0, "another program that closes the database must see that it is in use");
        let second = Store::open(dir.path(), limits()).unwrap();
        assert_ne!(locks_on(second.path()), 0, "the second connection released the lock of the first");
        drop(second);
        assert_eq!(locks_on(first.path()), held);
    }
}
