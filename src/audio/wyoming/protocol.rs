//! The framing of Wyoming events: a line of JSON, then as many bytes of further JSON and of audio as the line says.
//!
//! Bytes give the same events in whatever pieces they arrive. A length that the other side announces is checked against a limit
//! before anything is done with it.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Bytes of the first line of an event.
const MAX_HEADER: usize = 8 << 10;
/// Bytes of the JSON after it.
const MAX_DATA: usize = 256 << 10;
/// Bytes of audio: 16 s at 16 kHz. Satellites send 64 ms at a time.
const MAX_PAYLOAD: usize = 512 << 10;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WyomingEvent {
    pub(super) kind: String,
    pub(super) data: Map<String, Value>,
    pub(super) payload: Vec<u8>,
}

/// Why the bytes received are not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MalformedEvent {
    LongHeader,
    Header(String),
    Length { what: &'static str, length: u64, most: usize },
    Data(String),
}

impl fmt::Display for MalformedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongHeader => write!(f, "the first line of an event is longer than {MAX_HEADER} bytes"),
            Self::Header(why) => write!(f, "the first line of an event is not a line of JSON with its type ({why})"),
            Self::Length { what, length, most } => write!(f, "{what} of {length} bytes is more than {most}"),
            Self::Data(why) => write!(f, "the data of an event is not a JSON object ({why})"),
        }
    }
}

#[derive(Deserialize)]
struct EventHeader {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Option<Map<String, Value>>,
    #[serde(default)]
    data_length: Option<u64>,
    #[serde(default)]
    payload_length: Option<u64>,
}

/// Parses events from the bytes that arrive.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    buffer: Vec<u8>,
    /// The buffer has no line end before this position.
    searched: usize,
}

impl EventParser {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The beginning of an event has arrived, and its end has not.
    pub(super) fn has_partial_event(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next event that has arrived completely.
    pub(super) fn next(&mut self) -> Result<Option<WyomingEvent>, MalformedEvent> {
        let Some(line) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return if self.searched > MAX_HEADER { Err(MalformedEvent::LongHeader) } else { Ok(None) };
        };
        let line = self.searched + line;
        if line > MAX_HEADER {
            return Err(MalformedEvent::LongHeader);
        }
        let header: EventHeader =
            serde_json::from_slice(&self.buffer[..line]).map_err(|error| MalformedEvent::Header(error.to_string()))?;
        let data_end = line + 1 + bounded("data", header.data_length, MAX_DATA)?;
        let end = data_end + bounded("a payload", header.payload_length, MAX_PAYLOAD)?;
        if self.buffer.len() < end {
            self.searched = line;
            return Ok(None);
        }
        let mut data = header.data.unwrap_or_default();
        if data_end > line + 1 {
            let more: Map<String, Value> = serde_json::from_slice(&self.buffer[line + 1..data_end])
                .map_err(|error| MalformedEvent::Data(error.to_string()))?;
            data.extend(more);
        }
        let payload = self.buffer[data_end..end].to_vec();
        self.buffer.drain(..end);
        self.searched = 0;
        Ok(Some(WyomingEvent { kind: header.kind, data, payload }))
    }
}

fn bounded(what: &'static str, length: Option<u64>, most: usize) -> Result<usize, MalformedEvent> {
    let length = length.unwrap_or(0);
    let fits = usize::try_from(length).ok().filter(|length| *length <= most);
    fits.ok_or(MalformedEvent::Length { what, length, most })
}

/// The bytes of an event without audio.
pub(super) fn encode(kind: &str, data: &Value) -> Vec<u8> {
    let mut line = json!({ "type": kind, "data": data }).to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All events in `bytes`, which arrive in pieces of `chunk` bytes.
    fn parsed(bytes: &[u8], chunk: usize) -> Result<Vec<WyomingEvent>, MalformedEvent> {
        let mut parser = EventParser::default();
        let mut events = Vec::new();
        for part in bytes.chunks(chunk) {
            parser.push(part);
            while let Some(event) = parser.next()? {
                events.push(event);
            }
        }
        assert!(!parser.has_partial_event(), "something is left");
        Ok(events)
    }

    /// As the Python package `wyoming` 1.8 writes them.
    fn conversation() -> Vec<u8> {
        let data = br#"{"rate": 16000, "width": 2, "channels": 1, "timestamp": null}"#;
        let start = format!("{{\"type\": \"audio-start\", \"version\": \"1.8.0\", \"data_length\": {}}}\n", data.len());
        let chunk = format!(
            "{{\"type\": \"audio-chunk\", \"version\": \"1.8.0\", \"data_length\": {}, \"payload_length\": 4}}\n",
            data.len()
        );
        let stop = b"{\"type\": \"audio-stop\"}\n";
        [start.as_bytes(), data, chunk.as_bytes(), data, b"\n{\n\0", stop].concat()
    }

    #[test]
    fn events_are_read_with_their_data_and_payload() {
        let events = parsed(&conversation(), 1_000).unwrap();
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["audio-start", "audio-chunk", "audio-stop"]);
        assert_eq!(events[0].data["rate"], 16_000);
        assert_eq!(events[1].payload, b"\n{\n\0");
        let old = parsed(b"{\"type\": \"ping\", \"data\": {\"text\": \"hello\"}}\n", 5).unwrap();
        assert_eq!(old[0].data["text"], "hello");
        assert_eq!(parsed(&encode("pong", &json!({ "text": "hello" })), 7).unwrap()[0].data, old[0].data);
    }

    #[test]
    fn malformed_events_are_errors_that_say_what_is_wrong() {
        let told = |bytes: &[u8]| parsed(bytes, 4_096).unwrap_err().to_string();
        assert!(told(b"GET / HTTP/1.1\r\n").contains("line of JSON"));
        assert!(told(b"{\"data\": {}}\n").contains("missing field `type`"));
        assert!(told(b"{\"type\": \"a\", \"payload_length\": -1}\n").contains("line of JSON"));
        assert!(told(&[b'x'; 10_000]).contains("longer than 8192 bytes"));
        let huge = b"{\"type\": \"audio-chunk\", \"payload_length\": 18446744073709551615}\n";
        assert!(told(huge).contains("a payload of 18446744073709551615 bytes is more than 524288"));
        assert!(told(b"{\"type\": \"info\", \"data_length\": 999999999}\n").contains("data of 999999999 bytes"));
        assert!(told(b"{\"type\": \"info\", \"data_length\": 2}\n[]").contains("JSON object"));
    }

    proptest! {
        #[test]
        fn any_chunking_makes_the_same_events(chunk in 1usize..300) {
            prop_assert_eq!(parsed(&conversation(), chunk), parsed(&conversation(), 1_000));
        }

        #[test]
        fn any_bytes_are_parsed_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut parser = EventParser::default();
            parser.push(&bytes);
            while let Ok(Some(_)) = parser.next() {}
        }
    }
}
