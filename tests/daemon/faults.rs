//! Brokers that go, processes that are killed, files that are torn: nothing that was heard is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

/// mosquitto keeps what a client that is away should get, also over its own restart.
fn with_memory(dir: &Path) -> String {
    format!("persistence true\npersistence_location {}/\nautosave_interval 1\n", dir.display())
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
