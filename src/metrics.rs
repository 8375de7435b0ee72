//! What each part of the running house says of itself.
//!
//! Owns counters and last-seen times, one writer each, read by health, the watchdog and `hearth demo`. Refuses to decide
//! anything by them. Invariant: a reader never makes a writer wait for longer than a copy takes.

mod rooms;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use rooms::{AtomicDecibels, RoomMetrics, RoomMetricsMap};

/// The metrics of one running house; shared by reference.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Capture: each room that is heard; every one of them delivers.
    pub rooms: RoomMetricsMap,
    pub microphone_ok: Flag,
    /// Capture: the household has not muted it.
    pub listening: Flag,
    /// The app: when the microphone opens again by itself; none where it is not paused.
    pub paused_until: AtomicTimestamp,
    /// Capture: samples at 16 kHz that were dropped because hearing was too slow.
    pub dropped_samples: Count,
    /// Hearing: samples at 16 kHz that went through the voice detector.
    pub heard_samples: Count,
    /// Hearing: samples that were in segments given to Whisper.
    pub decoded_samples: Count,
    /// Hearing: passes of Whisper over sound, what was encoded in them, silence behind it with it, and the tokens it wrote.
    pub passes: Count,
    pub encoded_samples: Count,
    pub written_tokens: Count,
    /// Hearing: committed utterances and their words.
    pub utterances: Count,
    pub words: Count,
    /// Hearing: segments or pieces of text that the guard refused, in all and by reason.
    pub rejected: Count,
    pub rejected_by: Rejected,
    /// Hearing: time from the end of an utterance to its text being stored.
    pub lag: Histogram,
    /// Hearing: when the first sample was heard.
    pub heard_since: AtomicTimestamp,
    /// Hearing and reading: the store takes nothing; what was heard waits.
    pub store_refuses: Flag,
    /// Retention: something that was to be forgotten may still stand in a file, or it is not known what it was.
    pub forget_incomplete: Flag,
    /// Reading: tokens the live state has read since it was made, over restarts.
    pub tokens: Count,
    /// Reading: nanoseconds the state took for a token, lately.
    pub token_ns: Count,
    /// Reading: when the live state was made.
    pub state_since: AtomicTimestamp,
    /// Reading: bytes of the live state.
    pub state_bytes: Count,
    /// Reading: utterances stored that the state has not read yet.
    pub unread: Count,
    /// Gathering: utterances of other machines that were taken; those that came again; and messages that were none.
    pub others_taken: Count,
    pub others_repeated: Count,
    pub others_refused: Count,
    /// Publishing: a broker is connected.
    pub connected: Flag,
    /// Publishing: the broker passes commands on to us.
    pub commands_ok: Flag,
    /// Publishing: messages the broker acknowledged since start; messages waiting; messages given up by the bounds.
    pub acknowledged: Count,
    pub published: Count,
    pub outbox: Count,
    pub outbox_dropped: Count,
    /// When each part last moved, for the watchdog.
    pub hearing_heartbeat: Heartbeat,
    pub reading_heartbeat: Heartbeat,
    pub publishing_heartbeat: Heartbeat,
}

/// A counter or a gauge.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Refusals by their reason.
#[derive(Debug, Default)]
pub struct Rejected {
    pub too_short: Count,
    pub too_fast: Count,
    pub no_speech: Count,
    pub repetition: Count,
    pub no_words: Count,
}

/// Where a duration has been, in steps of 50 ms up to a minute.
#[derive(Debug)]
pub struct Histogram {
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
    pub fn add_ms(&self, ms: u64) {
        self.last_ms.store(ms, Relaxed);
        self.steps[((ms / HISTOGRAM_STEP_MS) as usize).min(HISTOGRAM_STEPS - 1)].fetch_add(1, Relaxed);
    }

    /// The last duration, in seconds.
    pub fn last_s(&self) -> f64 {
        self.last_ms.load(Relaxed) as f64 / 1000.0
    }

    /// The upper end, in seconds, of the step that holds the quantile `q` of 0 … 1; None before the first.
    pub fn quantile_s(&self, q: f64) -> Option<f64> {
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

/// Something that is so or not.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn set(&self, on: bool) {
        self.0.store(on, Relaxed);
    }

    pub fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A wall time, given by whoever knows it; the epoch until then.
#[derive(Debug, Default)]
pub struct AtomicTimestamp(AtomicI64);

impl AtomicTimestamp {
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_millisecond(), Relaxed);
    }

    /// The time last kept; None before the first.
    pub fn get(&self) -> Option<Timestamp> {
        match self.0.load(Relaxed) {
            0 => None,
            ms => Timestamp::from_millisecond(ms).ok(),
        }
    }
}

/// When something last moved, by a clock that nobody sets: a wall clock that jumps neither makes a part look stuck nor hides one
/// that is.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicU64);

/// What pulses are counted from, in milliseconds; 0 is none.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Heartbeat {
    pub fn beat(&self) {
        self.0.store(BEGAN.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    /// How long ago it moved; None before the first time.
    pub fn age(&self) -> Option<Duration> {
        let marked = self.0.load(Relaxed).checked_sub(1)?;
        Some(BEGAN.elapsed().saturating_sub(Duration::from_millis(marked)))
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
