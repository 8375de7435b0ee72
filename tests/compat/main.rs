//! What commit 390a4b9 wrote can still be read: config, database, snapshot, `transcript.jsonl`, MQTT payloads.
//!
//! `tests/fixtures/390a4b9/README.md` says how the samples were made.

use std::fs;
use std::path::{Path, PathBuf};

use hearth::config::{self, Config};
use hearth::event::{AlertPhase, AlertVerdict};
use hearth::listener::Listener;
use hearth::listener::snapshot_store::SnapshotStore;
use hearth::mqtt::remote_event::{self, RemoteEvent};
use hearth::store::transcript_jsonl::TranscriptJsonl;
use hearth::store::{OutboxLimits, Store};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sample(path: &str) -> PathBuf {
    root("tests/fixtures/390a4b9").join(path)
}

/// A copy of the old state directory, for opening it changes it.
fn state() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("snapshots")).unwrap();
    for file in ["hearth.db", "transcript.jsonl"] {
        fs::copy(sample("state").join(file), copy.path().join(file)).unwrap();
    }
    for entry in fs::read_dir(sample("state/snapshots")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join("snapshots").join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn open(state: &Path) -> Store {
    // The messages in the sample grow old; none may be dropped for that.
    Store::open(state, OutboxLimits { outbox_max_bytes: 1 << 20, outbox_max_age: SignedDuration::MAX }).unwrap()
}

#[test]
fn the_config_means_what_it_meant() {
    let old = config::load(&sample("hearth.toml")).unwrap();
    let mut defaults = Config { file: old.file.clone(), base: old.base.clone(), ..Config::default() };
    // Watcher, triggers and calibrated thresholds came later; what the default rules ask is the same.
    let asked = |config: &Config| -> Vec<_> {
        config.rules.iter().map(|rule| (rule.name.clone(), rule.question.clone(), rule.pattern.clone())).collect()
    };
    assert_eq!(asked(&old), asked(&defaults));
    defaults.rules = old.rules.clone();
    assert_eq!(old, defaults, "every key of the documented config has its default");
}

#[test]
fn the_database_keeps_its_transcript_summaries_and_alerts() {
    let state = state();
    let store = open(state.path());
    let utterances = store.utterances_after(0, 100).unwrap();
    assert_eq!(utterances.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=18).collect::<Vec<_>>());
    let (_, first) = &utterances[0];
    assert_eq!((first.text.as_str(), first.room.as_str()), ("Good morning, Emma, how are you?", "home"));
    assert_eq!(utterances[17].1.text, "It was only the toaster, it is off now.");
    assert_eq!(store.last_digests(100).unwrap().len(), 5);
    let alerts = store.last_alerts(100).unwrap();
    let began: Vec<&str> =
        alerts.iter().filter(|alert| alert.phase == AlertPhase::New).map(|alert| alert.rule.as_str()).collect();
    assert_eq!(began, ["medicine", "door", "help", "fire"]);
    assert_eq!(alerts[0].evidence[0].text, "Grandma, did you take your heart pills?");
    let feedback = store.feedback().unwrap();
    let said: Vec<_> = feedback.iter().map(|said| (said.rule.as_str(), said.verdict, said.probability)).collect();
    assert_eq!(said, [("medicine", AlertVerdict::FalseAlarm, Some(0.9959724638717888))]);
    assert!(feedback[0].counts && feedback[0].rule_version.is_none());
    assert_eq!(store.newest().unwrap(), 21, "numbers of what was forgotten are not used again");
}

#[test]
fn the_outbox_and_a_forget_that_was_not_completed_are_still_there() {
    let state = state();
    let store = open(state.path());
    assert_eq!((store.outbox_len().unwrap(), store.retained().unwrap().len()), (34, 10));
    let messages = store.outbox_after(0, 100).unwrap();
    let utterances = messages.iter().filter(|(_, message)| message.topic == "hearth/home/utterance").count();
    assert_eq!(utterances, 18, "as many as are in the transcript");
    let pending = store.pending_forget().unwrap();
    let forgotten = pending.forgotten.expect("a forget is pending");
    assert_eq!((forgotten.span, forgotten.utterances, forgotten.digests.len()), (Some((19, 21)), 3, 1));
}

#[test]
fn the_snapshot_and_what_is_kept_beside_it_restore_the_listener() {
    let state = state();
    let config = Config::default();
    let model = root("models/recurrentgemma-nano");
    let mut listener = Listener::open(&model, &config.listener, &config.digest, &config.rules).unwrap();
    let (snapshot, position) =
        listener.load_latest(&SnapshotStore::read_only(state.path()), |_| true).unwrap().expect("there is a snapshot");
    assert_eq!(position.read, 21);
    assert_eq!(position.time, "2026-11-29T01:24:23.241194694Z".parse().unwrap());
    listener.resume(Some(snapshot));
    let store = open(state.path());
    store.utterances_after(0, 100).unwrap().iter().for_each(|(_, said)| listener.remember(said));
    let (processed, kept) = store.reader().unwrap();
    assert_eq!(processed, 21);
    listener.recall(&kept.unwrap()).unwrap();
    let kept: Value = serde_json::from_str(&listener.memory()).unwrap();
    let rules = kept["rules"].as_object().unwrap();
    let active: Vec<&String> =
        rules.iter().filter(|(_, rule)| rule["active"].is_object()).map(|(name, _)| name).collect();
    assert_eq!(active, ["fire"], "the alert that was on is on");
    assert_eq!(listener.state().tokens_read(), 281);
    let answer = listener.ask("Is there a fire?").unwrap();
    assert_eq!(answer.text, "Yes. There is smoke or fire in the kitchen.");
    let probability = answer.probability.expect("it is a yes/no question");
    assert!((probability - 0.9077).abs() < 0.01, "{probability}, and 0.9077 at commit 390a4b9");
}

#[test]
fn the_transcript_file_is_continued() {
    let state = state();
    let store = open(state.path());
    let path = state.path().join("transcript.jsonl");
    let before = fs::read_to_string(&path).unwrap();
    assert_eq!(before.lines().count(), 18);
    let mut file = TranscriptJsonl::open(state.path(), TimeZone::UTC).unwrap();
    file.follow(&store).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), before, "every utterance of the database is in it already");
}

/// The rows of a table of topics: the topic and its example payload.
fn examples(markdown: &str) -> Vec<(String, String)> {
    let rows = markdown.lines().filter(|line| line.starts_with("| `hearth/home/"));
    rows.filter_map(|row| {
        let mut quoted = row.split('`').skip(1).step_by(2);
        Some((quoted.next()?.to_string(), quoted.next()?.to_string()))
    })
    .collect()
}

#[test]
fn no_topic_and_no_field_of_a_message_has_gone() {
    // That what is sent is as documented is checked in tests/mqtt.
    let documented = examples(&fs::read_to_string(root("docs/mqtt.md")).unwrap());
    let old = examples(&fs::read_to_string(sample("topics.md")).unwrap());
    assert!(old.len() >= 13, "{} examples were found", old.len());
    for (topic, payload) in old {
        let (_, now) =
            documented.iter().find(|(other, _)| *other == topic).unwrap_or_else(|| panic!("{topic} has gone"));
        match serde_json::from_str::<Map<String, Value>>(&payload) {
            Ok(fields) => {
                let now: Map<String, Value> = serde_json::from_str(now).unwrap();
                for (field, value) in fields {
                    let same =
                        now.get(&field).is_some_and(|it| std::mem::discriminant(it) == std::mem::discriminant(&value));
                    assert!(same, "{topic}: {field} was {value} and is {:?}", now.get(&field));
                }
            }
            Err(_) => assert_eq!(payload, *now, "{topic}"),
        }
    }
}

#[test]
fn utterances_and_gaps_of_an_older_node_are_understood() {
    let now: Timestamp = "2026-01-01T12:00:01Z".parse().unwrap();
    for (topic, payload) in examples(&fs::read_to_string(sample("topics.md")).unwrap()) {
        match topic.as_str() {
            "hearth/home/utterance" => {
                let event = remote_event::parse(&topic, payload.as_bytes(), false, now).unwrap();
                let RemoteEvent::Utterance(utterance) = event else { panic!("{event:?}") };
                assert_eq!((utterance.text.as_str(), utterance.room.as_str()), ("this is sentence number 0", "home"));
            }
            "hearth/home/gap" => {
                let event = remote_event::parse(&topic, payload.as_bytes(), false, now).unwrap();
                assert!(matches!(event, RemoteEvent::Gap(_)), "{event:?}");
            }
            _ => {}
        }
    }
}
