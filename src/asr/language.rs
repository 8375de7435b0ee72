//! The language spoken in a room, for `language = "auto"`.
//!
//! Detecting the language costs as much as a decode. So within a conversation it is detected until Whisper is sure, and then kept.

use jiff::{SignedDuration, Timestamp};

/// After so long without speech a conversation is over: whoever speaks next may be somebody else.
const CONVERSATION_END: SignedDuration = SignedDuration::from_mins(2);
/// With less speech than this a detection is not kept: a name or an exclamation sounds alike in every language.
const MIN_SPEECH_S: f64 = 1.0;
/// A detection with a higher probability than this is kept.
const MIN_PROBABILITY: f32 = 0.5;

/// An ISO 639-1 code, as Whisper names a language.
pub(crate) type LanguageCode = &'static str;

/// The language of the conversation in one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct LanguageTracker {
    language: Option<LanguageCode>,
    /// When the last speech ended.
    last_speech: Option<Timestamp>,
}

impl LanguageTracker {
    /// There is speech from `start` to `end`. Returns its language, if that is known.
    pub(crate) fn on_speech(&mut self, start: Timestamp, end: Timestamp) -> Option<LanguageCode> {
        if self.is_expired(start) {
            self.language = None;
        }
        self.last_speech = Some(end);
        self.language
    }

    /// A language was detected in so many seconds of speech.
    pub(crate) fn on_detected(&mut self, language: LanguageCode, probability: f32, speech_s: f64) {
        if speech_s >= MIN_SPEECH_S && probability > MIN_PROBABILITY {
            self.language = Some(language);
        }
    }

    /// The conversation is over: speech at `now` begins another.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        // A clock that was set back does not end a conversation.
        self.last_speech.is_none_or(|last| now.duration_since(last) > CONVERSATION_END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_language_is_detected_once_per_conversation() {
        let mut conversation = LanguageTracker::default();
        assert_eq!(conversation.on_speech(at(0), at(3)), None);
        conversation.on_detected("de", 0.9, 2.5);
        for start in [4, 60, 180, 299] {
            assert_eq!(
                conversation.on_speech(at(start), at(start + 2)),
                Some("de"),
                "nothing is detected at {start} s"
            );
        }
        assert_eq!(conversation.on_speech(at(299 + 2 + 121), at(425)), None, "two minutes of silence ended it");
        assert_eq!(conversation.on_speech(at(430), at(431)), None, "and nothing was detected yet");
        conversation.on_detected("en", 0.9, 1.0);
        assert_eq!(
            conversation.on_speech(at(100), at(101)),
            Some("en"),
            "a clock that was set back ends no conversation"
        );
    }

    #[test]
    fn an_uncertain_detection_is_repeated() {
        let mut conversation = LanguageTracker::default();
        conversation.on_speech(at(0), at(1));
        conversation.on_detected("cy", 0.9, 0.4);
        assert_eq!(conversation.on_speech(at(2), at(4)), None, "it was a cry");
        conversation.on_detected("nl", 0.4, 2.0);
        assert_eq!(conversation.on_speech(at(5), at(6)), None, "it was one of many");
        conversation.on_detected("de", 0.6, 2.0);
        assert_eq!(conversation.on_speech(at(7), at(8)), Some("de"));
    }
}
