//! What each part of the running house says of itself.
//!
//! Owns counters and last-seen times, one writer each, read by health, the watchdog and `hearth demo`. Refuses to decide
//! anything by them. Invariant: atomics only: a reader never makes a writer wait.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;

/// The vitals of one running house; shared by reference.
#[derive(Debug, Default)]
pub struct Vitals {
    /// Capture: a source is open and delivers.
    pub microphone_ok: Flag,
    /// Capture: the household has not muted it.
    pub listening: Flag,
    /// Capture: samples at 16 kHz that were dropped because hearing was too slow.
    pub dropped_samples: Count,
    /// Hearing: samples at 16 kHz that went through the voice detector.
    pub heard_samples: Count,
    /// Hearing: samples that were in segments given to Whisper.
    pub decoded_samples: Count,
    /// Hearing: committed utterances and their words.
    pub utterances: Count,
    pub words: Count,
    /// Hearing: segments or pieces of text that the guard refused.
    pub rejected: Count,
    /// Hearing: milliseconds from the end of the last segment to its text being stored.
    pub lag_ms: Count,
    /// Reading: tokens the live state has read since it was made, over restarts.
    pub tokens: Count,
    /// Reading: bytes of the live state.
    pub state_bytes: Count,
    /// Reading: utterances stored that the state has not read yet.
    pub unread: Count,
    /// Publishing: a broker is connected.
    pub connected: Flag,
    /// Publishing: messages the broker acknowledged since start; messages waiting; messages given up by the bounds.
    pub acknowledged: Count,
    pub published: Count,
    pub outbox: Count,
    pub outbox_dropped: Count,
    /// When each part last moved, for the watchdog.
    pub capture_moved: Moment,
    pub hearing_moved: Moment,
    pub reading_moved: Moment,
    pub publishing_moved: Moment,
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

/// A wall time that was last seen; the epoch until then.
#[derive(Debug, Default)]
pub struct Moment(AtomicI64);

impl Moment {
    pub fn mark(&self) {
        self.0.store(Timestamp::now().as_millisecond(), Relaxed);
    }

    /// Milliseconds since the last mark.
    pub fn age_ms(&self) -> i64 {
        Timestamp::now().as_millisecond() - self.0.load(Relaxed)
    }
}
