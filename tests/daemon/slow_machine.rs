//! hearth on a machine that gives it a twentieth of its time: alerts come while a digest is written, the watchdog is content, and a shutdown is quick.

use std::path::Path;
use std::time::{Duration, Instant};

use hearth::event::Utterance;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use super::harness::{Hearth, Throttle, config, wav};
use super::mosquitto::{LONG, free_address};

const TALK: [&str; 4] = [
    "The plumber is coming tomorrow at ten, and someone has to be home. I can work from home.",
    "Remember, you have a dentist appointment on Thursday at quarter past nine. I will put it in the calendar.",
    "We need milk, eggs and tomatoes. Sure, I will go to the store after work.",
    "What should we make for dinner tonight? How about mushroom risotto? Sounds good. Let's eat at half past seven.",
];
/// As many utterances as the summary of a day has: the bundled model writes it in a second or two of its own time.
const UTTERANCES: usize = 300;

fn store(dir: &Path) -> Store {
    Store::open(&dir.join("state"), OutboxLimits::from(&hearth::config::StoreConfig::default())).unwrap()
}

fn said(start: Timestamp, text: &str) -> Utterance {
    Utterance {
        id: Ulid::generate(),
        start,
        end: start + SignedDuration::from_secs(5),
        room: "home".into(),
        text: text.into(),
        confidence: 1.0,
        no_speech: 0.0,
        speaker: None,
    }
}

/// Talk that nobody has read, whose digest is due. Returns its words.
fn store_talk(dir: &Path) -> i64 {
    let mut store = store(dir);
    let begin = Timestamp::now() - SignedDuration::from_secs(10 * UTTERANCES as i64 + 600);
    let talk = (0..UTTERANCES).map(|at| said(begin + SignedDuration::from_secs(10 * at as i64), TALK[at % TALK.len()]));
    talk.map(|utterance| {
        store.record_utterance(&utterance, &[]).unwrap();
        utterance.words() as i64
    })
    .sum()
}

fn ask<T: rusqlite::types::FromSql>(dir: &Path, sql: &str) -> T {
    let database = rusqlite::Connection::open(dir.join("state/hearth.db")).unwrap();
    database.busy_timeout(LONG).unwrap();
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + 3 * LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn digests(dir: &Path) -> i64 {
    ask(dir, "SELECT count(*) FROM digest")
}

fn settings(dir: &Path) -> String {
    let silence = wav(dir, &vec![0; 600 * 16_000]);
    let more = format!(
        "listen = \"{}\"\n[log]\nlevel = \"info,hearth::listener=debug\"\n[[rule]]\nname = \"fire\"\npattern = \"on fire\"\n\
         confirm = \"1 of 1\"\n[[rule]]\nname = \"burning\"\nquestion = \"Is there a fire or smoke?\"\n[digest]\nevery_min = 0\n",
        free_address()
    );
    config(&silence, "real-time", "embedded", &more)
}

/// A hearth that has begun a long digest, from then on with a twentieth of the machine.
fn writing(dir: &Path, settings: &str, variables: &[(&str, &Path)]) -> (Hearth, Throttle) {
    let mut hearth = Hearth::run_as(dir, settings, std::process::Stdio::null(), variables);
    hearth.until_said("a digest is begun");
    let throttle = Throttle::new(hearth.id(), Duration::from_millis(10), Duration::from_millis(190));
    (hearth, throttle)
}

#[test]
fn an_alert_comes_while_a_digest_is_written_and_the_watchdog_is_content() {
    let dir = tempfile::tempdir().unwrap();
    let words = store_talk(dir.path());
    // Three seconds without progress would be too long.
    let notify = dir.path().join("nobody");
    let watched = [("NOTIFY_SOCKET", notify.as_path()), ("WATCHDOG_USEC", Path::new("1500000"))];
    let (hearth, throttle) = writing(dir.path(), &settings(dir.path()), &watched);
    let fire = said(Timestamp::now(), "The kitchen is on fire.");
    store(dir.path()).record_utterance(&fire, &[]).unwrap();
    until("there is no alert", || ask::<i64>(dir.path(), "SELECT count(*) FROM alert WHERE rule = 'fire'") > 0);
    assert_eq!(digests(dir.path()), 0, "the digest goes on being written");
    std::thread::sleep(Duration::from_secs(5));
    drop(throttle);
    until("there is no digest", || digests(dir.path()) == 1);
    assert_eq!(ask::<i64>(dir.path(), "SELECT words FROM digest"), words, "it is of the state before the fire");
    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success() && !said.contains("has not made progress"), "{said}");
}

#[test]
fn sigterm_in_the_midst_of_a_digest_is_quick_and_the_digest_is_made_after_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let words = store_talk(dir.path());
    let settings = settings(dir.path());
    let (hearth, throttle) = writing(dir.path(), &settings, &[]);
    let began = Instant::now();
    hearth.terminate();
    let (ended, said) = hearth.wait();
    let took = began.elapsed();
    drop(throttle);
    println!("it took {took:?} to end");
    assert!(ended.success() && said.contains("made after the next start"), "{said}");
    assert!(took < Duration::from_secs(10), "{took:?}\n{said}");
    assert_eq!(digests(dir.path()), 0);
    let hearth = Hearth::run(dir.path(), &settings);
    until("there is no digest", || digests(dir.path()) == 1);
    assert_eq!(ask::<i64>(dir.path(), "SELECT words FROM digest"), words);
    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "{said}");
}

#[test]
fn sigterm_in_the_midst_of_a_backlog_is_quick_and_the_rest_is_read_after_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    store_talk(dir.path());
    store(dir.path()).record_utterance(&self::said(Timestamp::now(), "The kitchen is on fire."), &[]).unwrap();
    let settings = settings(dir.path());
    let mut hearth = Hearth::run(dir.path(), &settings);
    hearth.until_said("hearth is up");
    let throttle = Throttle::new(hearth.id(), Duration::from_millis(10), Duration::from_millis(190));
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    hearth.terminate();
    let (ended, said) = hearth.wait();
    let took = began.elapsed();
    drop(throttle);
    println!("it took {took:?} to end");
    assert!(ended.success() && said.contains("are left for the next start"), "{said}");
    assert!(took < Duration::from_secs(10), "{took:?}\n{said}");
    let hearth = Hearth::run(dir.path(), &settings);
    let read = "SELECT coalesce((SELECT value FROM meta WHERE key = 'processed'), 0)";
    until("not all is read", || ask::<i64>(dir.path(), read) == UTTERANCES as i64 + 1);
    assert_eq!(ask::<i64>(dir.path(), "SELECT count(*) FROM alert WHERE rule = 'fire' AND phase = 'new'"), 1);
    hearth.terminate();
    assert!(hearth.wait().0.success());
}
