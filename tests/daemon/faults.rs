//! Brokers that go, processes that are killed, files that are torn: nothing that was heard is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hearth::store::{Settings, Store};

use super::house::{Hearth, config, household, ids, is_farewell, transcript, until};
use super::mosquitto::{Heard, Listener, Mosquitto, free_address};

/// A long recording where there is one, else the bundled household.
fn recording() -> PathBuf {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures");
    let fixtures = std::env::var_os("HEARTH_FIXTURES").map_or(shared, PathBuf::from);
    let room = fixtures.join("room/room_dry.flac");
    if room.exists() {
        return room;
    }
    println!("skipped: the long recording {} is not here; the bundled household is played instead", room.display());
    household()
}

#[test]
fn every_utterance_arrives_although_the_broker_is_killed_half_way() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let broker = Mosquitto::start(dir.path(), address, "");
    let listener = Listener::new(address, "hearth/home/#", None);
    let hearth = Hearth::run(dir.path(), &config(&recording(), "fast", &format!("mqtt://{address}"), ""));

    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = |heard: &Heard| {
        if heard.topic == "hearth/home/utterance" {
            *seen.entry(heard.json()["id"].as_str().unwrap().into()).or_default() += 1;
        }
        seen.len()
    };
    until(&listener, |heard| count(heard) >= 8);
    broker.kill();
    let _broker = Mosquitto::start(dir.path(), address, "");
    listener.wait_until_subscribed();
    until(&listener, |heard| {
        count(heard);
        is_farewell(heard)
    });
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let written = ids(&transcript(dir.path()));
    let missing: Vec<_> = written.iter().filter(|id| !seen.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {} never arrived", missing.len(), written.len());
    assert_eq!(seen.len(), written.len(), "something arrived that was never said");
}

/// Ids of all utterances in the database of a hearth that is not running.
fn stored(dir: &Path) -> Vec<String> {
    let store = Store::open(&dir.join("state"), Settings::from(&hearth::config::Store::default())).unwrap();
    store.utterances_after(0, 10_000).unwrap().into_iter().map(|(_, utterance)| utterance.id.to_string()).collect()
}

#[test]
fn kill_minus_nine_loses_nothing_and_repeats_only_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/#", None);
    let text = config(&household(), "fast", &format!("mqtt://{}", broker.address), "");
    let mut seen = BTreeMap::new();
    let mut note = |heard: &Heard| {
        if heard.topic == "hearth/home/utterance" {
            let utterance = heard.json();
            let text = utterance["text"].as_str().unwrap().to_string();
            let before = seen.insert(utterance["id"].as_str().unwrap().to_string(), text.clone());
            assert!(before.is_none_or(|before| before == text), "one id for two texts");
        }
        seen.len()
    };
    // Three in every run; `make soak-publishing` kills a hundred times.
    let rounds = std::env::var("HEARTH_KILLS").map_or(3, |n| n.parse().expect("HEARTH_KILLS is a number"));
    for kills in 1..=rounds {
        let hearth = Hearth::run(dir.path(), &text);
        until(&listener, |heard| note(heard) >= 3 * kills);
        // Somewhere in the middle of whatever it does now.
        std::thread::sleep(std::time::Duration::from_millis(rand::random_range(0..300)));
        hearth.kill();
    }
    let before_last = stored(dir.path());
    let short = config(&super::house::clip(dir.path(), 6), "fast", &format!("mqtt://{}", broker.address), "");
    let hearth = Hearth::run(dir.path(), &short);
    // The will of the one that was killed says "offline", too.
    until(&listener, |heard| {
        note(heard);
        heard.topic == "hearth/home/status" && heard.payload.contains("online")
    });
    until(&listener, |heard| {
        note(heard);
        is_farewell(heard)
    });
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let stored = stored(dir.path());
    assert_eq!(stored[..before_last.len()], before_last, "what was committed never changes");
    let missing: Vec<_> = stored.iter().filter(|id| !seen.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {} stored utterances never arrived", missing.len(), stored.len());
    assert_eq!(ids(&transcript(dir.path())), stored, "transcript.jsonl has caught up");
}

#[test]
fn sigterm_drains_and_the_next_start_goes_on_from_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/#", None);
    let text = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
    let hearth = Hearth::run(dir.path(), &text);
    listener.on("hearth/home/utterance");
    hearth.terminate();
    until(&listener, is_farewell);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let first = stored(dir.path()).len();
    assert!(first >= 1);
    // While it closes each may be the last; the newest two stay.
    assert!((1..=2).contains(&snapshots(dir.path()).len()));

    let mut hearth = Hearth::run(dir.path(), &text);
    hearth.until_said("went on from the last snapshot");
    listener.on("hearth/home/utterance");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn a_torn_snapshot_is_kept_aside_and_reading_starts_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let file = super::house::clip(dir.path(), 8);
    let text = config(&file, "fast", "mqtt://127.0.0.1:1", "");
    let (status, said) = Hearth::run(dir.path(), &text).wait();
    assert!(status.success(), "{said}");
    let snapshot = snapshots(dir.path()).remove(0);
    let whole = std::fs::read(&snapshot).unwrap();
    std::fs::write(&snapshot, &whole[..whole.len() / 2]).unwrap();
    let (status, said) = Hearth::run(dir.path(), &text).wait();
    assert!(status.success() && said.contains("kept aside") && said.contains("damaged"), "{said}");
    let (bad, good): (Vec<_>, Vec<_>) =
        snapshots(dir.path()).into_iter().partition(|path| path.display().to_string().contains(".bad-"));
    assert_eq!((bad.len(), good.len()), (1, 1), "a new one was left in its place");
}

/// What lies in the directory of snapshots.
fn snapshots(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join("state/snapshots")).unwrap().map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_broker_that_refuses_the_password_is_named_and_everything_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users"), "somebody:$7$101$0123456789abcdef$AAAA\n").unwrap();
    let users = dir.path().join("users");
    let rules = format!("allow_anonymous false\npassword_file {}\n", users.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &rules);
    std::fs::write(dir.path().join("password"), "wrong\n").unwrap();
    let file = super::house::clip(dir.path(), 8);
    let more = "username = \"hearth\"\npassword_file = \"password\"\n";
    let (status, said) =
        Hearth::run(dir.path(), &config(&file, "fast", &format!("mqtt://{}", broker.address), more)).wait();
    assert!(status.success(), "{said}");
    assert!(said.contains("refuses") && said.contains("password_file"), "{said}");
    assert!(!said.contains("wrong"), "the password is in the log: {said}");
    let store = Store::open(&dir.path().join("state"), Settings::from(&hearth::config::Store::default())).unwrap();
    assert!(store.outbox_len().unwrap() > 0, "what could not be sent waits");
}
