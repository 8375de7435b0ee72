//! When a digest is due.
//!
//! Owns the schedule: words and times in, a reason to summarise out. Refuses to know the model, the text or the wall clock:
//! its time is the stream's own (ends of utterances and progress), so a file played fast is told as at 1×. Invariant: every
//! word said is covered by at most one digest, and what one digest leaves over the next one covers.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::event::DigestReason;

/// A conversation that ended is worth telling from this share of `min_words` on: nothing more will come to fill it up.
const SHORT_TALK: usize = 3;

/// What the settings come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DigestSchedule {
    every: Option<SignedDuration>,
    quiet: Option<SignedDuration>,
    min_words: usize,
}

impl From<&config::DigestConfig> for DigestSchedule {
    fn from(digest: &config::DigestConfig) -> Self {
        Self { every: minutes(digest.every_min), quiet: minutes(digest.quiet_min), min_words: digest.min_words.max(1) }
    }
}

/// What was said and not yet told. Holds times and counts, no words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingDigest {
    span: Option<TalkSpan>,
    /// When the last digest was made.
    told: Option<Timestamp>,
}

/// A stretch of talk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TalkSpan {
    /// Start of the first utterance, end of the last.
    pub from: Timestamp,
    pub to: Timestamp,
    pub words: usize,
    /// Since when the interval runs: the start of the conversation that goes on, or the last digest in it.
    since: Timestamp,
}

/// None for 0: switched off.
fn minutes(minutes: f64) -> Option<SignedDuration> {
    (minutes > 0.0).then(|| SignedDuration::try_from_secs_f64(minutes * 60.0).unwrap_or(SignedDuration::MAX))
}

impl DigestSchedule {
    /// Another interval.
    pub fn set_interval(&mut self, every_min: f64) {
        self.every = minutes(every_min);
    }

    /// Takes note of an utterance.
    pub fn said(&self, untold: &mut PendingDigest, start: Timestamp, end: Timestamp, words: usize) {
        if words == 0 {
            return;
        }
        let span = untold.span.get_or_insert(TalkSpan { from: start, to: end, words: 0, since: start });
        // After a silence a new conversation begins, with an interval of its own; so it does when the clock was set back.
        let anew = self.quiet.is_some_and(|quiet| start.duration_since(span.to) >= quiet) || start < span.since;
        if anew {
            span.since = start;
        }
        span.from = span.from.min(start);
        span.to = end.max(span.from);
        span.words += words;
    }

    /// Whether a digest is due at `now`, and why.
    pub fn due(&self, untold: &PendingDigest, now: Timestamp) -> Option<DigestReason> {
        let span = untold.span.as_ref()?;
        let ended = self.quiet.is_some_and(|quiet| now.duration_since(span.to) >= quiet);
        if ended && self.worth_closing(span) {
            return Some(DigestReason::ConversationEnded);
        }
        let passed = self.every.is_some_and(|every| now.duration_since(span.since) >= every);
        (!ended && passed && span.words >= self.min_words).then_some(DigestReason::Interval)
    }

    /// Whether what is left over at the end of the stream deserves a digest.
    pub fn closing(&self, untold: &PendingDigest) -> Option<DigestReason> {
        untold.span.as_ref().filter(|span| self.worth_closing(span)).map(|_| DigestReason::Closing)
    }

    fn worth_closing(&self, span: &TalkSpan) -> bool {
        span.words >= self.min_words.div_ceil(SHORT_TALK)
    }
}

impl PendingDigest {
    /// Takes what is untold, for a digest made at `now`; nothing if nothing was said since the last.
    pub fn take(&mut self, now: Timestamp) -> Option<TalkSpan> {
        self.told = Some(now);
        self.span.take()
    }

    /// When the last digest was made.
    pub fn told(&self) -> Option<Timestamp> {
        self.told
    }

    /// Words said since then.
    pub fn words(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.words)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn schedule(every_min: f64, min_words: usize, quiet_min: f64) -> DigestSchedule {
        DigestSchedule::from(&config::DigestConfig { every_min, min_words, quiet_min })
    }

    /// Says `words` in the five seconds before `end`.
    fn say(schedule: &DigestSchedule, untold: &mut PendingDigest, end: i64, words: usize) {
        schedule.said(untold, at(end - 5), at(end), words);
    }

    #[test]
    fn the_interval_counts_from_the_first_word_of_the_talk_and_waits_for_enough_words() {
        let s = schedule(15.0, 40, 0.0);
        let mut untold = PendingDigest::default();
        assert_eq!(s.due(&untold, at(86_400)), None, "nothing was said");
        say(&s, &mut untold, 5, 39);
        assert_eq!(s.due(&untold, at(900)), None, "too few words");
        say(&s, &mut untold, 890, 1);
        assert_eq!(s.due(&untold, at(899)), None, "too early");
        assert_eq!(s.due(&untold, at(900)), Some(DigestReason::Interval));
        let span = untold.take(at(900)).unwrap();
        assert_eq!((span.from, span.to, span.words), (at(0), at(890), 40));
        assert_eq!(s.due(&untold, at(9_000)), None, "told");
    }

    #[test]
    fn a_conversation_that_ended_is_told_once_and_a_short_one_waits_for_the_next() {
        let s = schedule(15.0, 40, 3.0);
        let mut untold = PendingDigest::default();
        say(&s, &mut untold, 5, 13);
        assert_eq!(s.due(&untold, at(10_000)), None, "13 words are less than a third of 40");
        say(&s, &mut untold, 20_000, 1);
        assert_eq!(s.due(&untold, at(20_179)), None, "still talking");
        assert_eq!(s.due(&untold, at(20_180)), Some(DigestReason::ConversationEnded));
        assert_eq!(untold.take(at(20_180)).unwrap().words, 14);
        assert_eq!(s.due(&untold, at(30_000)), None);
    }

    #[test]
    fn after_a_silence_the_interval_starts_anew() {
        let s = schedule(15.0, 40, 3.0);
        let mut untold = PendingDigest::default();
        say(&s, &mut untold, 5, 10);
        say(&s, &mut untold, 7_205, 100);
        assert_eq!(s.due(&untold, at(7_206)), None, "the talk that goes on is six seconds old");
        assert_eq!(s.due(&untold, at(7_385)), Some(DigestReason::ConversationEnded));
    }

    #[test]
    fn the_end_of_the_stream_tells_what_is_left_over() {
        let s = schedule(15.0, 40, 3.0);
        let mut untold = PendingDigest::default();
        assert_eq!(s.closing(&untold), None);
        say(&s, &mut untold, 5, 13);
        assert_eq!(s.closing(&untold), None);
        say(&s, &mut untold, 9, 1);
        assert_eq!(s.closing(&untold), Some(DigestReason::Closing));
    }

    #[test]
    fn a_clock_set_back_does_not_silence_the_digests() {
        let s = schedule(15.0, 40, 3.0);
        let mut untold = PendingDigest::default();
        say(&s, &mut untold, 1_000_000, 50);
        say(&s, &mut untold, 5, 50);
        assert_eq!(s.due(&untold, at(185)), Some(DigestReason::ConversationEnded));
    }

    proptest! {
        #[test]
        fn every_word_is_told_exactly_once(talk in prop::collection::vec((1i64..2_000, 0usize..60), 1..60)) {
            let s = schedule(15.0, 40, 3.0);
            let mut untold = PendingDigest::default();
            let (mut now, mut said, mut told) = (0, 0, 0);
            for (pause, words) in talk {
                now += pause;
                if s.due(&untold, at(now)).is_some() {
                    let span = untold.take(at(now)).unwrap();
                    prop_assert!(span.words >= 14 && span.from <= span.to && span.to <= at(now));
                    told += span.words;
                }
                now += 5;
                say(&s, &mut untold, now, words);
                said += words;
            }
            prop_assert_eq!(said, told + untold.words());
        }

        #[test]
        fn the_memory_survives_json(end in 5i64..1_000, words in 1usize..100) {
            let s = schedule(15.0, 40, 3.0);
            let mut untold = PendingDigest::default();
            say(&s, &mut untold, end, words);
            let again: PendingDigest = serde_json::from_str(&serde_json::to_string(&untold).unwrap()).unwrap();
            prop_assert_eq!(again, untold);
        }
    }
}
