//! The Real-Gated Linear Recurrent Unit.

use rayon::prelude::*;

use super::{Linear, PARALLEL_MIN_VALUES};
use crate::Error;
use crate::formats::TensorSource;
use crate::kernels::Kernel;
use crate::kernels::elementwise::{self, RgLruGates};

/// The constant c of equation 4.
const C: f32 = 8.0;

/// The RG-LRU (equations 1 to 4).
pub(crate) struct RgLru {
    /// W_x and b_x.
    pub(crate) input_gate: Linear,
    /// W_a and b_a.
    pub(crate) recurrent_gate: Linear,
    /// −c·softplus(Λ) [r], Λ being `recurrent_param`: log a where the recurrence gate is wide open.
    log_a: Vec<f32>,
}

/// What the RG-LRU reads for t tokens. The gates come before their sigmoid, and are overwritten.
pub(crate) struct RgLruInput<'a> {
    /// [t, r]
    pub(crate) input_gate: &'a mut [f32],
    /// [t, r]
    pub(crate) recurrent_gate: &'a mut [f32],
    /// The convolved input [t, r].
    pub(crate) u: &'a [f32],
    /// Nothing was read before: a = 0 for the first token, and its input comes in whole.
    pub(crate) starts_stream: bool,
}

impl RgLru {
    pub(crate) fn load(source: &mut dyn TensorSource, name: &str, width: usize, heads: usize) -> Result<Self, Error> {
        let block = width / heads;
        let input_gate = Linear::load_block_diagonal(source, &format!("{name}.input_gate"), heads, block)?;
        let recurrent_gate = Linear::load_block_diagonal(source, &format!("{name}.recurrent_gate"), heads, block)?;
        let recurrent_param = source.vector(&format!("{name}.recurrent_param"), &[width])?; // Λ [r]
        let log_a = recurrent_param.into_iter().map(|lambda| -C * softplus(lambda)).collect();
        Ok(Self { input_gate, recurrent_gate, log_a })
    }

    /// The states h_1 … h_t after `state` [r] → `out` [t, r]; `state` becomes h_t.
    pub(crate) fn forward(&self, kernel: Kernel, input: RgLruInput<'_>, state: &mut [f32], out: &mut [f32]) {
        let r = state.len();
        let RgLruInput { input_gate, recurrent_gate, u, starts_stream } = input;
        let compute_gates = |(token, (input, recurrence)): (usize, (&mut [f32], &mut [f32]))| {
            let first = token == 0 && starts_stream;
            RgLruGates { input, recurrence, u: &u[token * r..][..r], log_a: &self.log_a, first }.compute(kernel);
        };
        // The costly part needs no state, so tokens are independent here.
        if u.len() < PARALLEL_MIN_VALUES {
            let tokens = input_gate.chunks_exact_mut(r).zip(recurrent_gate.chunks_exact_mut(r));
            tokens.enumerate().for_each(compute_gates);
        } else {
            let tokens = input_gate.par_chunks_exact_mut(r).zip(recurrent_gate.par_chunks_exact_mut(r));
            tokens.enumerate().for_each(compute_gates);
        }
        let rows = input_gate.chunks_exact(r).zip(recurrent_gate.chunks_exact(r));
        for ((incoming, a), out) in rows.zip(out.chunks_exact_mut(r)) {
            elementwise::recur(kernel, a, incoming, state, out);
        }
    }
}

/// ln(1 + eˣ), without overflow for large x and without loss for small.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
