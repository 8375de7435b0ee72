//! `transcript.jsonl` follows the database.

use std::path::Path;

use hearth::config::Keep;
use hearth::store::transcript_jsonl::TranscriptJsonl;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::*;

fn seqs(path: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_i64().unwrap()).collect()
}

#[test]
fn transcript_jsonl_is_repaired_and_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("transcript.jsonl");
    let mut store = open(dir.path());
    let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    for n in 0..3 {
        store.record_utterance(&utterance(n, "hello"), &[]).unwrap();
        lines.follow(&store).unwrap();
    }
    drop(lines);
    for torn in ["{\"seq\":3,\"id\":\"01", "\0\0\0\0\n\0\0", "{\"seq\":3}\n"] {
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{torn}")).unwrap();
        store.record_utterance(&utterance(9, "more"), &[]).unwrap();
        let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
        lines.follow(&store).unwrap();
        lines.follow(&store).unwrap();
        assert_eq!(seqs(&path), (1..=store.newest().unwrap()).collect::<Vec<_>>());
    }
}

#[test]
fn transcript_jsonl_rotates_daily_and_reopens_after_a_move() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        |n: usize| dir.path().join(if n == 0 { "transcript.jsonl".into() } else { format!("transcript.jsonl.{n}") });
    let mut store = open(dir.path());
    let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    for day in 0..10 {
        store.record_utterance(&utterance(86_400 * day, "good morning"), &[]).unwrap();
        lines.follow(&store).unwrap();
        lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    }
    assert_eq!(seqs(&file(0)), [10]);
    assert_eq!((seqs(&file(1)), seqs(&file(7))), (vec![9], vec![3]));
    assert!(!file(8).exists());

    std::fs::rename(file(0), dir.path().join("elsewhere")).unwrap();
    lines.reopen().unwrap();
    store.record_utterance(&utterance(86_400 * 9 + 1, "again"), &[]).unwrap();
    lines.follow(&store).unwrap();
    assert_eq!(seqs(&file(0)), [11]);

    lines.enforce(Timestamp::now() + SignedDuration::from_hours(24 * 3_000), Keep::Days(30)).unwrap();
    assert_eq!(seqs(&file(0)), Vec::<i64>::new());
    assert!((1..=7).all(|n| !file(n).exists()));
    store.record_utterance(&utterance(86_400 * 9 + 2, "still here"), &[]).unwrap();
    lines.follow(&store).unwrap();
    assert_eq!(seqs(&file(0)), [12]);
    TranscriptJsonl::remove(dir.path()).unwrap();
    assert!(!file(0).exists());
}

#[test]
fn transcript_jsonl_follows_a_new_database_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    for n in 0..5 {
        store.record_utterance(&utterance(n, "before"), &[]).unwrap();
    }
    lines.follow(&store).unwrap();
    drop(store);
    for name in ["hearth.db", "hearth.db-wal", "hearth.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    let mut store = open(dir.path());
    store.record_utterance(&utterance(100, "after"), &[]).unwrap();
    TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap().follow(&store).unwrap();
    assert_eq!(seqs(&dir.path().join("transcript.jsonl")), [1, 2, 3, 4, 5, 1]);
}
