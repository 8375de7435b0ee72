//! What other machines say they heard.
//!
//! Owns the reading of their utterances. Refuses to know how they come and where they are kept. Invariant: whatever is sent
//! there, by mistake or on purpose, becomes an utterance of bounded length, on one line and not from the future, or a reason
//! why not.

use jiff::Timestamp;
use serde::Deserialize;
use ulid::Ulid;

use super::payload::SCHEMA;
use crate::event::Utterance;

/// No utterance is longer, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// No room has a longer name, in characters.
const MAX_ROOM_CHARS: usize = 64;

/// The payload of `utterance`; what else stands there is of no use to a reader.
#[derive(Deserialize)]
struct Body {
    id: Ulid,
    schema: u32,
    start: Timestamp,
    end: Timestamp,
    room: String,
    text: String,
    confidence: f32,
    no_speech: f32,
}

/// Reads the utterance of another machine that arrived at `now`. One that ends later was told by a clock that is ahead of ours:
/// it ended when it arrived, or a single wrong clock would put the whole house into the future.
///
/// # Errors
/// It is none, and why.
pub fn read(payload: &[u8], now: Timestamp) -> Result<Utterance, String> {
    if payload.len() > MAX_BYTES {
        return Err(format!("an utterance has at most {MAX_BYTES} bytes, this one has {}", payload.len()));
    }
    let Body { id, schema, start, end, room, text, confidence, no_speech } =
        serde_json::from_slice(payload).map_err(|error| format!("this is no utterance: {error}"))?;
    if schema != SCHEMA {
        return Err(format!("its schema is {schema}, this hearth knows {SCHEMA}: install the same version everywhere"));
    }
    let (room, text) = (one_line(&room), one_line(&text));
    if text.is_empty() {
        return Err("there is no word in it".into());
    }
    if room.is_empty() || room.chars().count() > MAX_ROOM_CHARS {
        return Err(format!("the name of its room has none or more than {MAX_ROOM_CHARS} characters"));
    }
    if end < start {
        return Err(format!("it ends at {end}, before it begins at {start}"));
    }
    let ahead = end.duration_since(now);
    let (start, end) = if ahead.is_positive() { (start.checked_sub(ahead).unwrap_or(now), now) } else { (start, end) };
    let share = |x: f32| x.clamp(0.0, 1.0);
    Ok(Utterance { id, start, end, room, text, confidence: share(confidence), no_speech: share(no_speech) })
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
    use crate::config::{Mqtt, Name};
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
        let message = payload::utterance(&Topics::new(&Mqtt::default(), &name), &said());
        serde_json::from_str(&message.payload).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T12:00:10Z".parse().unwrap()
    }

    fn with(key: &str, value: Value) -> Result<Utterance, String> {
        let mut body = sent();
        body[key] = value;
        read(body.to_string().as_bytes(), now())
    }

    #[test]
    fn what_a_machine_tells_is_what_another_reads() {
        assert_eq!(read(sent().to_string().as_bytes(), now()), Ok(said()));
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
        let heard = read(body.to_string().as_bytes(), now()).unwrap();
        assert_eq!((heard.start.to_string(), heard.end), ("2026-01-01T12:00:07Z".into(), now()));
        assert_eq!(with("text", json!("one\ntwo\u{0}three")).unwrap().text, "one two three");
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_fall_over(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..300_usize, byte: u8) {
            let _ = read(&bytes, now());
            let mut nearly = sent().to_string().into_bytes();
            let at = at % nearly.len();
            nearly[at] = byte;
            if let Ok(heard) = read(&nearly, now()) {
                prop_assert!(heard.end <= now() && heard.start <= heard.end && !heard.text.contains(char::is_control));
            }
        }
    }
}
