//! Which of a model's sentences are told, and what alerts quote.

use std::path::Path;
use std::sync::Arc;

use ulid::Ulid;

use super::*;
use crate::config::Config;
use crate::event::{AlertPhase, Utterance};
use crate::listener::event_model::EventModel;
use crate::watcher::Watcher;

/// With the rules of the bundled config, the watcher and its second stage.
fn open() -> Listener {
    let config = crate::config::from_text(include_str!("../../../config/hearth.toml")).unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let watcher = Watcher::load(&models.join(crate::watcher::FILE)).unwrap();
    let events =
        EventModel::load(&models.join(crate::listener::event_model::FOLDER), &config.listener, &watcher).unwrap();
    let Config { listener, digest, rules, .. } = &config;
    let model = models.join("recurrentgemma-nano");
    Listener::open(&model, listener, digest, rules)
        .unwrap()
        .with_watcher(Some(Arc::new(watcher)), Some(Arc::new(events)))
}

fn hear(listener: &mut Listener, at: i64, text: &str) -> Timestamp {
    let time = |second| Timestamp::from_second(1_700_000_000 + second).unwrap();
    let (id, text) = (Ulid::from(at as u128 + 1), text.into());
    let utterance = Utterance {
        id,
        start: time(at),
        end: time(at + 3),
        room: "hall".into(),
        text,
        confidence: 0.9,
        no_speech: 0.0,
        speaker: None,
    };
    listener.hear(&utterance).unwrap();
    utterance.end
}

#[test]
fn an_event_is_told_only_where_the_same_event_was_heard() {
    let mut listener = open();
    let talk = [
        "I've got the baby.",
        "Somebody is rattling the back door, and it isn't one of us.",
        "Stay away from the glass.",
    ];
    for (text, at) in talk.iter().zip(0..) {
        hear(&mut listener, 5 * at, text);
    }
    let talk = Talk::new(listener.talk.all());
    let told = |text: &str| {
        let written = Generated { text: text.into(), ended: true };
        let grounded = listener.ground(&talk, &written, "");
        (grounded.text(), grounded.dropped)
    };
    assert_eq!(told("The back door was left open."), (String::new(), 1));
    let rattling = "Somebody is rattling the back door.";
    assert_eq!(told(rattling), (rattling.into(), 0));
}

#[test]
fn an_alert_does_not_quote_the_event_before_it() {
    let mut listener = open();
    let talk = [
        "The pan has gone up in flames! Leave everything and get out of the house!",
        "I've got the baby. Where is Ravi?",
        // As the recognizer hears it: alone it does not reach the rule's threshold.
        "Somebody is rattling the back door.",
    ];
    let mut alerts = Vec::new();
    for (text, at) in talk.iter().zip(0..) {
        let now = hear(&mut listener, 6 * at, text);
        alerts.extend(listener.consider(now).unwrap().alerts);
    }
    let intruder = alerts.iter().find(|alert| alert.rule == "intruder" && alert.phase == AlertPhase::New).unwrap();
    let quoted: Vec<&str> = intruder.evidence.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(quoted, talk[2..]);
}
