//! Applies the hallucination filter to what Whisper wrote, and counts what it rejected.

use crate::asr::Word;
use crate::asr::hallucination_filter::{self, Rejection};
use crate::asr::whisper::TextSegment;
use crate::event::Segment;
use crate::metrics::{Count, Metrics, Rejected};

/// The part of a decode that passed the filter, and what did not.
#[derive(Default)]
pub(super) struct FilteredText {
    pub(super) words: Vec<Word>,
    /// Whisper's probability that nobody spoke, of the last text segment that passed.
    pub(super) no_speech: f32,
    pub(super) rejected: Vec<(Rejection, String)>,
}

/// Filters the decode of a segment that has so many samples of speech.
pub(super) fn apply(decoded: &[TextSegment], speech_samples: usize) -> FilteredText {
    let mut filtered = FilteredText::default();
    for part in decoded {
        match hallucination_filter::check_plausibility(&part.text, part.mean_logprob, part.no_speech) {
            Ok(()) => {
                filtered.no_speech = part.no_speech;
                filtered.words.extend_from_slice(&part.words);
            }
            Err(reason) => filtered.rejected.push((reason, part.text.clone())),
        }
    }
    let text = join(&filtered.words);
    if let Err(reason) = hallucination_filter::check_rate_and_repetition(&text, speech_samples) {
        filtered.rejected.push((reason, text));
        filtered.words.clear();
    }
    filtered
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
