//! The language spoken in a room, for `language = "auto"`.
//!
//! Detecting the language costs as much as encoding a segment. So it is detected at the start of a conversation, after a pause, now and
//! then while people go on talking, and where a text is doubtful. One odd segment changes nothing: see [`LanguageTracker::on_detected`].

use jiff::{SignedDuration, Timestamp};

/// After so long without speech a conversation is over: whoever speaks next may be somebody else.
const CONVERSATION_END: SignedDuration = SignedDuration::from_mins(2);
/// After so long without speech the language is detected again.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// So long a room's last language is remembered for its next conversation.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// The language is detected again after so many seconds of speech.
const RECHECK_S: f64 = 20.0;
/// With less speech than this a detection has no vote: a name or an exclamation sounds alike in every language.
const MIN_SPEECH_S: f64 = 1.0;
/// A detection has a vote if it is likelier than this.
const MIN_PROBABILITY: f32 = 0.5;
/// So long and so likely a detection must be to change the language alone: within a conversation, and at the start of one.
const CLEAR: ClearVote = ClearVote { speech_s: 3.0, probability: 0.9 };
const CLEAR_AT_START: ClearVote = ClearVote { speech_s: 1.5, probability: 0.8 };
/// Where all languages that are allowed are together less likely than this, it is none of them.
const MIN_ALLOWED: f32 = 0.2;

/// An ISO 639-1 code, as Whisper names a language.
pub(crate) type LanguageCode = &'static str;

/// What a detection rests on.
struct ClearVote {
    speech_s: f64,
    probability: f32,
}

/// A detection that spoke for another language than the one that is kept.
#[derive(Clone, Copy, Debug)]
struct Challenger {
    language: LanguageCode,
    /// The start of its segment.
    start: Timestamp,
}

/// The language of the conversation in one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct LanguageTracker {
    language: Option<LanguageCode>,
    challenger: Option<Challenger>,
    /// No detection of this conversation had a vote yet.
    unconfirmed: bool,
    /// When the last speech ended.
    last_speech: Option<Timestamp>,
    /// Speech since the last detection that had a vote.
    unchecked_s: f64,
    /// There was a pause since that detection.
    paused: bool,
}

impl LanguageTracker {
    /// There is speech from `start` to `end`. Returns its language, if that is known.
    pub(crate) fn on_speech(&mut self, start: Timestamp, end: Timestamp) -> Option<LanguageCode> {
        // A clock that was set back ends no conversation.
        let silence = self.last_speech.map(|last| start.duration_since(last));
        if silence.is_none_or(|silence| silence > CONVERSATION_END) {
            self.unconfirmed = true;
            self.challenger = None;
        }
        self.paused |= silence.is_some_and(|silence| silence > PAUSE);
        self.last_speech = Some(end);
        self.language
    }

    /// A whole segment has so much speech: whether its language is to be detected.
    pub(crate) fn is_due(&mut self, speech_s: f64) -> bool {
        self.unchecked_s += speech_s;
        let open = self.unconfirmed || self.paused || self.challenger.is_some() || self.unchecked_s >= RECHECK_S;
        self.language.is_none() || (open && speech_s >= MIN_SPEECH_S)
    }

    /// A language was detected in the segment that begins at `start` and has so many seconds of speech. Short and unlikely ones have no
    /// vote. The first vote in a room is kept. Another language takes over if the evidence is clear, or if the next segment that
    /// has a vote is for it, too.
    pub(crate) fn on_detected(&mut self, start: Timestamp, language: LanguageCode, probability: f32, speech_s: f64) {
        if speech_s < MIN_SPEECH_S || probability <= MIN_PROBABILITY {
            return;
        }
        self.unchecked_s = 0.0;
        self.paused = false;
        let clear = if self.unconfirmed { CLEAR_AT_START } else { CLEAR };
        let is_clear = speech_s >= clear.speech_s && probability >= clear.probability;
        let is_second = self.challenger.is_some_and(|first| first.language == language && first.start != start);
        if self.language == Some(language) || is_clear || is_second {
            self.language = Some(language);
            self.challenger = None;
            self.unconfirmed = false;
        } else if self.language.is_none() {
            // One odd segment may be the first of a room: the next one is looked at as well.
            self.language = Some(language);
        } else {
            self.challenger = Some(Challenger { language, start });
        }
    }

    /// The language that is kept.
    pub(crate) fn language(&self) -> Option<LanguageCode> {
        self.language
    }

    /// The room's last language need not be remembered at `now`.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.last_speech.is_none_or(|last| now.duration_since(last) > REMEMBERED)
    }
}

/// The likeliest of the allowed languages, by Whisper's number, and its probability among them; of all languages where none is named.
pub(crate) fn likeliest(probabilities: &[f32], allowed: &[usize]) -> Option<(usize, f32)> {
    let is_allowed = |id: &usize| allowed.is_empty() || allowed.contains(id);
    let candidates = || probabilities.iter().copied().enumerate().filter(|(id, _)| is_allowed(id));
    let total: f32 = candidates().map(|(_, probability)| probability).sum();
    let (id, probability) = candidates().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    Some((id, if total < MIN_ALLOWED { probability } else { probability / total }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// A segment of so many seconds at `start`, in which this would be detected. Returns the language afterwards, and whether it was detected.
    fn say(
        room: &mut LanguageTracker,
        start: i64,
        seconds: i64,
        language: LanguageCode,
        probability: f32,
    ) -> (Option<LanguageCode>, bool) {
        room.on_speech(at(start), at(start + seconds));
        let due = room.is_due(seconds as f64);
        if due {
            room.on_detected(at(start), language, probability, seconds as f64);
        }
        (room.language, due)
    }

    fn english() -> LanguageTracker {
        let mut room = LanguageTracker::default();
        assert_eq!(say(&mut room, 0, 3, "en", 0.9), (Some("en"), true));
        room
    }

    #[test]
    fn the_language_is_detected_once_while_people_talk() {
        let mut room = english();
        assert_eq!(say(&mut room, 4, 5, "cy", 1.0), (Some("en"), false));
        assert_eq!(say(&mut room, 10, 5, "cy", 1.0), (Some("en"), false));
        assert_eq!(say(&mut room, 16, 11, "en", 0.9), (Some("en"), true), "after 20 s of speech again");
        assert_eq!(say(&mut room, 28, 2, "cy", 1.0), (Some("en"), false));
        assert_eq!(say(&mut room, 61, 2, "en", 0.6), (Some("en"), true), "and after a pause of half a minute");
        assert_eq!(say(&mut room, -600, 2, "cy", 1.0), (Some("en"), false), "a clock that was set back is no pause");
    }

    #[test]
    fn one_odd_segment_changes_nothing() {
        let mut room = english();
        assert_eq!(say(&mut room, 60, 2, "cy", 0.99).0, Some("en"), "sure and short");
        assert_eq!(say(&mut room, 63, 2, "en", 0.8), (Some("en"), true), "the next segment is looked at, too");
        assert_eq!(say(&mut room, 66, 2, "cy", 0.99), (Some("en"), false), "and settles it");
        assert_eq!(say(&mut room, 100, 6, "cy", 0.7).0, Some("en"), "long and unsure");
        assert_eq!(say(&mut room, 107, 2, "nl", 0.7).0, Some("en"), "two others that disagree");
        assert_eq!(say(&mut room, 110, 2, "en", 0.7).0, Some("en"));
    }

    #[test]
    fn clear_evidence_or_two_segments_in_a_row_change_the_language() {
        let mut room = english();
        assert_eq!(say(&mut room, 60, 4, "de", 0.95).0, Some("de"));
        assert_eq!(say(&mut room, 100, 2, "fr", 0.6).0, Some("de"));
        assert_eq!(say(&mut room, 103, 1, "fr", 0.6).0, Some("fr"));
    }

    #[test]
    fn short_and_unlikely_segments_have_no_vote() {
        let mut room = english();
        assert_eq!(say(&mut room, 60, 2, "de", 0.6).0, Some("en"));
        room.on_speech(at(63), at(64));
        assert!(!room.is_due(0.4), "what is short is not worth a detection");
        room.on_detected(at(63), "de", 0.99, 0.4);
        assert_eq!(room.language, Some("en"));
        assert_eq!(say(&mut room, 65, 2, "de", 0.5).0, Some("en"));
        assert_eq!(say(&mut room, 68, 2, "de", 0.6).0, Some("de"), "these two did not break the row");

        let mut room = LanguageTracker::default();
        room.on_speech(at(0), at(1));
        assert!(room.is_due(0.4), "without any language there is no other way");
        room.on_detected(at(0), "cy", 0.9, 0.4);
        assert_eq!(room.language, None, "it is not kept");
    }

    #[test]
    fn an_odd_first_segment_is_looked_at_again() {
        let mut room = LanguageTracker::default();
        assert_eq!(say(&mut room, 0, 1, "cy", 0.6), (Some("cy"), true), "there is nothing else to go by");
        assert_eq!(say(&mut room, 2, 2, "en", 0.9), (Some("en"), true));
        assert_eq!(say(&mut room, 5, 2, "cy", 0.9), (Some("en"), false), "it is settled");

        let mut room = LanguageTracker::default();
        assert_eq!(say(&mut room, 0, 1, "cy", 0.6), (Some("cy"), true));
        assert_eq!(say(&mut room, 2, 1, "en", 0.7), (Some("cy"), true));
        assert_eq!(say(&mut room, 4, 1, "en", 0.7), (Some("en"), true));
    }

    #[test]
    fn the_same_segment_votes_once() {
        let mut room = english();
        room.on_detected(at(5), "de", 0.6, 2.0);
        room.on_detected(at(5), "de", 0.7, 2.9);
        assert_eq!(room.language, Some("en"));
        room.on_detected(at(9), "de", 0.6, 2.0);
        assert_eq!(room.language, Some("de"));
    }

    #[test]
    fn a_new_conversation_begins_with_the_last_language_and_changes_it_sooner() {
        let mut room = english();
        assert_eq!(room.on_speech(at(300), at(301)), Some("en"));
        assert_eq!(say(&mut room, 302, 2, "de", 0.85), (Some("de"), true));
        assert!(!room.is_expired(at(80_000)) && room.is_expired(at(90_000)));
    }

    #[test]
    fn only_languages_that_are_allowed_are_detected() {
        let heard = [0.1, 0.5, 0.3, 0.1];
        assert_eq!(likeliest(&heard, &[]), Some((1, 0.5)));
        assert_eq!(likeliest(&heard, &[0, 2]), Some((2, 0.3 / 0.4)));
        assert_eq!(likeliest(&[0.08, 0.9, 0.02], &[0, 2]), Some((0, 0.08)), "it is none of them: no vote");
        assert_eq!(likeliest(&[f32::NAN; 2], &[0]).map(|(id, _)| id), Some(0));
        assert_eq!(likeliest(&[], &[]), None);
    }
}
