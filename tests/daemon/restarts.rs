//! What a start finds: how long nothing was heard, a database that is gone, and one that goes while hearth runs.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use hearth::event::Utterance;
use hearth::mqtt::payload;
use hearth::mqtt::topics::Topics;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use ulid::Ulid;

use super::crashes::{assert_state_has_read_every_gap, model_with_gaps, stored};
use super::harness::{Hearth, config, samples, wav};
use super::mosquitto::{LONG, Mosquitto, Subscriber};

/// Speaks into standard input, in real time, until hearth ends.
fn speak(mut stdin: ChildStdin) {
    std::thread::spawn(move || {
        let said = samples(40);
        while said.chunks(1_600).all(|block| {
            std::thread::sleep(Duration::from_millis(100));
            let bytes: Vec<u8> = block.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            stdin.write_all(&bytes).is_ok()
        }) {}
    });
}

#[test]
fn after_a_kill_the_time_in_which_nothing_was_heard_is_stored_told_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_gaps(dir.path());
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
    let text = format!(
        "rule = []\n[source.stdin]\nrate = 16000\n[store]\ndir = \"state\"\n[listener]\nmodel = {:?}\n[mqtt]\nurl = \"mqtt://{}\"\n",
        model.display().to_string(),
        broker.address
    );
    let run = || {
        let mut hearth = Hearth::run_with(dir.path(), &text, Stdio::piped());
        speak(hearth.stdin());
        hearth
    };
    let hearth = run();
    let said = subscriber.on("hearth/home/utterance").json();
    hearth.kill();
    let killed = Timestamp::now();
    std::thread::sleep(Duration::from_secs(2));
    let started = Timestamp::now();
    let hearth = run();
    let gap = subscriber.on("hearth/home/gap").json();
    assert_eq!((&gap["reason"], &gap["room"]), (&"restart".into(), &"home".into()), "{gap}");
    let time = |json: &Value, key: &str| json[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(time(&said, "end") <= time(&gap, "from") && time(&gap, "from") <= killed, "{said} {gap}");
    assert!(time(&gap, "to") >= started, "{gap}");
    subscriber.on("hearth/home/utterance");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert_state_has_read_every_gap(dir.path(), &model, "restart");
}

#[test]
fn a_state_directory_that_is_removed_ends_hearth_and_nothing_is_acknowledged_that_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
    let text = format!(
        "[source.mqtt]\ntopics = [\"hearth/+/utterance\"]\nwindow_s = 0\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
        broker.address
    );
    let mut hearth = Hearth::run(dir.path(), &text);
    hearth.until_said("other machines are heard");
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let now = Timestamp::now();
    let said = Utterance {
        id: Ulid::generate(),
        start: now - SignedDuration::from_secs(2),
        end: now,
        room: "hall".into(),
        text: "The oven is still on.".into(),
        confidence: 0.9,
        no_speech: 0.0,
        speaker: None,
    };
    let config = hearth::config::Config { node: "hall".parse().unwrap(), ..hearth::config::Config::default() };
    let message = payload::utterance(&Topics::new(&config.mqtt, &config.node), &said);
    subscriber.publish(&message.topic, &message.payload, false);
    let (status, log) = hearth.wait();
    assert!(!status.success() && log.contains("was removed or replaced while hearth ran"), "{log}");

    let hearth = Hearth::run(dir.path(), &text);
    let end = Instant::now() + LONG;
    while !stored(dir.path()).contains(&said.id.to_string()) {
        assert!(Instant::now() < end, "what was said is lost");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(hearth);
}

/// Runs a hearth that hears nothing; returns what it says.
fn run_quietly(dir: &Path) -> String {
    let text = config(&wav(dir, &[0; 16_000]), "fast", "mqtt://127.0.0.1:1", "");
    let (status, said) = Hearth::run(dir, &text).wait();
    assert!(status.success(), "{said}");
    said
}

#[test]
fn a_database_that_is_gone_beside_a_transcript_is_said_and_its_snapshots_are_not_used() {
    let words = "the database was missing or empty";
    for left in [None, Some(""), Some("S")] {
        let dir = tempfile::tempdir().unwrap();
        let file = super::harness::clip(dir.path(), 8);
        let (status, said) = Hearth::run(dir.path(), &config(&file, "fast", "mqtt://127.0.0.1:1", "")).wait();
        assert!(status.success() && !said.contains(words), "a first start is nothing to warn of: {said}");
        let database = dir.path().join("state/hearth.db");
        std::fs::remove_file(&database).unwrap();
        if let Some(content) = left {
            std::fs::write(&database, content).unwrap();
        }
        let said = run_quietly(dir.path());
        assert!(said.contains(words) && !said.contains("the last snapshot is restored"), "{left:?}: {said}");
        assert!(!run_quietly(dir.path()).contains(words), "it is said once");
    }
}
