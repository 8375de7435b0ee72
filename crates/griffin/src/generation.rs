//! A text that is written piece by piece.
//!
//! Between two pieces the caller may do anything else, also with the same model. The pieces together are the text that would have been written
//! at once: the tokens are the same up to the rounding that [`Model`] allows.

use crate::{Error, Logits, Model, Sampler, State};

/// What was written so far, and the state that it goes on from.
#[derive(Debug)]
pub struct Generation {
    state: State,
    /// What is read before anything is written, and how much of it was read.
    prompt: Vec<u32>,
    read: usize,
    /// What follows; empty while the prompt is not read.
    logits: Logits,
    sampler: Sampler,
    written: Vec<u32>,
    most: usize,
    end: GenerationEnd,
}

/// Whether a text has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GenerationEnd {
    Open,
    /// The model wrote a token that ends it.
    Ended,
    /// It is as long as it may become.
    Cut,
}

impl Generation {
    /// A text of at most `most` tokens that follows `prompt` in `state`. Nothing is computed yet.
    pub fn new(state: State, prompt: Vec<u32>, sampler: Sampler, most: usize) -> Self {
        let end = if most == 0 { GenerationEnd::Cut } else { GenerationEnd::Open };
        Self { state, prompt, read: 0, logits: Logits::default(), sampler, written: Vec::new(), most, end }
    }

    /// Goes on by a piece: reads up to `tokens` more of the prompt (one at least), or writes one token. A token that `ends` the text is
    /// not part of it. Returns how many tokens were read or written; 0 when the text is finished.
    ///
    /// # Errors
    /// As [`Model::read`], for an empty prompt, too; it is then as it was.
    pub fn advance(&mut self, model: &Model, tokens: usize, ends: impl Fn(u32) -> bool) -> Result<usize, Error> {
        if self.is_finished() {
            return Ok(0);
        }
        if !self.is_writing() {
            let part = &self.prompt[self.read..self.prompt.len().min(self.read + tokens.max(1))];
            if self.read + part.len() < self.prompt.len() {
                model.ingest(part, &mut self.state)?;
            } else {
                self.logits = model.read(part, &mut self.state)?;
            }
            self.read += part.len();
            return Ok(part.len());
        }
        let token = self.sampler.choose(&self.logits);
        if ends(token) {
            self.end = GenerationEnd::Ended;
            return Ok(0);
        }
        if self.written.len() + 1 < self.most {
            model.step_into(token, &mut self.state, &mut self.logits)?;
        } else {
            self.end = GenerationEnd::Cut;
        }
        self.written.push(token);
        Ok(1)
    }

    /// Whether the prompt was read, so that the next piece is a token.
    pub fn is_writing(&self) -> bool {
        !self.logits.values().is_empty()
    }

    /// What the model predicts after the prompt and what was written; none while the prompt is not read. Right after the prompt it is
    /// the prediction of the first token.
    pub fn prediction(&self) -> Option<&Logits> {
        self.is_writing().then_some(&self.logits)
    }

    /// Whether nothing is left to write.
    pub fn is_finished(&self) -> bool {
        self.end != GenerationEnd::Open
    }

    /// Whether the text came to its end and was not cut off.
    pub fn has_ended(&self) -> bool {
        self.end == GenerationEnd::Ended
    }

    /// The tokens that were written.
    pub fn tokens(&self) -> &[u32] {
        &self.written
    }
}
