//! A listener with a real database and the bundled model, whose state is poisoned, renewed, killed and made to forget.

use jiff::{SignedDuration, Timestamp};

use super::taking_over::NOTE;
use super::*;
use crate::listener::snapshot_store::SnapshotStore;
use crate::services::Context;
use crate::services::listen::test_worker::{age, at, config, rest, say, say_in, sentences, start, tensors, tensors_of};

mod rooms;

fn told(worker: &ListenerWorker) -> Vec<String> {
    let messages = worker.store.outbox_after(0, 10_000).unwrap();
    let renewed = messages.into_iter().map(|(_, message)| message).filter(|m| m.topic.ends_with("/renewed"));
    renewed.map(|message| message.payload).collect()
}

/// Makes the state predict nothing any more, and older than it is.
fn poison(worker: &mut ListenerWorker, tokens: u64) {
    poison_in(worker, None, tokens);
}

fn poison_in(worker: &mut ListenerWorker, room: Option<&str>, tokens: u64) {
    let listener = worker.listeners.get_mut(room).0;
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
    let health = worker.renewal_health();
    assert_eq!((health.stage, health.compared_tokens), (Some(RenewalStage::Comparing), 0));
    // While they are compared, the live state stays.
    let mut second = 40_000;
    while worker.renewal.is_some() && second < 60_000 {
        say(&mut worker, second, &talk[..20]);
        rest(&mut worker);
        second += 200;
    }
    assert_eq!((worker.renewal_health().stage, worker.listeners.renewals().count), (None, 1));
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
    let alike = are_alike(&tensors(&mut worker), &tensors(&mut fresh));
    assert!(alike, "the fresh state has read what was said last, and nothing else");
}

/// Whether two states have read the same, cut into slices in whatever way.
fn are_alike(a: &[griffin::StateTensor], b: &[griffin::StateTensor]) -> bool {
    let values = |t: &griffin::StateTensor| -> Vec<f32> {
        t.bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
    };
    let same = |(a, b): (&griffin::StateTensor, _)| values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() < 1e-3);
    a.iter().zip(b).all(same)
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
        // Killed while it is read, or right after the note, before the snapshot. Both states have read as many tokens.
        let note = |worker: &mut ListenerWorker, time: Timestamp| {
            let (tokens, read) = (age(worker), worker.read);
            let note = format!(
                r#"{{"room":null,"occasion":"asked","tokens":{tokens},"renewals":{{"count":1,"last":"2026-01-01T12:00:00Z","compared":0}},"read":{read},"time":"{time}","young":null,"worse_by":null}}"#
            );
            worker.store.set_note(NOTE, &note).unwrap();
        };
        if step == 1 {
            let time = worker.now + SignedDuration::from_millis(1);
            note(&mut worker, time);
        }
        let mut renewed = None;
        if step >= 2 {
            rest(&mut worker);
            renewed = Some((tensors(&mut worker), age(&mut worker)));
            // Before the note was deleted; and before anything was told, too.
            let newest = worker.context.snapshots.list().unwrap().remove(0);
            note(&mut worker, newest.header.mark.time);
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
    assert_eq!(worker.renewal_health().stage, Some(RenewalStage::Unsaved));
    assert_eq!(worker.store.note(NOTE).unwrap().unwrap_or_default(), "");
    say(&mut worker, 1_000, &talk[30..35]);
    std::fs::remove_file(&snapshots).unwrap();
    // Whoever has made room asks again, and need not wait.
    worker.ask_renewal(vec![None]).unwrap();
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
        state_at::at(listeners, store, None, time, |listener, _| Ok(listener.state().tensors())).unwrap()
    };
    assert_eq!(at_time(&mut worker, at(5_000)), Some(until.clone()));
    assert_eq!(at_time(&mut worker, at(90_000)), Some(renewed));
    worker.forget_since(at(19_000)).unwrap();
    assert_eq!(tensors(&mut worker), until, "as one that never read it");
    assert!(reads(&snapshots).iter().all(|read| *read <= 20), "{:?}", reads(&snapshots));
    drop(worker);
    assert_eq!(tensors(&mut start(&dir, &config)), until);
}

/// The newest summaries are of what the fresh state reads word by word.
#[test]
fn a_fresh_state_reads_the_summaries_of_what_was_said_before_its_utterances() {
    let (dir, config, talk) = (tempfile::tempdir().unwrap(), config("[digest]\nevery_min = 5"), sentences());
    let mut worker = start(&dir, &config);
    for (n, texts) in talk[..FRESH_UTTERANCES + 300].chunks(50).enumerate() {
        say(&mut worker, 1_000 * n as i64, texts);
        rest(&mut worker);
    }
    let digests = worker.store.last_digests(100).unwrap();
    let first = worker.store.utterances_after(300, 1).unwrap().remove(0).1.start;
    let before: Vec<String> =
        digests.iter().filter(|digest| digest.to <= first).map(|digest| digest.text.clone()).collect();
    assert!(before.len() > 3 && digests.len() > before.len() + DIGESTS, "{} of {}", before.len(), digests.len());
    worker.ask_renewal(vec![None]).unwrap();
    worker.renew().unwrap();
    let reads: Vec<String> = worker.renewal.as_ref().unwrap().digests.iter().cloned().collect();
    assert_eq!(reads, before[before.len().saturating_sub(DIGESTS)..]);
}

#[test]
fn where_no_text_is_kept_nothing_can_be_renewed_and_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start(&dir, &config("[store]\nkeep = \"nothing\""));
    let refused = worker.ask_renewal(vec![None]).unwrap_err();
    assert!(refused.contains("keep = \"nothing\""), "{refused}");
}
