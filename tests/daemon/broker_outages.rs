//! A broker that is killed or refuses the password: nothing that was heard is lost, and no password is logged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hearth::store::{OutboxLimits, Store};

use super::harness::{Hearth, config, household, ids, is_farewell, transcript, until, wav};
use super::mosquitto::{Mosquitto, ReceivedMessage, Subscriber, free_address};

#[test]
fn every_utterance_arrives_although_the_broker_is_killed() {
    check_with_killed_broker(&household());
}

#[test]
#[ignore = "needs recordings of real speech: make test-recordings"]
fn every_utterance_of_long_recordings_arrives_although_the_broker_is_killed() {
    let folder = std::env::var_os("HEARTH_FIXTURES").expect("HEARTH_FIXTURES names the folder of recordings");
    check_with_killed_broker(&PathBuf::from(folder).join("room/room_dry.flac"));
}

fn check_with_killed_broker(recording: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let broker = Mosquitto::start(dir.path(), address, "");
    let listener = Subscriber::new(address, "hearth/home/#", None);
    let hearth = Hearth::run(dir.path(), &config(recording, "fast", &format!("mqtt://{address}"), ""));

    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = |heard: &ReceivedMessage| {
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
    assert_eq!(seen.len(), written.len(), "an utterance arrived that is not in the transcript");
}

#[test]
fn each_summary_made_while_the_broker_is_away_arrives_once_and_in_order_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let run = |file: &Path| {
        let quick = "[digest]\nquiet_min = 0.07\nmin_words = 12\n";
        let hearth = Hearth::run(dir.path(), &config(file, "fast", &format!("mqtt://{address}"), quick));
        let (status, said) = hearth.wait();
        assert!(status.success(), "{said}");
    };
    run(&household());
    let made = || -> Vec<String> {
        let limits = OutboxLimits::from(&hearth::config::StoreConfig::default());
        let mut digests = Store::open(&dir.path().join("state"), limits).unwrap().last_digests(100).unwrap();
        digests.sort_by_key(|digest| digest.id);
        digests.iter().map(|digest| digest.id.to_string()).collect()
    };
    assert!(made().len() >= 3, "{:?}", made());

    let _broker = Mosquitto::start(dir.path(), address, "");
    let listener = Subscriber::new(address, "hearth/home/#", None);
    run(&wav(dir.path(), &[0; 16_000]));
    let (mut each, mut newest) = (Vec::new(), Vec::new());
    until(&listener, |heard| {
        match heard.topic.as_str() {
            "hearth/home/summaries" => each.push(heard.json()["id"].as_str().unwrap().to_owned()),
            "hearth/home/summary" => newest.push(heard.json()["id"].as_str().unwrap().to_owned()),
            _ => {}
        }
        is_farewell(heard)
    });
    assert_eq!(each, made());
    assert_eq!(newest.last(), each.last());
}

#[test]
fn messages_wait_while_the_broker_refuses_the_password() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users"), "somebody:$7$101$0123456789abcdef$AAAA\n").unwrap();
    let users = dir.path().join("users");
    let rules = format!("allow_anonymous false\npassword_file {}\n", users.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &rules);
    std::fs::write(dir.path().join("password"), "wrong\n").unwrap();
    let file = super::harness::clip(dir.path(), 8);
    let more = "username = \"hearth\"\npassword_file = \"password\"\n";
    let (status, said) =
        Hearth::run(dir.path(), &config(&file, "fast", &format!("mqtt://{}", broker.address), more)).wait();
    assert!(status.success(), "{said}");
    assert!(said.contains("refuses") && said.contains("password_file"), "{said}");
    assert!(!said.contains("wrong"), "the password is in the log: {said}");
    let store =
        Store::open(&dir.path().join("state"), OutboxLimits::from(&hearth::config::StoreConfig::default())).unwrap();
    assert!(store.outbox_len().unwrap() > 0, "what could not be sent waits");
}

#[test]
fn no_password_is_in_the_log_even_at_trace_level() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "Tr0ub4dor\n").unwrap();
    let more = format!(
        "listen = \"{}\"\nusername = \"anna\"\npassword_file = \"password\"\n[log]\nlevel = \"trace,rumqttd=trace,rumqttc=trace\"\n",
        free_address()
    );
    let text = config(&super::harness::clip(dir.path(), 4), "fast", "embedded", &more);
    let (status, said) = Hearth::run(dir.path(), &text).wait();
    assert!(status.success() && said.contains("TRACE") && said.contains("connected to the broker"), "{said}");
    assert!(!said.contains("Tr0ub4dor"), "{}", said.lines().find(|line| line.contains("Tr0ub4dor")).unwrap());
}
