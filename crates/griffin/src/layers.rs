//! The layers of the paper: norm, linear, convolution, RG-LRU, rotation.
//!
//! Owns their weights and what each does to the tokens of one stream. Refuses to know of blocks, models or states: what a layer
//! carries from one call to the next is given to it. Invariant: all arithmetic but the products of quantised weights is f32 and
//! goes token by token where order matters, so cutting the same tokens otherwise gives the same numbers, to rounding.
//!
//! Shapes, here and in the files beside: t tokens, d width, r lru width, e MLP width, n heads, g key/value heads, h head_dim,
//! w window, c convolution taps, v vocabulary. Equation numbers are those of Griffin, arXiv 2402.19427.

use rayon::prelude::*;

use super::Error;
use super::kernel::{Form, Input, Kernel, Product};
use super::vector::{self, Gates};
use super::weights::{Checkpoint, Group, Matrix};

/// The constant c of equation 4.
const RG_LRU_C: f32 = 8.0;

/// Values from which it pays to spread a loop among threads.
pub const SPREAD: usize = 32_768;

/// x·rsqrt(mean x² + ε)·(1 + w).
pub struct RmsNorm {
    /// 1 + w [d].
    weight: Vec<f32>,
    eps: f32,
}

impl RmsNorm {
    pub fn load(from: &mut Checkpoint<'_>, name: &str, width: usize, eps: f64) -> Result<Self, Error> {
        let mut weight = from.vector(&format!("{name}.weight"), &[width])?; // [d]
        weight.iter_mut().for_each(|w| *w += 1.0);
        Ok(Self { weight, eps: eps as f32 })
    }

    /// x [t, d] → out [t, d].
    pub fn forward(&self, kernel: Kernel, x: &[f32], out: &mut Vec<f32>) {
        let d = self.weight.len();
        out.resize(x.len(), 0.0);
        each_token(x.len(), out, d, |token, out| {
            vector::rms_norm(kernel, &x[token * d..][..d], &self.weight, self.eps, out);
        });
    }

    /// x ← x + y, both [t, d], and the norm of that → out: a row is at hand once for both.
    pub fn forward_sum(&self, kernel: Kernel, x: &mut [f32], y: &[f32], out: &mut Vec<f32>) {
        let d = self.weight.len();
        out.resize(x.len(), 0.0);
        let row = |((x, y), out): ((&mut [f32], &[f32]), &mut [f32])| {
            vector::add(kernel, x, y);
            vector::rms_norm(kernel, x, &self.weight, self.eps, out);
        };
        if x.len() < SPREAD {
            x.chunks_exact_mut(d).zip(y.chunks_exact(d)).zip(out.chunks_exact_mut(d)).for_each(row);
        } else {
            x.par_chunks_exact_mut(d).zip(y.par_chunks_exact(d)).zip(out.par_chunks_exact_mut(d)).for_each(row);
        }
    }
}

/// x·Wᵀ + b; W may be block-diagonal.
pub struct Linear {
    weight: Matrix,
    bias: Option<Vec<f32>>,
}

impl Linear {
    pub fn load(
        from: &mut Checkpoint<'_>,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
        group: Group,
    ) -> Result<Self, Error> {
        let weight = from.matrix(&format!("{name}.weight"), group, outputs, inputs)?; // [o, i]
        let bias = bias.then(|| from.vector(&format!("{name}.bias"), &[outputs])).transpose()?; // [o]
        Ok(Self { weight, bias })
    }

    /// One gate of the RG-LRU: n blocks [r/n, r/n].
    fn load_gate(from: &mut Checkpoint<'_>, name: &str, heads: usize, block: usize) -> Result<Self, Error> {
        let weight = from.gates(&format!("{name}_weight"), heads, block)?;
        Ok(Self { weight, bias: Some(from.vector(&format!("{name}_bias"), &[heads, block])?) })
    }

    /// This layer's product for t tokens, into `out` [t, o].
    pub fn product<'a>(&'a self, t: usize, out: &'a mut Vec<f32>) -> Product<'a> {
        let weights = self.weight.packed();
        out.resize(t * weights.outputs(), 0.0);
        Product { weights, bias: self.bias.as_deref(), out }
    }

    pub fn matrix(&self) -> &Matrix {
        &self.weight
    }
}

/// Multiplies x [t, i] by several layers that read the same input; weights are read once for all tokens.
pub fn multiply(kernel: Kernel, input: &mut Input, x: &[f32], inputs: usize, products: &mut [Product<'_>]) {
    let has = |form| products.iter().any(|product| product.weights.form() == form);
    let mut forms = [Form::F32, Form::Q8_0, Form::Q4K];
    let mut count = 0;
    for at in 0..forms.len() {
        if has(forms[at]) {
            forms[count] = forms[at];
            count += 1;
        }
    }
    input.load(kernel, x, inputs, &forms[..count]);
    super::kernel::multiply(kernel, input, products);
}

/// A separable causal convolution over time: y_t = b + Σ_j w_j · x_{t−c+1+j} (section 2.4).
pub struct Conv1d {
    /// [c, r], the current token's tap last.
    taps: Vec<f32>,
    bias: Vec<f32>,
}

impl Conv1d {
    pub fn load(from: &mut Checkpoint<'_>, name: &str, width: usize, taps: usize) -> Result<Self, Error> {
        let weight = from.vector(&format!("{name}.weight"), &[width, 1, taps])?; // [r, 1, c]
        let bias = from.vector(&format!("{name}.bias"), &[width])?; // [r]
        let turned = (0..taps * width).map(|i| weight[i % width * taps + i / width]).collect();
        Ok(Self { taps: turned, bias })
    }

    /// x [t, r] after `past` [c−1, r] → y [t, r]; `past` moves on.
    pub fn forward(&self, kernel: Kernel, x: &[f32], past: &mut [f32], y: &mut [f32]) {
        let r = self.bias.len();
        let before = past.len() / r;
        each_token(y.len(), y, r, |token, y| {
            y.copy_from_slice(&self.bias);
            for (tap, w) in self.taps.chunks_exact(r).enumerate() {
                let x = match (token + tap).checked_sub(before) {
                    Some(own) => &x[own * r..][..r],
                    None => &past[(token + tap) * r..][..r],
                };
                vector::tap(kernel, y, w, x);
            }
        });
        let t = x.len() / r;
        if t < before {
            past.copy_within(t * r.., 0);
        }
        let kept = t.min(before) * r;
        let start = past.len() - kept;
        past[start..].copy_from_slice(&x[x.len() - kept..]);
    }
}

/// The Real-Gated Linear Recurrent Unit (equations 1 to 4).
pub struct RgLru {
    /// W_x and b_x: a block maps its own inputs.
    pub input: Linear,
    /// W_a and b_a.
    pub recurrence: Linear,
    /// −c·softplus(Λ) [r]: log a for a gate that is wide open.
    log_a: Vec<f32>,
}

impl RgLru {
    pub fn load(from: &mut Checkpoint<'_>, name: &str, width: usize, heads: usize) -> Result<Self, Error> {
        let block = width / heads;
        let lambda = from.vector(&format!("{name}.recurrent_param"), &[width])?; // [r]
        Ok(Self {
            input: Linear::load_gate(from, &format!("{name}.input_gate"), heads, block)?,
            recurrence: Linear::load_gate(from, &format!("{name}.recurrent_gate"), heads, block)?,
            log_a: lambda.into_iter().map(|lambda| -RG_LRU_C * softplus(lambda)).collect(),
        })
    }

    /// u [t, r] and its gates [t, r], before their σ, after h [r] → h_1 … h_t into `out` [t, r]; h becomes h_t; spoils the gates.
    /// Before the first token of a stream (`begun` is false) there is nothing to keep: a = 0, and the input comes in whole.
    pub fn forward(
        &self,
        kernel: Kernel,
        gates: [&mut [f32]; 2],
        u: &[f32],
        h: &mut [f32],
        begun: bool,
        out: &mut [f32],
    ) {
        let r = h.len();
        let [input, recurrence] = gates;
        let open = |(token, (input, recurrence)): (usize, (&mut [f32], &mut [f32]))| {
            let first = token == 0 && !begun;
            Gates { input, recurrence, u: &u[token * r..][..r], log_a: &self.log_a, first }.open(kernel);
        };
        // All that is costly needs no h.
        if u.len() < SPREAD {
            input.chunks_exact_mut(r).zip(recurrence.chunks_exact_mut(r)).enumerate().for_each(open);
        } else {
            input.par_chunks_exact_mut(r).zip(recurrence.par_chunks_exact_mut(r)).enumerate().for_each(open);
        }
        let rows = input.chunks_exact(r).zip(recurrence.chunks_exact(r));
        for ((incoming, a), out) in rows.zip(out.chunks_exact_mut(r)) {
            vector::recur(kernel, a, incoming, h, out);
        }
    }
}

/// Rotary position embedding on the first dimensions of each head: dimension i turns with dimension i + rotary/2.
pub struct Rotary {
    /// base^(−2i/rotary), rounded to f32 step by step as the checkpoints were trained with it: a last bit here is a turn of
    /// 1e-4 rad after two thousand tokens.
    inverse_frequencies: Vec<f64>,
}

impl Rotary {
    pub fn new(base: f64, rotary_dim: usize) -> Self {
        let frequency = |i: usize| {
            let exponent = (2 * i) as f32 / rotary_dim as f32;
            let timescale = base.powf(f64::from(exponent)) as f32;
            f64::from(1.0 / timescale)
        };
        Self { inverse_frequencies: (0..rotary_dim / 2).map(frequency).collect() }
    }

    /// Adds the angles of t positions from `first` on. In f64: in f32 they are off by 0.02 rad after 3.5 days of talk.
    pub fn angles(&self, first: u64, t: usize, into: &mut Angles) {
        into.half = self.inverse_frequencies.len();
        for position in (0..t as u64).map(|token| (first + token) as f64) {
            let sin_cos = self.inverse_frequencies.iter().map(|f| (position * f).sin_cos());
            into.sin_cos.extend(sin_cos.map(|(sin, cos)| (sin as f32, cos as f32)));
        }
    }
}

/// Sines and cosines of some positions [t, rotary/2], shared by all layers.
#[derive(Default)]
pub struct Angles {
    sin_cos: Vec<(f32, f32)>,
    half: usize,
}

impl Angles {
    pub fn clear(&mut self) {
        self.sin_cos.clear();
    }

    /// Rotates x [t, n·h] head by head and multiplies it by `scale`, in place.
    pub fn rotate(&self, x: &mut [f32], heads: usize, scale: f32) {
        let width = x.len() * self.half / self.sin_cos.len();
        for (x, turns) in x.chunks_exact_mut(width).zip(self.sin_cos.chunks_exact(self.half)) {
            for x in x.chunks_exact_mut(width / heads) {
                let (first, rest) = x.split_at_mut(self.half);
                for ((a, b), (sin, cos)) in first.iter_mut().zip(rest).zip(turns) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
                x.iter_mut().for_each(|x| *x *= scale);
            }
        }
    }
}

/// gelu(gate)·x, both [t, e], into `gate`.
pub fn gelu_gated(kernel: Kernel, gate: &mut [f32], x: &[f32], width: usize) {
    each_token(gate.len(), gate, width, |token, gate| {
        vector::gelu_gated(kernel, gate, &x[token * width..][..width]);
    });
}

/// x ← x + y, both [t, d].
pub fn add(kernel: Kernel, x: &mut [f32], y: &[f32], width: usize) {
    each_token(x.len(), x, width, |token, x| vector::add(kernel, x, &y[token * width..][..width]));
}

/// Rows of `out` one by one, on all threads when there is enough to do.
fn each_token(values: usize, out: &mut [f32], width: usize, row: impl Fn(usize, &mut [f32]) + Sync) {
    if values < SPREAD {
        out.chunks_exact_mut(width).enumerate().for_each(|(token, out)| row(token, out));
    } else {
        out.par_chunks_exact_mut(width).enumerate().for_each(|(token, out)| row(token, out));
    }
}

/// ln(1 + eˣ), without overflow for large x and without loss for small.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
