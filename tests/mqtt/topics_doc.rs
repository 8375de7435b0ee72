//! `docs/mqtt.md` shows each topic as it is sent.

use std::path::Path;

use hearth::commands::{AskReply, InvalidCommand, Reply, Request};
use hearth::event::{Digest, DigestReason, Gap, GapReason, GroundedSentence, Hypothesis, Message, Severity, Utterance};
use hearth::metrics::Metrics;
use hearth::mqtt::payload::{self, MessageHeader, NodeInfo, ProcessUsage, RenewedState, RuleState};
use ulid::Ulid;

use crate::harness::*;

/// As `models::title` calls it.
const MODEL: &str = "recurrentgemma-nano (demo model)";

/// Every topic with its retain flag and what is sent on it, from fixed events.
fn examples() -> Vec<Message> {
    let (topics, time) = (topics(), "2026-01-01T12:00:00Z".parse().unwrap());
    let stamp = MessageHeader { id: Ulid::from_parts(1_767_268_800_000, 1), time };
    let said = Utterance { id: stamp.id, ..utterance(0) };
    let saying = Hypothesis {
        start: said.start,
        room: "home".into(),
        committed: vec!["this".into(), "is".into()],
        tentative: "sentence numb".into(),
    };
    let gap = Gap { id: stamp.id, room: "home".into(), from: said.start, to: time, reason: GapReason::DeviceLost };
    let digest = Digest {
        id: stamp.id,
        time,
        from: said.start,
        to: said.end,
        reason: DigestReason::ConversationEnded,
        words: 42,
        room: None,
        text: "Emma bakes a cake.".into(),
        sentences: vec![GroundedSentence {
            text: "Emma bakes a cake.".into(),
            evidence: vec![quote(stamp.id, time, "Emma is baking a cake.".into())],
        }],
    };
    let evidence = [quote(stamp.id, time, "There is water on the floor.".into())];
    let rule = RuleState {
        rule: "leak",
        room: None,
        on: true,
        severity: Severity::Critical,
        probability: Some(0.91),
        answer: Some("Yes."),
        evidence: &evidence,
        acknowledged: false,
        snoozed_until: None,
        threshold: Some(0.9),
    };
    let info = NodeInfo { whisper: Some("whisper".into()), listener: Some("nano".into()), rules: vec!["leak".into()] };
    let renewed = RenewedState { room: None, reason: "suspected", count: 1, tokens: 6_400, worse_by: Some(0.42) };
    let ask = Request { command: asks("Who called?"), transaction: Some("t-1".into()) };
    let answer = AskReply {
        question: "Who called?".into(),
        text: "Jack.".into(),
        model: "recurrentgemma-nano (demo model)".into(),
        evidence: Vec::new(),
        probability: None,
        at: None,
    };
    let invalid =
        InvalidCommand { command: "unknown", transaction: None, error: "there is no command request/x".into() };
    let metrics = Metrics::default();
    metrics.rooms.open(&"home".into());
    let mut messages = vec![
        payload::online(&topics),
        payload::info(&topics, stamp, &info),
        payload::health(
            &topics,
            stamp,
            &metrics,
            ProcessUsage { cpu_percent: 12.5, memory_mib: 180.0, uptime_s: 3600.0 },
        ),
        payload::listening(&topics, stamp, true, None),
        payload::interval(&topics, stamp, 15.0),
        payload::summary(&topics, &digest, MODEL),
        payload::rule(&topics, stamp, &rule),
        payload::interim(&topics, stamp, &saying),
        payload::utterance(&topics, &said),
        payload::each_summary(&topics, &digest, MODEL),
        payload::alert(&topics, &alert(vec!["There is water on the floor.".into()])),
        payload::gap(&topics, &gap),
        payload::renewed(&topics, stamp, &renewed),
        ask.response(&topics, stamp, &Ok(Reply::Ask(answer))),
        invalid.response(&topics, stamp),
    ];
    messages.extend(payload::command_probes(&topics, stamp));
    messages
}

#[test]
fn topics_md_shows_what_is_sent() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mqtt.md");
    let table = std::fs::read_to_string(&file).unwrap();
    let row = |message: &Message| {
        let kept = if message.retain { "yes" } else { "no" };
        format!("| `{}` | {kept} | `{}` |", message.topic, message.payload)
    };
    let expected: Vec<String> = examples().iter().map(row).collect();
    let found: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| `hearth/") && line.matches('|').count() == 4).collect();
    assert_eq!(
        found,
        expected,
        "{} does not say what is sent; it should say\n{}\n",
        file.display(),
        expected.join("\n")
    );
}
