//! The values that pass between the parts of hearth: audio, segments, utterances, gaps, digests, alerts, messages.

mod message;
mod voice;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::clock::{self, SamplePos};

pub use message::{Destination, EventKind, Message, Provenance, Quoted};
pub(crate) use voice::said_by;
pub use voice::{Speaker, StoredVoice, VOICE_DIMENSIONS, VoiceEmbedding, Voiceprint};

/// Samples in a frame: 16 ms at 16 kHz, the stride of the voice detector.
pub(crate) const FRAME_SAMPLES: usize = 256;

/// 16 ms of mono audio, each sample from −1 to 1.
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
    /// Nothing was captured between two times.
    Gap(AudioGap),
    /// The stream ends or pauses: the current segment is complete.
    End,
}

/// What a source delivers, with the room that it hears. A room is one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomAudio {
    pub room: Arc<str>,
    pub event: AudioEvent,
}

/// A stretch of the stream that was not captured.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioGap {
    pub from: Timestamp,
    pub to: Timestamp,
    pub reason: GapReason,
}

/// Why a stretch of time was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Somebody switched listening off.
    Muted,
    /// The microphone was lost.
    DeviceLost,
    /// Speech recognition was too far behind.
    Overload,
    /// hearth did not run: it was stopped, killed, or had no power.
    Restart,
    /// The disk took nothing for so long that text was given up.
    StoreRefused,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Muted => "muted",
            Self::DeviceLost => "device_lost",
            Self::Overload => "overload",
            Self::Restart => "restart",
            Self::StoreRefused => "store_refused",
        })
    }
}

/// A segment with fewer samples of speech than this, 128 ms, is a click and is not decoded. A brisk "Help!" or "Stop!" has 150 ms and more.
pub(crate) const MIN_SPEECH_SAMPLES: usize = 8 * FRAME_SAMPLES;

/// A stretch of speech that the segmenter cut out of the stream.
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
    /// Wall time `seconds` after the segment's start.
    pub(crate) fn time_at(&self, seconds: f64) -> Timestamp {
        clock::after(self.time, jiff::SignedDuration::from_nanos((seconds * 1e9) as i64))
    }

    /// Its length in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        clock::seconds(self.samples.len() as i64)
    }

    /// Position after the last sample.
    pub(crate) fn end(&self) -> SamplePos {
        self.start + self.samples.len() as i64
    }
}

/// What is being said, before the speaker has finished: for displays only, never stored and never read by the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// When the speech began.
    pub start: Timestamp,
    pub room: String,
    /// Words that will not change; they will be in the next utterances.
    pub committed: Vec<String>,
    /// Words that may still change.
    pub tentative: String,
}

impl Hypothesis {
    /// A hypothesis without words: the speech has ended.
    pub fn over(room: &str, start: Timestamp) -> Self {
        Self { start, room: room.into(), committed: Vec::new(), tentative: String::new() }
    }

    /// Whether it says that the speech has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.committed.is_empty() && self.tentative.is_empty()
    }

    /// Committed and tentative words together.
    pub(crate) fn text(&self) -> String {
        let words = self.committed.iter().map(String::as_str).chain([self.tentative.as_str()]);
        words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// One piece of the transcript. It never changes once it was made.
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
    /// Who said it, where `[speakers]` is on and the voice is known.
    #[serde(flatten)]
    pub speaker: Option<Speaker>,
}

impl Utterance {
    /// Number of words, divided by white space.
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
    /// The room it is about; none when all rooms share one state.
    pub room: Option<String>,
    pub text: String,
    /// The sentences of the text, each with what it rests on; none when nothing was said.
    pub sentences: Vec<GroundedSentence>,
}

/// A sentence of a model, and the utterances that it rests on, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroundedSentence {
    pub text: String,
    pub evidence: Vec<Evidence>,
}

impl Digest {
    /// Its text, after the room it is about.
    pub(crate) fn line(&self) -> String {
        in_room(self.room.as_deref(), &self.text)
    }
}

/// A text about a room, after the room's name.
pub(crate) fn in_room(room: Option<&str>, text: &str) -> String {
    room.map_or_else(|| text.into(), |room| format!("{room}: {text}"))
}

/// Why a digest was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestReason {
    /// The interval passed and enough was said.
    Interval,
    /// A silence followed the last word.
    ConversationEnded,
    /// Somebody asked.
    Requested,
    /// The stream ended.
    Closing,
}

/// A phase of an alert: it began, goes on, or ended. All phases of one alert have the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub id: Ulid,
    pub rule: String,
    pub phase: AlertPhase,
    pub severity: Severity,
    /// The room whose state raised it; none when all rooms share one state.
    pub room: Option<String>,
    /// When this phase began, on the stream's own time.
    pub time: Timestamp,
    /// The probability of yes, for rules with a question.
    pub probability: Option<f64>,
    /// The model's answer to the rule's question in words.
    pub answer: Option<String>,
    /// The utterances that raised it, oldest first.
    pub evidence: Vec<Evidence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertPhase {
    New,
    Update,
    End,
}

/// What people said of an alert. It holds no words of anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertFeedback {
    pub alert: Ulid,
    pub rule: String,
    pub verdict: AlertVerdict,
    pub time: Timestamp,
    /// The probability at which the alert began; none where words alone raised it.
    pub probability: Option<f64>,
    /// The version of the rule that raised it; none where an older hearth stored this.
    pub rule_version: Option<String>,
    /// It counts for the rule's threshold: the rule was not reset since.
    pub counts: bool,
}

/// See [`AlertFeedback`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertVerdict {
    FalseAlarm,
    Acknowledged,
}

/// How important a rule is, in ascending order.
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
