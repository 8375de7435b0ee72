//! When to look at what is being said before it is over, and what to give up when there is no time.
//!
//! Owns the policy of the recogniser's time. Refuses to know Whisper, sound and clocks: it takes seconds and returns decisions.
//! Invariant: what has ended is decoded before what has not, and under load looks stop first, then whole segments are given up.

/// Seconds of a pass before the first was measured.
const INITIAL_PASS_S: f64 = 1.0;
/// The share by which the last pass moves the mean.
const SMOOTH: f64 = 0.2;
/// A look by the clock follows after so many passes' time, within these bounds.
const PERIOD: f64 = 1.5;
const PERIOD_S: (f64, f64) = (0.8, 4.0);
/// A pause this long is worth a look: everything before it is whole.
const PAUSE_S: f64 = 0.2;
/// Less new speech than this changes nothing.
const MIN_NEW_SPEECH_S: f64 = 0.25;
/// Looks stop when a word would come this late, and are taken up again below the other.
const OFF_S: f64 = 3.0;
const ON_S: f64 = 2.0;
/// A segment that has waited this long, with another behind it, is given up.
pub const MAX_WAIT_S: f64 = 20.0;

/// How the time of the recogniser is spent.
#[derive(Clone, Debug)]
pub struct DecodeScheduler {
    pass_s: f64,
    /// There is no time for looks.
    short: bool,
    mode: InterimMode,
}

/// How often what is being said is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterimMode {
    /// Each segment is decoded once, when it is over.
    Off,
    /// While there is time for it: by the clock, and when a pause begins.
    #[default]
    Adaptive,
    /// Every second, and only what two looks agree on is committed: whisper_streaming's policy, to compare with.
    EverySecond,
}

impl Default for DecodeScheduler {
    fn default() -> Self {
        Self::new(InterimMode::default())
    }
}

/// What is being said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeechProgress {
    /// Sound since the last look, or since it began.
    pub since_last_s: f64,
    /// Speech in it.
    pub new_speech_s: f64,
    /// Silence at its end.
    pub silence_s: f64,
}

impl DecodeScheduler {
    pub fn new(mode: InterimMode) -> Self {
        Self { pass_s: INITIAL_PASS_S, short: false, mode }
    }

    /// Words are believed by how sure Whisper is of them, not by what two looks agree on alone.
    pub fn weighs_confidence(&self) -> bool {
        self.mode != InterimMode::EverySecond
    }

    /// A pass took so long.
    pub fn record_pass(&mut self, seconds: f64) {
        self.pass_s += SMOOTH * (seconds - self.pass_s);
    }

    /// Tells how things stand: how long the oldest segment has waited, and how many wait.
    pub fn update_load(&mut self, waited_s: f64, waiting: usize) {
        let late = waited_s + self.pass_s;
        self.short = late > if self.short { ON_S } else { OFF_S } || waiting > 1;
    }

    /// A look at what is being said is worth its time now.
    pub fn wants_partial_decode(&self, said: SpeechProgress) -> bool {
        match self.mode {
            InterimMode::Off => return false,
            InterimMode::EverySecond => return !self.short && said.since_last_s >= 1.0,
            InterimMode::Adaptive if self.short || said.new_speech_s < MIN_NEW_SPEECH_S => return false,
            InterimMode::Adaptive => {}
        }
        let period = (PERIOD * self.pass_s).clamp(PERIOD_S.0, PERIOD_S.1);
        said.silence_s >= PAUSE_S || (said.since_last_s >= period && said.silence_s == 0.0)
    }
}

/// The oldest of several segments that wait, which has waited `waited_s`, is given up for those behind it.
pub fn should_drop(waited_s: f64, waiting: usize) -> bool {
    waiting > 1 && waited_s > MAX_WAIT_S
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: SpeechProgress = SpeechProgress { since_last_s: 2.0, new_speech_s: 1.5, silence_s: 0.0 };

    #[test]
    fn looks_follow_the_clock_and_pauses() {
        let scheduler = DecodeScheduler::default();
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
    fn looks_may_come_every_second_or_never() {
        let (every, never) = (DecodeScheduler::new(InterimMode::EverySecond), DecodeScheduler::new(InterimMode::Off));
        let silent = SpeechProgress { since_last_s: 1.0, new_speech_s: 0.0, silence_s: 0.3 };
        assert!(
            every.wants_partial_decode(silent)
                && !every.wants_partial_decode(SpeechProgress { since_last_s: 0.9, ..TALK })
        );
        assert!(!never.wants_partial_decode(TALK) && never.weighs_confidence() && !every.weighs_confidence());
    }

    #[test]
    fn looks_stop_under_load_and_begin_again_well_below_it() {
        let mut scheduler = DecodeScheduler::default();
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
    fn slow_passes_leave_no_time_for_looks() {
        let mut scheduler = DecodeScheduler::default();
        (0..30).for_each(|_| scheduler.record_pass(3.5));
        scheduler.update_load(0.0, 0);
        assert!(!scheduler.wants_partial_decode(SpeechProgress {
            since_last_s: 60.0,
            new_speech_s: 60.0,
            silence_s: 0.0
        }));
    }

    #[test]
    fn a_segment_is_given_up_for_one_behind_it_alone() {
        assert!(!should_drop(600.0, 1));
        assert!(!should_drop(19.0, 3));
        assert!(should_drop(21.0, 2));
    }
}
