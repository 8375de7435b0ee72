//! When to look at what is being said before it is over, and what to give up when there is no time.
//!
//! Owns the policy of the recogniser's time. Refuses to know Whisper, sound and clocks: it takes seconds and returns decisions.
//! Invariant: what has ended is decoded before what has not, and under load looks stop first, then whole segments are given up.

/// Seconds of a pass before the first was measured.
const GUESS_S: f64 = 1.0;
/// The share by which the last pass moves the mean.
const SMOOTH: f64 = 0.2;
/// A look by the clock follows after so many passes' time, within these bounds.
const PERIOD: f64 = 1.5;
const PERIOD_S: (f64, f64) = (0.8, 4.0);
/// A pause this long is worth a look: everything before it is whole.
const PAUSE_S: f64 = 0.2;
/// Less new speech than this changes nothing.
const NEWS_S: f64 = 0.25;
/// Looks stop when a word would come this late, and are taken up again below the other.
const OFF_S: f64 = 3.0;
const ON_S: f64 = 2.0;
/// A segment that has waited this long, with another behind it, is given up.
pub const GIVE_UP_S: f64 = 20.0;

/// How the time of the recogniser is spent.
#[derive(Clone, Debug)]
pub struct Pace {
    pass_s: f64,
    /// There is no time for looks.
    short: bool,
    looks: Looks,
}

/// How often what is being said is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Looks {
    /// Each segment is decoded once, when it is over.
    Never,
    /// While there is time for it: by the clock, and when a pause begins.
    #[default]
    InTime,
    /// Every second, and only what two looks agree on is committed: whisper_streaming's policy, to compare with.
    EverySecond,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(Looks::default())
    }
}

/// What is being said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// Sound since the last look, or since it began.
    pub since_s: f64,
    /// Speech in it.
    pub news_s: f64,
    /// Silence at its end.
    pub silence_s: f64,
}

impl Pace {
    pub fn new(looks: Looks) -> Self {
        Self { pass_s: GUESS_S, short: false, looks }
    }

    /// Words are believed by how sure Whisper is of them, not by what two looks agree on alone.
    pub fn weighs_words(&self) -> bool {
        self.looks != Looks::EverySecond
    }

    /// A pass took so long.
    pub fn took(&mut self, seconds: f64) {
        self.pass_s += SMOOTH * (seconds - self.pass_s);
    }

    /// Tells how things stand: how long the oldest segment has waited, and how many wait.
    pub fn observe(&mut self, waited_s: f64, waiting: usize) {
        let late = waited_s + self.pass_s;
        self.short = late > if self.short { ON_S } else { OFF_S } || waiting > 1;
    }

    /// A look at what is being said is worth its time now.
    pub fn looks(&self, said: Said) -> bool {
        match self.looks {
            Looks::Never => return false,
            Looks::EverySecond => return !self.short && said.since_s >= 1.0,
            Looks::InTime if self.short || said.news_s < NEWS_S => return false,
            Looks::InTime => {}
        }
        let period = (PERIOD * self.pass_s).clamp(PERIOD_S.0, PERIOD_S.1);
        said.silence_s >= PAUSE_S || (said.since_s >= period && said.silence_s == 0.0)
    }
}

/// The oldest of several segments that wait, which has waited `waited_s`, is given up for those behind it.
pub fn gives_up(waited_s: f64, waiting: usize) -> bool {
    waiting > 1 && waited_s > GIVE_UP_S
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: Said = Said { since_s: 2.0, news_s: 1.5, silence_s: 0.0 };

    #[test]
    fn looks_follow_the_clock_and_pauses() {
        let pace = Pace::default();
        assert!(pace.looks(TALK));
        assert!(!pace.looks(Said { since_s: 1.4, ..TALK }), "one and a half passes have not gone by");
        assert!(!pace.looks(Said { silence_s: 0.1, ..TALK }), "a pause may just be beginning");
        assert!(pace.looks(Said { since_s: 0.6, news_s: 0.4, silence_s: 0.2 }), "a pause has begun");
        assert!(!pace.looks(Said { since_s: 5.0, news_s: 0.0, silence_s: 0.5 }), "nothing new was said");
    }

    #[test]
    fn looks_may_come_every_second_or_never() {
        let (every, never) = (Pace::new(Looks::EverySecond), Pace::new(Looks::Never));
        let silent = Said { since_s: 1.0, news_s: 0.0, silence_s: 0.3 };
        assert!(every.looks(silent) && !every.looks(Said { since_s: 0.9, ..TALK }));
        assert!(!never.looks(TALK) && never.weighs_words() && !every.weighs_words());
    }

    #[test]
    fn looks_stop_under_load_and_begin_again_well_below_it() {
        let mut pace = Pace::default();
        pace.observe(2.5, 1);
        assert!(!pace.looks(TALK));
        pace.observe(1.5, 1);
        assert!(!pace.looks(TALK), "2.5 s is not below 2 s");
        pace.observe(0.5, 0);
        assert!(pace.looks(TALK));
        pace.observe(0.0, 2);
        assert!(!pace.looks(TALK), "two wait");
    }

    #[test]
    fn slow_passes_leave_no_time_for_looks() {
        let mut pace = Pace::default();
        (0..30).for_each(|_| pace.took(3.5));
        pace.observe(0.0, 0);
        assert!(!pace.looks(Said { since_s: 60.0, news_s: 60.0, silence_s: 0.0 }));
    }

    #[test]
    fn a_segment_is_given_up_for_one_behind_it_alone() {
        assert!(!gives_up(600.0, 1));
        assert!(!gives_up(19.0, 3));
        assert!(gives_up(21.0, 2));
    }
}
