//! Everything a hearth keeps on the disk, and how each of it forgets. A file, or a note in the database, that is not in the tables below
//! fails the tests: whoever adds one says here how it forgets. Tables and columns of the database are listed in
//! `src/store/text_tables.rs`, what is shown live in `src/live.rs`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::harness::{Hearth, clip, config};
use super::mosquitto::{Mosquitto, Subscriber};

/// Files of a state directory, by their name without what differs, and how each forgets.
const FILES: [(&str, &str); 10] = [
    ("hearth.db", "every table that keeps text is a TextTable; deleted rows are overwritten (secure_delete)"),
    ("hearth.db-wal", "emptied after each deletion (Store::erase)"),
    ("hearth.db-shm", "an index into the write-ahead log; no text"),
    ("hearth.lock", "empty"),
    ("hearth.sock", "a socket"),
    ("page.token", "a random word"),
    ("transcript.jsonl", "retention::copies::TranscriptFile"),
    ("transcript.jsonl.N", "retention::copies::TranscriptFile"),
    ("snapshots/TIME.snapshot", "retention::copies::Snapshots"),
    ("snapshots/rooms/ROOM/TIME.snapshot", "retention::copies::Snapshots"),
];

/// Notes in the table `meta`, and what stands in them. None holds words of anybody.
const NOTES: [(&str, &str); 14] = [
    ("announced", "names of entities that Home Assistant knows"),
    ("clock", "when the clock was last trusted"),
    ("forgetting", "numbers, times and ids of what must still be forgotten"),
    ("forgetting_beside", "the same"),
    ("forgetting_complete", "a time"),
    ("gathered_topics", "topics from the config"),
    ("interval", "minutes"),
    ("memory", "numbers, times and ids; the listener forgets in it what it forgets in memory"),
    ("muted", "yes, no, or times of a pause"),
    ("packet_limit", "the broker's address and a number"),
    ("processed", "a number"),
    ("state_since", "a time"),
    ("topics", "topics from the config"),
    ("voices", "the number of the last voice without a name"),
];

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files_below(&entry, found);
        } else {
            found.push(entry);
        }
    }
}

/// The name of a file as [`FILES`] has it.
fn kind(file: &Path) -> String {
    let parts: Vec<&str> = file.iter().map(|part| part.to_str().unwrap()).collect();
    let is_time = |name: &str| name.starts_with("20") && name.contains('T') && name.ends_with("Z.snapshot");
    match parts[..] {
        ["snapshots", name] if is_time(name) => "snapshots/TIME.snapshot".into(),
        ["snapshots", "rooms", _, name] if is_time(name) => "snapshots/rooms/ROOM/TIME.snapshot".into(),
        [name] => match name.strip_prefix("transcript.jsonl.") {
            Some(number) if number.parse::<u8>().is_ok() => "transcript.jsonl.N".into(),
            _ => name.into(),
        },
        _ => file.display().to_string(),
    }
}

fn check_files(state: &Path) {
    let mut files = Vec::new();
    files_below(state, &mut files);
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        let kind = kind(file.strip_prefix(state).unwrap());
        let known = FILES.iter().any(|(name, _)| *name == kind);
        assert!(known, "{}: how does it forget? Say so in FILES", file.display());
    }
}

fn check_notes(state: &Path) {
    let database = rusqlite::Connection::open(state.join("hearth.db")).unwrap();
    let mut select = database.prepare("SELECT key, value FROM meta").unwrap();
    let notes: Vec<(String, rusqlite::types::Value)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert!(notes.len() >= 3, "{notes:?}");
    for (key, value) in &notes {
        assert!(NOTES.iter().any(|(name, _)| name == key), "the note {key}: how does it forget? Say so in NOTES");
        let text = format!("{value:?}").to_lowercase();
        for word in ["dinner", "somebody", "kitchen table"] {
            assert!(!text.contains(word), "the note {key} quotes what was said: {text}");
        }
    }
}

#[test]
fn every_file_and_note_of_a_state_directory_says_how_it_forgets() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let state = dir.path().join("state");
    // A room with a state of its own, a page, and a broker.
    let more = "[listener]\nstates = \"room\"\n[page]\nlisten = \"127.0.0.1:0\"";
    let text = config(&clip(dir.path(), 20), "fast", &format!("mqtt://{}", broker.address), more)
        .replace("pace = \"fast\"\n", "pace = \"fast\"\nroom = \"hall\"\n");
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    let hearth = Hearth::run(dir.path(), &text);
    listener.wait_for("the birth", |h| h.topic == "hearth/home/status" && h.payload.contains("online"));
    check_files(&state);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    check_files(&state);
    check_notes(&state);
    assert!(state.join("snapshots/rooms/hall").is_dir(), "a state for each room");
}

#[test]
fn a_house_without_a_listener_keeps_no_more_than_one_with() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let url = format!("mqtt://{}", broker.address);
    let text = config(&clip(dir.path(), 12), "fast", &url, "[listener]\nenabled = false");
    let hearth = Hearth::run_with(dir.path(), &text, Stdio::null());
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    check_files(&dir.path().join("state"));
    check_notes(&dir.path().join("state"));
}
