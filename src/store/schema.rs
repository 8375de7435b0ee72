//! The tables, and how an older database is brought up to date.
//!
//! A migration is never changed once it was released; a new one is added. They are run here and not by `rusqlite_migration`: it reads
//! the version outside of the transaction, so two threads that open a new database at once would both create the tables, and it needs
//! an older rusqlite.

use rusqlite::{Connection, TransactionBehavior};

use super::{Store, StoreError, fault, provenance};

/// "hrth", in the header of the file: it is hearth's.
const APPLICATION: i64 = 0x6872_7468;

/// Step i takes a database from version i to i + 1. Times are nanoseconds since the epoch.
const MIGRATIONS: &[&str] = &[
    r#"
CREATE TABLE utterance(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    room TEXT NOT NULL,
    text TEXT NOT NULL,
    confidence REAL NOT NULL,
    no_speech REAL NOT NULL
) STRICT;
CREATE INDEX utterance_end ON utterance("end");

CREATE VIRTUAL TABLE word USING fts5(text, content='utterance', content_rowid='seq', tokenize='unicode61 remove_diacritics 2');
INSERT INTO word(word, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER utterance_said AFTER INSERT ON utterance BEGIN
    INSERT INTO word(rowid, text) VALUES (new.seq, new.text);
END;
CREATE TRIGGER utterance_forgotten AFTER DELETE ON utterance BEGIN
    INSERT INTO word(word, rowid, text) VALUES ('delete', old.seq, old.text);
END;

CREATE TABLE gap(
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE TABLE digest(
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, time INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    reason TEXT NOT NULL, words INTEGER NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE TABLE alert(
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, time INTEGER NOT NULL, rule TEXT NOT NULL, phase TEXT NOT NULL,
    severity TEXT NOT NULL, probability REAL, answer TEXT, evidence TEXT NOT NULL
) STRICT;

-- A seq is never used twice, so an acknowledgement that comes late can only remove what it was meant for.
CREATE TABLE outbox(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    retain INTEGER NOT NULL,
    created INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_latest ON outbox(topic) WHERE retain = 1;
CREATE TABLE outbox_total(one INTEGER PRIMARY KEY CHECK (one = 1), messages INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL) STRICT;
INSERT INTO outbox_total VALUES (1, 0, 0, 0);
CREATE TRIGGER outbox_more AFTER INSERT ON outbox BEGIN
    UPDATE outbox_total SET messages = messages + 1, bytes = bytes + new.bytes;
END;
CREATE TRIGGER outbox_less AFTER DELETE ON outbox BEGIN
    UPDATE outbox_total SET messages = messages - 1, bytes = bytes - old.bytes;
END;

CREATE TABLE retained(topic TEXT PRIMARY KEY, payload TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
"#,
    // Gaps from before there were rooms are those of the one room there was; its name stands in every utterance.
    r#"
ALTER TABLE gap ADD COLUMN room TEXT NOT NULL DEFAULT '';
UPDATE gap SET room = coalesce((SELECT room FROM utterance ORDER BY seq DESC LIMIT 1), '');
"#,
    // What waits to be put in the order of its time, and what came from other machines.
    r#"
CREATE TABLE inbox(
    id TEXT PRIMARY KEY, start INTEGER NOT NULL, "end" INTEGER NOT NULL, room TEXT NOT NULL, text TEXT NOT NULL,
    confidence REAL NOT NULL, no_speech REAL NOT NULL, arrived INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE arrival(id TEXT PRIMARY KEY, time INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE false_alarm(alert TEXT PRIMARY KEY, rule TEXT NOT NULL, time INTEGER NOT NULL, probability REAL) STRICT, WITHOUT ROWID;
"#,
    // The room whose state made a digest or an alert; none for the state of all rooms.
    r#"
ALTER TABLE digest ADD COLUMN room TEXT;
ALTER TABLE alert ADD COLUMN room TEXT;
"#,
    // When somebody asked to forget: what other machines heard then may still be on its way.
    "CREATE TABLE forgotten(since INTEGER NOT NULL, until INTEGER NOT NULL) STRICT;",
    // What each message quotes of what was said; of the messages that wait, `provenance` fills it in.
    r#"
ALTER TABLE outbox ADD COLUMN quoted_sources TEXT;
ALTER TABLE outbox ADD COLUMN quoted_until INTEGER;
ALTER TABLE outbox ADD COLUMN replacement TEXT;
ALTER TABLE retained ADD COLUMN quoted_sources TEXT;
ALTER TABLE retained ADD COLUMN quoted_until INTEGER;
ALTER TABLE retained ADD COLUMN replacement TEXT;
"#,
    // When each utterance was heard, by the time since boot: the wall clock may be set.
    r#"
CREATE TABLE heard(
    id TEXT PRIMARY KEY, seq INTEGER, boot TEXT NOT NULL, up INTEGER NOT NULL, live INTEGER NOT NULL, start INTEGER NOT NULL,
    "end" INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX heard_seq ON heard(seq);
CREATE TRIGGER utterance_heard AFTER INSERT ON utterance BEGIN
    UPDATE heard SET seq = new.seq WHERE id = new.id;
END;
"#,
    // The sentences of a digest as JSON, each with the words it rests on.
    "ALTER TABLE digest ADD COLUMN sentences TEXT NOT NULL DEFAULT '[]';",
    // What people said of alerts, also that they are true; by which version of the rule; 0 when it was reset since.
    r#"
ALTER TABLE false_alarm RENAME TO feedback;
ALTER TABLE feedback ADD COLUMN verdict TEXT NOT NULL DEFAULT 'false_alarm';
ALTER TABLE feedback ADD COLUMN rule_version TEXT;
ALTER TABLE feedback ADD COLUMN counts INTEGER NOT NULL DEFAULT 1;
"#,
    // Who said what. The voice of an utterance lies beside it and goes with it; those that a person enrolled stay until their name is
    // forgotten, but for those of an utterance that somebody asks to forget.
    r#"
ALTER TABLE utterance ADD COLUMN speaker TEXT;
ALTER TABLE utterance ADD COLUMN speaker_confidence REAL;
ALTER TABLE inbox ADD COLUMN speaker TEXT;
ALTER TABLE inbox ADD COLUMN speaker_confidence REAL;
CREATE TABLE voice(
    utterance TEXT PRIMARY KEY, speaker TEXT, model TEXT NOT NULL, embedding BLOB NOT NULL, seconds REAL NOT NULL, unity REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX voice_speaker ON voice(speaker);
CREATE TABLE enrolled_voice(
    seq INTEGER PRIMARY KEY, speaker TEXT NOT NULL COLLATE NOCASE, utterance TEXT UNIQUE, model TEXT NOT NULL, embedding BLOB NOT NULL,
    seconds REAL NOT NULL, created INTEGER NOT NULL
) STRICT;
CREATE INDEX enrolled_speaker ON enrolled_voice(speaker);
"#,
    // Where each message goes: to the broker (''), or to the webhook of that name. What waits is counted for each.
    r#"
ALTER TABLE outbox ADD COLUMN destination TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_destination ON outbox(destination, seq);
DROP INDEX outbox_latest;
CREATE INDEX outbox_latest ON outbox(topic, destination) WHERE retain = 1;
DROP TRIGGER outbox_more;
DROP TRIGGER outbox_less;
ALTER TABLE outbox_total RENAME TO former_total;
CREATE TABLE outbox_total(
    destination TEXT PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO outbox_total SELECT '', messages, bytes, dropped FROM former_total;
DROP TABLE former_total;
CREATE TRIGGER outbox_more AFTER INSERT ON outbox BEGIN
    INSERT INTO outbox_total VALUES (new.destination, 1, new.bytes, 0)
        ON CONFLICT DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER outbox_less AFTER DELETE ON outbox BEGIN
    UPDATE outbox_total SET messages = messages - 1, bytes = bytes - old.bytes WHERE destination = old.destination;
END;
"#,
];

/// The first version in which messages hold their provenance.
const PROVENANCE: i64 = 6;

/// The first version in which utterances have speakers.
const SPEAKERS: i64 = 10;

/// The columns of an utterance's speaker, of which an older database that is only read has none.
pub(super) fn speaker_columns(connection: &Connection) -> rusqlite::Result<&'static str> {
    Ok(if version(connection)? >= SPEAKERS { "speaker, speaker_confidence" } else { "NULL, NULL" })
}

/// The version this hearth writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Sets the connection up and brings the database to [`VERSION`].
pub(super) fn prepare(store: &mut Store) -> Result<(), StoreError> {
    let path = store.path.clone();
    let sql = |source| fault(&path, source);
    check_owner(store)?;
    let connection = &mut store.connection;
    // Free pages are returned to the file system bit by bit. This must be set before the first table is made.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(sql)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(sql)?;
    // In WAL mode, only FULL makes a commit survive a power failure.
    connection.pragma_update(None, "synchronous", "FULL").map_err(sql)?;
    connection.pragma_update(None, "secure_delete", "ON").map_err(sql)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(sql)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20).map_err(sql)?;
    if version(connection).map_err(sql)? < VERSION {
        migrate(connection).map_err(sql)?;
    }
    Ok(())
}

/// Refuses a file that is not hearth's, before anything in it is changed. It is one transaction, because another connection may be
/// creating the tables of a new database: all answers are from before that, or all from after.
pub(super) fn check_owner(store: &Store) -> Result<(), StoreError> {
    let path = store.path.clone();
    let (tables, application, found) = store.read(|connection| {
        let transaction = connection.unchecked_transaction()?;
        let ask = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok((ask("SELECT count(*) FROM sqlite_schema")?, ask("PRAGMA application_id")?, version(&transaction)?))
    })?;
    if application != APPLICATION && (tables > 0 || application != 0) {
        return Err(StoreError::Foreign { path });
    }
    if found > VERSION {
        return Err(StoreError::Newer { path, found, known: VERSION });
    }
    Ok(())
}

/// Refuses a database of an older hearth, which was opened for reading: it lacks tables or columns.
pub(super) fn check_current(store: &Store) -> Result<(), StoreError> {
    let found = store.read(version)?;
    if found < VERSION {
        return Err(StoreError::Older { path: store.path.clone(), found, known: VERSION });
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Runs the migrations that are missing. Two threads may open a new database at once, so the version is read under the write
/// lock.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version(&transaction)? as usize) {
        transaction.execute_batch(sql)?;
        if step as i64 + 1 == PROVENANCE {
            provenance::fill(&transaction)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
    }
    transaction.commit()
}
