//! The layers of the paper, from the norm to the residual block.
//!
//! A layer holds weights only. What it carries from one call to the next is handed to it (see [`crate::state`]), and so are
//! its buffers (see [`crate::scratch`]). All arithmetic other than products with quantized weights is f32 and goes token by
//! token where the order matters, so splitting the same tokens into other calls gives the same numbers, up to rounding.
//!
//! Shapes, here and in the files beside: t tokens, d `hidden_size`, r `lru_width`, e `mlp_expanded_width`,
//! n `num_attention_heads`, g `num_key_value_heads`, h `head_dim`, w `attention_window_size`, c `conv1d_width`,
//! v `vocab_size`. Equation numbers are those of Griffin, arXiv 2402.19427. Field names are those of Hugging Face's
//! `RecurrentGemmaForCausalLM`.

mod attention_block;
mod conv1d;
mod linear;
mod mlp_block;
mod recurrent_block;
mod residual_block;
mod rg_lru;
mod rms_norm;
mod rotary;

pub(crate) use linear::{Linear, multiply};
pub(crate) use residual_block::ResidualBlock;
pub(crate) use rms_norm::RmsNorm;
pub(crate) use rotary::{RotaryAngles, RotaryEmbedding};

use rayon::prelude::*;

use crate::kernels::{Kernel, elementwise};

/// Values from which it pays to spread a loop over the threads.
pub(crate) const PARALLEL_MIN_VALUES: usize = 32_768;

/// A state is compared with the model when a call begins, so each layer finds the state of its own kind.
const STATE_WAS_CHECKED: &str = "the state was compared with the model when the call began";

/// gelu(gate)·x, both [t, e], into `gate`.
fn gelu_gated(kernel: Kernel, gate: &mut [f32], x: &[f32], width: usize) {
    each_token(gate, width, |token, gate| {
        elementwise::gelu_gated(kernel, gate, &x[token * width..][..width]);
    });
}

/// x ← x + y, both [t, d].
fn add(kernel: Kernel, x: &mut [f32], y: &[f32], width: usize) {
    each_token(x, width, |token, x| elementwise::add(kernel, x, &y[token * width..][..width]));
}

/// Calls `row` with each token's row of `out` [t, width], on all threads when there is enough to do.
fn each_token(out: &mut [f32], width: usize, row: impl Fn(usize, &mut [f32]) + Sync) {
    if out.len() < PARALLEL_MIN_VALUES {
        out.chunks_exact_mut(width).enumerate().for_each(|(token, out)| row(token, out));
    } else {
        out.par_chunks_exact_mut(width).enumerate().for_each(|(token, out)| row(token, out));
    }
}
