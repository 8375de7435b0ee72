//! Counters, gauges and heartbeats of the parts of the running daemon.
//!
//! Each has one writer; health messages, the watchdog, the page and `hearth demo` read them. All are atomics, except the list
//! of rooms, the counts of rules and what is told of the states, which are locked only while they are copied.

mod rooms;
mod state;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

pub(crate) use rooms::{AtomicDecibels, RoomMetrics, RoomMetricsMap};
pub use state::{RenewalHealth, RenewalStage, StateHealth, SurpriseHealth};
pub use webhooks::{WebhookMetrics, WebhookMetricsMap};

/// The metrics of one running daemon.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Capture: the metrics of each room; whether every source delivers.
    pub rooms: RoomMetricsMap,
    pub microphone_ok: Flag,
    /// The app, as soon as it is asked for, and each source that notices it: not muted.
    pub listening: Flag,
    /// The app: when the microphone opens again by itself; not set if it is not paused.
    pub(crate) paused_until: AtomicTimestamp,
    /// Capture: samples (at 16 kHz) that were dropped because transcription was too slow.
    pub dropped_samples: Count,
    /// Transcription: samples (at 16 kHz) that went through the voice detector.
    pub heard_samples: Count,
    /// Transcription: samples in segments given to Whisper.
    pub decoded_samples: Count,
    /// Transcription: passes of Whisper, the samples encoded in them (including padding), and the tokens it decoded.
    pub passes: Count,
    pub encoded_samples: Count,
    pub(crate) written_tokens: Count,
    /// Transcription: committed utterances and their words.
    pub utterances: Count,
    pub words: Count,
    /// Transcription: segments or pieces of text that the hallucination filter rejected, in total and by reason.
    pub(crate) rejected: Count,
    pub(crate) rejected_by: Rejected,
    /// Transcription: time from the end of an utterance until its text is stored.
    pub(crate) lag: Histogram,
    /// Transcription: the time of the first sample.
    pub(crate) heard_since: AtomicTimestamp,
    /// Transcription and listener: the store cannot be written, and text waits in memory.
    pub(crate) store_refuses: Flag,
    /// Retention: a file may still hold text that was to be forgotten, or it is not known which text that is.
    pub(crate) forget_incomplete: Flag,
    /// Listener: tokens the state has read since it was created, over restarts.
    pub(crate) tokens: Count,
    /// Listener: nanoseconds per token, recently.
    pub(crate) token_ns: Count,
    /// Listener: when the state was created.
    pub(crate) state_since: AtomicTimestamp,
    /// Listener: size of the state in bytes.
    pub(crate) state_bytes: Count,
    /// Listener: stored utterances that the state has not read yet.
    pub(crate) unread: Count,
    /// Listener: how often each rule's question was asked.
    pub(crate) asked: Shared<BTreeMap<String, u64>>,
    /// Listener: how sound the states are.
    pub(crate) state: Shared<StateHealth>,
    /// Listener: digests that were given up because a newer one was due.
    pub(crate) digests_given_up: Count,
    /// Listener: what the check made of the model's sentences.
    pub(crate) sentences: Sentences,
    /// Ingest: events of other machines that were taken, that were received again, and messages that were neither
    /// utterance nor gap.
    pub(crate) others_taken: Count,
    pub(crate) others_repeated: Count,
    pub(crate) others_refused: Count,
    /// Publishing: a broker is connected.
    pub connected: Flag,
    /// Publishing: commands come through, as a message to ourselves showed.
    pub commands_ok: Flag,
    /// Publishing: what the broker's access list must let hearth do so that they come through; none while that is not known.
    pub(crate) commands_needed: Shared<Option<String>>,
    /// Publishing: messages acknowledged and sent since the start, messages waiting, and messages dropped by the limits.
    pub acknowledged: Count,
    pub published: Count,
    pub outbox: Count,
    pub outbox_dropped: Count,
    /// Publishing: the longest packet that the broker takes, 0 where that is not known; and messages that are longer and stay.
    pub packet_limit: Count,
    pub too_long: Count,
    /// Webhooks: the metrics of each.
    pub webhooks: WebhookMetricsMap,
    /// The last activity of each part, for the watchdog.
    pub(crate) hearing_heartbeat: Heartbeat,
    pub(crate) reading_heartbeat: Heartbeat,
    pub(crate) publishing_heartbeat: Heartbeat,
}

impl Metrics {
    /// The level of a room in decibels of full scale, and whether its microphone is dead. While nothing is heard, because listening is
    /// off or the source delivers nothing, it is silence: what was measured before says nothing any more.
    pub(crate) fn sound_of(&self, room: &RoomMetrics) -> (f32, bool) {
        if self.listening.get() && room.delivers.get() {
            (room.level.db(), room.dead.get())
        } else {
            (AtomicDecibels::default().db(), false)
        }
    }

    /// Whether listening is on. What was measured of each room before that is no longer shown, also not after it is on again.
    pub(crate) fn set_listening(&self, on: bool) {
        self.listening.set(on);
        if !on {
            for (_, room) in self.rooms.each() {
                room.silence();
            }
        }
    }
}

/// A counter or a gauge.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is no single number. It is locked only while it is copied.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Mutex<T>);

impl<T: Clone> Shared<T> {
    pub(crate) fn set(&self, value: T) {
        *self.0.lock() = value;
    }

    pub(crate) fn get(&self) -> T {
        self.0.lock().clone()
    }
}

/// Sentences of the model, by what the check made of them.
#[derive(Debug, Default)]
pub(crate) struct Sentences {
    pub(crate) told: Count,
    pub(crate) dropped: Count,
    pub(crate) repeated: Count,
    pub(crate) softened: Count,
}

/// Rejections by reason.
#[derive(Debug, Default)]
pub(crate) struct Rejected {
    pub(crate) too_short: Count,
    pub(crate) too_fast: Count,
    pub(crate) no_speech: Count,
    pub(crate) repetition: Count,
    pub(crate) no_words: Count,
}

/// A histogram of durations, in steps of 50 ms up to a minute. (Own code: `hdrhistogram` would need a lock.)
#[derive(Debug)]
pub(crate) struct Histogram {
    last_ms: AtomicU64,
    steps: [AtomicU64; HISTOGRAM_STEPS],
}

const HISTOGRAM_STEP_MS: u64 = 50;
const HISTOGRAM_STEPS: usize = 1200;

impl Default for Histogram {
    fn default() -> Self {
        Self { last_ms: AtomicU64::new(0), steps: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Histogram {
    pub(crate) fn add_ms(&self, ms: u64) {
        self.last_ms.store(ms, Relaxed);
        self.steps[((ms / HISTOGRAM_STEP_MS) as usize).min(HISTOGRAM_STEPS - 1)].fetch_add(1, Relaxed);
    }

    /// The last duration, in seconds.
    pub(crate) fn last_s(&self) -> f64 {
        self.last_ms.load(Relaxed) as f64 / 1000.0
    }

    /// The upper end in seconds of the step with the quantile `q` (0 … 1); None if the histogram is empty.
    pub(crate) fn quantile_s(&self, q: f64) -> Option<f64> {
        let counts: Vec<u64> = self.steps.iter().map(|s| s.load(Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        let step = counts.iter().position(|n| {
            seen += n;
            seen >= wanted
        })?;
        Some(((step as u64 + 1) * HISTOGRAM_STEP_MS) as f64 / 1000.0)
    }
}

/// A boolean.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Relaxed);
    }

    pub fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A wall-clock time; not set at first.
#[derive(Debug, Default)]
pub(crate) struct AtomicTimestamp(AtomicI64);

impl AtomicTimestamp {
    pub(crate) fn set(&self, time: Timestamp) {
        self.0.store(time.as_millisecond(), Relaxed);
    }

    /// The time; None before the first `set`.
    pub(crate) fn get(&self) -> Option<Timestamp> {
        match self.0.load(Relaxed) {
            0 => None,
            ms => Timestamp::from_millisecond(ms).ok(),
        }
    }
}

/// The last activity of a part, by a monotonic clock: a jump of the wall clock neither makes a part look stuck nor hides one
/// that is.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat(AtomicU64);

/// The origin of heartbeats. They count milliseconds from here; 0 means none.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Heartbeat {
    pub(crate) fn beat(&self) {
        self.0.store(ORIGIN.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    /// How long ago the last beat was; None before the first.
    pub(crate) fn age(&self) -> Option<Duration> {
        let beat = self.0.load(Relaxed).checked_sub(1)?;
        Some(ORIGIN.elapsed().saturating_sub(Duration::from_millis(beat)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_upper_ends_of_their_steps() {
        let lag = Histogram::default();
        assert_eq!(lag.quantile_s(0.5), None);
        (0..100).for_each(|i| lag.add_ms(i * 10));
        assert_eq!(lag.quantile_s(0.5), Some(0.5));
        assert_eq!(lag.quantile_s(1.0), Some(1.0));
        lag.add_ms(10_000_000);
        assert_eq!(lag.quantile_s(1.0), Some(60.0));
        assert_eq!(lag.last_s(), 10_000.0);
    }
}
