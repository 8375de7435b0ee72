//! What the store keeps, in which order, and for how long.

use hearth::config::Keep;
use hearth::event::{Alert, AlertFeedback, AlertPhase, AlertVerdict, Gap, GapReason, Severity};
use hearth::store::{ListenerTurn, OutboxLimits, Store, TranscriptQuery};
use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use crate::*;

#[test]
fn a_false_alarm_keeps_its_first_probability_after_the_text_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let alert = |phase, probability| Alert {
        id: Ulid::from_parts(1, 1),
        rule: "leak".into(),
        phase,
        severity: Severity::Critical,
        room: None,
        time: Timestamp::UNIX_EPOCH,
        probability: Some(probability),
        answer: None,
        evidence: Vec::new(),
    };
    let alerts = [alert(AlertPhase::New, 0.83), alert(AlertPhase::Update, 0.97)];
    let reading = ListenerTurn { digests: &[], alerts: &alerts, processed: 0, memory: "{}" };
    store.record_reading(reading, &[]).unwrap();
    let mut said =
        AlertFeedback { probability: None, ..feedback(1, "leak", AlertVerdict::FalseAlarm, Timestamp::now()) };
    for _ in 0..2 {
        store.record_feedback(&said).unwrap();
    }
    store.enforce(Timestamp::now(), Keep::Nothing, 0).unwrap();
    said.probability = Some(0.83);
    assert_eq!(store.feedback().unwrap(), [said]);
}

fn feedback(alert: u64, rule: &str, verdict: AlertVerdict, time: Timestamp) -> AlertFeedback {
    AlertFeedback {
        alert: Ulid::from_parts(alert, 1),
        rule: rule.into(),
        verdict,
        time,
        probability: Some(0.9),
        rule_version: Some("a".into()),
        counts: true,
    }
}

#[test]
fn a_false_alarm_stands_against_an_acknowledgement_and_a_reset_keeps_both() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
    let acknowledged = feedback(1, "leak", AlertVerdict::Acknowledged, at(0));
    let denied = feedback(1, "leak", AlertVerdict::FalseAlarm, at(10));
    for said in [&acknowledged, &denied, &acknowledged] {
        store.record_feedback(said).unwrap();
    }
    let other = AlertFeedback { rule_version: None, ..feedback(2, "fire", AlertVerdict::Acknowledged, at(20)) };
    store.record_feedback(&other).unwrap();
    assert_eq!(store.feedback().unwrap(), [denied.clone(), other.clone()]);
    for version in ["b", "c"] {
        store.adopt_feedback("fire", version).unwrap();
        store.adopt_feedback("leak", version).unwrap();
    }
    let other = AlertFeedback { rule_version: Some("b".into()), ..other };
    assert_eq!(store.feedback().unwrap(), [denied.clone(), other.clone()]);

    assert_eq!(store.reset_feedback(Some("door")).unwrap(), [].into());
    assert_eq!(store.reset_feedback(Some("leak")).unwrap(), ["leak".to_string()].into());
    let denied = AlertFeedback { counts: false, ..denied };
    assert_eq!(store.feedback().unwrap(), [denied.clone(), other.clone()], "it stays in the store");
    assert_eq!(store.reset_feedback(None).unwrap(), ["fire".to_string()].into());
    assert_eq!(store.feedback().unwrap(), [denied, AlertFeedback { counts: false, ..other }]);

    let a_year_later = at(0) + SignedDuration::from_hours(24 * 366);
    store.enforce(a_year_later, Keep::Forever, 0).unwrap();
    assert_eq!(store.feedback().unwrap(), []);
}

#[test]
fn what_was_said_of_an_alert_is_forgotten_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let spoken = |second, text: &str| {
        let (old, now) = (utterance(0, text), Timestamp::now());
        Utterance {
            id: Ulid::generate(),
            start: now - SignedDuration::from_secs(second),
            end: now - SignedDuration::from_secs(second - 1),
            ..old
        }
    };
    for (n, second) in [(1, 7200), (2, 60)] {
        let said = spoken(second, "there is water on the floor");
        store.record_utterance(&said, &[]).unwrap();
        let alert = Alert {
            id: Ulid::from_parts(n, 1),
            rule: "leak".into(),
            phase: AlertPhase::New,
            severity: Severity::Critical,
            room: None,
            time: said.end,
            probability: Some(0.9),
            answer: None,
            evidence: Vec::new(),
        };
        let turn = ListenerTurn { digests: &[], alerts: &[alert], processed: n as i64, memory: "{}" };
        store.record_reading(turn, &[]).unwrap();
        store.record_feedback(&feedback(n, "leak", AlertVerdict::FalseAlarm, Timestamp::now())).unwrap();
    }
    let forgotten = store.forget(Timestamp::now() - SignedDuration::from_mins(10), None).unwrap();
    assert_eq!(forgotten.alerts.len(), 1);
    let left: Vec<_> = store.feedback().unwrap().iter().map(|said| said.alert).collect();
    assert_eq!(left, [Ulid::from_parts(1, 1)]);
}

#[test]
fn opening_a_new_database_from_many_threads_makes_one() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (dir, start) = (dir.path(), &start);
                scope.spawn(move || {
                    start.wait();
                    open(dir).record_utterance(&utterance(n, "hello"), &[]).unwrap();
                });
            }
        });
        assert_eq!(open(dir.path()).utterances_after(0, 100).unwrap().len(), 8);
    }
}

#[test]
fn several_threads_write_to_one_database() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                let mut store = open(dir);
                for n in 0..25 {
                    store.record_utterance(&utterance(n, "hello"), &[message("u", thread * 100 + n)]).unwrap();
                }
            });
        }
    });
    let store = open(dir.path());
    assert_eq!(store.utterances_after(0, 1_000).unwrap().len(), 100);
    assert_eq!(store.waiting().unwrap().messages, 100);
}

#[test]
fn an_utterance_comes_back_as_it_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let said = utterance(7, "It's 8 o'clock; \"über\" — ok?");
    let seq = open(dir.path()).record_utterance(&said, &[]).unwrap();
    assert_eq!(open(dir.path()).utterances_after(seq - 1, 10).unwrap(), [(seq, said)]);
}

#[test]
fn a_newer_retained_message_replaces_an_older_one_even_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.enqueue(&[retained("state", "old"), message("event", "a"), retained("other", "o")]).unwrap();
    let under_way = store.outbox_after(0, 1).unwrap()[0].0;
    store.enqueue(&[retained("state", "new")]).unwrap();
    store.acknowledge(&[under_way], 0).unwrap();
    assert_eq!(payloads(&store), ["a", "o", "new"]);
    assert_eq!(store.retained().unwrap(), [retained("other", "o"), retained("state", "new")]);
    store.enqueue(&[retained("other", "")]).unwrap();
    assert_eq!(store.retained().unwrap(), [retained("state", "new")]);
    assert_eq!(store.forget_retained("sta").unwrap(), 1);
    assert_eq!(store.retained().unwrap(), []);
    assert_eq!(payloads(&store), ["a", "", ""]);
}

#[test]
fn the_limits_drop_the_oldest_messages_and_count_them() {
    let dir = tempfile::tempdir().unwrap();
    let settings = OutboxLimits { outbox_max_bytes: 1_000, outbox_max_age: SignedDuration::from_hours(1) };
    let mut store = Store::open(dir.path(), settings).unwrap();
    for n in 0..30 {
        store.enqueue(&[message("topic", format!("{n:0>95}"))]).unwrap();
    }
    let waiting = store.waiting().unwrap();
    assert_eq!((waiting.messages, waiting.bytes, waiting.dropped), (10, 1_000, 20));
    assert_eq!(payloads(&store)[0], format!("{:0>95}", 20));
    store.enforce(Timestamp::now() + SignedDuration::from_hours(2), Keep::Forever, 0).unwrap();
    let waiting = store.waiting().unwrap();
    assert_eq!((waiting.messages, waiting.bytes, waiting.dropped), (0, 0, 30));
}

#[test]
fn the_read_position_is_stored_with_the_messages_it_caused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    assert_eq!(store.reader().unwrap(), (0, None));
    let reading = ListenerTurn { digests: &[], alerts: &[], processed: 7, memory: "{\"a\":1}" };
    store.record_reading(reading, &[retained("summary", "s")]).unwrap();
    let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::now());
    let gap = Gap { id: Ulid::generate(), room: "hall".into(), from, to, reason: GapReason::Muted };
    store.record_gap(&gap, &[message("gap", "g")]).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.reader().unwrap(), (7, Some("{\"a\":1}".into())));
    assert_eq!(payloads(&store), ["s", "g"]);
}

#[test]
fn deleted_text_leaves_no_trace_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let old = utterance(0, "the zebra is in the wardrobe");
    store.record_utterance(&old, &[]).unwrap();
    let new = utterance(86_400 * 40, "the giraffe is at the door");
    store.record_utterance(&new, &[]).unwrap();
    let search =
        |store: &Store, words| store.search(&TranscriptQuery { words, limit: 5, ..Default::default() }).unwrap();
    assert_eq!(search(&store, "ZEBRA wardrobe"), std::slice::from_ref(&old));
    assert_eq!(search(&store, "zebra giraffe"), []);
    assert_eq!(search(&store, "\" OR NEAR("), []);
    let the = TranscriptQuery { words: "the", limit: 5, ..Default::default() };
    assert_eq!(store.search(&the).unwrap(), [new.clone(), old.clone()], "newest first");
    assert_eq!(store.search(&TranscriptQuery { limit: 1, ..the }).unwrap(), std::slice::from_ref(&new));
    assert_eq!(store.search(&TranscriptQuery { since: Some(old.end), ..the }).unwrap(), std::slice::from_ref(&new));
    assert_eq!(store.search(&TranscriptQuery { until: Some(new.start), ..the }).unwrap(), std::slice::from_ref(&old));
    assert_eq!(store.search(&TranscriptQuery { room: Some(&old.room), ..the }).unwrap().len(), 2);
    assert_eq!(store.search(&TranscriptQuery { room: Some("nowhere"), ..the }).unwrap(), []);

    let now = old.end + SignedDuration::from_hours(24 * 41);
    assert_eq!(store.enforce(now, Keep::Days(30), 0).unwrap(), 0, "it was not read yet");
    assert_eq!(store.enforce(now, Keep::Days(30), 2).unwrap(), 1);
    assert_eq!(search(&store, "zebra"), []);
    assert_eq!(search(&store, "giraffe").len(), 1);
    assert_eq!(store.newest().unwrap(), 2);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(!found(b"zebra") && !found(b"wardrobe"), "{} still holds it", path.display());
    }
    assert_eq!(store.enforce(now, Keep::Nothing, 2).unwrap(), 1);
    assert_eq!(store.utterances_after(0, 10).unwrap(), []);
}
