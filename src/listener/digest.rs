//! When a digest (a summary of what was said since the last one) is due.
//!
//! Times are those of the stream, so a file that is played fast gives the same digests. Every word is covered by at most one digest;
//! words for which none was made are covered by the next.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::event::DigestReason;

/// A conversation that has ended gets a digest from this fraction of `min_words` on: 1/3. No more words will come.
const ENDED_DIVISOR: usize = 3;

/// The settings of `[digest]`, as durations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DigestSchedule {
    every: Option<SignedDuration>,
    quiet: Option<SignedDuration>,
    min_words: usize,
}

impl From<&config::DigestConfig> for DigestSchedule {
    fn from(digest: &config::DigestConfig) -> Self {
        Self { every: minutes(digest.every_min), quiet: minutes(digest.quiet_min), min_words: digest.min_words.max(1) }
    }
}

/// What was said since the last digest: times and counts, no words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PendingDigest {
    span: Option<TalkSpan>,
    /// What the digest covers that is being written. A restart begins it anew: it is stored as part of `span`.
    #[serde(skip)]
    telling: Option<TalkSpan>,
    /// When the last digest was made.
    #[serde(rename = "told")]
    last_digest: Option<Timestamp>,
}

/// A stretch of speech that a digest will cover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TalkSpan {
    /// Start of the first utterance, end of the last.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) words: usize,
    /// When the interval began: at the start of the current conversation, or at the last digest in it.
    since: Timestamp,
    /// The time of the stream when the last utterance came, where it came late.
    #[serde(default)]
    came: Option<Timestamp>,
}

/// None for 0, which switches a limit off.
fn minutes(minutes: f64) -> Option<SignedDuration> {
    (minutes > 0.0).then(|| SignedDuration::try_from_secs_f64(minutes * 60.0).unwrap_or(SignedDuration::MAX))
}

impl DigestSchedule {
    /// Changes the interval.
    pub(crate) fn set_interval(&mut self, every_min: f64) {
        self.every = minutes(every_min);
    }

    /// Adds an utterance to what the next digest covers.
    pub(crate) fn add(&self, pending: &mut PendingDigest, start: Timestamp, end: Timestamp, words: usize) {
        if words == 0 {
            return;
        }
        let span = pending.span.get_or_insert(TalkSpan { from: start, to: end, words: 0, since: start, came: None });
        // After a silence, or when the clock was set back, a new conversation begins with an interval of its own.
        let is_new = self.quiet.is_some_and(|quiet| start.duration_since(span.to) >= quiet) || start < span.since;
        if is_new {
            span.since = start;
        }
        span.from = span.from.min(start);
        span.to = end.max(span.from);
        span.words += words;
    }

    /// The last utterance came when the stream was at `now`. What another machine heard may come minutes late and at once: nobody
    /// fell silent between two of its utterances.
    pub(crate) fn came(pending: &mut PendingDigest, now: Timestamp) {
        if let Some(span) = &mut pending.span {
            span.came = Some(now);
        }
    }

    /// Whether a digest is due at `now`, and why.
    pub(crate) fn due(&self, pending: &PendingDigest, now: Timestamp) -> Option<DigestReason> {
        let span = pending.span.as_ref()?;
        // A clock that was set back since counts for nothing.
        let last = span.came.filter(|came| *came <= now).map_or(span.to, |came| came.max(span.to));
        let ended = self.quiet.is_some_and(|quiet| now.duration_since(last) >= quiet);
        if ended && self.enough_for_ended(span) {
            return Some(DigestReason::ConversationEnded);
        }
        let passed = self.every.is_some_and(|every| now.duration_since(span.since) >= every);
        (!ended && passed && span.words >= self.min_words).then_some(DigestReason::Interval)
    }

    /// Whether a last digest is due at the end of the stream.
    pub(crate) fn closing(&self, pending: &PendingDigest) -> Option<DigestReason> {
        pending.span.as_ref().filter(|span| self.enough_for_ended(span)).map(|_| DigestReason::Closing)
    }

    fn enough_for_ended(&self, span: &TalkSpan) -> bool {
        span.words >= self.min_words.div_ceil(ENDED_DIVISOR)
    }
}

impl PendingDigest {
    /// A digest begins to be written. Returns what it covers; nothing if nothing was said since the last one.
    pub(crate) fn begin(&mut self) -> Option<TalkSpan> {
        self.give_up();
        self.telling = self.span.take();
        self.telling.clone()
    }

    /// The digest that was begun at `time` is written.
    pub(crate) fn finish(&mut self, time: Timestamp) {
        self.last_digest = Some(time);
        self.telling = None;
    }

    /// The digest that was begun is not written: what it covers is part of the next one.
    pub(crate) fn give_up(&mut self) {
        let Some(before) = self.telling.take() else { return };
        self.span = Some(match self.span.take() {
            Some(TalkSpan { from, to, words, since, came }) => TalkSpan {
                from: from.min(before.from),
                to: to.max(before.to),
                words: words + before.words,
                since: since.min(before.since),
                came: came.or(before.came),
            },
            None => before,
        });
    }

    /// Whether a digest is being written.
    pub(crate) fn is_telling(&self) -> bool {
        self.telling.is_some()
    }

    /// What is kept over a restart.
    pub(super) fn kept(&self) -> Self {
        let mut kept = self.clone();
        kept.give_up();
        kept
    }

    /// When the last digest was made.
    pub(crate) fn last_digest(&self) -> Option<Timestamp> {
        self.last_digest
    }

    /// When what the next digest covers began; none if nothing was said.
    pub(crate) fn from(&self) -> Option<Timestamp> {
        self.span.as_ref().map(|span| span.from)
    }

    /// Whether anything was said since the last digest that was written to its end.
    pub(crate) fn has_words(&self) -> bool {
        self.kept().words() > 0
    }

    /// Words said since the last digest.
    fn words(&self) -> usize {
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

    /// Writes a digest.
    fn take(pending: &mut PendingDigest, now: Timestamp) -> Option<TalkSpan> {
        let span = pending.begin();
        pending.finish(now);
        span
    }

    /// Says `words` in the five seconds before `end`.
    fn say(schedule: &DigestSchedule, pending: &mut PendingDigest, end: i64, words: usize) {
        schedule.add(pending, at(end - 5), at(end), words);
    }

    #[test]
    fn the_interval_counts_from_the_first_word_and_waits_for_enough_words() {
        let s = schedule(15.0, 40, 0.0);
        let mut pending = PendingDigest::default();
        assert_eq!(s.due(&pending, at(86_400)), None, "nothing was said");
        say(&s, &mut pending, 5, 39);
        assert_eq!(s.due(&pending, at(900)), None, "too few words");
        say(&s, &mut pending, 890, 1);
        assert_eq!(s.due(&pending, at(899)), None, "too early");
        assert_eq!(s.due(&pending, at(900)), Some(DigestReason::Interval));
        let span = take(&mut pending, at(900)).unwrap();
        assert_eq!((span.from, span.to, span.words), (at(0), at(890), 40));
        assert_eq!(s.due(&pending, at(9_000)), None, "a digest was made");
    }

    #[test]
    fn an_ended_conversation_gets_one_digest_and_a_short_one_waits_for_the_next() {
        let s = schedule(15.0, 40, 3.0);
        let mut pending = PendingDigest::default();
        say(&s, &mut pending, 5, 13);
        assert_eq!(s.due(&pending, at(10_000)), None, "13 words are less than a third of 40");
        say(&s, &mut pending, 20_000, 1);
        assert_eq!(s.due(&pending, at(20_179)), None, "still talking");
        assert_eq!(s.due(&pending, at(20_180)), Some(DigestReason::ConversationEnded));
        assert_eq!(take(&mut pending, at(20_180)).unwrap().words, 14);
        assert_eq!(s.due(&pending, at(30_000)), None);
    }

    #[test]
    fn talk_that_comes_late_and_at_once_is_one_conversation() {
        let s = schedule(15.0, 40, 3.0);
        let mut pending = PendingDigest::default();
        let now = 600;
        for end in [5, 20, 40] {
            say(&s, &mut pending, end, 15);
            DigestSchedule::came(&mut pending, at(now));
            assert_eq!(s.due(&pending, at(now)), None, "more of it may come");
        }
        assert_eq!(s.due(&pending, at(now + 179)), None);
        assert_eq!(s.due(&pending, at(now + 180)), Some(DigestReason::ConversationEnded));
        assert_eq!(take(&mut pending, at(now + 180)).unwrap().words, 45);
    }

    #[test]
    fn after_a_silence_the_interval_starts_again() {
        let s = schedule(15.0, 40, 3.0);
        let mut pending = PendingDigest::default();
        say(&s, &mut pending, 5, 10);
        say(&s, &mut pending, 7_205, 100);
        assert_eq!(s.due(&pending, at(7_206)), None, "the conversation is six seconds old");
        assert_eq!(s.due(&pending, at(7_385)), Some(DigestReason::ConversationEnded));
    }

    #[test]
    fn the_end_of_the_stream_gives_a_digest_of_the_rest() {
        let s = schedule(15.0, 40, 3.0);
        let mut pending = PendingDigest::default();
        assert_eq!(s.closing(&pending), None);
        say(&s, &mut pending, 5, 13);
        assert_eq!(s.closing(&pending), None);
        say(&s, &mut pending, 9, 1);
        assert_eq!(s.closing(&pending), Some(DigestReason::Closing));
    }

    #[test]
    fn what_a_digest_covers_is_pending_until_it_is_written() {
        let s = schedule(15.0, 40, 3.0);
        let mut pending = PendingDigest::default();
        say(&s, &mut pending, 5, 50);
        let began = pending.begin().unwrap();
        assert_eq!(s.due(&pending, at(1_000)), None, "it is being written");
        say(&s, &mut pending, 1_000, 20);
        let kept: PendingDigest = serde_json::from_str(&serde_json::to_string(&pending.kept()).unwrap()).unwrap();
        for mut again in [kept, {
            let mut given_up = pending.clone();
            given_up.give_up();
            given_up
        }] {
            let span = take(&mut again, at(1_100)).unwrap();
            assert_eq!((span.from, span.to, span.words), (began.from, at(1_000), 70));
        }
        pending.finish(at(1_010));
        let span = take(&mut pending, at(1_100)).unwrap();
        assert_eq!((span.from, span.words), (at(995), 20));
    }

    #[test]
    fn digests_go_on_after_the_clock_was_set_back() {
        let s = schedule(15.0, 40, 3.0);
        let mut pending = PendingDigest::default();
        say(&s, &mut pending, 1_000_000, 50);
        say(&s, &mut pending, 5, 50);
        assert_eq!(s.due(&pending, at(185)), Some(DigestReason::ConversationEnded));
    }

    proptest! {
        #[test]
        fn every_word_is_covered_exactly_once(talk in prop::collection::vec((1i64..2_000, 0usize..60), 1..60)) {
            let s = schedule(15.0, 40, 3.0);
            let mut pending = PendingDigest::default();
            let (mut now, mut said, mut told) = (0, 0, 0);
            for (pause, words) in talk {
                now += pause;
                if s.due(&pending, at(now)).is_some() {
                    let span = take(&mut pending, at(now)).unwrap();
                    prop_assert!(span.words >= 14 && span.from <= span.to && span.to <= at(now));
                    told += span.words;
                }
                now += 5;
                say(&s, &mut pending, now, words);
                said += words;
            }
            prop_assert_eq!(said, told + pending.words());
        }

        #[test]
        fn the_pending_digest_survives_json(end in 5i64..1_000, words in 1usize..100) {
            let s = schedule(15.0, 40, 3.0);
            let mut pending = PendingDigest::default();
            say(&s, &mut pending, end, words);
            let again: PendingDigest = serde_json::from_str(&serde_json::to_string(&pending).unwrap()).unwrap();
            prop_assert_eq!(again, pending);
        }
    }
}
