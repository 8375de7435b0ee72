//! Rejects text that Whisper wrote although nobody said it.
//!
//! Text is never corrected, only accepted or rejected. The rules are pure functions: the same text with the same numbers always gives
//! the same result. The figures behind the thresholds are in `docs/performance.md`.

use std::fmt;

use crate::clock::SAMPLE_RATE;

/// A segment with fewer samples of speech than this is not decoded: 250 ms.
const MIN_SPEECH_SAMPLES: usize = SAMPLE_RATE as usize / 4;
/// Text is rejected when the mean log-probability of its tokens is below `MIN_LOGPROB` and Whisper's probability that nobody spoke
/// is above `MAX_NO_SPEECH`.
const MIN_LOGPROB: f32 = -1.0;
const MAX_NO_SPEECH: f32 = 0.6;
/// A single word with a lower mean log-probability than this is a noise that Whisper wrote as a word.
const MIN_LOGPROB_SINGLE_WORD: f32 = -1.6;
/// Nobody speaks more words per second of speech. Auctioneers reach six.
const MAX_WORDS_PER_SECOND: f64 = 7.0;
/// A phrase repeated so often in a row is a loop of the decoder. A single word may be repeated more often ("Help, help, help, help!").
const PHRASE_LOOP: usize = 4;
const WORD_LOOP: usize = 8;

/// Why text was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// There was too little speech for a word.
    TooShort,
    /// More words than can be said in the time.
    TooFast,
    /// Whisper is unsure of its text and doubts that anybody spoke, or is very unsure of a single word.
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

/// Checks a segment before it is decoded.
///
/// # Errors
/// It has too little speech.
pub(crate) fn check_speech_length(speech_samples: usize) -> Result<(), Rejection> {
    if speech_samples < MIN_SPEECH_SAMPLES { Err(Rejection::TooShort) } else { Ok(()) }
}

/// Checks the whole text of a segment. Not piece by piece: Whisper's times within a segment are too imprecise for a rate of words, and
/// a loop may extend over several pieces.
///
/// # Errors
/// There are more words than can be said in the time, or the same words over and over.
pub(crate) fn check_rate_and_repetition(text: &str, speech_samples: usize) -> Result<(), Rejection> {
    let words = normalize(text);
    let seconds = speech_samples as f64 / f64::from(SAMPLE_RATE);
    // One word more than the rate allows is no evidence in a second of speech.
    if words.len() as f64 > 1.0 + MAX_WORDS_PER_SECOND * seconds {
        return Err(Rejection::TooFast);
    }
    let loops = (1..=words.len() / PHRASE_LOOP).any(|length| {
        let allowed = if length == 1 { WORD_LOOP } else { PHRASE_LOOP };
        longest_run(&words, length) >= allowed
    });
    if loops { Err(Rejection::Repetition) } else { Ok(()) }
}

/// Checks one piece of text by Whisper's own numbers and by its characters.
///
/// # Errors
/// Whisper is unsure of it, or it has no words.
pub(crate) fn check_plausibility(text: &str, mean_logprob: f32, no_speech: f32) -> Result<(), Rejection> {
    let unlikely = mean_logprob < MIN_LOGPROB && no_speech > MAX_NO_SPEECH;
    if unlikely || (mean_logprob < MIN_LOGPROB_SINGLE_WORD && normalize(text).len() == 1) {
        return Err(Rejection::NoSpeech);
    }
    if has_words(text) { Ok(()) } else { Err(Rejection::NoWords) }
}

/// There is a letter or digit outside of the brackets, stars and notes in which Whisper describes sounds.
fn has_words(text: &str) -> bool {
    let mut depth = 0usize;
    let mut starred = false;
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
fn normalize(text: &str) -> Vec<String> {
    let words = text.split_whitespace().map(|word| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>());
    words.map(|word| word.to_lowercase()).filter(|word| !word.is_empty()).collect()
}

/// How often the most repeated phrase of `length` words occurs in a row.
fn longest_run(words: &[String], length: usize) -> usize {
    let mut longest = 0;
    // The number of words in a row that equal the word one phrase earlier. A run of `n` phrases has `n − 1` phrases of them.
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
    fn what_people_say_is_accepted() {
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
    fn loops_are_rejected() {
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
    fn sound_descriptions_and_punctuation_are_rejected() {
        for text in ["", "...", "[BLANK_AUDIO]", "(wind blowing)", "*sigh*", "♪ la la ♪", "- -", "[Music] (applause)"]
        {
            assert_eq!(check_plausibility(text, -0.1, 0.0), Err(Rejection::NoWords), "{text}");
        }
    }

    #[test]
    fn a_low_probability_counts_only_with_no_speech_or_for_a_single_word() {
        assert_eq!(check_plausibility("Thank you.", -1.1, 0.7), Err(Rejection::NoSpeech));
        assert_eq!(check_plausibility("Thank you.", -0.9, 0.7), Ok(()));
        assert_eq!(check_plausibility("Thank you.", -1.1, 0.5), Ok(()));
        assert_eq!(check_plausibility("Ooo", -1.8, 0.1), Err(Rejection::NoSpeech), "a single word, and very unlikely");
        assert_eq!(
            (check_plausibility("Okay.", -1.5, 0.1), check_plausibility("Ask not!", -1.8, 0.1)),
            (Ok(()), Ok(()))
        );
    }

    #[test]
    fn speech_has_a_minimum_length_and_a_maximum_rate() {
        assert_eq!(check_speech_length(3_999), Err(Rejection::TooShort));
        assert_eq!(check_speech_length(4_000), Ok(()));
        assert_eq!(check_rate_and_repetition("Oh no!", 4_000), Ok(()), "it takes a quarter of a second");
        let words = "a bc def ghij k lm nop qrst u vw xyz one two three four five";
        assert_eq!(check_rate_and_repetition(words.trim_end_matches(" five"), 32_000), Ok(()));
        assert_eq!(check_rate_and_repetition(words, 32_000), Err(Rejection::TooFast));
    }
}
