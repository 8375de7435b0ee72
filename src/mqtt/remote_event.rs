//! What other machines say they heard.
//!
//! Owns the reading of their utterances and gaps. Refuses to know how they come and where they are kept. Invariant: whatever is sent
//! there, by mistake or on purpose, becomes an utterance of bounded length, on one line and not from the future, or a reason
//! why not.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ulid::Ulid;

use super::payload::SCHEMA;
use crate::event::{Gap, GapReason, Utterance};

/// What the topics end in.
const UTTERANCE: &str = "/utterance";
const GAP: &str = "/gap";
/// No utterance is longer, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// No room has a longer name, in characters.
const MAX_ROOM_CHARS: usize = 64;

/// The payload of `utterance`; what else stands there is of no use to a reader.
#[derive(Deserialize)]
struct UtterancePayload {
    id: Ulid,
    schema: u32,
    start: Timestamp,
    end: Timestamp,
    room: String,
    text: String,
    confidence: f32,
    no_speech: f32,
}

/// The payload of `gap`.
#[derive(Deserialize)]
struct GapPayload {
    id: Ulid,
    schema: u32,
    room: String,
    from: Timestamp,
    to: Timestamp,
    reason: GapReason,
}

/// What another machine tells.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteEvent {
    Utterance(Utterance),
    Gap(Gap),
}

/// Where machines that tell their utterances at `filter` tell what they did not hear.
pub fn gaps(filter: &str) -> Option<String> {
    filter.strip_suffix(UTTERANCE).map(|below| format!("{below}{GAP}"))
}

/// Reads what another machine told at `topic`.
///
/// # Errors
/// It is neither an utterance nor a gap, and why.
pub fn read(topic: &str, payload: &[u8], retained: bool, now: Timestamp) -> Result<RemoteEvent, String> {
    if retained {
        // It would come again at every connection, when its id is long forgotten, too.
        return Err(
            "it was left there, where nothing is to be left: something else than a hearth retains messages".into()
        );
    }
    if topic.ends_with(GAP) {
        gap(payload, now).map(RemoteEvent::Gap)
    } else {
        utterance(payload, now).map(RemoteEvent::Utterance)
    }
}

fn gap(payload: &[u8], now: Timestamp) -> Result<Gap, String> {
    let GapPayload { id, schema, room, from, to, reason } = parse(payload, "gap")?;
    let room = known_room(schema, &room)?;
    let (from, to) = not_ahead(from, to, now)?;
    Ok(Gap { id, room, from, to, reason })
}

/// Reads the utterance of another machine that arrived at `now`. One that ends later was told by a clock that is ahead of ours:
/// it ended when it arrived, or a single wrong clock would put the whole house into the future.
///
/// # Errors
/// It is none, and why.
fn utterance(payload: &[u8], now: Timestamp) -> Result<Utterance, String> {
    let UtterancePayload { id, schema, start, end, room, text, confidence, no_speech } = parse(payload, "utterance")?;
    let room = known_room(schema, &room)?;
    let text = one_line(&text);
    if text.is_empty() {
        return Err("there is no word in it".into());
    }
    let (start, end) = not_ahead(start, end, now)?;
    let share = |x: f32| x.clamp(0.0, 1.0);
    Ok(Utterance { id, start, end, room, text, confidence: share(confidence), no_speech: share(no_speech) })
}

fn parse<T: DeserializeOwned>(payload: &[u8], what: &str) -> Result<T, String> {
    if payload.len() > MAX_BYTES {
        return Err(format!("what was heard has at most {MAX_BYTES} bytes, this has {}", payload.len()));
    }
    serde_json::from_slice(payload).map_err(|error| format!("this is no {what}: {error}"))
}

/// The room, of a payload whose fields mean what this hearth thinks.
fn known_room(schema: u32, room: &str) -> Result<String, String> {
    if schema != SCHEMA {
        return Err(format!("its schema is {schema}, this hearth knows {SCHEMA}: install the same version everywhere"));
    }
    let room = one_line(room);
    if room.is_empty() || room.chars().count() > MAX_ROOM_CHARS {
        return Err(format!("the name of its room has none or more than {MAX_ROOM_CHARS} characters"));
    }
    Ok(room)
}

/// A stretch of time that does not end after `now`.
fn not_ahead(start: Timestamp, end: Timestamp, now: Timestamp) -> Result<(Timestamp, Timestamp), String> {
    if end < start {
        return Err(format!("it ends at {end}, before it begins at {start}"));
    }
    let ahead = end.duration_since(now);
    Ok(if ahead.is_positive() { (start.checked_sub(ahead).unwrap_or(now), now) } else { (start, end) })
}

fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{MqttConfig, Name};
    use crate::mqtt::payload;
    use crate::mqtt::topics::Topics;

    fn said() -> Utterance {
        let start: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let end = "2026-01-01T12:00:02.5Z".parse().unwrap();
        let (room, text) = ("kitchen".into(), "The kettle boils.".into());
        Utterance { id: Ulid::from_parts(7, 9), start, end, room, text, confidence: 0.5, no_speech: 0.25 }
    }

    fn sent() -> Value {
        let name: Name = "kitchen".parse().unwrap();
        let message = payload::utterance(&Topics::new(&MqttConfig::default(), &name), &said());
        serde_json::from_str(&message.payload).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T12:00:10Z".parse().unwrap()
    }

    fn with(key: &str, value: Value) -> Result<Utterance, String> {
        let mut body = sent();
        body[key] = value;
        utterance(body.to_string().as_bytes(), now())
    }

    #[test]
    fn what_a_machine_tells_is_what_another_reads() {
        assert_eq!(utterance(sent().to_string().as_bytes(), now()), Ok(said()));
        assert_eq!(with("something_new", json!(1)), Ok(said()), "a later version may add to it");
    }

    #[test]
    fn what_is_no_utterance_says_why_not() {
        for (key, value, why) in [
            ("id", json!("x"), "no utterance"),
            ("schema", json!(2), "its schema is 2, this hearth knows 1"),
            ("text", json!(" \n\u{7} "), "no word"),
            ("text", json!(7), "no utterance"),
            ("room", json!(""), "room"),
            ("room", json!("x".repeat(65)), "room"),
            ("end", json!("2025-01-01T00:00:00Z"), "before it begins"),
            ("start", json!("yesterday"), "no utterance"),
            ("confidence", json!(null), "no utterance"),
            ("text", json!("x".repeat(70_000)), "at most 65536 bytes"),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(error.contains(why), "{key}: {error}");
        }
    }

    #[test]
    fn a_clock_that_is_ahead_puts_nobody_into_the_future() {
        let mut body = sent();
        body["start"] = json!("2031-01-01T12:00:00Z");
        body["end"] = json!("2031-01-01T12:00:03Z");
        let heard = utterance(body.to_string().as_bytes(), now()).unwrap();
        assert_eq!((heard.start.to_string(), heard.end), ("2026-01-01T12:00:07Z".into(), now()));
        assert_eq!(with("text", json!("one\ntwo\u{0}three")).unwrap().text, "one two three");
    }

    #[test]
    fn a_gap_is_told_beside_the_utterances() {
        assert_eq!(gaps("hearth/+/utterance").as_deref(), Some("hearth/+/gap"));
        assert_eq!(gaps("hearth/#"), None, "they come with the rest");
        let topics = Topics::new(&MqttConfig::default(), &"kitchen".parse().unwrap());
        let (id, from, to) = (Ulid::from_parts(7, 9), said().start, said().end);
        let gap = Gap { id, room: "kitchen".into(), from, to, reason: GapReason::DeviceLost };
        let message = payload::gap(&topics, &gap);
        let told = |payload: &str| read(&message.topic, payload.as_bytes(), false, now());
        assert_eq!(told(&message.payload), Ok(RemoteEvent::Gap(gap)));
        assert!(read(&message.topic, message.payload.as_bytes(), true, now()).unwrap_err().contains("left there"));
        assert!(told(&sent().to_string()).unwrap_err().contains("no gap"));
        assert!(told(&message.payload.replace("kitchen", " ")).unwrap_err().contains("room"));
        let utterance = payload::utterance(&topics, &said());
        assert_eq!(
            read(&utterance.topic, utterance.payload.as_bytes(), false, now()),
            Ok(RemoteEvent::Utterance(said()))
        );
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_fall_over(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..300_usize, byte: u8) {
            let _ = (utterance(&bytes, now()), gap(&bytes, now()));
            let mut nearly = sent().to_string().into_bytes();
            let at = at % nearly.len();
            nearly[at] = byte;
            if let Ok(heard) = utterance(&nearly, now()) {
                prop_assert!(heard.end <= now() && heard.start <= heard.end && !heard.text.contains(char::is_control));
            }
        }
    }
}
