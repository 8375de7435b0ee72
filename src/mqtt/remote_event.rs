//! Utterances and gaps that other machines publish.
//!
//! Any payload becomes either an utterance of bounded length, on one line and not from the future, or an error that says why
//! not. A property test checks this.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ulid::Ulid;

use super::payload::SCHEMA;
use crate::event::{Gap, GapReason, Speaker, Utterance};

/// The last parts of the topics.
const UTTERANCE: &str = "/utterance";
const GAP: &str = "/gap";
/// The longest payload, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// The longest name of a room, in characters.
const MAX_ROOM_CHARS: usize = 64;

/// The fields of the payload of `utterance` that are used.
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
    #[serde(flatten)]
    speaker: Option<Speaker>,
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

/// An event of another machine.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteEvent {
    Utterance(Utterance),
    Gap(Gap),
}

/// The filter for the gaps of machines whose utterances match `filter`; None if `filter` covers them too.
pub(crate) fn gap_filter(filter: &str) -> Option<String> {
    filter.strip_suffix(UTTERANCE).map(|below| format!("{below}{GAP}"))
}

/// Parses what another machine published on `topic`, as of `now`.
///
/// # Errors
/// Why it is neither an utterance nor a gap.
pub fn parse(topic: &str, payload: &[u8], retained: bool, now: Timestamp) -> Result<RemoteEvent, String> {
    if retained {
        // It would arrive again at every connection, also when its id is no longer remembered.
        return Err(
            "the message is retained, and hearth retains none here: another program publishes on this topic".into()
        );
    }
    if topic.ends_with(GAP) {
        gap(payload, now).map(RemoteEvent::Gap)
    } else {
        utterance(payload, now).map(RemoteEvent::Utterance)
    }
}

fn gap(payload: &[u8], now: Timestamp) -> Result<Gap, String> {
    let GapPayload { id, schema, room, from, to, reason } = parse_json(payload, "gap")?;
    let room = room_name(schema, &room)?;
    let (from, to) = not_after_now(from, to, now)?;
    Ok(Gap { id, room, from, to, reason })
}

/// Parses an utterance that arrived at `now`. If it ends later, the other machine's clock is ahead: then it is moved back to
/// end at `now`, or one wrong clock would put all rooms into the future.
///
/// # Errors
/// Why it is no utterance.
fn utterance(payload: &[u8], now: Timestamp) -> Result<Utterance, String> {
    let UtterancePayload { id, schema, start, end, room, text, confidence, no_speech, speaker } =
        parse_json(payload, "utterance")?;
    let room = room_name(schema, &room)?;
    let text = one_line(&text);
    if text.is_empty() {
        return Err("there is no word in it".into());
    }
    let (start, end) = not_after_now(start, end, now)?;
    let share = |x: f32| x.clamp(0.0, 1.0);
    let (confidence, no_speech) = (share(confidence), share(no_speech));
    let speaker = speaker.and_then(named);
    Ok(Utterance { id, start, end, room, text, confidence, no_speech, speaker })
}

/// The speaker, if it is a name: the numbers of voices without one are those of the other machine.
fn named(Speaker { name, confidence }: Speaker) -> Option<Speaker> {
    let name = one_line(&name);
    let fits = Speaker::check_name(&name).is_ok() && Speaker::unnamed(&name).is_none();
    fits.then(|| Speaker { name, confidence: confidence.clamp(0.0, 1.0) })
}

fn parse_json<T: DeserializeOwned>(payload: &[u8], what: &str) -> Result<T, String> {
    if payload.len() > MAX_BYTES {
        return Err(format!("a message has at most {MAX_BYTES} bytes, this one has {}", payload.len()));
    }
    serde_json::from_slice(payload).map_err(|error| format!("this is no {what}: {error}"))
}

/// The name of the room, if the payload has the schema that this hearth knows.
fn room_name(schema: u32, room: &str) -> Result<String, String> {
    if schema != SCHEMA {
        return Err(format!("its schema is {schema}, this hearth knows {SCHEMA}: install the same version everywhere"));
    }
    let room = one_line(room);
    if room.is_empty() || room.chars().count() > MAX_ROOM_CHARS {
        return Err(format!("the name of its room is empty or has more than {MAX_ROOM_CHARS} characters"));
    }
    Ok(room)
}

/// The span moved back so that it does not end after `now`.
fn not_after_now(start: Timestamp, end: Timestamp, now: Timestamp) -> Result<(Timestamp, Timestamp), String> {
    if end < start {
        return Err(format!("it ends at {end}, before it begins at {start}"));
    }
    let ahead = end.duration_since(now);
    if ahead.is_positive() {
        return Ok((start.checked_sub(ahead).unwrap_or(now), now));
    }
    Ok((start, end))
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
        Utterance {
            id: Ulid::from_parts(7, 9),
            start,
            end,
            room,
            text,
            confidence: 0.5,
            no_speech: 0.25,
            speaker: None,
        }
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
    fn an_utterance_survives_publishing_and_parsing() {
        assert_eq!(utterance(sent().to_string().as_bytes(), now()), Ok(said()));
        assert_eq!(with("something_new", json!(1)), Ok(said()), "a later version may add fields");
    }

    #[test]
    fn a_speaker_is_taken_by_name_and_not_by_the_number_of_another_machine() {
        let said_by = |name: &str| {
            let mut body = sent();
            (body["speaker"], body["speaker_confidence"]) = (name.into(), 1.5.into());
            utterance(body.to_string().as_bytes(), now()).unwrap().speaker
        };
        assert_eq!(said_by(" Emma\n"), Some(Speaker { name: "Emma".into(), confidence: 1.0 }));
        assert_eq!([said_by("voice 3"), said_by(""), said_by("Emma: help")], [None, None, None]);
        assert_eq!(with("speaker", json!(7)).unwrap().speaker, None);
    }

    #[test]
    fn the_error_says_why_it_is_no_utterance() {
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
    fn an_utterance_from_a_clock_that_is_ahead_ends_now() {
        let mut body = sent();
        body["start"] = json!("2031-01-01T12:00:00Z");
        body["end"] = json!("2031-01-01T12:00:03Z");
        let parsed = utterance(body.to_string().as_bytes(), now()).unwrap();
        assert_eq!((parsed.start.to_string(), parsed.end), ("2026-01-01T12:00:07Z".into(), now()));
        assert_eq!(with("text", json!("one\ntwo\u{0}three")).unwrap().text, "one two three");
    }

    #[test]
    fn gaps_are_parsed_like_utterances() {
        assert_eq!(gap_filter("hearth/+/utterance").as_deref(), Some("hearth/+/gap"));
        assert_eq!(gap_filter("hearth/#"), None, "the filter covers them");
        let topics = Topics::new(&MqttConfig::default(), &"kitchen".parse().unwrap());
        let (id, from, to) = (Ulid::from_parts(7, 9), said().start, said().end);
        let gap = Gap { id, room: "kitchen".into(), from, to, reason: GapReason::DeviceLost };
        let message = payload::gap(&topics, &gap);
        let parsed = |payload: &str| parse(&message.topic, payload.as_bytes(), false, now());
        assert_eq!(parsed(&message.payload), Ok(RemoteEvent::Gap(gap)));
        assert!(parse(&message.topic, message.payload.as_bytes(), true, now()).unwrap_err().contains("retained"));
        assert!(parsed(&sent().to_string()).unwrap_err().contains("no gap"));
        assert!(parsed(&message.payload.replace("kitchen", " ")).unwrap_err().contains("room"));
        let utterance = payload::utterance(&topics, &said());
        assert_eq!(
            parse(&utterance.topic, utterance.payload.as_bytes(), false, now()),
            Ok(RemoteEvent::Utterance(said()))
        );
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..300_usize, byte: u8) {
            let _ = (utterance(&bytes, now()), gap(&bytes, now()));
            let mut nearly = sent().to_string().into_bytes();
            let at = at % nearly.len();
            nearly[at] = byte;
            if let Ok(parsed) = utterance(&nearly, now()) {
                prop_assert!(parsed.end <= now() && parsed.start <= parsed.end && !parsed.text.contains(char::is_control));
            }
        }
    }
}
