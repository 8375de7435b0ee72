//! Applies the hallucination filter to what Whisper wrote, and counts what it rejected.

use crate::asr::Word;
use crate::asr::hallucination_filter::{self, Rejection};
use crate::asr::whisper::TextSegment;
use crate::event::Segment;
use crate::metrics::{Count, Metrics, Rejected};

/// Below this mean log-probability of its words a text is doubtful, and with fewer words for a second of speech than this.
const DOUBTFUL_LOGPROB: f32 = -1.0;
const FEW_WORDS_PER_S: f64 = 0.8;

/// By so many nats at most the filter is milder to a word that was made likelier. Words that people called out have a mean log-probability of
/// −3.0 or more without the bonus, an "ouch" in the song of a whale −5.3 (`docs/performance.md`).
const MAX_BONUS: f32 = 1.7;

/// The part of a decode that passed the filter, and what did not.
#[derive(Default)]
pub(super) struct FilteredText {
    pub(super) words: Vec<Word>,
    /// Whisper's probability that nobody spoke, of the last text segment that passed.
    pub(super) no_speech: f32,
    pub(super) rejected: Vec<(Rejection, String)>,
    /// Whisper went round in a loop, and `words` have it once.
    pub(super) shortened: bool,
}

impl FilteredText {
    /// Whisper went round in a loop.
    pub(super) fn is_loop(&self) -> bool {
        let looped = |reason: &Rejection| matches!(reason, Rejection::TooFast | Rejection::Repetition);
        self.shortened || self.rejected.iter().any(|(reason, _)| looped(reason))
    }

    /// Whisper went round in a loop, or is unsure, or wrote little for so many seconds of speech.
    pub(super) fn is_doubtful(&self, speech_s: f64) -> bool {
        let unlikely = self.rejected.iter().any(|(reason, _)| *reason == Rejection::NoSpeech);
        unlikely
            || self.is_loop()
            || !self.words.is_empty()
                && (mean_logprob(&self.words) < DOUBTFUL_LOGPROB
                    || speech_s > 1.0 && (self.words.len() as f64) < FEW_WORDS_PER_S * speech_s)
    }

    /// Rejects all words.
    fn reject(&mut self, reason: Rejection) {
        let text = join(&std::mem::take(&mut self.words));
        self.rejected.push((reason, text));
    }
}

/// Filters the decode of a segment that has so many samples of speech.
pub(super) fn apply(decoded: &[TextSegment], speech_samples: usize) -> FilteredText {
    let mut filtered = FilteredText::default();
    for part in decoded {
        match hallucination_filter::check_plausibility(
            &part.text,
            with_bonus(part.mean_logprob, &part.words),
            part.no_speech,
        ) {
            Ok(()) => {
                filtered.no_speech = part.no_speech;
                filtered.words.extend_from_slice(&part.words);
            }
            Err(reason) => filtered.rejected.push((reason, part.text.clone())),
        }
    }
    let text = join(&filtered.words);
    if let Err(reason) = hallucination_filter::check_rate_and_repetition(&text, speech_samples) {
        match once(&filtered.words, reason, speech_samples) {
            Some(words) => {
                filtered.words = words;
                filtered.shortened = true;
            }
            None => filtered.reject(reason),
        }
    }
    if !filtered.words.is_empty() {
        let logprob = with_bonus(mean_logprob(&filtered.words), &filtered.words);
        let short = hallucination_filter::check_short_text(filtered.words.len(), logprob);
        short.unwrap_or_else(|reason| filtered.reject(reason));
    }
    filtered
}

/// The words with each loop once, if that can have been said in the time.
fn once(words: &[Word], reason: Rejection, speech_samples: usize) -> Option<Vec<Word>> {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let kept = hallucination_filter::without_loops(&texts, reason);
    let once: Vec<Word> = kept.into_iter().map(|at| words[at].clone()).collect();
    let possible = hallucination_filter::check_rate_and_repetition(&join(&once), speech_samples).is_ok();
    (possible && hallucination_filter::is_likely_loop(mean_logprob(&once))).then_some(once)
}

/// The mean of the words' mean log-probabilities.
fn mean_logprob(words: &[Word]) -> f32 {
    words.iter().map(|word| word.logprob).sum::<f32>() / words.len() as f32
}

/// The mean log-probability by which words are rejected. Without a part of their bonus, words that are called out would be chosen because of it
/// and then rejected for want of it.
fn with_bonus(logprob: f32, words: &[Word]) -> f32 {
    let bonus = words.iter().map(|word| word.bonus).sum::<f32>() / words.len().max(1) as f32;
    (logprob + bonus.min(MAX_BONUS)).min(0.0)
}

/// Counts a rejected text and logs it at level "debug". The text is empty where the segment was not decoded at all.
pub(super) fn count_rejection(reason: Rejection, text: &str, segment: &Segment, metrics: &Metrics) {
    metrics.rejected.add(1);
    counter(reason, &metrics.rejected_by).add(1);
    tracing::debug!(%reason, text, at = %segment.time, "rejected");
}

fn counter(reason: Rejection, rejected: &Rejected) -> &Count {
    match reason {
        Rejection::TooShort => &rejected.too_short,
        Rejection::TooFast => &rejected.too_fast,
        Rejection::NoSpeech => &rejected.no_speech,
        Rejection::Repetition => &rejected.repetition,
        Rejection::NoWords => &rejected.no_words,
    }
}

/// The words as a text, with a space between two.
pub(super) fn join(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Whisper writes: each word with this mean log-probability.
    fn decoded(text: &str, logprob: f32) -> Vec<TextSegment> {
        let word = |text: &str| Word {
            text: text.into(),
            start_s: 0.0,
            end_s: 0.1,
            probability: logprob.exp(),
            logprob,
            starts_segment: false,
            bonus: 0.0,
        };
        let words: Vec<Word> = text.split(' ').map(word).collect();
        vec![TextSegment { text: text.into(), mean_logprob: logprob, no_speech: 0.1, tokens: words.len(), words }]
    }

    #[test]
    fn of_a_loop_what_was_said_once_remains() {
        let filtered =
            apply(&decoded("call an ambulance. Call an ambulance. Call an ambulance. Call an", -0.3), 14_400);
        assert_eq!(join(&filtered.words), "call an ambulance.");
        assert!(filtered.shortened && filtered.rejected.is_empty() && filtered.is_doubtful(0.9));
        let long = apply(&decoded("I fell down. I fell down. I fell down. I fell down.", -0.3), 80_000);
        assert_eq!(join(&long.words), "I fell down.");
    }

    #[test]
    fn an_unlikely_loop_and_what_is_still_too_fast_are_rejected() {
        let unlikely = apply(&decoded("bye bye bye bye bye bye bye bye", -1.2), 32_000);
        assert_eq!((unlikely.words.len(), unlikely.rejected[0].0), (0, Rejection::Repetition));
        let fast = apply(&decoded("a b c d e f g h a b c d e f g h", -0.3), 8_000);
        assert_eq!((fast.words.len(), fast.rejected[0].0), (0, Rejection::TooFast));
    }

    #[test]
    fn a_word_that_was_made_likelier_is_not_rejected_for_what_it_would_be_without() {
        let mut smoke = decoded("Smoke!", -2.5);
        assert_eq!(apply(&smoke, 8_000).rejected[0].0, Rejection::NoSpeech);
        smoke[0].words[0].bonus = 4.0;
        assert_eq!(join(&apply(&smoke, 8_000).words), "Smoke!");
        let mut guess = decoded("Smoke!", -4.0);
        guess[0].words[0].bonus = 4.0;
        assert_eq!(apply(&guess, 8_000).rejected[0].0, Rejection::NoSpeech, "the bonus is bounded");
    }

    #[test]
    fn a_short_and_very_unlikely_text_is_rejected() {
        let sneeze = apply(&decoded("I need you to go!", -1.6), 16_000);
        assert_eq!((sneeze.words.len(), sneeze.rejected[0].0), (0, Rejection::NoSpeech));
        assert_eq!(apply(&decoded("I need you to go!", -1.4), 16_000).words.len(), 5);
    }

    #[test]
    fn a_text_is_doubtful_if_it_is_unlikely_or_has_few_words_for_its_length() {
        let doubtful = |text, logprob, seconds| apply(&decoded(text, logprob), 48_000).is_doubtful(seconds);
        assert!(!doubtful("Dinner is ready.", -0.4, 3.0) && doubtful("Dinner is ready.", -1.1, 3.0));
        assert!(doubtful("Am", -0.4, 2.9) && !doubtful("Help!", -0.4, 0.5));
        assert!(doubtful("stop", -1.8, 0.5), "it is rejected unless a second pass is surer");
        assert!(!doubtful("[Music]", -1.1, 3.0), "it is no text");
    }
}
