//! Makes given words likelier as the first word that Whisper writes.
//!
//! This is shallow fusion (arXiv 1712.01996) with a list of words in the place of a language model: a bonus in nats is added to the logit of
//! each token with which one of the words goes on, as long as the text has nothing else. It is bounded, so a word that Whisper finds
//! unlikelier than another by more than the bonus for each token is not written.
//!
//! A crate of its own because whisper-rs only has the C callback for this, and hearth itself has no unsafe code.

use std::ffi::{c_int, c_void};

use whisper_rs::whisper_rs_sys::{
    whisper_context, whisper_n_vocab, whisper_state, whisper_token_beg, whisper_token_data,
};
use whisper_rs::{FullParams, WhisperContext, WhisperError, WhisperState, WhisperTokenId};

/// Words that are likelier as the first word of a text.
#[derive(Clone, Debug)]
pub struct WordBias {
    words: Vec<Vec<WhisperTokenId>>,
    bonus: f32,
}

/// A token that was raised, and what it would have had without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RaisedToken {
    /// How many tokens of the text come before it.
    pub index: usize,
    pub id: WhisperTokenId,
    /// The natural logarithm of its probability without the bonus, among all tokens that are no times.
    pub logprob: f32,
}

impl WordBias {
    /// These words with a bonus in nats for each of their tokens. A word counts with and without a capital letter.
    ///
    /// # Errors
    /// A word cannot be divided into tokens: it holds a zero byte.
    pub fn new(context: &WhisperContext, words: &[String], bonus: f32) -> Result<Self, WhisperError> {
        let spellings = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).flat_map(|word| {
            // A word at the beginning of a text has a space before it.
            [format!(" {word}"), format!(" {}", capitalized(word))]
        });
        // A token is at least a byte. Too small a bound is no error in whisper-rs 0.16 but a vector of a wild length.
        let tokens = spellings.map(|spelling| context.tokenize(&spelling, spelling.len() + 1));
        let mut words: Vec<_> = tokens.collect::<Result<_, _>>()?;
        words.sort_unstable();
        words.dedup();
        Ok(Self { words, bonus })
    }

    /// Adds the bonus to the logits of all tokens that may come next, after the tokens written so far, and tells which these are. Times have
    /// ids from `first_time` on.
    fn apply(&self, written: &[WhisperTokenId], first_time: WhisperTokenId, logits: &mut [f32]) -> Vec<RaisedToken> {
        // A text begins with a time.
        let [time, text @ ..] = written else { return Vec::new() };
        if *time < first_time {
            return Vec::new();
        }
        let following = self.words.iter().filter_map(|word| word.strip_prefix(text)?.first());
        let mut tokens: Vec<WhisperTokenId> = following.copied().filter(|&token| token < first_time).collect();
        tokens.sort_unstable();
        tokens.dedup();
        if tokens.is_empty() {
            return Vec::new();
        }
        let log_sum = log_sum_exp(&logits[..logits.len().min(first_time as usize)]);
        let mut raised = Vec::with_capacity(tokens.len());
        for id in tokens {
            if let Some(logit) = logits.get_mut(id as usize) {
                raised.push(RaisedToken { index: text.len(), id, logprob: *logit - log_sum });
                *logit += self.bonus;
            }
        }
        raised
    }
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().map(|logit| (logit - max).exp()).sum::<f32>().ln() + max
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A decode with the bias: what the callback is given.
struct Decode<'a> {
    bias: &'a WordBias,
    raised: Vec<RaisedToken>,
}

/// [`WhisperState::full`] with the bias. The probabilities of the tokens in the state are those with the bonus; the tokens that had one are
/// returned with those without.
///
/// # Errors
/// Whisper fails.
pub fn full(
    state: &mut WhisperState,
    mut params: FullParams<'_, '_>,
    samples: &[f32],
    bias: &WordBias,
) -> Result<Vec<RaisedToken>, WhisperError> {
    let mut decode = Decode { bias, raised: Vec::new() };
    // SAFETY: the parameters are used for this one call, which `decode` outlives, and the callback changes nothing but the logits and `decode`.
    // With greedy decoding whisper.cpp calls it from one thread.
    unsafe {
        params.set_filter_logits_callback(Some(on_logits));
        params.set_filter_logits_callback_user_data((&raw mut decode).cast());
    }
    state.full(params, samples)?;
    Ok(decode.raised)
}

unsafe extern "C" fn on_logits(
    context: *mut whisper_context,
    _: *mut whisper_state,
    tokens: *const whisper_token_data,
    count: c_int,
    logits: *mut f32,
    decode: *mut c_void,
) {
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return;
    }
    // SAFETY: whisper.cpp passes its context, the `count` tokens of the sequence, and as many logits as its vocabulary has tokens. Nobody else
    // uses them during the call. `decode` is what `full` set.
    let (decode, written, first_time, logits) = unsafe {
        let vocabulary = usize::try_from(whisper_n_vocab(context)).unwrap_or(0);
        let logits = std::slice::from_raw_parts_mut(logits, vocabulary);
        (
            &mut *decode.cast::<Decode<'_>>(),
            std::slice::from_raw_parts(tokens, count),
            whisper_token_beg(context),
            logits,
        )
    };
    let written: Vec<WhisperTokenId> = written.iter().map(|token| token.id).collect();
    decode.raised.extend(decode.bias.apply(&written, first_time, logits));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_TIME: WhisperTokenId = 6;

    fn raised(written: &[WhisperTokenId]) -> Vec<usize> {
        let bias = WordBias { words: vec![vec![1], vec![2, 3], vec![2, 4], vec![7]], bonus: 4.0 };
        let mut logits = [0.0; 8];
        let raised = bias.apply(written, FIRST_TIME, &mut logits);
        for token in &raised {
            assert_eq!(token.index + 1, written.len());
            assert!((token.logprob - (1.0_f32 / 6.0).ln()).abs() < 1e-6, "one of the six that are no times");
        }
        let raised: Vec<usize> = raised.iter().map(|token| token.id as usize).collect();
        for (token, &logit) in logits.iter().enumerate() {
            assert_eq!(logit, if raised.contains(&token) { 4.0 } else { 0.0 });
        }
        raised
    }

    #[test]
    fn the_first_word_of_a_text_is_raised_token_by_token() {
        assert_eq!(raised(&[6]), [1, 2], "each token once, and no time");
        assert_eq!(raised(&[6, 2]), [3, 4]);
    }

    #[test]
    fn nothing_else_is_raised() {
        assert_eq!(raised(&[]), [0; 0], "a time comes first");
        assert_eq!(raised(&[1]), [0; 0], "there was no time");
        assert_eq!(raised(&[6, 5]), [0; 0], "the text began with another word");
        assert_eq!(raised(&[6, 1]), [0; 0], "the word is complete");
        assert_eq!(raised(&[6, 2, 3, 7]), [0; 0]);
    }
}
