//! Rejects text that Whisper wrote although nobody said it.
//!
//! Text is accepted or rejected, or shortened where the decoder went round in a loop: what is said once remains. The rules are pure functions: the same text with the same numbers always gives
//! the same result. The figures behind the thresholds are in `docs/performance.md`.

use std::fmt;

use crate::clock::SAMPLE_RATE;
use crate::event::MIN_SPEECH_SAMPLES;

/// Text is rejected when the mean log-probability of its tokens is below `MIN_LOGPROB` and Whisper's probability that nobody spoke
/// is above `MAX_NO_SPEECH`.
const MIN_LOGPROB: f32 = -1.0;
const MAX_NO_SPEECH: f32 = 0.6;
/// A short text with a lower mean log-probability than this is a noise that Whisper wrote as words, if it is all that was heard.
const MIN_LOGPROB_SHORT: f32 = -1.5;
const SHORT_WORDS: usize = 5;
/// Nobody speaks more words per second of speech. Auctioneers reach six.
const MAX_WORDS_PER_SECOND: f64 = 7.0;
/// A phrase repeated so often in a row is a loop of the decoder. A single word may be repeated more often ("Help, help, help, help!").
const PHRASE_LOOP: usize = 4;
const WORD_LOOP: usize = 8;
/// Two characters that follow each other so often within a word are a loop, too ("Sunbbbbbbbbbb", "B-B-B-B-B-"). "Noooo!" and "Hahaha!" are
/// shorter.
const PAIR_LOOP: usize = 5;
/// A word with more letters than this is a loop, in scripts that divide words: those before `UNDIVIDED`.
const MAX_LETTERS: usize = 30;
const UNDIVIDED: char = '\u{590}';
/// What remains of a loop counts from this mean log-probability on.
const MIN_LOGPROB_LOOP: f32 = -1.0;
/// Whisper describes sounds between stars. Text with more of them is such a description, however they are paired.
const MAX_STARS: usize = 3;

/// Why text was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// There was too little speech for a word.
    TooShort,
    /// More words than can be said in the time.
    TooFast,
    /// Whisper is unsure of its text and doubts that anybody spoke, or is very unsure of a few words.
    NoSpeech,
    /// The same words or letters over and over.
    Repetition,
    /// No letter in it, more signs than words, or a sound described in brackets.
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
    let loops = (1..=words.len() / PHRASE_LOOP).any(|length| longest_run(&words, length).1 >= loop_of(length));
    if loops { Err(Rejection::Repetition) } else { Ok(()) }
}

/// How often a phrase of so many words is repeated in a loop.
fn loop_of(length: usize) -> usize {
    if length == 1 { WORD_LOOP } else { PHRASE_LOOP }
}

/// Which words remain if every loop is said once, given why the text was rejected: too many words for the time, and whatever is
/// repeated is a loop; otherwise only what is repeated very often. The last period may be incomplete.
pub(crate) fn without_loops(words: &[&str], reason: Rejection) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..words.len()).collect();
    let normalized: Vec<String> = words.iter().map(|word| normalize(word).concat()).collect();
    let mut length = 1;
    while length * 2 <= rest.len() {
        let text: Vec<String> = rest.iter().map(|at| normalized[*at].clone()).collect();
        let (start, count) = longest_run(&text, length);
        let least = if reason == Rejection::TooFast { 2 } else { loop_of(length) };
        if count < least {
            length += 1;
            continue;
        }
        let end = start + length * count;
        let partial = (end..text.len()).take_while(|at| text[*at] == text[*at - length]).count();
        rest.drain(start + length..end + partial);
    }
    rest
}

/// Checks one piece of text by Whisper's own numbers and by its characters.
///
/// # Errors
/// Whisper is unsure of it, it has no words, or a word of it is a loop of letters.
pub(crate) fn check_plausibility(text: &str, mean_logprob: f32, no_speech: f32) -> Result<(), Rejection> {
    if mean_logprob < MIN_LOGPROB && no_speech > MAX_NO_SPEECH {
        return Err(Rejection::NoSpeech);
    }
    if !has_words(text) {
        return Err(Rejection::NoWords);
    }
    if text.split_whitespace().any(is_loop_of_letters) { Err(Rejection::Repetition) } else { Ok(()) }
}

/// Checks all that was heard in a segment.
///
/// # Errors
/// It is a few words, and Whisper is very unsure of them.
pub(crate) fn check_short_text(words: usize, mean_logprob: f32) -> Result<(), Rejection> {
    if words <= SHORT_WORDS && mean_logprob < MIN_LOGPROB_SHORT { Err(Rejection::NoSpeech) } else { Ok(()) }
}

/// What remains of a loop is likely enough to have been said.
pub(crate) fn is_likely_loop(mean_logprob: f32) -> bool {
    mean_logprob >= MIN_LOGPROB_LOOP
}

fn is_loop_of_letters(word: &str) -> bool {
    let letters: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    let mut equal = 0;
    let repeated = (2..letters.len()).any(|at| {
        equal = if letters[at] == letters[at - 2] { equal + 1 } else { 0 };
        equal >= 2 * (PAIR_LOOP - 1)
    });
    let digits_only = letters.iter().all(|c| !c.is_alphabetic());
    let divided = letters.iter().filter(|c| c.is_alphabetic() && **c < UNDIVIDED).count();
    !digits_only && (repeated || divided > MAX_LETTERS)
}

/// There is a letter or digit outside of the brackets, stars and notes in which Whisper describes sounds, and no more signs than words.
fn has_words(text: &str) -> bool {
    let words = text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    let signs = text.split_whitespace().count() - words;
    if signs > words || text.matches('*').count() > MAX_STARS {
        return false;
    }
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

/// Where the most repeated phrase of `length` words begins, and how often it occurs in a row.
fn longest_run(words: &[String], length: usize) -> (usize, usize) {
    let (mut start, mut longest) = (0, 0);
    // The number of words in a row that equal the word one phrase earlier. A run of `n` phrases has `n − 1` phrases of them.
    let mut equal = 0;
    for at in length..words.len() {
        equal = if words[at] == words[at - length] { equal + 1 } else { 0 };
        if 1 + equal / length > longest {
            longest = 1 + equal / length;
            start = at + 1 - longest * length;
        }
    }
    (start, longest)
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
    fn of_a_loop_what_is_said_once_remains() {
        let once = |text: &str, reason| {
            let words: Vec<&str> = text.split(' ').collect();
            without_loops(&words, reason).into_iter().map(|at| words[at]).collect::<Vec<_>>().join(" ")
        };
        for (text, reason, said) in [
            ("call an ambulance. Call an ambulance. Call an", Rejection::TooFast, "call an ambulance."),
            ("help, help, help, help!", Rejection::TooFast, "help,"),
            ("Come here. No, no, no! Come here.", Rejection::TooFast, "Come here. No, Come here."),
            ("I fell. I fell. I fell. I fell. I", Rejection::Repetition, "I fell."),
            ("So I said you know you know you know you know what", Rejection::Repetition, "So I said you know what"),
            ("no no no no no no no no", Rejection::Repetition, "no"),
            ("I fell. I fell. And then, and then.", Rejection::Repetition, "I fell. I fell. And then, and then."),
            ("one two three", Rejection::TooFast, "one two three"),
        ] {
            assert_eq!(once(text, reason), said, "{text}");
        }
    }

    #[test]
    fn loops_of_letters_are_rejected() {
        let long = "a".repeat(16) + &"bc".repeat(8);
        for text in ["Sunbbbbbbbbbbbbbb", "B-B-B-B-B-B-B-", "Nooooooooooooooo!", "hahahahahahaha", &long] {
            assert_eq!(check_plausibility(text, -0.1, 0.0), Err(Rejection::Repetition), "{text}");
        }
        let japanese = "今日はとても天気がいいので散歩に行きましょうと母が言いましたが私は家にいたいです";
        for text in
            ["Noooooo!", "Hahaha!", "B-B-Bob", "Donaudampfschifffahrtsgesell", "1000000000000", "www.", japanese]
        {
            assert_eq!(check_plausibility(text, -0.1, 0.0), Ok(()), "{text}");
        }
    }

    #[test]
    fn sound_descriptions_and_punctuation_are_rejected() {
        for text in [
            "",
            "...",
            "[BLANK_AUDIO]",
            "(wind blowing)",
            "*sigh*",
            "♪ la la ♪",
            "- -",
            "[Music] (applause)",
            "*c- *c- *c- * * *",
            "* * a * *",
            "- - Oh",
            "*sniff* so *sniff*",
        ] {
            assert_eq!(check_plausibility(text, -0.1, 0.0), Err(Rejection::NoWords), "{text}");
        }
    }

    #[test]
    fn a_low_probability_counts_only_with_no_speech_or_for_a_single_word() {
        assert_eq!(check_plausibility("Thank you.", -1.1, 0.7), Err(Rejection::NoSpeech));
        assert_eq!(check_plausibility("Thank you.", -0.9, 0.7), Ok(()));
        assert_eq!(check_plausibility("Thank you.", -1.1, 0.5), Ok(()));
        assert_eq!(check_short_text(1, -1.8), Err(Rejection::NoSpeech), "a single word, and very unlikely");
        assert_eq!(check_short_text(5, -1.6), Err(Rejection::NoSpeech));
        assert_eq!((check_short_text(1, -1.4), check_short_text(6, -1.8)), (Ok(()), Ok(())));
    }

    #[test]
    fn speech_has_a_minimum_length_and_a_maximum_rate() {
        assert_eq!(check_speech_length(2_047), Err(Rejection::TooShort));
        assert_eq!(check_speech_length(2_048), Ok(()));
        assert_eq!(check_rate_and_repetition("Oh no!", 4_000), Ok(()), "it takes a quarter of a second");
        let words = "a bc def ghij k lm nop qrst u vw xyz one two three four five";
        assert_eq!(check_rate_and_repetition(words.trim_end_matches(" five"), 32_000), Ok(()));
        assert_eq!(check_rate_and_repetition(words, 32_000), Err(Rejection::TooFast));
    }
}
