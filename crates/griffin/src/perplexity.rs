//! How well a model predicts a text.

use crate::formats::Progress;
use crate::model::CHUNK;
use crate::{Error, Model, Tokenizer};

/// How well a model predicted a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// exp of the mean surprisal: as many equally likely tokens would surprise as much.
    pub value: f64,
}

/// Reads a text from `<bos>` on, however long, and compares each token with what was predicted.
///
/// # Errors
/// [`Error::NoTokens`] of a text without any, [`Error::Text`], [`Error::Token`].
pub fn perplexity(
    model: &Model,
    tokenizer: &Tokenizer,
    text: &str,
    progress: Progress<'_>,
) -> Result<Perplexity, Error> {
    let mut tokens = vec![tokenizer.special_tokens().bos];
    tokens.extend(tokenizer.encode(text)?);
    let predicted = tokens.len() - 1;
    let mut state = model.state();
    let mut surprise = 0.0;
    let mut done = 0;
    for (read, next) in tokens[..predicted].chunks(CHUNK).zip(tokens[1..].chunks(CHUNK)) {
        let logits = model.logits(read, &mut state)?;
        surprise -= logits.iter().zip(next).map(|(logits, &next)| logits.log_probability(next)).sum::<f64>();
        done += read.len() as u64;
        progress(done, predicted as u64);
    }
    if predicted == 0 {
        return Err(Error::NoTokens);
    }
    Ok(Perplexity { tokens: predicted, value: (surprise / predicted as f64).exp() })
}
