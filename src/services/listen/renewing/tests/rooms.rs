//! The same where each room has a state of its own.

use super::*;

const EACH: &str = "[listener]\nstates = \"room\"";

/// The room, the reason and the age of each renewal that was told.
fn told_of(worker: &ListenerWorker) -> Vec<(String, String, u64)> {
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let read = |json: serde_json::Value| {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_string();
        (text("room"), text("reason"), json["tokens"].as_u64().unwrap())
    };
    told(worker).into_iter().map(parse).map(read).collect()
}

#[test]
fn a_state_is_renewed_from_what_was_said_in_its_room_however_much_was_said_elsewhere() {
    let (dir, config, talk) = (tempfile::tempdir().unwrap(), config(EACH), sentences());
    let mut worker = start(&dir, &config);
    let (first, last, others) = (&talk[..30], &talk[30..50], &talk[50..FRESH_UTTERANCES + 150]);
    say_in(&mut worker, "kitchen", 0, first);
    say_in(&mut worker, "hall", 1_000, others);
    say_in(&mut worker, "kitchen", 10_000, last);
    worker.save();
    let hall = tensors_of(&mut worker, Some("hall"));
    worker.ask_renewal(vec![Some("kitchen".into())]).unwrap();
    rest(&mut worker);
    let other = tempfile::tempdir().unwrap();
    let mut fresh = start(&other, &config);
    say_in(&mut fresh, "kitchen", 0, first);
    say_in(&mut fresh, "kitchen", 10_000, last);
    let age = fresh.listeners.get_mut(Some("kitchen")).0.state().tokens_read();
    assert_eq!(told_of(&worker), [("kitchen".into(), "asked".into(), age)]);
    let kitchen = tensors_of(&mut worker, Some("kitchen"));
    assert!(are_alike(&kitchen, &tensors_of(&mut fresh, Some("kitchen"))), "it has read what was said there");
    assert_eq!(tensors_of(&mut worker, Some("hall")), hall, "the other state is as it was");
    drop(worker);
    let mut again = start(&dir, &config);
    assert_eq!((tensors_of(&mut again, Some("kitchen")), tensors_of(&mut again, Some("hall"))), (kitchen, hall));
    assert_eq!((again.listeners.renewals_of(Some("kitchen")).count, told_of(&again).len()), (1, 1));
    // Without a room, all of them are renewed, one after the other.
    let rooms = again.listeners.states_for(None).unwrap();
    again.ask_renewal(rooms).unwrap();
    rest(&mut again);
    rest(&mut again);
    let told: Vec<String> = told_of(&again).into_iter().map(|(room, ..)| room).collect();
    assert_eq!(told, ["kitchen", "hall", "kitchen"]);
}

#[test]
fn what_is_urgent_in_a_room_does_not_wait_for_a_comparison_in_another() {
    let (dir, config, talk) = (tempfile::tempdir().unwrap(), config(EACH), sentences());
    let mut worker = start(&dir, &config);
    let renewed =
        |worker: &ListenerWorker| worker.renewal.as_ref().map(|renewal| (renewal.room.clone(), renewal.occasion));
    say_in(&mut worker, "kitchen", 0, &talk[..20]);
    // Old enough for a regular comparison, which takes as long as somebody must talk there.
    let tensors = tensors_of(&mut worker, Some("kitchen"));
    worker.listeners.get_mut(Some("kitchen")).0.poison(1_000_000, &tensors);
    rest(&mut worker);
    assert_eq!(renewed(&worker), Some((Some("kitchen".into()), Occasion::Regular)));
    say_in(&mut worker, "hall", 1_000, &talk[..20]);
    poison_in(&mut worker, Some("hall"), 20_000);
    say_in(&mut worker, "hall", 2_000, &talk[20..520]);
    assert!(worker.listeners.surprise().risen, "a state that predicts nothing is known without its youth");
    rest(&mut worker);
    assert_eq!(renewed(&worker), Some((Some("hall".into()), Occasion::Suspected)));
    // What somebody asks for is done at once; then it goes on with what is due.
    worker.ask_renewal(vec![Some("kitchen".into())]).unwrap();
    rest(&mut worker);
    rest(&mut worker);
    assert_eq!(told_of(&worker).len(), 1);
    assert_eq!(renewed(&worker), Some((Some("hall".into()), Occasion::Suspected)));
    let mut second = 20_000;
    while worker.renewal.is_some() && second < 40_000 {
        say_in(&mut worker, "hall", second, &talk[..20]);
        rest(&mut worker);
        second += 200;
    }
    let told = told_of(&worker);
    assert_eq!((told.len(), told[1].0.as_str(), told[1].1.as_str()), (2, "hall", "suspected"));
    assert!(!worker.listeners.surprise().risen);
}
