//! A listener with a real database and the bundled model, whose state is poisoned, renewed, killed and made to forget.

use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::config::{Config, from_text};
use crate::listener::Listener;
use crate::listener::pace::WorkClock;
use crate::listener::snapshot_store::SnapshotStore;
use crate::metrics::Metrics;
use crate::services::Context;
use crate::services::listen::ListenInputs;

fn config(more: &str) -> Config {
    from_text(&format!("[source.stdin]\nrate = 16000\n{more}")).unwrap()
}

/// Long after anything was said.
struct QuietClock;

impl WorkClock for QuietClock {
    fn now(&self) -> Duration {
        2 * QUIET
    }
}

/// A listener as after a start, on what is in `dir`.
fn start(dir: &TempDir, config: &Config) -> ListenerWorker {
    let context = Context::open(config.clone(), dir.path(), Arc::new(Metrics::default())).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let listener = Listener::open(&model, &config.listener, &config.digest, &[]).unwrap();
    let (rules, _) = tokio::sync::watch::channel(Vec::new());
    ListenerWorker::open(context, ListenInputs { listener, rules, clock: Arc::new(QuietClock) }).unwrap()
}

/// Sentences of invented households.
fn sentences() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/households.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let homes = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    homes
        .flat_map(|home| home["text"].as_str().unwrap().split_inclusive(". ").map(String::from).collect::<Vec<_>>())
        .filter(|said| said.split_whitespace().count() > 3)
        .collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// Stores utterances, one in ten seconds from `second` on, and lets the listener read them.
fn say(worker: &mut ListenerWorker, second: i64, texts: &[String]) {
    for (text, n) in texts.iter().zip(0..) {
        let (id, start) = (Ulid::generate(), at(second + 10 * n));
        let (room, text, end) = ("home".into(), text.clone(), start + SignedDuration::from_secs(3));
        let said = Utterance { id, start, end, room, text, confidence: 0.9, no_speech: 0.0 };
        worker.store.record_utterance(&said, &[]).unwrap();
    }
    worker.catch_up().unwrap();
}

/// Lets time pass until nothing is left to do for a renewal.
fn rest(worker: &mut ListenerWorker) {
    worker.last_heard = Duration::ZERO;
    loop {
        worker.write_slice().unwrap();
        worker.renew().unwrap();
        if !worker.is_writing() && !worker.is_renewing() {
            return;
        }
    }
}

fn tensors(worker: &mut ListenerWorker) -> Vec<griffin::StateTensor> {
    worker.listeners.get_mut(None).0.state().tensors()
}

fn age(worker: &mut ListenerWorker) -> u64 {
    worker.listeners.get_mut(None).0.state().tokens_read()
}

fn told(worker: &ListenerWorker) -> Vec<String> {
    let messages = worker.store.outbox_after(0, 10_000).unwrap();
    let renewed = messages.into_iter().map(|(_, message)| message).filter(|m| m.topic.ends_with("/renewed"));
    renewed.map(|message| message.payload).collect()
}

/// Makes the state predict nothing any more, and older than it is.
fn poison(worker: &mut ListenerWorker, tokens: u64) {
    let listener = worker.listeners.get_mut(None).0;
    let mut tensors = listener.state().tensors();
    for tensor in tensors.iter_mut().filter(|tensor| tensor.name.ends_with(".h")) {
        tensor.bytes.as_chunks_mut().0.iter_mut().for_each(|value| *value = f32::NAN.to_le_bytes());
    }
    listener.poison(tokens, &tensors);
}

#[test]
fn a_poisoned_state_is_found_renewed_and_the_renewal_outlives_a_restart() {
    let (dir, config, talk) = (tempfile::tempdir().unwrap(), config(""), sentences());
    let mut worker = start(&dir, &config);
    say(&mut worker, 0, &talk[..1_500]);
    rest(&mut worker);
    assert!(worker.renewal.is_none() && worker.listeners.surprise().young.is_some(), "it is healthy");
    poison(&mut worker, 20_000);
    say(&mut worker, 20_000, &talk[1_500..2_200]);
    assert!(worker.listeners.surprise().risen, "{:?}", worker.listeners.surprise());
    rest(&mut worker);
    assert_eq!(worker.renewal_stage(), (Some(RenewalStage::Comparing), 0));
    // While they are compared, the live state stays.
    let mut second = 40_000;
    while worker.renewal.is_some() && second < 60_000 {
        say(&mut worker, second, &talk[..20]);
        rest(&mut worker);
        second += 200;
    }
    assert_eq!((worker.renewal_stage().0, worker.listeners.renewals().count), (None, 1));
    let now = worker.listeners.surprise();
    assert!(!now.risen && now.young.is_some_and(|young| young < 4.0), "{now:?}");
    let messages = told(&worker);
    assert!(messages.len() == 1 && messages[0].contains("\"suspected\""), "{messages:?}");
    let renewed = (tensors(&mut worker), age(&mut worker));
    drop(worker);
    let mut again = start(&dir, &config);
    assert_eq!((tensors(&mut again), age(&mut again)), renewed, "it goes on from the fresh state");
    assert_eq!((again.listeners.renewals().count, told(&again).len()), (1, 1));
}

#[test]
fn by_hand_a_state_is_what_one_is_that_read_the_kept_text_alone() {
    let (dir, config, talk) = (tempfile::tempdir().unwrap(), config("[listener]\nrenew = \"never\""), sentences());
    let mut worker = start(&dir, &config);
    say(&mut worker, 0, &talk[..FRESH_UTTERANCES + 100]);
    rest(&mut worker);
    assert!(worker.renewal.is_none());
    worker.ask_renewal(vec![None]).unwrap();
    rest(&mut worker);
    assert_eq!(worker.listeners.renewals().count, 1);
    let other = tempfile::tempdir().unwrap();
    let mut fresh = start(&other, &config);
    say(&mut fresh, 0, &talk[100..FRESH_UTTERANCES + 100]);
    assert_eq!(age(&mut worker), age(&mut fresh));
    let alike = tensors(&mut worker).into_iter().zip(tensors(&mut fresh)).all(|(a, b)| {
        let values = |t: &griffin::StateTensor| -> Vec<f32> {
            t.bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
        };
        values(&a).iter().zip(values(&b)).all(|(a, b)| (a - b).abs() < 1e-3)
    });
    assert!(alike, "the fresh state has read what was said last, and nothing else");
}

/// kill −9 after each step of taking over. The states are compared with what is told of them.
#[test]
fn whoever_is_killed_while_a_fresh_state_takes_over_has_renewed_and_told_it_or_not_begun() {
    let (config, talk) = (config(""), sentences());
    for step in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = start(&dir, &config);
        say(&mut worker, 0, &talk[..50]);
        worker.save();
        let before = (tensors(&mut worker), age(&mut worker));
        let memory = worker.store.reader().unwrap().1.unwrap();
        worker.ask_renewal(vec![None]).unwrap();
        worker.renew().unwrap();
        // Killed while it is read, or right after the note, before the snapshot.
        let note = r#"{"room":null,"occasion":"asked","tokens":77,"renewals":{"count":1,"last":"2026-01-01T12:00:00Z","compared":0},"young":null,"worse_by":null}"#;
        if step == 1 {
            worker.store.set_note(NOTE, note).unwrap();
        }
        let mut renewed = None;
        if step >= 2 {
            rest(&mut worker);
            renewed = Some((tensors(&mut worker), age(&mut worker)));
            // Before the note was deleted; and before anything was told, too.
            let count = age(&mut worker).to_string();
            worker.store.set_note(NOTE, &note.replace("77", &count)).unwrap();
            if step == 2 {
                let turn = crate::store::ListenerTurn { digests: &[], alerts: &[], processed: 50, memory: &memory };
                worker.store.record_reading(turn, &[]).unwrap();
                let sent: Vec<i64> =
                    worker.store.outbox_after(0, 10_000).unwrap().iter().map(|(seq, _)| *seq).collect();
                worker.store.acknowledge(&sent, 0).unwrap();
            }
        }
        drop(worker);
        let mut again = start(&dir, &config);
        let (is_renewed, stands) = (renewed.is_some(), renewed.unwrap_or(before));
        assert_eq!((tensors(&mut again), age(&mut again)), stands, "step {step}");
        assert_eq!(again.listeners.renewals().count, u64::from(is_renewed), "step {step}");
        assert_eq!(told(&again).len(), usize::from(is_renewed), "step {step}: told once");
        assert_eq!(again.store.note(NOTE).unwrap().as_deref().unwrap_or_default(), "", "step {step}");
    }
}

#[test]
fn a_clock_that_jumps_during_a_renewal_hides_no_fresh_state() {
    for jump in [-86_400, 86_400] {
        let (dir, config, talk) = (tempfile::tempdir().unwrap(), config(""), sentences());
        let mut worker = start(&dir, &config);
        say(&mut worker, 100_000, &talk[..30]);
        worker.save();
        worker.ask_renewal(vec![None]).unwrap();
        worker.renew().unwrap();
        worker.now = at(100_000 + jump);
        rest(&mut worker);
        assert_eq!(worker.listeners.renewals().count, 1);
        let renewed = tensors(&mut worker);
        drop(worker);
        assert_eq!(tensors(&mut start(&dir, &config)), renewed, "a jump by {jump} s");
    }
}

/// Where the disk takes no second state, the former one goes on, and the renewal is made when there is room.
#[test]
fn a_disk_that_takes_no_second_state_keeps_the_former_one() {
    let (dir, config, talk) = (tempfile::tempdir().unwrap(), config(""), sentences());
    let mut worker = start(&dir, &config);
    say(&mut worker, 0, &talk[..30]);
    let before = tensors(&mut worker);
    // A file where the directory of the snapshots was: nothing can be written there, whoever tries.
    let snapshots = dir.path().join("snapshots");
    std::fs::remove_dir_all(&snapshots).unwrap();
    std::fs::write(&snapshots, "").unwrap();
    worker.ask_renewal(vec![None]).unwrap();
    rest(&mut worker);
    assert_eq!((tensors(&mut worker), worker.listeners.renewals().count), (before, 0));
    assert!(told(&worker).is_empty() && worker.renewal.is_some(), "it waits");
    assert_eq!(worker.store.note(NOTE).unwrap().as_deref(), Some(""));
    say(&mut worker, 1_000, &talk[30..35]);
    std::fs::remove_file(&snapshots).unwrap();
    worker.renewal.as_mut().unwrap().not_before = None;
    rest(&mut worker);
    assert_eq!((worker.listeners.renewals().count, told(&worker).len()), (1, 1));
}

/// Forgetting and the past keep their laws over a renewal.
#[test]
fn what_is_forgotten_is_in_no_fresh_state_and_the_past_is_what_was_said_until_then() {
    let (dir, config, talk) = (tempfile::tempdir().unwrap(), config(""), sentences());
    let mut worker = start(&dir, &config);
    say(&mut worker, 0, &talk[..20]);
    worker.save();
    let until = tensors(&mut worker);
    say(&mut worker, 10_000, &talk[20..40]);
    // One that is being read goes: it may have read what is forgotten.
    worker.ask_renewal(vec![None]).unwrap();
    worker.renew().unwrap();
    assert!(worker.renewal.is_some());
    worker.forget_since(at(9_000)).unwrap();
    assert!(worker.renewal.is_none());
    assert_eq!(tensors(&mut worker), until);
    // One that has taken over has read it: the state goes back to a snapshot that had not.
    say(&mut worker, 20_000, &talk[40..60]);
    worker.ask_renewal(vec![None]).unwrap();
    rest(&mut worker);
    assert_eq!(worker.listeners.renewals().count, 1);
    let renewed = tensors(&mut worker);
    let Context { snapshots, .. } = worker.context.clone();
    let reads = |history: &SnapshotStore| -> Vec<i64> {
        history.list().unwrap().iter().map(|kept| kept.header.mark.read).collect()
    };
    assert_eq!(reads(&snapshots)[0], worker.read);
    // Before the renewal the former state answers, after it the fresh one.
    let at_time = |worker: &mut ListenerWorker, time: Timestamp| {
        let ListenerWorker { listeners, store, .. } = worker;
        state_at::at(listeners, store, None, time, |_| (), |listener, _| Ok(listener.state().tensors())).unwrap()
    };
    assert_eq!(at_time(&mut worker, at(5_000)), Some(until.clone()));
    assert_eq!(at_time(&mut worker, at(90_000)), Some(renewed));
    worker.forget_since(at(19_000)).unwrap();
    assert_eq!(tensors(&mut worker), until, "as one that never read it");
    assert!(reads(&snapshots).iter().all(|read| *read <= 20), "{:?}", reads(&snapshots));
    drop(worker);
    assert_eq!(tensors(&mut start(&dir, &config)), until);
}

#[test]
fn where_no_text_is_kept_nothing_can_be_renewed_and_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start(&dir, &config("[store]\nkeep = \"nothing\""));
    let refused = worker.ask_renewal(vec![None]).unwrap_err();
    assert!(refused.contains("keep = \"nothing\""), "{refused}");
}
