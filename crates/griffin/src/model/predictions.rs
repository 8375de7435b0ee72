//! What a model predicts after some tokens.

use rayon::prelude::*;

use super::{Model, Output};
use crate::kernels::{self, Matmul, elementwise};
use crate::layers::PARALLEL_MIN_VALUES;
use crate::rounds::{Round, rounds};
use crate::scratch::Scratch;
use crate::{Error, Logits, State};

impl Model {
    /// Reads tokens of several streams at once and predicts what follows the last of each. The weights are read once for all, so
    /// this is how to ask several questions of forks of one state.
    ///
    /// # Errors
    /// As [`Model::read`]; the states are then as they were.
    pub fn read_all(&self, streams: &mut [(&mut State, &[u32])]) -> Result<Vec<Logits>, Error> {
        self.predict_all(streams, false)
    }

    /// The same, with the last layer computed for every token. It only serves to measure what [`Model::read_all`] saves.
    #[doc(hidden)]
    pub fn read_all_rows(&self, streams: &mut [(&mut State, &[u32])]) -> Result<Vec<Logits>, Error> {
        self.predict_all(streams, true)
    }

    fn predict_all(&self, streams: &mut [(&mut State, &[u32])], whole: bool) -> Result<Vec<Logits>, Error> {
        self.check_all(streams)?;
        let v = self.config.vocab_size;
        let mut all = Vec::new();
        self.last_rows(streams, whole, |scratch, last| {
            let mut logits = Vec::new();
            self.head(scratch, last, &mut logits);
            all = logits.chunks_exact(v).map(|row| Logits::new(row.to_vec())).collect();
        });
        Ok(all)
    }

    /// As [`Model::read_all`], but predicts only how likely each of `candidates` is after each stream, in their order: the head's rows of
    /// other tokens are not read. The products are of f32 with unpacked weights, so quantized ones are a little more exact.
    ///
    /// # Errors
    /// As [`Model::read_all`], and [`Error::Token`] for a candidate.
    pub fn read_all_for(
        &self,
        streams: &mut [(&mut State, &[u32])],
        candidates: &[u32],
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.check_all(streams)?;
        self.check_tokens(candidates)?;
        let mut all = Vec::new();
        self.last_rows(streams, false, |scratch, last| {
            let d = self.config.hidden_size;
            self.weights.final_norm.forward(self.kernel, last, &mut scratch.normed);
            let mut weights = vec![0.0; d];
            all = vec![Vec::with_capacity(candidates.len()); last.len() / d];
            for &candidate in candidates {
                self.weights.embed_tokens.packed().row(candidate as usize, &mut weights);
                for (logits, x) in all.iter_mut().zip(scratch.normed.chunks_exact(d)) {
                    logits.push(x.iter().zip(&weights).map(|(x, w)| x * w).sum());
                }
            }
            let cap = self.config.logits_soft_cap;
            all.iter_mut().for_each(|logits| elementwise::soft_cap(self.kernel, logits, cap));
        });
        Ok(all)
    }

    /// Reads tokens of several streams, and calls `then` with what the final norm and the head go on from after the last of each [streams, d].
    /// The last layer computes only these, or the `whole`.
    fn last_rows(
        &self,
        streams: &mut [(&mut State, &[u32])],
        whole: bool,
        then: impl FnOnce(&mut Scratch, &[f32]) + Send,
    ) {
        if streams.is_empty() {
            return;
        }
        let d = self.config.hidden_size;
        self.compute(streams.iter().map(|(_, tokens)| tokens.len()).sum(), |scratch| {
            let mut last = std::mem::take(&mut scratch.last_rows);
            last.resize(streams.len() * d, 0.0);
            for start in rounds(streams) {
                let (mut ended, mut rows, mut round, mut row) = (Vec::new(), Vec::new(), Vec::new(), 0);
                for part in Round::of(streams, start) {
                    row += part.tokens.len();
                    if part.ends {
                        ended.push(part.stream);
                        rows.push(row - 1);
                    }
                    round.push((part.state, part.tokens));
                }
                let output = match (rows.is_empty(), whole) {
                    (true, _) => Output::StateOnly,
                    (false, true) => Output::All,
                    (false, false) => Output::Rows(&rows),
                };
                self.pass(scratch, &mut round, output);
                for (at, (index, row)) in ended.into_iter().zip(rows).enumerate() {
                    let row = if whole { row } else { at };
                    last[index * d..][..d].copy_from_slice(&scratch.x[row * d..][..d]);
                }
            }
            then(scratch, &last);
            scratch.last_rows = last;
        });
    }

    /// x [b, d] → logits [b, v], bent into ±`logits_soft_cap`.
    pub(super) fn head(&self, scratch: &mut Scratch, x: &[f32], logits: &mut Vec<f32>) {
        let Scratch { activations, normed, .. } = scratch;
        let d = self.config.hidden_size;
        let weights = self.weights.embed_tokens.packed();
        self.weights.final_norm.forward(self.kernel, x, normed);
        logits.resize(x.len() / d * self.config.vocab_size, 0.0);
        activations.load(self.kernel, normed, d, |format| format == weights.format());
        kernels::multiply(self.kernel, activations, &mut [Matmul { weights, bias: None, out: logits }]);
        let cap = self.config.logits_soft_cap;
        logits.par_chunks_mut(PARALLEL_MIN_VALUES).for_each(|logits| elementwise::soft_cap(self.kernel, logits, cap));
    }
}
