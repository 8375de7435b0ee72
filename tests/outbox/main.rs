//! The outbox on a real SQLite: nothing accepted is lost, whatever happens between any two steps.
//!
//! A crash is a connection dropped in the middle of a transaction, or a killed process. Loss of power is not simulated:
//! for that the tests trust SQLite's `synchronous=FULL`.
#![allow(clippy::disallowed_methods, reason = "tests start threads of their own")]

mod crashes;
mod files;
mod forgetting;
mod kept;
mod model;
mod needs_root;
mod transcript_jsonl;

use std::path::Path;

use hearth::event::{Message, Utterance};
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

pub const ROOMY: OutboxLimits =
    OutboxLimits { outbox_max_bytes: 64 << 20, outbox_max_age: SignedDuration::from_hours(24 * 30) };

pub fn open(dir: &Path) -> Store {
    Store::open(dir, ROOMY).unwrap()
}

pub fn message(topic: &str, payload: impl ToString) -> Message {
    Message::plain(topic, payload.to_string(), false)
}

pub fn retained(topic: &str, payload: impl ToString) -> Message {
    Message { retain: true, ..message(topic, payload) }
}

pub fn utterance(seconds: i64, text: &str) -> Utterance {
    let start = Timestamp::from_second(1_767_225_600 + seconds).unwrap();
    Utterance {
        id: Ulid::generate(),
        start,
        end: start + SignedDuration::from_millis(1_500),
        room: "kitchen".into(),
        text: text.into(),
        confidence: 0.75,
        no_speech: 0.125,
        speaker: None,
    }
}

pub fn payloads(store: &Store) -> Vec<String> {
    store.outbox_after(0, 10_000).unwrap().into_iter().map(|(_, message)| message.payload).collect()
}
