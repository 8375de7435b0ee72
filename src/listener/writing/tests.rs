//! Texts that are written in slices: digests, and the sentences of alerts.

use std::path::Path;

use jiff::SignedDuration;

use super::*;
use crate::config::Config;
use crate::event::Utterance;

fn open() -> Listener {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let config = crate::config::from_text(
        "[[rule]]\nname = \"hurt\"\nquestion = \"Is someone hurt or calling for help?\"\nenter = 0.15\nexit = 0.05\n\
         [[rule]]\nname = \"fire\"\nquestion = \"Is there a fire or smoke?\"\nenter = 0.15\nexit = 0.05\n",
    )
    .unwrap();
    let Config { listener, digest, rules, .. } = &config;
    Listener::open(&model, listener, digest, rules).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn say(listener: &mut Listener, second: i64, text: &str) {
    let (start, end) = (at(second), at(second) + SignedDuration::from_secs(3));
    listener.hear(&Utterance { start, end, text: text.into(), ..utterance() }).unwrap();
}

const TALK: [&str; 5] = [
    "The plumber is coming tomorrow at ten. Someone has to be home.",
    "I can work from home. The dentist appointment is on Thursday.",
    "Remember to buy milk and eggs.",
    "The electrician is coming on Friday at nine, and the parcel was delivered to the hallway.",
    "Dinner is at half past seven, we have mushroom risotto.",
];

fn talk(listener: &mut Listener) {
    TALK.iter().zip(0..).for_each(|(text, at)| say(listener, 5 * at, text));
}

const HELP: &str = "Help! I fell in the bathroom. My ankle hurts so much. I can't get up.";

/// Writes to the end.
fn written(listener: &mut Listener) -> ListenerOutcome {
    let mut outcome = ListenerOutcome::default();
    while listener.has_sentences() || listener.has_digest() {
        listener.write_on(&mut outcome).unwrap();
    }
    outcome
}

#[test]
fn a_digest_is_of_the_state_it_began_with_whatever_is_read_meanwhile() {
    let (mut whole, mut sliced) = (open(), open());
    talk(&mut whole);
    talk(&mut sliced);
    let expected = whole.tick(at(600)).unwrap().digests.remove(0);
    assert_eq!(sliced.pass_time(at(600)).unwrap().digests, [], "it is only begun");
    let mut outcome = ListenerOutcome::default();
    let mut second = 600;
    while sliced.has_digest() {
        sliced.write_on(&mut outcome).unwrap();
        second += 5;
        if second < 700 {
            say(&mut sliced, second, "There is smoke in the kitchen.");
            assert!(sliced.evaluate(at(second), false).unwrap().digests.is_empty());
        }
    }
    outcome.alerts.clear();
    let digest = &outcome.digests[0];
    assert_eq!((&digest.text, digest.words), (&expected.text, expected.words));
    assert_eq!((digest.from, digest.to, digest.time), (expected.from, expected.to, expected.time));
    assert!(!digest.sentences.is_empty(), "{digest:?}");
    assert_eq!(sliced.pending.from(), Some(at(605)), "what was said since is told next");
}

#[test]
fn an_alert_comes_at_once_and_its_sentence_after_it() {
    let (mut whole, mut sliced) = (open(), open());
    for listener in [&mut whole, &mut sliced] {
        say(listener, 0, HELP);
    }
    let expected = whole.consider(at(5)).unwrap().alerts.remove(0);
    assert!(expected.answer.is_some(), "{expected:?}");
    let new = sliced.evaluate(at(5), false).unwrap().alerts.remove(0);
    assert_eq!((new.phase, &new.answer, &new.evidence[0].text), (AlertPhase::New, &None, &expected.evidence[0].text));
    let told = written(&mut sliced).alerts.remove(0);
    assert_eq!(told, Alert { phase: AlertPhase::Update, answer: expected.answer, ..new });

    // The sentence of an alert that somebody acknowledged, or that is forgotten, comes to nobody.
    for stop in [
        |listener: &mut Listener| drop(listener.acknowledge(None)),
        |listener: &mut Listener| drop(listener.forget(&Default::default(), at(6))),
    ] {
        let mut listener = open();
        say(&mut listener, 0, HELP);
        assert_eq!(listener.evaluate(at(5), false).unwrap().alerts.len(), 1);
        stop(&mut listener);
        assert_eq!(written(&mut listener).alerts, []);
    }
}

#[test]
fn sentences_come_before_a_digest() {
    let mut listener = open();
    talk(&mut listener);
    listener.pass_time(at(600)).unwrap();
    say(&mut listener, 600, HELP);
    assert_eq!(listener.evaluate(at(603), false).unwrap().alerts.len(), 1);
    let mut outcome = ListenerOutcome::default();
    while listener.has_sentences() {
        listener.write_on(&mut outcome).unwrap();
    }
    assert_eq!((outcome.alerts.len(), outcome.digests.len()), (1, 0));
    assert!(listener.has_digest());
}

#[test]
fn a_digest_is_given_up_for_a_newer_one_but_not_twice_in_a_row() {
    let mut listener = open();
    let words = |texts: &[&str]| texts.iter().map(|text| text.split_whitespace().count()).sum::<usize>();
    let all = words(&TALK);
    talk(&mut listener);
    listener.pass_time(at(600)).unwrap();
    for (index, given_up) in [(1, 1), (2, 1)] {
        let later = 1000 * index;
        TALK.iter().for_each(|text| say(&mut listener, later, text));
        assert!(listener.has_digest());
        listener.pass_time(at(later + 600)).unwrap();
        assert_eq!(listener.given_up, given_up);
    }
    let kept = listener.memory();
    assert!(kept.contains(&format!("\"words\":{}", 3 * all)), "a restart loses no word: {kept}");
    let first = written(&mut listener).digests.remove(0);
    assert_eq!((first.words, first.from), (2 * all, at(0)), "it also covers what was given up");
    listener.pass_time(at(2700)).unwrap();
    let second = written(&mut listener).digests.remove(0);
    assert_eq!((second.words, second.from), (all, at(2000)));
}

#[test]
fn what_is_forgotten_is_not_written() {
    let mut listener = open();
    talk(&mut listener);
    listener.pass_time(at(600)).unwrap();
    listener.forget(&Default::default(), at(601));
    assert_eq!(written(&mut listener), ListenerOutcome::default());
    // One that somebody asked for is given up by whoever has it written.
    talk(&mut listener);
    let RequestedDigest::Begun(digest) = listener.begin_requested(at(700)).unwrap() else {
        panic!("words are pending")
    };
    listener.pass_time(at(900)).unwrap();
    assert!(!listener.has_digest(), "no second one is begun beside it");
    listener.give_up(*digest);
    listener.pass_time(at(900)).unwrap();
    assert!(listener.has_digest());
}

#[test]
fn a_stop_leaves_the_state_as_it_was() {
    let mut listener = open();
    let steps = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (left, token) = (steps.clone(), std::sync::atomic::Ordering::Relaxed);
    let stops = crate::listener::pace::Pace::new(true, move |_| left.fetch_sub(1, token) > 1);
    listener.set_pace(std::sync::Arc::new(stops));
    for slices in 1..4 {
        steps.store(slices, token);
        let utterance = Utterance { text: TALK.join(" ").repeat(20), ..utterance() };
        assert!(matches!(listener.hear(&utterance), Err(ListenerError::Stopped)));
        assert_eq!(listener.state().tokens_read(), 0);
    }
    assert_eq!(listener.pending.from(), None, "it does not count as heard");
}

fn utterance() -> Utterance {
    Utterance {
        id: Ulid::generate(),
        start: at(0),
        end: at(3),
        room: "home".into(),
        text: String::new(),
        confidence: 1.0,
        no_speech: 0.0,
        speaker: None,
    }
}

#[test]
fn measuring_changes_nothing() {
    let mut listener = open();
    talk(&mut listener);
    let before = listener.state().tensors();
    let speed = listener.measure().unwrap();
    assert!(speed.to_string().contains("the questions of 2 rules cost"), "{speed}");
    assert!(listener.state().tensors() == before, "measuring changed the state");
}

#[test]
fn a_rule_that_is_put_off_is_asked_later_about_what_was_said_until_then() {
    let rule = |name: &str, question: &str, severity| {
        format!(
            "[[rule]]\nname = \"{name}\"\nquestion = \"{question}\"\nseverity = \"{severity}\"\nenter = 0.15\nexit = 0.05\n"
        )
    };
    let rules = rule("fire", "Is there a fire or smoke?", "critical")
        + &rule("door", "Is someone at the door?", "info")
        + &rule("hurt", "Is someone hurt or calling for help?", "info");
    let config = crate::config::from_text(&rules).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let mut listener = Listener::open(&model, &config.listener, &config.digest, &config.rules).unwrap();
    // A machine on which a token takes a second.
    let pace = std::sync::Arc::new(crate::listener::pace::Pace::new(true, |_| true));
    listener.set_pace(pace.clone());
    let asked = |listener: &Listener| listener.rules.iter().map(|monitor| monitor.asked).collect::<Vec<_>>();
    for (at_second, expected) in [(0, [1, 1, 0]), (10, [2, 1, 1])] {
        say(&mut listener, at_second, if at_second == 0 { HELP } else { "Stay there." });
        pace.set_token_time(std::time::Duration::from_secs(1));
        let alerts = listener.evaluate(at(at_second + 3), true).unwrap().alerts;
        assert_eq!(asked(&listener), expected);
        let evidence = alerts.iter().flat_map(|alert| &alert.evidence).any(|quote| quote.text == HELP);
        assert_eq!(evidence, at_second == 10, "{alerts:?}");
    }
    // When nothing waits, or it does not take long, all are asked.
    for (waited, token, expected) in [(false, 1_000, [3, 2, 2]), (true, 1, [4, 3, 3])] {
        say(&mut listener, 20, "Good night.");
        pace.set_token_time(std::time::Duration::from_millis(token));
        listener.evaluate(at(23), waited).unwrap();
        assert_eq!(asked(&listener), expected);
    }
}
