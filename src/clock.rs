//! Wall-clock time and the sample clock, and the one conversion between them.
//!
//! A sample position only counts up. Times of utterances are computed from sample positions, never from Whisper's own times alone.

pub(crate) mod human_time;
pub(crate) mod trusted_clock;

use std::sync::LazyLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The sample rate after the resampler, in Hz: what Whisper and the voice detector were trained on.
pub const SAMPLE_RATE: u32 = 16_000;

/// A position on the sample clock: samples at 16 kHz since the source was opened.
pub(crate) type SamplePos = i64;

/// How far wall clock and sample clock may differ before the mapping is corrected. A sound card is off by up to 50 ppm (4 s a
/// day), and a Raspberry Pi without a battery-backed clock learns the time only when its network is up.
const DRIFT_LIMIT: SignedDuration = SignedDuration::from_millis(500);

/// Maps sample positions to wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleClock {
    origin: Timestamp,
}

impl SampleClock {
    /// A clock whose sample 0 was heard at `origin`.
    pub fn starting_at(origin: Timestamp) -> Self {
        Self { origin }
    }

    /// The wall time of a sample position.
    pub fn time(&self, position: SamplePos) -> Timestamp {
        after(self.origin, duration(position))
    }

    /// Notes that `position` is being captured at `now`. Returns by how much the mapping was corrected, if it was.
    pub(crate) fn observe(&mut self, position: SamplePos, now: Timestamp) -> Option<SignedDuration> {
        let drift = now.duration_since(self.time(position));
        if drift.abs() < DRIFT_LIMIT {
            return None;
        }
        self.origin = after(self.origin, drift);
        Some(drift)
    }
}

/// The time `duration` after `time`, limited to the ends of the calendar.
pub fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).expect("only spans with calendar units can fail")
}

/// The time of a stream that was at `now` and delivers something of `time`. What arrives up to ten minutes late does not set it
/// back; a clock that was set back does.
pub(crate) fn forward(now: Timestamp, time: Timestamp) -> Timestamp {
    const LATE: SignedDuration = SignedDuration::from_mins(10);
    if now.duration_since(time) > LATE { time } else { now.max(time) }
}

/// The length of `samples` at 16 kHz.
pub fn duration(samples: i64) -> SignedDuration {
    const NANOS_PER_SAMPLE: i64 = 1_000_000_000 / SAMPLE_RATE as i64;
    let seconds = samples / i64::from(SAMPLE_RATE);
    let rest = (samples % i64::from(SAMPLE_RATE)) * NANOS_PER_SAMPLE;
    SignedDuration::new(seconds, rest as i32)
}

/// Seconds of `samples` at 16 kHz.
pub fn seconds(samples: i64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE)
}

/// The time since the machine was started, sleep included. Nobody can set it.
pub(crate) fn since_boot() -> Duration {
    let up = clock_gettime(ClockId::Boottime);
    Duration::new(up.tv_sec.unsigned_abs(), u32::try_from(up.tv_nsec).unwrap_or_default())
}

/// The id of this boot of the machine. Times since boot can be compared when they are of one boot.
pub(crate) fn boot_id() -> &'static str {
    static BOOT: LazyLock<String> =
        LazyLock::new(|| match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(id) => id.trim().into(),
            // Then no two runs are known to be of one boot.
            Err(_) => ulid::Ulid::generate().to_string(),
        });
    &BOOT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_samples_maps_without_rounding() {
        let clock = SampleClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let year = 365 * 86_400 * i64::from(SAMPLE_RATE);
        assert_eq!(clock.time(year).to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(clock.time(year + 8_000).to_string(), "2027-01-01T00:00:00.5Z");
    }

    #[test]
    fn a_stream_goes_forward_unless_the_clock_was_set_back() {
        let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        assert_eq!(forward(at(0), at(5)), at(5));
        assert_eq!(forward(at(5), at(0)), at(5), "a little late");
        assert_eq!(forward(at(0), at(86_400)), at(86_400));
        assert_eq!(forward(at(86_400), at(5)), at(5), "set back by a day");
    }

    #[test]
    fn small_drift_is_left_alone_and_a_jump_moves_the_mapping() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut clock = SampleClock::starting_at(start);
        assert_eq!(clock.observe(16_000, start + SignedDuration::from_millis(1_300)), None);
        let jumped = clock.observe(16_000, start + SignedDuration::from_secs(86_401));
        assert_eq!(jumped, Some(SignedDuration::from_secs(86_400)));
        assert_eq!(clock.time(0), start + SignedDuration::from_secs(86_400));
    }
}
