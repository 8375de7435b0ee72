//! Forgetting that was interrupted, or could not be completed: the next start, or the next request, carries it through.

use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use super::forgetting::{
    SECRET, begins, forget, furnish, holding, last_read_by_a_snapshot, leave_traces, newest_state, silent, silent_with,
    store,
};
use super::harness::HEARTH;
use super::mosquitto::{Mosquitto, Subscriber};

#[test]
fn without_a_listener_what_a_crash_left_is_carried_through_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let broker = Mosquitto::anywhere(dir.path());
    furnish(dir.path());
    leave_traces(dir.path(), &broker);
    // Killed right after the database had forgotten: the files have not followed.
    store(dir.path()).forget(Timestamp::now() - SignedDuration::from_mins(10), None).unwrap();
    assert!(holding(&state, SECRET).iter().any(|file| file.ends_with("transcript.jsonl")));
    let (mut hearth, _stdin) = silent_with(dir.path(), &broker, "[listener]\nenabled = false");
    hearth.until_said("carried through");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert_eq!(holding(&state, SECRET), Vec::<String>::new());
    assert_eq!(store(dir.path()).pending_forget().unwrap(), Default::default());
    assert!(last_read_by_a_snapshot(&state) <= 2);
}

#[test]
fn a_note_that_cannot_be_read_is_reported_until_a_request_covers_it() {
    for reads in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let broker = Mosquitto::anywhere(dir.path());
        furnish(dir.path());
        leave_traces(dir.path(), &broker);
        store(dir.path()).forget(Timestamp::now() - SignedDuration::from_mins(10), None).unwrap();
        store(dir.path()).set_note("forgetting", "{\"of\": \"another version\"}").unwrap();

        let listener = Subscriber::new(broker.address, "hearth/home/health", None);
        let (mut hearth, _stdin) = silent_with(dir.path(), &broker, &format!("[listener]\nenabled = {reads}"));
        hearth.until_said("it is not known what must still be forgotten");
        assert!(
            hearth.said.iter().any(|line| line.contains("ERROR") && line.contains("hearth forget")),
            "{:?}",
            hearth.said
        );
        if reads {
            listener.wait_for("its health", |h| !h.retain && h.json()["forget_ok"] == false);
        }
        let status = || {
            let output = Command::new(HEARTH)
                .args(["status", "--config", "hearth.toml"])
                .current_dir(dir.path())
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(status().contains("forget   not complete"), "{}", status());

        // A shorter time does not cover it, and whoever asks is told so.
        let short = Command::new(HEARTH)
            .args(["forget", "1m", "--config", "hearth.toml"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&short.stderr);
        assert!(!short.status.success() && error.contains("hearth forget"), "{short:?}");
        assert!(!holding(&state, SECRET).is_empty() && store(dir.path()).note("forgetting").unwrap().is_some());

        let said = forget(dir.path(), "15m");
        assert!(said.contains("since"), "{said}");
        assert_eq!(holding(&state, SECRET), Vec::<String>::new());
        assert!(!status().contains("forget   not complete"), "{}", status());
        hearth.terminate();
        let (status, said) = hearth.wait();
        assert!(status.success(), "{said}");
        assert_eq!(store(dir.path()).pending_forget().unwrap(), Default::default());
        assert!(last_read_by_a_snapshot(&state) <= 2);
    }
}

#[test]
fn who_is_killed_while_forgetting_has_forgotten_or_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    for _ in 0..3 {
        let _ = std::fs::remove_dir_all(&state);
        furnish(dir.path());
        let (hearth, _stdin) = silent(dir.path(), &broker);
        listener.wait_for("the alert", begins);
        listener.publish("hearth/home/request/forget", "10", false);
        std::thread::sleep(std::time::Duration::from_millis(rand::random_range(0..60)));
        hearth.kill();
        let (mut hearth, _stdin) = silent(dir.path(), &broker);
        hearth.until_said("hearth is up");
        hearth.terminate();
        let (status, said) = hearth.wait();
        assert!(status.success(), "{said}");
        let store = store(dir.path());
        let stored = store.utterances_after(0, 10).unwrap().len();
        let (_, last) = newest_state(dir.path());
        println!("{stored} utterances are left");
        match stored {
            4 => assert_eq!(last, 4, "it had not begun"),
            2 => {
                assert_eq!(store.pending_forget().unwrap(), Default::default());
                assert_eq!(holding(&state, SECRET), Vec::<String>::new());
                assert!(last <= 2, "a snapshot has read utterance {last}");
            }
            other => panic!("{other} utterances are left"),
        }
    }
}

#[test]
fn a_program_that_holds_the_database_keeps_no_other_file_from_forgetting() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let broker = Mosquitto::anywhere(dir.path());
    furnish(dir.path());
    // One that looks at the transcript and stays there holds the write-ahead log.
    let mut looker = rusqlite::Connection::open(state.join("hearth.db")).unwrap();
    let looking = looker.transaction().unwrap();
    looking.query_row("SELECT count(*) FROM utterance", [], |row| row.get::<_, i64>(0)).unwrap();
    std::fs::write(dir.path().join("hearth.toml"), "[store]\ndir = \"state\"\n").unwrap();
    let refused = Command::new(HEARTH)
        .args(["forget", "10m", "--config", "hearth.toml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("close that program"), "{refused:?}");
    let left = holding(&state, SECRET);
    assert!(!left.is_empty() && left.iter().all(|file| file.contains("hearth.db")), "{left:?}");
    drop(looking);
    drop(looker);
    let (mut hearth, _stdin) = silent(dir.path(), &broker);
    hearth.until_said("hearth is up");
    assert_eq!(holding(&state, SECRET), Vec::<String>::new());
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success() && said.contains("carried through"), "{said}");
    assert_eq!(store(dir.path()).pending_forget().unwrap(), Default::default());
}
