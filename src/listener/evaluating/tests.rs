//! What is asked, and what words raise by themselves.

use std::path::Path;

use super::*;
use crate::config::Config;
use crate::event::{Alert, AlertPhase};

fn open() -> Listener {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let config = crate::config::from_text(
        "[[rule]]\nname = \"fire\"\nquestion = \"Is there a fire?\"\ntrigger = \"the house is on fire\"\nenter = 0.999\n\
         [[rule]]\nname = \"parcel\"\npattern = \"courier|^okay\"\n",
    )
    .unwrap();
    let Config { listener, digest, rules, .. } = &config;
    Listener::open(&model, listener, digest, rules).unwrap()
}

fn said(second: i64, text: &str) -> Utterance {
    let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
    Utterance {
        id: ulid::Ulid::generate(),
        start: at(second),
        end: at(second + 2),
        room: "hall".into(),
        text: text.into(),
        confidence: 0.9,
        no_speech: 0.0,
        speaker: None,
    }
}

fn new(outcome: &ListenerOutcome) -> Vec<&str> {
    let is_new = |alert: &&Alert| alert.phase == AlertPhase::New;
    outcome.alerts.iter().filter(is_new).map(|alert| alert.rule.as_str()).collect()
}

#[test]
fn words_that_are_enough_raise_the_alert_before_they_are_read_and_only_once() {
    let mut listener = open();
    let talk = ["We need milk.", "Get out, the house is on fire!", "The courier is here.", "Is that so?"];
    let talk: Vec<_> = talk.iter().zip(0..).map(|(text, at)| said(5 * at, text)).collect();
    listener.hear(&talk[0]).unwrap();
    let (read, ahead) = (listener.state().tokens_read(), &talk[1..]);
    let spotted: ListenerOutcome = ahead.iter().map(|utterance| listener.spot(utterance)).collect();
    assert_eq!((new(&spotted), listener.state().tokens_read()), (vec!["fire", "parcel"], read));
    assert_eq!(spotted.alerts[0].evidence[0].utterance, talk[1].id);
    assert_eq!(listener.spotted.len(), 2);
    ahead.iter().for_each(|utterance| listener.hear(utterance).unwrap());
    let later = listener.evaluate(talk[3].end, true).unwrap();
    assert!(later.alerts.is_empty() && listener.spotted.is_empty(), "{later:?}");
    assert_eq!(later.readings.len(), 1, "the question is asked as ever");
}

#[test]
fn a_nod_asks_nothing_unless_a_pattern_is_found_in_it() {
    let mut listener = open();
    let mut hear = |second, text: &str| {
        let utterance = said(second, text);
        listener.hear(&utterance).unwrap();
        listener.evaluate(utterance.end, false).unwrap()
    };
    assert_eq!(hear(0, "We need milk.").readings.len(), 1);
    assert_eq!(hear(5, "Mm."), ListenerOutcome::default());
    assert_eq!(new(&hear(10, "Okay.")), ["parcel"]);
    assert_eq!(hear(15, "Yes.").readings.len(), 1, "it may be an answer");
}
