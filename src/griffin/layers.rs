//! The layers of the paper: norm, linear, convolution, RG-LRU, rotation, softmax over the window, gating.
//!
//! Owns their arithmetic and their weights. Refuses to know of blocks, models or states: what a layer carries from one call
//! to the next comes in and goes out by value. Invariant: all arithmetic is f32 and goes token by token where order matters, so
//! cutting the same tokens otherwise gives the same numbers, to rounding.
//!
//! Shapes, here and in the files beside: t tokens, d width, r lru width, e MLP width, n heads, g key/value heads, h head_dim,
//! w window, s keys at hand, c convolution taps, v vocabulary. Equation numbers are those of Griffin, arXiv 2402.19427.

use candle_core::{Device, Module, Tensor};

use super::Error;
use super::tensor::values;
use super::weights::{Checkpoint, Form, Matrix};

/// The constant c of equation 4.
const RG_LRU_C: f32 = 8.0;

/// x·rsqrt(mean x² + ε)·(1 + w).
pub struct RmsNorm(candle_nn::RmsNorm);

impl RmsNorm {
    pub fn load(from: &mut Checkpoint<'_>, name: &str, width: usize, eps: f64) -> Result<Self, Error> {
        let weight = from.tensor(&format!("{name}.weight"), &[width])?; // [d]
        Ok(Self(candle_nn::RmsNorm::new((weight + 1.0)?, eps)))
    }

    /// x [t, d] → [t, d].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(self.0.forward(x)?)
    }
}

/// x·Wᵀ + b.
pub struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

impl Linear {
    pub fn load(
        from: &mut Checkpoint<'_>,
        name: &str,
        outputs: usize,
        inputs: usize,
        bias: bool,
        form: Form,
    ) -> Result<Self, Error> {
        let weight = from.matrix(&format!("{name}.weight"), outputs, inputs, form)?; // [o, i]
        let bias = bias.then(|| from.tensor(&format!("{name}.bias"), &[outputs])).transpose()?; // [o]
        Ok(Self { weight, bias })
    }

    /// x [t, i] → [t, o].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        let y = self.weight.apply(x)?; // [t, o]
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    pub fn bytes(&self) -> u64 {
        self.weight.bytes()
    }
}

/// A separable causal convolution over time: y_t = b + Σ_j w_j · x_{t−c+1+j} (section 2.4).
pub struct Conv1d {
    /// [c, r], the current token's tap last.
    taps: Vec<f32>,
    bias: Vec<f32>,
}

impl Conv1d {
    pub fn load(from: &mut Checkpoint<'_>, name: &str, width: usize, taps: usize) -> Result<Self, Error> {
        let weight = from.tensor(&format!("{name}.weight"), &[width, 1, taps])?; // [r, 1, c]
        let bias = from.tensor(&format!("{name}.bias"), &[width])?; // [r]
        Ok(Self { taps: weight.squeeze(1)?.t()?.flatten_all()?.to_vec1()?, bias: bias.to_vec1()? })
    }

    /// x [t, r] after `past` [c−1, r] → y [t, r] and the new past [c−1, r].
    pub fn forward(&self, x: &Tensor, past: &Tensor) -> Result<(Tensor, Tensor), Error> {
        let (t, r) = x.dims2()?;
        let all = [&*values(past)?, &*values(x)?].concat(); // [c−1+t, r]
        let mut y = self.bias.repeat(t); // [t, r]
        for (token, y) in y.chunks_exact_mut(r).enumerate() {
            for (tap, w) in self.taps.chunks_exact(r).enumerate() {
                let x = &all[(token + tap) * r..][..r];
                y.iter_mut().zip(w).zip(x).for_each(|((y, w), x)| *y += w * x);
            }
        }
        let past = all[t * r..].to_vec(); // [c−1, r]
        let shape = past.len() / r;
        Ok((Tensor::from_vec(y, (t, r), &Device::Cpu)?, Tensor::from_vec(past, (shape, r), &Device::Cpu)?))
    }
}

/// The Real-Gated Linear Recurrent Unit (equations 1 to 4).
pub struct RgLru {
    /// Both gates' block-diagonal weights side by side, input gate first; a block maps its own inputs: [n, r/n, 2·r/n].
    gates: Tensor,
    /// W_x's bias b_x [r] and W_a's b_a [r].
    input_bias: Vec<f32>,
    recurrence_bias: Vec<f32>,
    /// −c·softplus(Λ) [r]: log a for a gate that is wide open.
    log_a: Vec<f32>,
}

impl RgLru {
    pub fn load(from: &mut Checkpoint<'_>, name: &str, width: usize, heads: usize) -> Result<Self, Error> {
        let block = width / heads;
        let mut gate = |kind: &str| -> Result<(Tensor, Vec<f32>), Error> {
            let weight = from.tensor(&format!("{name}.{kind}_gate_weight"), &[heads, block, block])?; // [n, r/n, r/n]
            let bias = from.tensor(&format!("{name}.{kind}_gate_bias"), &[heads, block])?; // [n, r/n]
            Ok((weight, bias.flatten_all()?.to_vec1()?))
        };
        let (input, input_bias) = gate("input")?;
        let (recurrence, recurrence_bias) = gate("recurrent")?;
        let lambda: Vec<f32> = from.tensor(&format!("{name}.recurrent_param"), &[width])?.to_vec1()?; // [r]
        Ok(Self {
            gates: Tensor::cat(&[input, recurrence], 2)?,
            input_bias,
            recurrence_bias,
            log_a: lambda.into_iter().map(|lambda| -RG_LRU_C * softplus(lambda)).collect(),
        })
    }

    /// u [t, r] after h [r] → h_1 … h_t [t, r]. Before the first token of a stream (`begun` is false) there is nothing to
    /// keep: a = 0, and the input comes in whole.
    pub fn forward(&self, u: &Tensor, h: &Tensor, begun: bool) -> Result<Tensor, Error> {
        let (t, r) = u.dims2()?;
        let (n, block, _) = self.gates.dims3()?;
        let blocks = u.reshape((t, n, block))?.transpose(0, 1)?; // [n, t, r/n]
        let gates = blocks.matmul(&self.gates)?; // [n, t, 2·r/n]
        let (gates, u) = (values(&gates)?, values(u)?);
        let mut h = values(h)?.to_vec(); // [r]
        let mut out = Vec::with_capacity(t * r);
        for token in 0..t {
            let first = token == 0 && !begun;
            for j in 0..n {
                let (input, recurrence) = gates[(j * t + token) * 2 * block..][..2 * block].split_at(block);
                for k in 0..block {
                    let channel = j * block + k;
                    let i = sigmoid(input[k] + self.input_bias[channel]); // (2)
                    let r_gate = sigmoid(recurrence[k] + self.recurrence_bias[channel]); // (1)
                    let log_a = self.log_a[channel] * r_gate; // (3): a = exp(−c · softplus(Λ) · r)
                    let (a, keep) = if first { (0.0, 1.0) } else { (log_a.exp(), (-(2.0 * log_a).exp_m1()).sqrt()) };
                    h[channel] = a * h[channel] + keep * (i * u[token * r + channel]); // (4)
                }
            }
            out.extend_from_slice(&h);
        }
        Ok(Tensor::from_vec(out, (t, r), &Device::Cpu)?)
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

    /// The angles of t positions from `first` on. In f64: in f32 they are off by 0.02 rad after 3.5 days of talk.
    pub fn angles(&self, first: u64, t: usize) -> Angles {
        let positions = (0..t as u64).map(|token| (first + token) as f64);
        let angles = positions.flat_map(|position| self.inverse_frequencies.iter().map(move |f| position * f));
        let sin_cos = angles.map(f64::sin_cos).map(|(sin, cos)| (sin as f32, cos as f32)).collect();
        Angles { sin_cos, half: self.inverse_frequencies.len() }
    }
}

/// Sines and cosines of some positions [t, rotary/2], shared by all layers.
pub struct Angles {
    sin_cos: Vec<(f32, f32)>,
    half: usize,
}

impl Angles {
    /// x [t, n·h] → rotated and multiplied by `scale`, head by head [n, t, h].
    pub fn rotate(&self, x: &Tensor, heads: usize, scale: f32) -> Result<Tensor, Error> {
        let (t, width) = x.dims2()?;
        let (h, half) = (width / heads, self.half);
        let x = values(x)?;
        let mut out = Vec::with_capacity(x.len());
        for head in 0..heads {
            for token in 0..t {
                let x = &x[token * width + head * h..][..h];
                let turns = &self.sin_cos[token * half..][..half];
                out.extend((0..half).map(|i| scale * (x[i] * turns[i].1 - x[i + half] * turns[i].0)));
                out.extend((0..half).map(|i| scale * (x[i + half] * turns[i].1 + x[i] * turns[i].0)));
                out.extend(x[2 * half..].iter().map(|x| scale * x));
            }
        }
        Ok(Tensor::from_vec(out, (heads, t, h), &Device::Cpu)?)
    }
}

/// Softmax of scores [g, n/g·t, s], each query over the keys it sees: its own and the `window` before it. The key of the
/// first of the t tokens is number `past`.
pub fn window_softmax(scores: &Tensor, t: usize, past: usize, window: usize) -> Result<Tensor, Error> {
    let (g, rows, s) = scores.dims3()?;
    let mut p = values(scores)?.to_vec(); // [g, n/g·t, s]
    for (row, p) in p.chunks_exact_mut(s).enumerate() {
        let own = past + row % t;
        let seen = own.saturating_sub(window)..own + 1;
        p[..seen.start].fill(0.0);
        p[seen.end..].fill(0.0);
        let p = &mut p[seen];
        let max = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        p.iter_mut().for_each(|p| *p = (*p - max).exp());
        let scale = 1.0 / p.iter().sum::<f32>();
        p.iter_mut().for_each(|p| *p *= scale);
    }
    Ok(Tensor::from_vec(p, (g, rows, s), &Device::Cpu)?)
}

/// gelu(gate) · x, both [t, e].
pub fn gelu_gated(gate: &Tensor, x: &Tensor) -> Result<Tensor, Error> {
    let product = values(gate)?.iter().zip(&*values(x)?).map(|(gate, x)| gelu(*gate) * x).collect();
    Ok(Tensor::from_vec(product, x.dims(), &Device::Cpu)?)
}

/// The tanh form of GELU.
fn gelu(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (SQRT_2_OVER_PI * x * (1.0 + 0.044715 * x * x)).tanh())
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + eˣ), without overflow for large x and without loss for small.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
