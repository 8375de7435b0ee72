//! In which language people speak to each other.
//!
//! Owns how long a language that was detected is believed. Refuses to know Whisper, which detects it. Invariant: within a
//! conversation a language is detected until it is sure, and never again.

use jiff::{SignedDuration, Timestamp};

/// Nobody spoke for so long: who speaks next may be somebody else.
const PAUSE: SignedDuration = SignedDuration::from_mins(2);
/// Less speech than this is a name or a cry, which every language has.
const SPEECH_S: f64 = 1.0;
/// Surer than this, of all hundred languages, is sure.
const SURE: f32 = 0.5;

/// What Whisper calls a language: its ISO 639-1 code.
pub type LanguageCode = &'static str;

/// What is known of the conversation in a room.
#[derive(Clone, Debug, Default)]
pub struct LanguageTracker {
    language: Option<LanguageCode>,
    /// When somebody last spoke.
    last: Option<Timestamp>,
}

impl LanguageTracker {
    /// Somebody speaks, from `start` to `end`: in which language, if that is known.
    pub fn on_speech(&mut self, start: Timestamp, end: Timestamp) -> Option<LanguageCode> {
        if self.is_expired(start) {
            self.language = None;
        }
        self.last = Some(end);
        self.language
    }

    /// In so many seconds of speech a language was detected.
    pub fn on_detected(&mut self, language: LanguageCode, probability: f32, speech_s: f64) {
        if speech_s >= SPEECH_S && probability > SURE {
            self.language = Some(language);
        }
    }

    /// Whoever speaks now begins another.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        // A clock that was set back ends none.
        self.last.is_none_or(|last| now.duration_since(last) > PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_language_is_detected_once_a_conversation() {
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
    fn what_is_not_sure_is_detected_again() {
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
