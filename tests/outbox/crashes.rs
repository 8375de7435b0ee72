//! A crash loses nothing that was stored: a dropped transaction, a killed process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::*;

#[test]
fn a_transaction_that_was_not_committed_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).record_utterance(&utterance(0, "first"), &[message("u", 1)]).unwrap();
    {
        let half = rusqlite::Connection::open(dir.path().join("hearth.db")).unwrap();
        half.execute_batch("BEGIN IMMEDIATE; DELETE FROM outbox; DELETE FROM utterance;").unwrap();
        half.execute("INSERT INTO outbox(topic, payload, retain, created, bytes) VALUES ('u', 'x', 0, 0, 2)", [])
            .unwrap();
        // Dropped here, in the middle.
    }
    let store = open(dir.path());
    assert_eq!(payloads(&store), ["1"]);
    assert_eq!(store.utterances_after(0, 10).unwrap().len(), 1);
    assert_eq!(store.waiting().unwrap().messages, 1);
}

const CHILD: &str = "HEARTH_TEST_RECORD_INTO";

/// Not a test of its own: what the killed process runs.
#[test]
#[ignore = "a helper process, started by the next test"]
fn a_process_that_records_until_it_is_killed() {
    let dir = std::env::var_os(CHILD).expect("the next test sets the directory");
    let mut store = open(Path::new(&dir));
    let mut out = std::io::stdout();
    for n in 0.. {
        store.record_utterance(&utterance(n, &format!("word {n}")), &[message("u", n), retained("last", n)]).unwrap();
        writeln!(out, "\nstored {n}").unwrap();
    }
}

#[test]
fn a_process_killed_while_it_records_loses_nothing_it_had_stored() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let before = if round == 0 { 0 } else { open(dir.path()).utterances_after(0, 100_000).unwrap().len() };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "crashes::a_process_that_records_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stored = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while stored <= 20 * (round + 1) {
            if let Some(n) = lines.next().unwrap().unwrap().strip_prefix("stored ") {
                stored = n.parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let told =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("stored ").map(str::to_owned)).last();
        let told = told.and_then(|n| n.parse().ok()).unwrap_or(stored) as usize + 1;

        let store = open(dir.path());
        let utterances = store.utterances_after(0, 100_000).unwrap();
        let messages: Vec<_> = store.outbox_after(0, 100_000).unwrap();
        let events = messages.iter().filter(|(_, message)| !message.retain).count();
        assert!(utterances.len() - before >= told, "{} of {told} utterances are there", utterances.len() - before);
        assert_eq!(utterances.len(), events, "an utterance and its message are there together");
        assert_eq!(messages.iter().filter(|(_, message)| message.retain).count(), 1);
        assert_eq!(store.waiting().unwrap().messages as usize, messages.len());
        assert!(utterances.iter().zip(utterances.iter().skip(1)).all(|(a, b)| a.0 < b.0));
    }
}
