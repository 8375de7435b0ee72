//! What becomes of the guard's word: it is counted, and told at level "debug".

use crate::asr::whisper::Piece;
use crate::asr::{Word, guard};
use crate::event::Segment;
use crate::metrics::{Count, Metrics, Rejected};

/// Text, or a segment without any, is refused.
pub(super) fn refuse(reason: guard::Rejection, text: &str, segment: &Segment, metrics: &Metrics) {
    metrics.rejected.add(1);
    counted(reason, &metrics.rejected_by).add(1);
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

/// What the guard leaves of a pass.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) words: Vec<Word>,
    /// Of the last piece that was believed.
    pub(super) no_speech: f32,
    pub(super) refused: Vec<(guard::Rejection, String)>,
}

/// Judges what a pass over so much speech wrote.
pub(super) fn judge(pieces: &[Piece], speech_samples: usize) -> Judged {
    let mut judged = Judged::default();
    for piece in pieces {
        match guard::believable(&piece.text, piece.mean_logprob, piece.no_speech) {
            Ok(()) => {
                judged.no_speech = piece.no_speech;
                judged.words.extend_from_slice(&piece.words);
            }
            Err(reason) => judged.refused.push((reason, piece.text.clone())),
        }
    }
    let text = joined(&judged.words);
    if let Err(reason) = guard::sayable(&text, speech_samples) {
        judged.refused.push((reason, text));
        judged.words.clear();
    }
    judged
}

pub(super) fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}
