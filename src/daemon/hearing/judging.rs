//! What becomes of the guard's word: it is counted, and told at level "debug".

use crate::asr::whisper::Piece;
use crate::asr::{Word, guard};
use crate::event::Segment;
use crate::vitals::{Count, Rejected, Vitals};

/// Text, or a segment without any, is refused.
pub(super) fn refuse(reason: guard::Rejection, text: &str, segment: &Segment, vitals: &Vitals) {
    vitals.rejected.add(1);
    counted(reason, &vitals.rejected_by).add(1);
    tracing::debug!(%reason, text, at = %segment.time, "refused");
}

fn counted(reason: guard::Rejection, rejected: &Rejected) -> &Count {
    match reason {
        guard::Rejection::TooShort => &rejected.too_short,
        guard::Rejection::TooFast => &rejected.too_fast,
        guard::Rejection::NoSpeech => &rejected.no_speech,
        guard::Rejection::Repetition => &rejected.repetition,
        guard::Rejection::NoWords => &rejected.no_words,
    }
}

/// What the guard thinks of a look.
pub(super) fn judged(piece: &Piece, segment: &Segment) -> Result<(), guard::Rejection> {
    guard::hearable(segment.speech_samples)?;
    guard::believable(&piece.text, piece.mean_logprob, piece.no_speech)?;
    guard::sayable(&piece.text, segment.speech_samples)
}

pub(super) fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}
