//! Utterances that wait in the store when hearth starts: whatever ends it meanwhile, each is read and its alert is raised.

use std::path::Path;
use std::time::{Duration, Instant};

use hearth::event::Utterance;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use super::harness::{Hearth, config, wav};
use super::mosquitto::LONG;

const WAITING: i64 = 40;
/// The number of the utterance that the rule is about.
const FIRE: i64 = 6;

/// Stores long utterances that nobody has read, so that reading them takes a while. One of them says that there is a fire.
fn store_unread(dir: &Path, count: i64, words: usize) {
    let mut store =
        Store::open(&dir.join("state"), OutboxLimits::from(&hearth::config::StoreConfig::default())).unwrap();
    let begin = Timestamp::now() - SignedDuration::from_secs(20 * count);
    for number in 1..=count {
        let start = begin + SignedDuration::from_secs(10 * number);
        let about = if number == FIRE { "The kitchen is on fire." } else { "We talked about the garden." };
        let utterance = Utterance {
            id: Ulid::generate(),
            start,
            end: start + SignedDuration::from_secs(5),
            room: "home".into(),
            text: format!("{about}{}", " And then we went on about the weather.".repeat(words / 8)),
            confidence: 1.0,
            no_speech: 0.0,
            speaker: None,
        };
        store.record_utterance(&utterance, &[]).unwrap();
    }
}

/// How far the listener has come, and how many alerts it has raised.
fn progress(dir: &Path) -> (i64, i64) {
    let database = rusqlite::Connection::open(dir.join("state/hearth.db")).unwrap();
    database.busy_timeout(LONG).unwrap();
    let ask = |sql: &str| database.query_row(sql, [], |row| row.get(0)).unwrap();
    // The alert first: it must be there when the progress is.
    let processed = "SELECT coalesce((SELECT value FROM meta WHERE key = 'processed'), 0)";
    let processed = ask(processed);
    (processed, ask("SELECT count(*) FROM alert WHERE phase = 'new'"))
}

fn quiet(dir: &Path, pace: &str) -> String {
    let rule = "[[rule]]\nname = \"fire\"\npattern = \"on fire\"\nconfirm = \"1 of 1\"\n";
    config(&wav(dir, &[0; 16_000]), pace, "mqtt://127.0.0.1:1", rule)
}

/// Kills a hearth that reads the backlog when `is_time` says so; then another one reads the rest.
fn kill_while_reading(is_time: impl Fn(&mut Hearth, &Path)) {
    ["fast", "real-time"].iter().for_each(|pace| kill_while_reading_at(pace, &is_time));
}

fn kill_while_reading_at(pace: &str, is_time: impl Fn(&mut Hearth, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let text = quiet(dir.path(), pace);
    store_unread(dir.path(), WAITING, 400);
    let mut hearth = Hearth::run(dir.path(), &text);
    is_time(&mut hearth, dir.path());
    hearth.kill();
    let (processed, alerts) = progress(dir.path());
    assert!(processed < FIRE || alerts == 1, "{processed} utterances count as read, and there are {alerts} alerts");
    let (status, said) = Hearth::run(dir.path(), &text).wait();
    assert!(status.success(), "{said}");
    assert_eq!(progress(dir.path()), (WAITING, 1), "{said}");
}

#[test]
fn an_alert_is_raised_after_a_kill_while_a_backlog_is_read() {
    // As soon as the utterance counts as read.
    kill_while_reading(|_, dir| {
        let end = Instant::now() + LONG;
        while progress(dir).0 < FIRE {
            assert!(Instant::now() < end, "nothing is read");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    // Somewhere in the middle.
    for ms in [20, 100, 200] {
        kill_while_reading(|hearth, _| {
            hearth.until_said("hearth is up");
            std::thread::sleep(Duration::from_millis(ms));
        });
    }
}

#[test]
fn what_waits_is_read_first_and_asked_about_once() {
    // Both talk of the garden, and a recording that is played fast is not heard live.
    for (pace, phases) in [("real-time", "new"), ("fast", "new update")] {
        let dir = tempfile::tempdir().unwrap();
        store_unread(dir.path(), 2, 8);
        let text = quiet(dir.path(), pace).replace("on fire", "garden");
        let (status, said) = Hearth::run(dir.path(), &text).wait();
        assert!(status.success(), "{said}");
        let database = rusqlite::Connection::open(dir.path().join("state/hearth.db")).unwrap();
        let ask = |sql: &str| -> String { database.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(
            ask("SELECT group_concat(phase, ' ') FROM (SELECT phase FROM alert ORDER BY seq)"),
            phases,
            "{pace}"
        );
        let both = ask("SELECT evidence FROM alert ORDER BY seq LIMIT 1").matches("garden").count();
        assert_eq!(both, if pace == "real-time" { 2 } else { 1 }, "each of them is searched");
    }
}

#[test]
fn sigterm_during_a_long_replay_saves_what_was_read_and_leaves_the_rest_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let text = quiet(dir.path(), "fast");
    let many = 1_990;
    store_unread(dir.path(), many, 800);
    // They were processed before, and the snapshot is gone.
    let database = rusqlite::Connection::open(dir.path().join("state/hearth.db")).unwrap();
    database.execute("INSERT INTO meta(key, value) VALUES ('processed', ?1)", [many]).unwrap();
    drop(database);
    let mut hearth = Hearth::run(dir.path(), &text);
    hearth.until_said("hearth is up");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success() && said.contains("are left for the next start"), "{said}");
    assert_eq!(progress(dir.path()), (many, 0), "they stay processed");
    let mut hearth = Hearth::run(dir.path(), &text);
    hearth.until_said("the last snapshot is restored");
}
