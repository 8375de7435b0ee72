//! The payload of every topic, one function each.
//!
//! Each payload is a JSON object with `id` (a ULID), `schema` and `time` (RFC 3339), at most [`MAX_BYTES`] long. Only
//! `status` is a plain word, since the broker publishes it for us when we are gone.
//!
//! Messages are delivered at least once. A repeat has the same `id`. The phases of one alert share an `id`, so a repeat of
//! those has the same `id`, `phase` and `time`.

mod health;
mod notification;
mod shorten;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use ulid::Ulid;

use self::notification::notification;
use self::shorten::{shorten, to_json};
use super::topics::Topics;
use crate::event::{
    Alert, Destination, Digest, EventKind, Evidence, Gap, GroundedSentence, Hypothesis, Message, Provenance, Quoted,
    Severity, Speaker, Utterance,
};

pub use health::{ProcessUsage, health};
pub(crate) use notification::readable;
pub(crate) use shorten::shortened;

/// The version of all payloads. It is increased when a field changes its meaning or is removed.
pub(crate) const SCHEMA: u32 = 1;

/// The longest payload, in bytes. Home Assistant does not record attributes beyond 16,384 bytes.
pub const MAX_BYTES: usize = 16_000;

/// The payloads of `status`.
pub(crate) const ONLINE: &str = "online";
pub(crate) const OFFLINE: &str = "offline";

/// The evidence of a summary takes at most so many bytes, and each quote so many beside its words and room.
const SUMMARY_EVIDENCE_BYTES: usize = 2_400;
const EVIDENCE_FIELDS_BYTES: usize = 110;

/// What stands in a retained summary whose speech was forgotten.
pub(crate) const FORGOTTEN: &str = "What was said then was forgotten.";

/// The id and time of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    pub id: Ulid,
    pub time: Timestamp,
}

impl MessageHeader {
    /// A new id, now.
    pub fn now() -> Self {
        Self { id: Ulid::generate(), time: Timestamp::now() }
    }
}

#[derive(Serialize)]
struct Envelope<T> {
    id: Ulid,
    schema: u32,
    time: Timestamp,
    #[serde(flatten)]
    body: T,
}

/// An utterance. Not retained.
pub fn utterance(topics: &Topics, utterance: &Utterance) -> Message {
    let Utterance { id, start, end, room, text, confidence, no_speech, speaker } = utterance;
    let mut body = json!({
        "start": start, "end": end, "room": room, "text": text,
        "confidence": rounded((*confidence).into()), "no_speech": rounded((*no_speech).into()),
    });
    if let Some(Speaker { name, confidence }) = speaker {
        body["speaker"] = name.as_str().into();
        body["speaker_confidence"] = rounded((*confidence).into()).into();
    }
    let provenance = speech(vec![*id], *end, None);
    let header = MessageHeader { id: *id, time: *end };
    message(topics.utterance(), false, header, body, provenance).telling_of(EventKind::Utterance)
}

/// The text of speech that has not ended yet. Not retained, and sent at most once: the next message repeats all of it.
pub fn interim(topics: &Topics, header: MessageHeader, said: &Hypothesis) -> Message {
    let Hypothesis { start, room, committed, tentative } = said;
    let body = json!({ "start": start, "room": room, "committed": committed.join(" "), "tentative": tentative });
    // It never waits in the outbox; should it ever, it goes with what was said by then.
    message(topics.interim(), false, header, body, speech(Vec::new(), header.time, None))
}

/// A span of audio that was not heard. Not retained.
pub fn gap(topics: &Topics, gap: &Gap) -> Message {
    let Gap { id, room, from, to, reason } = gap;
    let body = json!({ "room": room, "from": from, "to": to, "reason": reason });
    let header = MessageHeader { id: *id, time: *to };
    message(topics.gap(), false, header, body, Provenance::Nothing).telling_of(EventKind::Gap)
}

/// A fresh state has taken the place of the live one. Not retained.
pub fn renewed(topics: &Topics, header: MessageHeader, renewed: &RenewedState<'_>) -> Message {
    message(topics.renewed(), false, header, renewed, Provenance::Nothing)
}

/// A fresh state has taken the place of the live one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RenewedState<'a> {
    /// Whose state it is; none if all rooms share one.
    pub room: Option<&'a str>,
    /// `asked`, `suspected`, `regular` or `night`.
    pub reason: &'a str,
    /// How many renewals of this state there were by now.
    pub count: u64,
    /// Tokens that the fresh state has read.
    pub tokens: u64,
    /// By how many nats a token what was said surprised the former state more; none where they were not compared.
    pub worse_by: Option<f64>,
}

/// An alert began, goes on or ended. Not retained: Home Assistant ignores a retained event. `event_type` is the rule.
pub fn alert(topics: &Topics, alert: &Alert) -> Message {
    let Alert { id, rule, phase, severity, room, time, probability, answer, evidence } = alert;
    let (title, text) = notification(alert);
    let body = json!({
        "event_type": rule, "rule": rule, "phase": phase, "severity": severity, "room": room,
        "probability": probability.map(rounded), "answer": answer, "evidence": evidence, "title": title, "message": text,
    });
    let sources = evidence.iter().map(|evidence| evidence.utterance).chain([*id]).collect();
    let header = MessageHeader { id: *id, time: *time };
    message(topics.alert(), false, header, body, speech(sources, *time, None)).telling_of(EventKind::Alert)
}

/// A summary. Not retained: each one waits for a broker that is away, where of a retained topic only the newest does.
pub fn each_summary(topics: &Topics, digest: &Digest, model: &str) -> Message {
    let summary = summary(topics, digest, model);
    let provenance = speech(vec![digest.id], digest.to, None);
    Message { topic: topics.summaries(), retain: false, provenance, ..summary }.telling_of(EventKind::Summary)
}

/// The newest summary, retained.
pub fn summary(topics: &Topics, digest: &Digest, model: &str) -> Message {
    let Digest { id, time, from, to, reason, words, room, text, sentences } = digest;
    let header = MessageHeader { id: *id, time: *time };
    let body = |text: &str, words: usize, sentences: &[GroundedSentence]| {
        json!({
            "from": from, "to": to, "reason": reason, "words": words, "room": room, "text": text, "sentences": sentences,
            "model": model,
        })
    };
    let replacement = payload(header, body(FORGOTTEN, 0, &[]));
    let body = body(text, *words, &within(sentences, SUMMARY_EVIDENCE_BYTES));
    message(topics.summary(), true, header, body, speech(vec![*id], *to, Some(replacement)))
}

/// The sentences with as much of their evidence as takes at most `bytes`: the first quote of each first.
fn within(sentences: &[GroundedSentence], bytes: usize) -> Vec<GroundedSentence> {
    let mut kept: Vec<_> = sentences
        .iter()
        .map(|sentence| GroundedSentence { evidence: Vec::new(), text: sentence.text.clone() })
        .collect();
    let mut left = bytes;
    let rounds = sentences.iter().map(|sentence| sentence.evidence.len()).max().unwrap_or_default();
    for round in 0..rounds {
        for (sentence, kept) in sentences.iter().zip(&mut kept) {
            let Some(quote) = sentence.evidence.get(round) else { continue };
            let length = quote.text.len() + quote.room.len() + EVIDENCE_FIELDS_BYTES;
            if length <= left {
                left -= length;
                kept.evidence.push(quote.clone());
            }
        }
    }
    kept
}

/// The newest summary of a room that has a state of its own, retained.
pub fn summary_of_room(topics: &Topics, digest: &Digest, model: &str) -> Option<Message> {
    let topic = topics.summary_of(digest.room.as_deref()?);
    Some(Message { topic, ..summary(topics, digest, model) })
}

/// The state of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleState<'a> {
    pub rule: &'a str,
    /// The room with the highest probability; None if all rooms share one state.
    pub room: Option<&'a str>,
    pub on: bool,
    pub severity: Severity,
    /// The probability of yes at the last evaluation, for rules with a question.
    pub probability: Option<f64>,
    pub answer: Option<&'a str>,
    pub evidence: &'a [Evidence],
    /// The current alert was acknowledged.
    pub acknowledged: bool,
    /// The end of a snooze.
    pub snoozed_until: Option<Timestamp>,
    /// The probability at which an alert begins now, for rules with a question.
    pub threshold: Option<f64>,
}

/// The state of a rule, retained: `state` is `ON` or `OFF`.
pub fn rule(topics: &Topics, header: MessageHeader, rule: &RuleState<'_>) -> Message {
    let provenance = if rule.answer.is_some() || !rule.evidence.is_empty() {
        let at_rest = RuleState { on: false, probability: None, answer: None, evidence: &[], ..rule.clone() };
        let sources = rule.evidence.iter().map(|evidence| evidence.utterance).collect();
        speech(sources, header.time, Some(payload(header, rule_body(&at_rest))))
    } else {
        Provenance::Nothing
    };
    message(topics.rule(rule.rule), true, header, rule_body(rule), provenance)
}

fn rule_body(rule: &RuleState<'_>) -> Value {
    json!({
        "rule": rule.rule, "room": rule.room, "state": on_off(rule.on), "severity": rule.severity,
        "probability": rule.probability.map(rounded), "answer": rule.answer, "evidence": rule.evidence,
        "acknowledged": rule.acknowledged, "snoozed_until": rule.snoozed_until, "threshold": rule.threshold.map(rounded),
    })
}

/// Whether the microphone is open, retained: `state` is `ON` or `OFF`.
pub fn listening(topics: &Topics, header: MessageHeader, on: bool, paused_until: Option<Timestamp>) -> Message {
    let mut body = json!({ "state": on_off(on) });
    if let Some(until) = paused_until {
        body["paused_until"] = until.to_string().into();
    }
    message(topics.listening(), true, header, body, Provenance::Nothing).telling_of(EventKind::Listening)
}

/// Minutes between summaries, retained; 0 is never.
pub fn interval(topics: &Topics, header: MessageHeader, minutes: f64) -> Message {
    message(topics.interval(), true, header, json!({ "minutes": minutes }), Provenance::Nothing)
}

/// Models and rules of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// The names of the loaded models; None where none is loaded.
    pub whisper: Option<String>,
    pub listener: Option<String>,
    pub rules: Vec<String>,
}

/// Versions and models, retained.
pub fn info(topics: &Topics, header: MessageHeader, info: &NodeInfo) -> Message {
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"), "node": topics.node(),
        "whisper": info.whisper, "listener": info.listener, "rules": info.rules,
    });
    message(topics.info(), true, header, body, Provenance::Nothing)
}

/// What hearth sends to itself on a topic of each kind of command. Not retained.
pub fn command_probes(topics: &Topics, header: MessageHeader) -> [Message; 2] {
    topics.command_probes().map(|topic| message(topic, false, header, json!({}), Provenance::Nothing))
}

/// The answer to a command: `status` is `ok`, with the fields of its reply, or `error`, with what was wrong.
pub fn response(
    topics: &Topics,
    header: MessageHeader,
    command: &str,
    transaction: Option<&Value>,
    answer: Result<&impl Serialize, &str>,
) -> Message {
    // An answer may say anything the state has read by now, and the question may quote it too.
    let provenance = speech(Vec::new(), header.time, None);
    message(topics.response(command), false, header, self::answer(command, transaction, answer), provenance)
}

/// What an answer says, over MQTT, the control socket and the page.
pub(crate) fn answer(
    command: &str,
    transaction: Option<&Value>,
    answer: Result<&impl Serialize, &str>,
) -> Map<String, Value> {
    let mut body = Map::new();
    let status = match answer {
        Ok(reply) => {
            if let Value::Object(fields) = serde_json::to_value(reply).expect("a reply is JSON") {
                body.extend(fields);
            }
            // It is carried out when it is sent again with this.
            if body.contains_key("confirm") { "confirm" } else { "ok" }
        }
        Err(error) => {
            body.insert("error".into(), error.into());
            "error"
        }
    };
    body.insert("command".into(), command.into());
    body.insert("status".into(), status.into());
    if let Some(transaction) = transaction {
        body.insert("transaction".into(), transaction.clone());
    }
    body
}

/// The birth message, retained.
pub fn online(topics: &Topics) -> Message {
    Message::plain(topics.status(), ONLINE, true)
}

/// The message of a shutdown, retained; after a crash the broker publishes it (the will).
pub fn offline(topics: &Topics) -> Message {
    Message::plain(topics.status(), OFFLINE, true)
}

fn on_off(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}

/// Rounds to four decimals: finer than any model is calibrated, and readable.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

fn speech(sources: Vec<Ulid>, until: Timestamp, replacement: Option<String>) -> Provenance {
    Provenance::Speech(Quoted { sources, until, replacement })
}

fn message(
    topic: String,
    retain: bool,
    header: MessageHeader,
    body: impl Serialize,
    provenance: Provenance,
) -> Message {
    Message { destination: Destination::Broker, topic, payload: payload(header, body), retain, provenance }
}

/// The JSON of a message, shortened to [`MAX_BYTES`].
fn payload(header: MessageHeader, body: impl Serialize) -> String {
    let envelope = Envelope { id: header.id, schema: SCHEMA, time: header.time, body };
    let mut payload = to_json(&envelope);
    if payload.len() > MAX_BYTES {
        let mut value = serde_json::to_value(&envelope).expect("it was serialized before");
        shorten(&mut value, MAX_BYTES);
        payload = to_json(&value);
    }
    payload
}
