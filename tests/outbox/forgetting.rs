//! "The last ten minutes" are ten minutes that passed, whatever the clock was set to.

use hearth::event::{Message, Provenance, Utterance};
use hearth::mqtt::payload;
use hearth::mqtt::topics::Topics;
use hearth::store::Store;
use jiff::{SignedDuration, Timestamp};

use super::{open, utterance};

fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

/// Stores what a microphone hears now, with the message that tells of it; by the wall clock it was said at `end`.
fn hear(store: &mut Store, text: &str, end: Timestamp) -> Utterance {
    let config = hearth::config::Config::default();
    let topics = Topics::new(&config.mqtt, &config.node);
    let said = Utterance { start: end - SignedDuration::from_secs(2), end, ..utterance(0, text) };
    store.record_utterance(&said, &[payload::utterance(&topics, &said)]).unwrap();
    said
}

fn texts(store: &Store) -> Vec<String> {
    store.utterances_after(0, 100).unwrap().into_iter().map(|(_, said)| said.text).collect()
}

fn outbox(store: &Store) -> Vec<Message> {
    store.outbox_after(0, 100).unwrap().into_iter().map(|(_, message)| message).collect()
}

#[test]
fn what_was_said_before_the_clock_was_set_right_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.hears_live(true);
    // No battery: the clock was 20 minutes slow, and was set right a moment later.
    let said = hear(&mut store, "secret", ago(20));
    let forgotten = store.forget(ago(10), None).unwrap();
    assert_eq!((forgotten.utterances, forgotten.span), (1, Some((1, 1))), "the answer says so");
    assert_eq!((texts(&store), outbox(&store)), (Vec::new(), Vec::new()));
    assert!(said.end < ago(10));
}

#[test]
fn what_was_said_under_a_clock_that_jumped_ahead_goes_only_with_its_own_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.hears_live(true);
    // The clock was a year ahead, and was set back.
    hear(&mut store, "a year ahead", ago(-60 * 24 * 365));
    hear(&mut store, "after that", ago(0));
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    hear(&mut store, "just now", ago(0));
    store.forget(Timestamp::now() - SignedDuration::from_secs(1), None).unwrap();
    assert_eq!(texts(&store), ["a year ahead", "after that"]);
    let told = outbox(&store);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|message| matches!(message.provenance, Provenance::Speech(_))));
    store.forget_is_complete().unwrap();
    assert_eq!(store.forget(ago(1), None).unwrap().utterances, 2);
    assert_eq!((texts(&store), outbox(&store)), (Vec::new(), Vec::new()));
}

#[test]
fn where_no_text_is_kept_it_is_known_too_what_was_said_before_the_clock_was_set_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.hears_live(true);
    hear(&mut store, "secret", ago(20));
    store.enforce(Timestamp::now(), hearth::config::Keep::Nothing, 1).unwrap();
    assert_eq!((texts(&store).len(), outbox(&store).len()), (0, 1));
    let forgotten = store.forget(ago(10), None).unwrap();
    assert_eq!(forgotten.span, Some((1, 1)), "states go back to before it");
    assert_eq!(outbox(&store), Vec::new());
}
