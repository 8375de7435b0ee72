//! When a segment in progress is decoded before it is over, and which segments are dropped when there is no time.
//!
//! The scheduler knows neither Whisper nor the clock: it takes seconds and returns decisions. Finished segments come before segments
//! in progress. Under load, partial decodes stop first, then whole segments are dropped.

/// The assumed time of a pass before the first was measured.
const INITIAL_PASS_S: f64 = 1.0;
/// The weight of the newest pass in the moving average.
const SMOOTHING: f64 = 0.2;
/// While somebody speaks, a partial decode is due after so many times the duration of a pass …
const PERIOD_PASSES: f64 = 1.5;
/// … but not sooner or later than this.
const MIN_PERIOD_S: f64 = 0.8;
const MAX_PERIOD_S: f64 = 4.0;
/// A pause of this length makes a partial decode worthwhile: everything before it is complete.
const PAUSE_S: f64 = 0.2;
/// With less new speech than this a partial decode brings nothing.
const MIN_NEW_SPEECH_S: f64 = 0.25;
/// Partial decodes stop when a word would come later than `OVERLOAD_S`, and resume when it would come within `RECOVERED_S`.
const OVERLOAD_S: f64 = 3.0;
const RECOVERED_S: f64 = 2.0;
/// A segment that has waited longer than this is dropped if another waits behind it.
const MAX_WAIT_S: f64 = 20.0;

/// When segments in progress are decoded, for the words shown before a segment is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterimMode {
    /// Never: each segment is decoded once, when it is over.
    Off,
    /// While there is time for it: periodically, and when a pause begins.
    #[default]
    Adaptive,
    /// Every second, and only words on which two decodes agree are committed, however sure Whisper is. This is the policy of
    /// whisper_streaming, which `hearth bench hearing --agreement` compares with.
    EverySecond,
}

/// Decides how the time of the decoder is spent.
#[derive(Clone, Debug)]
pub(crate) struct DecodeScheduler {
    /// Moving average of the duration of a pass.
    pass_s: f64,
    overloaded: bool,
    mode: InterimMode,
}

/// How far a segment in progress has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SpeechProgress {
    /// Audio since the last partial decode, or since the segment began.
    pub(crate) since_last_s: f64,
    /// Speech in that audio.
    pub(crate) new_speech_s: f64,
    /// Silence at its end.
    pub(crate) silence_s: f64,
}

impl DecodeScheduler {
    pub(crate) fn new(mode: InterimMode) -> Self {
        Self { pass_s: INITIAL_PASS_S, overloaded: false, mode }
    }

    /// Words are committed by how sure Whisper is of them, not only by the agreement of two decodes.
    pub(crate) fn weighs_confidence(&self) -> bool {
        self.mode != InterimMode::EverySecond
    }

    /// A pass of Whisper took so long.
    pub(crate) fn record_pass(&mut self, seconds: f64) {
        self.pass_s += SMOOTHING * (seconds - self.pass_s);
    }

    /// The oldest segment has waited `waited_s`, and `waiting` segments wait.
    pub(crate) fn update_load(&mut self, waited_s: f64, waiting: usize) {
        let expected_s = waited_s + self.pass_s;
        let limit_s = if self.overloaded { RECOVERED_S } else { OVERLOAD_S };
        self.overloaded = expected_s > limit_s || waiting > 1;
    }

    /// A segment in progress is worth a partial decode now.
    pub(crate) fn wants_partial_decode(&self, progress: SpeechProgress) -> bool {
        let SpeechProgress { since_last_s, new_speech_s, silence_s } = progress;
        match self.mode {
            InterimMode::Off => false,
            InterimMode::EverySecond => !self.overloaded && since_last_s >= 1.0,
            InterimMode::Adaptive => {
                let period_s = (PERIOD_PASSES * self.pass_s).clamp(MIN_PERIOD_S, MAX_PERIOD_S);
                let due = silence_s >= PAUSE_S || (silence_s == 0.0 && since_last_s >= period_s);
                due && !self.overloaded && new_speech_s >= MIN_NEW_SPEECH_S
            }
        }
    }
}

/// The oldest of `waiting` segments, which has waited `waited_s`, is dropped in favor of those behind it.
pub(crate) fn should_drop(waited_s: f64, waiting: usize) -> bool {
    waiting > 1 && waited_s > MAX_WAIT_S
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: SpeechProgress = SpeechProgress { since_last_s: 2.0, new_speech_s: 1.5, silence_s: 0.0 };

    #[test]
    fn partial_decodes_are_due_periodically_and_in_pauses() {
        let scheduler = DecodeScheduler::new(InterimMode::Adaptive);
        assert!(scheduler.wants_partial_decode(TALK));
        assert!(
            !scheduler.wants_partial_decode(SpeechProgress { since_last_s: 1.4, ..TALK }),
            "one and a half passes have not gone by"
        );
        assert!(
            !scheduler.wants_partial_decode(SpeechProgress { silence_s: 0.1, ..TALK }),
            "a pause may just be beginning"
        );
        assert!(
            scheduler.wants_partial_decode(SpeechProgress { since_last_s: 0.6, new_speech_s: 0.4, silence_s: 0.2 }),
            "a pause has begun"
        );
        assert!(
            !scheduler.wants_partial_decode(SpeechProgress { since_last_s: 5.0, new_speech_s: 0.0, silence_s: 0.5 }),
            "nothing new was said"
        );
    }

    #[test]
    fn the_mode_may_be_every_second_or_off() {
        let every = DecodeScheduler::new(InterimMode::EverySecond);
        let never = DecodeScheduler::new(InterimMode::Off);
        let silent = SpeechProgress { since_last_s: 1.0, new_speech_s: 0.0, silence_s: 0.3 };
        assert!(
            every.wants_partial_decode(silent)
                && !every.wants_partial_decode(SpeechProgress { since_last_s: 0.9, ..TALK })
        );
        assert!(!never.wants_partial_decode(TALK) && never.weighs_confidence() && !every.weighs_confidence());
    }

    #[test]
    fn partial_decodes_stop_under_load_and_resume_well_below_it() {
        let mut scheduler = DecodeScheduler::new(InterimMode::Adaptive);
        scheduler.update_load(2.5, 1);
        assert!(!scheduler.wants_partial_decode(TALK));
        scheduler.update_load(1.5, 1);
        assert!(!scheduler.wants_partial_decode(TALK), "2.5 s is not below 2 s");
        scheduler.update_load(0.5, 0);
        assert!(scheduler.wants_partial_decode(TALK));
        scheduler.update_load(0.0, 2);
        assert!(!scheduler.wants_partial_decode(TALK), "two wait");
    }

    #[test]
    fn slow_passes_leave_no_time_for_partial_decodes() {
        let mut scheduler = DecodeScheduler::new(InterimMode::Adaptive);
        (0..30).for_each(|_| scheduler.record_pass(3.5));
        scheduler.update_load(0.0, 0);
        assert!(!scheduler.wants_partial_decode(SpeechProgress {
            since_last_s: 60.0,
            new_speech_s: 60.0,
            silence_s: 0.0
        }));
    }

    #[test]
    fn a_segment_is_dropped_only_if_another_waits_behind_it() {
        assert!(!should_drop(600.0, 1));
        assert!(!should_drop(19.0, 3));
        assert!(should_drop(21.0, 2));
    }
}
