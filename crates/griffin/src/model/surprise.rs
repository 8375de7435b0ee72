//! How much a model is surprised by what it reads.

use rayon::prelude::*;

use super::{CHUNK, Model, Output};
use crate::sampler::log_probability;
use crate::{Error, State};

/// Tokens whose predictions are in memory at once: 16 MiB for a vocabulary of 256,000.
const ROWS: usize = 16;

impl Model {
    /// Reads tokens as [`Model::ingest`] does, and returns their surprise in nats: the sum of −ln p over each token after the first, and
    /// `next`, given all before it. Of a text that is read in parts, each is given the first token of the one after it.
    ///
    /// # Errors
    /// As [`Model::ingest`].
    pub fn surprise(&self, tokens: &[u32], next: Option<u32>, state: &mut State) -> Result<f64, Error> {
        self.check(tokens, state)?;
        self.check(next.as_slice(), state)?;
        let (d, v) = (self.config.hidden_size, self.config.vocab_size);
        let expected: Vec<u32> = tokens.iter().skip(1).copied().chain(next).collect();
        let mut nats = 0.0;
        self.compute(tokens.len(), |scratch| {
            let (mut logits, mut expected) = (Vec::new(), &expected[..]);
            for chunk in tokens.chunks(CHUNK) {
                let (follows, rest) = expected.split_at(chunk.len().min(expected.len()));
                expected = rest;
                self.pass(scratch, &mut [(&mut *state, chunk)], Output::All);
                let rows = std::mem::take(&mut scratch.x);
                for (follows, rows) in follows.chunks(ROWS).zip(rows.chunks(ROWS * d)) {
                    self.head(scratch, &rows[..follows.len() * d], &mut logits);
                    let each = logits.par_chunks_exact(v).zip(follows).map(|(row, next)| -log_probability(row, *next));
                    // In order: the same tokens give the same sum.
                    nats += each.collect::<Vec<_>>().into_iter().sum::<f64>();
                }
                scratch.x = rows;
            }
        });
        Ok(nats)
    }

    /// The work of [`Model::surprise`] beyond that of [`Model::ingest`], as a share of that.
    pub fn surprise_cost(&self) -> f64 {
        let cost = self.cost();
        cost.generate.operations() as f64 / cost.ingest.operations() as f64 - 1.0
    }
}
