//! What flows through the house.
//!
//! Owns the values that pass from room to room: audio, segments, utterances, gaps, digests, alerts, messages. Refuses to
//! know who makes or takes them. Invariant: plain data; an utterance never changes once it was made.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::clock::{self, SamplePos};

/// Samples in a frame: 16 ms at 16 kHz, the stride of the voice detector.
pub(crate) const FRAME_SAMPLES: usize = 256;

/// 16 ms of mono sound, each sample in −1 … 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Position of the first sample.
    pub at: SamplePos,
    /// Wall time of the first sample.
    pub time: Timestamp,
    pub samples: [f32; FRAME_SAMPLES],
}

/// What a source delivers, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum AudioEvent {
    Frame(Box<Frame>),
    /// Nothing was heard between two positions.
    Gap(AudioGap),
    /// Nothing follows for now: what was being said is whole.
    End,
}

/// What a source delivers, with the room that it hears. A room is one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomAudio {
    pub room: Arc<str>,
    pub event: AudioEvent,
}

/// A stretch of the stream that was not heard.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioGap {
    pub from: Timestamp,
    pub to: Timestamp,
    pub reason: GapReason,
}

/// Why something was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The household switched listening off.
    Muted,
    /// The microphone went away.
    DeviceLost,
    /// Hearing fell too far behind.
    Overload,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Muted => "muted",
            Self::DeviceLost => "device_lost",
            Self::Overload => "overload",
        })
    }
}

/// A stretch of speech, cut out of the stream by the segmenter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    /// Position and wall time of the first sample.
    pub(crate) start: SamplePos,
    pub(crate) time: Timestamp,
    pub(crate) samples: Vec<f32>,
    /// How many of the samples lie in frames that were speech.
    pub(crate) speech_samples: usize,
}

impl Segment {
    /// Wall time of a moment `seconds` after the segment's start.
    pub(crate) fn time_at(&self, seconds: f64) -> Timestamp {
        clock::after(self.time, jiff::SignedDuration::from_nanos((seconds * 1e9) as i64))
    }

    /// How long it is.
    pub(crate) fn seconds(&self) -> f64 {
        clock::seconds(self.samples.len() as i64)
    }

    /// Position just behind the last sample.
    pub(crate) fn end(&self) -> SamplePos {
        self.start + self.samples.len() as i64
    }
}

/// What is being said, before it is over: for displays alone, never stored and never read by the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// When it began.
    pub start: Timestamp,
    pub room: String,
    /// Words that will not change, and will come with the next utterances.
    pub committed: Vec<String>,
    /// What may yet be heard otherwise.
    pub tentative: String,
}

impl Hypothesis {
    /// What was being said is over, and with it what was thought of it.
    pub fn over(room: &str, start: Timestamp) -> Self {
        Self { start, room: room.into(), committed: Vec::new(), tentative: String::new() }
    }

    /// Nothing is being said any more.
    pub(crate) fn is_over(&self) -> bool {
        self.committed.is_empty() && self.tentative.is_empty()
    }

    /// All of it, as it is heard now.
    pub(crate) fn text(&self) -> String {
        let words = self.committed.iter().map(String::as_str).chain([self.tentative.as_str()]);
        words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// One committed piece of the transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Utterance {
    pub id: Ulid,
    pub start: Timestamp,
    pub end: Timestamp,
    /// The room it was heard in.
    pub room: String,
    pub text: String,
    /// exp(mean log-probability of its tokens), 0 … 1.
    pub confidence: f32,
    /// Whisper's probability that there was no speech, 0 … 1.
    pub no_speech: f32,
}

impl Utterance {
    /// Words, as white space divides them.
    pub fn words(&self) -> usize {
        self.text.split_whitespace().count()
    }
}

/// A gap, as it is stored and published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub id: Ulid,
    /// The room that was not heard.
    pub room: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub reason: GapReason,
}

/// A summary of what was said between two times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    pub id: Ulid,
    pub time: Timestamp,
    pub from: Timestamp,
    pub to: Timestamp,
    pub reason: DigestReason,
    /// Words said in the time it covers.
    pub words: usize,
    /// The room it is of; none for the whole house.
    pub room: Option<String>,
    pub text: String,
}

impl Digest {
    /// Its text, behind the room it is of.
    pub(crate) fn line(&self) -> String {
        in_room(self.room.as_deref(), &self.text)
    }
}

/// What is told of a room, behind its name.
pub(crate) fn in_room(room: Option<&str>, text: &str) -> String {
    room.map_or_else(|| text.into(), |room| format!("{room}: {text}"))
}

/// What made a digest due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestReason {
    /// The interval passed and enough was said.
    Interval,
    /// It has been quiet since the last word.
    ConversationEnded,
    /// Somebody asked.
    Requested,
    /// The stream ended.
    Closing,
}

/// A rule that fired, goes on, or came to rest. All phases of one alert carry one id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub id: Ulid,
    pub rule: String,
    pub phase: AlertPhase,
    pub severity: Severity,
    /// The room whose state raised it; none for that of the whole house.
    pub room: Option<String>,
    /// When this phase began, on the stream's own time.
    pub time: Timestamp,
    /// The question's probability of yes, for rules that ask one.
    pub probability: Option<f64>,
    /// What the model answered when it was asked why, for rules that ask a question.
    pub answer: Option<String>,
    /// The words that set it off, oldest first.
    pub evidence: Vec<Evidence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertPhase {
    New,
    Update,
    End,
}

/// How much a rule matters; the order is that of the words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Critical,
}

/// Words quoted from the transcript, with the utterance they stand in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub utterance: Ulid,
    pub time: Timestamp,
    pub room: String,
    pub text: String,
}

/// One MQTT message on its way out, as the outbox keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    /// The broker keeps it for whoever comes later; here it also means that only the newest of a topic is worth sending.
    pub retain: bool,
    /// What it holds of what was said. Whoever makes a message must say so: by this alone it is found when speech is forgotten.
    pub provenance: Provenance,
}

impl Message {
    /// An empty retained message: the broker then keeps nothing under its topic.
    pub fn clear(topic: String) -> Self {
        Self { topic, payload: String::new(), retain: true, provenance: Provenance::Nothing }
    }
}

/// What a message holds of what was said in the house. There is no default: a message that quotes nothing says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// No words of anybody, and nothing that a model made of them.
    Nothing,
    Speech(Quoted),
}

/// The speech that a message quotes, sums up or answers from. It is deleted when any of that speech is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Ids of the utterances, the digest or the alert that it tells of.
    pub(crate) sources: Vec<Ulid>,
    /// Nothing that was said after this time is in it.
    pub(crate) until: Timestamp,
    /// The payload that takes its place when it is retained and forgotten. Without one its topic is cleared at the broker.
    pub replacement: Option<String>,
}
