//! What Whisper writes although nobody said it.
//!
//! Owns the rules by which text is refused, and why. Refuses to mend text: it stands or it goes. Invariant: pure; the same
//! text with the same numbers is always judged alike.

use std::fmt;

use crate::clock::SAMPLE_RATE;

/// Less speech than this makes no text, in samples: 250 ms.
const MIN_SPEECH: usize = SAMPLE_RATE as usize / 4;
/// Text this unlikely, mean log-probability of a token, while Whisper doubts that anybody spoke.
const UNLIKELY: f32 = -1.0;
const NOBODY: f32 = 0.6;
/// A word alone this unlikely is a sound that Whisper had to write as something: of 149 utterances of meetings, books and prompts none
/// is (the least likely word alone has −1.5), of 26 minutes of noise the one word that was left ("Ooo", a whale, −1.8).
const UNLIKELY_ALONE: f32 = -1.6;
/// Nobody speaks faster, in words a second of speech. Auctioneers reach six.
const MAX_RATE: f64 = 7.0;
/// A phrase said so often in a row is a loop of the decoder; one word may be cried more often ("Help, help, help, help!").
const MAX_PHRASES: usize = 4;
const MAX_WORDS: usize = 8;

/// Why text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There was too little speech to say anything.
    TooShort,
    /// More words than can be said in the time.
    TooFast,
    /// Whisper believes neither its text nor that anybody spoke, or its one word not at all.
    NoSpeech,
    /// The same words over and over.
    Repetition,
    /// No letter in it, or a sound described in brackets.
    NoWords,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "too_short",
            Self::TooFast => "too_fast",
            Self::NoSpeech => "no_speech",
            Self::Repetition => "repetition",
            Self::NoWords => "no_words",
        })
    }
}

/// Judges a segment before it is decoded.
pub fn check_speech_length(speech_samples: usize) -> Result<(), Rejection> {
    if speech_samples < MIN_SPEECH { Err(Rejection::TooShort) } else { Ok(()) }
}

/// Judges all text of a segment together: Whisper's times within one are not to be relied on for a rate, and a loop may fill
/// one piece or go through several.
pub fn check_rate_and_repetition(text: &str, speech_samples: usize) -> Result<(), Rejection> {
    let words = folded(text);
    let seconds = speech_samples as f64 / f64::from(SAMPLE_RATE);
    // A word more than the rate allows is no evidence in a second of speech.
    if words.len() as f64 > 1.0 + MAX_RATE * seconds {
        return Err(Rejection::TooFast);
    }
    let loops = (1..=words.len() / MAX_PHRASES).any(|length| {
        let allowed = if length == 1 { MAX_WORDS } else { MAX_PHRASES };
        longest_run(&words, length) >= allowed
    });
    if loops { Err(Rejection::Repetition) } else { Ok(()) }
}

/// Judges one piece of text by Whisper's own numbers and by its words.
pub fn check_plausibility(text: &str, mean_logprob: f32, no_speech: f32) -> Result<(), Rejection> {
    let unlikely = mean_logprob < UNLIKELY && no_speech > NOBODY;
    if unlikely || (mean_logprob < UNLIKELY_ALONE && folded(text).len() == 1) {
        return Err(Rejection::NoSpeech);
    }
    if is_language(text) { Ok(()) } else { Err(Rejection::NoWords) }
}

/// Something was said: there is a letter or digit outside the brackets, stars and notes in which Whisper describes sounds.
fn is_language(text: &str) -> bool {
    let (mut depth, mut starred) = (0usize, false);
    text.chars().any(|c| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            '*' | '♪' => starred = !starred,
            _ => {}
        }
        depth == 0 && !starred && c.is_alphanumeric()
    })
}

/// Words without case and punctuation.
fn folded(text: &str) -> Vec<String> {
    let words = text.split_whitespace().map(|word| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>());
    words.map(|word| word.to_lowercase()).filter(|word| !word.is_empty()).collect()
}

/// How often the most repeated phrase of `length` words stands in a row.
fn longest_run(words: &[String], length: usize) -> usize {
    let mut longest = 0;
    // Words equal to those one phrase before, in a row: a run of `n` phrases has `n − 1` phrases of them.
    let mut equal = 0;
    for at in length..words.len() {
        equal = if words[at] == words[at - length] { equal + 1 } else { 0 };
        longest = longest.max(1 + equal / length);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_say_is_believed() {
        for text in [
            "Good morning, Emma. How are you?",
            "Help, help, help, help!",
            "No, no, no, no, no.",
            "Knock knock. Who is there? Knock knock. Who is there?",
            "7:30 (half past seven)",
            "Ja.",
            "Да, конечно.",
            "はい。",
        ] {
            assert_eq!(check_plausibility(text, -0.4, 0.1), Ok(()), "{text}");
            assert_eq!(check_rate_and_repetition(text, 64_000), Ok(()), "{text}");
        }
    }

    #[test]
    fn loops_are_refused() {
        for text in [
            "I'm sorry. I'm sorry. I'm sorry. I'm sorry.",
            "and then the and then the And then, the and then the end",
            "the the the the the the the the",
            "So I said you know what you know what you know what you know what",
        ] {
            assert_eq!(check_rate_and_repetition(text, 160_000), Err(Rejection::Repetition), "{text}");
        }
    }

    #[test]
    fn described_sounds_and_bare_signs_are_no_words() {
        for text in ["", "...", "[BLANK_AUDIO]", "(wind blowing)", "*sigh*", "♪ la la ♪", "- -", "[Music] (applause)"]
        {
            assert_eq!(check_plausibility(text, -0.1, 0.0), Err(Rejection::NoWords), "{text}");
        }
    }

    #[test]
    fn doubt_counts_only_together() {
        assert_eq!(check_plausibility("Thank you.", -1.1, 0.7), Err(Rejection::NoSpeech));
        assert_eq!(check_plausibility("Thank you.", -0.9, 0.7), Ok(()));
        assert_eq!(check_plausibility("Thank you.", -1.1, 0.5), Ok(()));
        assert_eq!(check_plausibility("Ooo", -1.8, 0.1), Err(Rejection::NoSpeech), "one word, and that not believed");
        assert_eq!(
            (check_plausibility("Okay.", -1.5, 0.1), check_plausibility("Ask not!", -1.8, 0.1)),
            (Ok(()), Ok(()))
        );
    }

    #[test]
    fn speech_has_a_least_length_and_a_greatest_pace() {
        assert_eq!(check_speech_length(3_999), Err(Rejection::TooShort));
        assert_eq!(check_speech_length(4_000), Ok(()));
        assert_eq!(check_rate_and_repetition("Oh no!", 4_000), Ok(()), "it takes a quarter of a second");
        let words = "a bc def ghij k lm nop qrst u vw xyz one two three four five";
        assert_eq!(check_rate_and_repetition(words.trim_end_matches(" five"), 32_000), Ok(()));
        assert_eq!(check_rate_and_repetition(words, 32_000), Err(Rejection::TooFast));
    }
}
