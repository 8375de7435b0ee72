//! The temporal convolution of the recurrent block.

use super::each_token;
use crate::Error;
use crate::formats::TensorSource;
use crate::kernels::{Kernel, elementwise};

/// A depthwise causal convolution over time: y_t = b + Σ_j w_j · x_{t−c+1+j} (section 2.4).
pub(crate) struct Conv1d {
    /// [c, r], the current token's tap last.
    taps: Vec<f32>,
    bias: Vec<f32>,
}

impl Conv1d {
    pub(crate) fn load(source: &mut dyn TensorSource, name: &str, width: usize, taps: usize) -> Result<Self, Error> {
        let weight = source.vector(&format!("{name}.weight"), &[width, 1, taps])?; // [r, 1, c]
        let bias = source.vector(&format!("{name}.bias"), &[width])?; // [r]
        let transposed = (0..taps).flat_map(|tap| weight.iter().skip(tap).step_by(taps).copied()).collect();
        Ok(Self { taps: transposed, bias })
    }

    /// x [t, r] after the inputs in `conv1d_state` [c−1, r] → y [t, r]; the state moves on by t tokens.
    pub(crate) fn forward(&self, kernel: Kernel, x: &[f32], conv1d_state: &mut [f32], y: &mut [f32]) {
        let r = self.bias.len();
        let before = conv1d_state.len() / r;
        each_token(y, r, |token, y| {
            y.copy_from_slice(&self.bias);
            for (tap, w) in self.taps.chunks_exact(r).enumerate() {
                let x = match (token + tap).checked_sub(before) {
                    Some(own) => &x[own * r..][..r],
                    None => &conv1d_state[(token + tap) * r..][..r],
                };
                elementwise::tap(kernel, y, w, x);
            }
        });
        let t = x.len() / r;
        if t < before {
            conv1d_state.copy_within(t * r.., 0);
        }
        let kept = t.min(before) * r;
        let start = conv1d_state.len() - kept;
        conv1d_state[start..].copy_from_slice(&x[x.len() - kept..]);
    }
}
