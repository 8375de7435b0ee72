//! What each message says. Longer than most files: a function for each topic.
//!
//! Owns the JSON of every topic. Refuses to know when something is said. Invariant: each payload is one JSON object with
//! `id` (a ULID), `schema` and `time` (RFC 3339), and is at most [`MAX_BYTES`] long. `status` alone is a plain word, since
//! the broker says it for us when we are gone.
//!
//! Messages are delivered at least once. A repeat has the same `id`; the phases of one alert share theirs, so a repeat of
//! those has the same `id`, `phase` and `time`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use ulid::Ulid;

use super::topics::Topics;
use crate::event::{Alert, Digest, Evidence, Gap, Hypothesis, Message, Provenance, Quoted, Severity, Utterance};
use crate::metrics::Metrics;

/// The version of all payloads here. It counts up when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// No payload is longer. Home Assistant does not record attributes beyond 16,384 bytes.
pub const MAX_BYTES: usize = 16_000;

/// What `status` says.
pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";

/// What stands in a retained summary whose speech was forgotten.
pub const FORGOTTEN: &str = "What was said then was forgotten.";

/// What is cut off is marked by this.
const CUT: &str = "…";

/// The identity and the moment of a message that tells of no event of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    pub id: Ulid,
    pub time: Timestamp,
}

impl MessageHeader {
    /// A new identity, now.
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

/// Something was said. Not retained.
pub fn utterance(topics: &Topics, utterance: &Utterance) -> Message {
    let Utterance { id, start, end, room, text, confidence, no_speech } = utterance;
    let body = json!({
        "start": start, "end": end, "room": room, "text": text,
        "confidence": rounded((*confidence).into()), "no_speech": rounded((*no_speech).into()),
    });
    let provenance = speech(vec![*id], *end, None);
    message(topics.utterance(), false, MessageHeader { id: *id, time: *end }, body, provenance)
}

/// What is being said, before it is over. Not retained, and sent at most once: the next says all of it again.
pub fn interim(topics: &Topics, stamp: MessageHeader, said: &Hypothesis) -> Message {
    let Hypothesis { start, room, committed, tentative } = said;
    let body = json!({ "start": start, "room": room, "committed": committed.join(" "), "tentative": tentative });
    // It never waits in the outbox; should it ever, it goes with what was said by then.
    message(topics.interim(), false, stamp, body, speech(Vec::new(), stamp.time, None))
}

/// Something was not heard. Not retained.
pub fn gap(topics: &Topics, gap: &Gap) -> Message {
    let Gap { id, room, from, to, reason } = gap;
    let body = json!({ "room": room, "from": from, "to": to, "reason": reason });
    message(topics.gap(), false, MessageHeader { id: *id, time: *to }, body, Provenance::Nothing)
}

/// A rule fired, goes on or came to rest. Not retained: Home Assistant ignores a retained event. `event_type` is the rule.
pub fn alert(topics: &Topics, alert: &Alert) -> Message {
    let Alert { id, rule, phase, severity, room, time, probability, answer, evidence } = alert;
    let body = json!({
        "event_type": rule, "rule": rule, "phase": phase, "severity": severity, "room": room,
        "probability": probability.map(rounded), "answer": answer, "evidence": evidence,
    });
    let sources = evidence.iter().map(|evidence| evidence.utterance).chain([*id]).collect();
    message(topics.alert(), false, MessageHeader { id: *id, time: *time }, body, speech(sources, *time, None))
}

/// The newest summary, retained.
pub fn summary(topics: &Topics, digest: &Digest) -> Message {
    let Digest { id, time, from, to, reason, words, room, text } = digest;
    let stamp = MessageHeader { id: *id, time: *time };
    let body = |text: &str, words: usize| json!({ "from": from, "to": to, "reason": reason, "words": words, "room": room, "text": text });
    let replacement = payload(stamp, body(FORGOTTEN, 0));
    message(topics.summary(), true, stamp, body(text, *words), speech(vec![*id], *to, Some(replacement)))
}

/// The newest summary of a room that has a state of its own, retained.
pub fn summary_of_room(topics: &Topics, digest: &Digest) -> Option<Message> {
    let topic = topics.summary_of(digest.room.as_deref()?);
    Some(Message { topic, ..summary(topics, digest) })
}

/// How a rule stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleState<'a> {
    pub rule: &'a str,
    /// Of the room where it stands highest; none where all rooms share one state.
    pub room: Option<&'a str>,
    pub on: bool,
    pub severity: Severity,
    /// The question's probability of yes at the last reading, for rules that ask one.
    pub probability: Option<f64>,
    pub answer: Option<&'a str>,
    pub evidence: &'a [Evidence],
    /// Somebody said that they know of the alert that is on.
    pub acknowledged: bool,
    /// Until when the household wants to hear nothing of it.
    pub snoozed_until: Option<Timestamp>,
}

/// How a rule stands, retained: `state` is `ON` or `OFF`.
pub fn rule(topics: &Topics, stamp: MessageHeader, rule: &RuleState<'_>) -> Message {
    let provenance = if rule.answer.is_some() || !rule.evidence.is_empty() {
        let at_rest = RuleState { on: false, probability: None, answer: None, evidence: &[], ..rule.clone() };
        let sources = rule.evidence.iter().map(|evidence| evidence.utterance).collect();
        speech(sources, stamp.time, Some(payload(stamp, rule_body(&at_rest))))
    } else {
        Provenance::Nothing
    };
    message(topics.rule(rule.rule), true, stamp, rule_body(rule), provenance)
}

fn rule_body(rule: &RuleState<'_>) -> Value {
    json!({
        "rule": rule.rule, "room": rule.room, "state": on_off(rule.on), "severity": rule.severity,
        "probability": rule.probability.map(rounded), "answer": rule.answer, "evidence": rule.evidence,
        "acknowledged": rule.acknowledged, "snoozed_until": rule.snoozed_until,
    })
}

/// Whether hearth listens, retained: `state` is `ON` or `OFF`.
pub fn listening(topics: &Topics, stamp: MessageHeader, on: bool, paused_until: Option<Timestamp>) -> Message {
    let mut body = json!({ "state": on_off(on) });
    if let Some(until) = paused_until {
        body["paused_until"] = until.to_string().into();
    }
    message(topics.listening(), true, stamp, body, Provenance::Nothing)
}

/// Minutes between summaries, retained; 0 is never.
pub fn interval(topics: &Topics, stamp: MessageHeader, minutes: f64) -> Message {
    message(topics.interval(), true, stamp, json!({ "minutes": minutes }), Provenance::Nothing)
}

/// What is installed here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// The models' names as they are loaded; none where none is.
    pub whisper: Option<String>,
    pub listener: Option<String>,
    pub rules: Vec<String>,
}

/// Versions and models, retained.
pub fn info(topics: &Topics, stamp: MessageHeader, info: &NodeInfo) -> Message {
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"), "node": topics.node(),
        "whisper": info.whisper, "listener": info.listener, "rules": info.rules,
    });
    message(topics.info(), true, stamp, body, Provenance::Nothing)
}

/// What this process costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Share of one core since the last health message, in percent.
    pub cpu_percent: f64,
    /// Resident memory.
    pub memory_mib: f64,
    /// Since the start of the process.
    pub uptime_s: f64,
}

/// What each part says of itself, retained.
pub fn health(topics: &Topics, stamp: MessageHeader, metrics: &Metrics, cost: ProcessUsage) -> Message {
    let samples = |n: u64| rounded(crate::clock::seconds(i64::try_from(n).unwrap_or(i64::MAX)));
    let age_s = metrics.state_since.get().map_or(0.0, |since| stamp.time.duration_since(since).as_secs_f64().max(0.0));
    let rejected = &metrics.rejected_by;
    let rejected_by = json!({
        "too_short": rejected.too_short.get(),
        "too_fast": rejected.too_fast.get(),
        "no_speech": rejected.no_speech.get(),
        "repetition": rejected.repetition.get(),
        "no_words": rejected.no_words.get(),
    });
    let rooms = metrics.rooms.each().into_iter().map(|(name, room)| {
        let state = json!({
            "ok": room.delivers.get(),
            "level_db": rounded(room.level.db().into()),
            "clipped_s": samples(room.clipped_samples.get()),
            "dead": room.dead.get(),
        });
        (name.to_string(), state)
    });
    let rooms: Map<String, Value> = rooms.collect();
    let body = json!({
        "listening": metrics.listening.get(),
        "microphone_ok": metrics.microphone_ok.get(),
        "rooms": rooms,
        "heard_s": samples(metrics.heard_samples.get()),
        "decoded_s": samples(metrics.decoded_samples.get()),
        "dropped_s": samples(metrics.dropped_samples.get()),
        "utterances": metrics.utterances.get(),
        "words": metrics.words.get(),
        "rejected": metrics.rejected.get(),
        "rejected_by": rejected_by,
        "lag_s": rounded(metrics.lag.last_s()),
        "others": {
            "taken": metrics.others_taken.get(),
            "repeated": metrics.others_repeated.get(),
            "refused": metrics.others_refused.get(),
        },
        "tokens": metrics.tokens.get(),
        "state_age_s": rounded(age_s),
        "state_bytes": metrics.state_bytes.get(),
        "unread": metrics.unread.get(),
        "published": metrics.published.get(),
        "acknowledged": metrics.acknowledged.get(),
        "commands_ok": metrics.commands_ok.get(),
        "store_ok": !metrics.store_refuses.get(),
        "forget_ok": !metrics.forget_incomplete.get(),
        "outbox": metrics.outbox.get(),
        "outbox_dropped": metrics.outbox_dropped.get(),
        "cpu_percent": rounded(cost.cpu_percent),
        "memory_mib": rounded(cost.memory_mib),
        "uptime_s": rounded(cost.uptime_s),
    });
    message(topics.health(), true, stamp, body, Provenance::Nothing)
}

/// The answer to a command: `status` is `ok`, with the fields of its reply, or `error`, with what was wrong.
pub fn response(
    topics: &Topics,
    stamp: MessageHeader,
    command: &str,
    transaction: Option<&Value>,
    answer: Result<&impl Serialize, &str>,
) -> Message {
    // An answer may say anything the state has read by now, and the question may quote it too.
    let provenance = speech(Vec::new(), stamp.time, None);
    message(topics.response(command), false, stamp, self::answer(command, transaction, answer), provenance)
}

/// What an answer says, over MQTT, the control socket and the page.
pub fn answer(command: &str, transaction: Option<&Value>, answer: Result<&impl Serialize, &str>) -> Map<String, Value> {
    let mut body = Map::new();
    let status = match answer {
        Ok(reply) => {
            if let Value::Object(fields) = serde_json::to_value(reply).expect("a reply is JSON") {
                body.extend(fields);
            }
            "ok"
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
    Message { topic: topics.status(), payload: ONLINE.into(), retain: true, provenance: Provenance::Nothing }
}

/// The last word, retained; the broker says it when we cannot.
pub fn offline(topics: &Topics) -> Message {
    Message { topic: topics.status(), payload: OFFLINE.into(), retain: true, provenance: Provenance::Nothing }
}

fn on_off(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}

/// Four decimals are finer than any model here is calibrated, and keep payloads readable.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

fn speech(sources: Vec<Ulid>, until: Timestamp, replacement: Option<String>) -> Provenance {
    Provenance::Speech(Quoted { sources, until, replacement })
}

fn message(topic: String, retain: bool, stamp: MessageHeader, body: impl Serialize, provenance: Provenance) -> Message {
    Message { topic, payload: payload(stamp, body), retain, provenance }
}

/// The JSON of a message, shortened to [`MAX_BYTES`].
fn payload(stamp: MessageHeader, body: impl Serialize) -> String {
    let envelope = Envelope { id: stamp.id, schema: SCHEMA, time: stamp.time, body };
    let mut payload = to_json(&envelope);
    if payload.len() > MAX_BYTES {
        let mut value = serde_json::to_value(&envelope).expect("what was just written can be written again");
        shorten(&mut value, MAX_BYTES);
        payload = to_json(&value);
    }
    payload
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the payloads here have string keys and finite or absent numbers")
}

/// Cuts texts to half the length, and half again, then drops the oldest quarter of the longest list, until `value` fits
/// `max` bytes of JSON.
fn shorten(value: &mut Value, max: usize) {
    /// Identities, times and names are shorter than this and stay whole.
    const SHORT: usize = 128;
    let mut longest = max / 2;
    while to_json(value).len() > max {
        if longest >= SHORT {
            cut_texts(value, longest);
            longest /= 2;
        } else {
            match longest_list(value) {
                Some(list) if !list.is_empty() => drop(list.drain(..list.len().div_ceil(4))),
                _ => return,
            }
        }
    }
}

fn cut_texts(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) if text.len() > longest => cut(text, longest),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, longest)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut_texts(field, longest)),
        _ => {}
    }
}

/// Shortens `text` to at most `keep` bytes and a mark, at the end of a character.
fn cut(text: &mut String, keep: usize) {
    let end = (0..=keep.saturating_sub(CUT.len()).min(text.len())).rfind(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text.push_str(CUT);
}

fn longest_list(value: &mut Value) -> Option<&mut Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Object(fields) => fields.values_mut().filter_map(longest_list).max_by_key(|list| list.len()),
        _ => None,
    }
}
