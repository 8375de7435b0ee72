//! Files that cannot be used: foreign, newer, damaged, in a directory that cannot be made.

use std::path::Path;

use hearth::store::transcript_jsonl::TranscriptJsonl;
use hearth::store::{Store, StoreError};
use jiff::tz::TimeZone;

use crate::*;

#[test]
fn a_file_that_is_no_database_or_not_ours_or_newer_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hearth.db");
    let refusal = || {
        let error = Store::open(dir.path(), ROOMY).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(!error.may_pass());
        error.to_string()
    };

    std::fs::write(&path, "this is a letter, not a database; ".repeat(200)).unwrap();
    assert!(refusal().contains("is no hearth database; move it away"));

    std::fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE photo(name TEXT)").unwrap();
    drop(other);
    assert!(refusal().contains("is no hearth database"));
    let other = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    drop(other);

    std::fs::remove_file(&path).unwrap();
    drop(open(dir.path()));
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(refusal().contains("written by a newer hearth (schema 99, this one knows 11)"));
}

#[test]
fn a_database_from_before_there_were_rooms_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).record_utterance(&utterance(0, "good morning"), &[]).unwrap();
    let older = rusqlite::Connection::open(dir.path().join("hearth.db")).unwrap();
    older
        .execute_batch(
            "DROP TRIGGER outbox_more; DROP TRIGGER outbox_less; DROP INDEX outbox_destination; DROP INDEX outbox_latest; DROP TABLE outbox_total;
             ALTER TABLE outbox DROP COLUMN destination; CREATE INDEX outbox_latest ON outbox(topic) WHERE retain = 1;
             CREATE TABLE outbox_total(one INTEGER PRIMARY KEY CHECK (one = 1), messages INTEGER NOT NULL, bytes INTEGER NOT NULL, dropped INTEGER NOT NULL) STRICT;
             INSERT INTO outbox_total VALUES (1, 0, 0, 3);
             CREATE TRIGGER outbox_more AFTER INSERT ON outbox BEGIN SELECT 1; END;
             CREATE TRIGGER outbox_less AFTER DELETE ON outbox BEGIN SELECT 1; END;",
        )
        .unwrap();
    older
        .execute_batch(
            "DROP TABLE voice; DROP TABLE enrolled_voice;
             ALTER TABLE utterance DROP COLUMN speaker; ALTER TABLE utterance DROP COLUMN speaker_confidence;
             ALTER TABLE inbox DROP COLUMN speaker; ALTER TABLE inbox DROP COLUMN speaker_confidence;",
        )
        .unwrap();
    for table in ["outbox", "retained"] {
        for column in ["quoted_sources", "quoted_until", "replacement"] {
            older.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
        }
    }
    older
        .execute_batch(
            "ALTER TABLE gap DROP COLUMN room; ALTER TABLE digest DROP COLUMN room; ALTER TABLE digest DROP COLUMN sentences; ALTER TABLE alert DROP COLUMN room; DROP TABLE inbox; DROP TABLE arrival; DROP TABLE feedback; DROP TABLE forgotten; DROP TRIGGER utterance_heard; DROP TABLE heard;
             PRAGMA user_version = 1",
        )
        .unwrap();
    older.execute("INSERT INTO gap VALUES (1, 'x', 0, 1, 'muted')", []).unwrap();
    assert_eq!(open(dir.path()).waiting().unwrap().dropped, 3);
    let room: String = older.query_row("SELECT room FROM gap", [], |row| row.get(0)).unwrap();
    assert_eq!(room, utterance(0, "").room);
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for n in 0..200 {
        store.record_utterance(&utterance(n, &"word ".repeat(50)), &[message("u", n)]).unwrap();
    }
    drop(store);
    let path = dir.path().join("hearth.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let size = bytes.len();
    bytes[4096..size].fill(0x55);
    std::fs::write(&path, &bytes).unwrap();
    let error = Store::open(dir.path(), ROOMY)
        .and_then(|mut store| store.record_utterance(&utterance(0, "x"), &[message("u", 0)]))
        .unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("is damaged") && error.to_string().contains(".recover"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap().len(), size);
}

#[test]
fn the_error_names_a_directory_that_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file/below"), ROOMY).unwrap_err();
    assert!(error.to_string().contains("file/below") && error.to_string().contains("[store] dir"), "{error}");
}

#[test]
fn only_this_user_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let house = dir.path().join("house");
    let mut store = open(&house);
    store.record_utterance(&utterance(0, "hello"), &[]).unwrap();
    TranscriptJsonl::open(&house, TimeZone::UTC).unwrap().follow(&store).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&house), 0o700);
    let files: Vec<_> = std::fs::read_dir(&house).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
