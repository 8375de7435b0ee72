//! Everything that quotes speech says so, and loses what the household wants left out of it.

use std::path::Path;

use hearth::config::{Config, PrivacyConfig};
use hearth::event::{
    Alert, AlertPhase, Digest, DigestReason, Evidence, Gap, GapReason, GroundedSentence, Hypothesis, Message,
    Provenance, Severity, Utterance,
};
use hearth::metrics::Metrics;
use hearth::mqtt::payload::{self, MessageHeader, NodeInfo, ProcessUsage, RenewedState, RuleState};
use hearth::mqtt::topics::Topics;
use hearth::redact::Redactor;
use jiff::Timestamp;
use serde_json::json;
use ulid::Ulid;

/// What is spoken, in every text of every message.
const SPOKEN: &str = "Zanzibar";

/// A message of each function of `payload` that makes one, with its name.
fn each() -> Vec<(&'static str, Message)> {
    let config = Config::default();
    let topics = Topics::new(&config.mqtt, &config.node);
    let time = Timestamp::UNIX_EPOCH;
    let header = MessageHeader { id: Ulid::nil(), time };
    let text = || format!("He said {SPOKEN}.");
    let said = Utterance {
        id: Ulid::nil(),
        start: time,
        end: time,
        room: "hall".into(),
        text: text(),
        confidence: 0.5,
        no_speech: 0.5,
        speaker: None,
    };
    let saying =
        Hypothesis { start: time, room: "hall".into(), committed: vec!["He".into(), SPOKEN.into()], tentative: text() };
    let gap = Gap { id: Ulid::nil(), room: "hall".into(), from: time, to: time, reason: GapReason::Muted };
    let evidence = vec![Evidence { utterance: Ulid::nil(), time, room: "hall".into(), text: text() }];
    let alert = Alert {
        id: Ulid::nil(),
        rule: "leak".into(),
        phase: AlertPhase::New,
        severity: Severity::Info,
        room: None,
        time,
        probability: None,
        answer: Some(text()),
        evidence: evidence.clone(),
    };
    let digest = Digest {
        id: Ulid::nil(),
        time,
        from: time,
        to: time,
        reason: DigestReason::Interval,
        words: 3,
        room: Some("hall".into()),
        text: text(),
        sentences: vec![GroundedSentence { text: text(), evidence: evidence.clone() }],
    };
    let rule = RuleState {
        rule: "leak",
        room: None,
        on: true,
        severity: Severity::Info,
        probability: None,
        answer: alert.answer.as_deref(),
        evidence: &evidence,
        acknowledged: false,
        snoozed_until: None,
        threshold: None,
    };
    let renewed = RenewedState { room: Some("hall"), reason: "asked", count: 1, tokens: 2, worse_by: None };
    let answer = json!({ "question": text(), "text": text() });
    vec![
        ("utterance", payload::utterance(&topics, &said)),
        ("interim", payload::interim(&topics, header, &saying)),
        ("gap", payload::gap(&topics, &gap)),
        ("alert", payload::alert(&topics, &alert)),
        ("each_summary", payload::each_summary(&topics, &digest, "nano")),
        ("summary", payload::summary(&topics, &digest, "nano")),
        ("summary_of_room", payload::summary_of_room(&topics, &digest, "nano").unwrap()),
        ("rule", payload::rule(&topics, header, &rule)),
        ("renewed", payload::renewed(&topics, header, &renewed)),
        ("listening", payload::listening(&topics, header, true, None)),
        ("interval", payload::interval(&topics, header, 15.0)),
        ("info", payload::info(&topics, header, &NodeInfo::default())),
        ("health", payload::health(&topics, header, &Metrics::default(), ProcessUsage::default())),
        ("response", payload::response(&topics, header, "ask", None, Ok(&answer))),
        ("online", payload::online(&topics)),
        ("offline", payload::offline(&topics)),
    ]
}

#[test]
fn a_message_quotes_speech_exactly_when_its_payload_does_and_none_of_it_is_published_that_is_left_out() {
    let redactor = Redactor::new(&PrivacyConfig { redact: vec![SPOKEN.into()], ..PrivacyConfig::default() });
    for (name, message) in each() {
        let quotes = message.payload.contains(SPOKEN);
        assert_eq!(
            quotes,
            message.provenance != Provenance::Nothing,
            "{name} does not say truly whether it quotes speech"
        );
        let published = redactor.message(&message);
        assert!(!published.payload.contains(SPOKEN), "{name} is published with what was to be left out: {published:?}");
        if let Provenance::Speech(quoted) = &message.provenance {
            let replacement = quoted.replacement.as_deref().unwrap_or_default();
            assert!(!replacement.contains(SPOKEN), "what takes the place of {name} quotes it: {replacement}");
        }
    }
}

#[test]
fn every_function_that_makes_a_payload_is_in_this_test() {
    let mqtt = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mqtt");
    let parts = std::fs::read_dir(mqtt.join("payload")).unwrap().map(|entry| entry.unwrap().path());
    let source: String =
        parts.chain([mqtt.join("payload.rs")]).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let tested: Vec<&str> = each().iter().map(|(name, _)| *name).collect();
    let mut found = 0;
    for function in source.split("\npub fn ").skip(1) {
        let (signature, _) = function.split_once(" {\n").unwrap();
        let name = signature.split(['(', '<']).next().unwrap();
        if signature.contains("Message>") || signature.ends_with("-> Message") {
            assert!(tested.contains(&name), "payload::{name} makes a message: show here what it quotes");
            found += 1;
        }
    }
    assert_eq!(found, tested.len());
}
