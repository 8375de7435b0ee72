//! The blocks of the paper: recurrent, local attention, gated MLP, and the residual block around them (section 2.2).
//!
//! Owns how layers are put together and what each block carries in its [`Memory`]. Refuses to know how many there are.
//! Invariant: `forward` and `remember` leave the same memory; `remember` computes nothing else.

use candle_core::Tensor;

use super::config::{Config, Temporal};
use super::layers::{Angles, Conv1d, Linear, RgLru, RmsNorm, gelu_gated, window_softmax};
use super::state::Memory;
use super::weights::{Checkpoint, Form};
use super::{Error, Forms};

/// What all layers need to know of the tokens being read.
pub struct Chunk {
    /// Tokens read before.
    pub tokens_read: u64,
    pub begun: bool,
    pub angles: Angles,
}

/// x → r = x + temporal(norm x); r + mlp(norm r). Figure 2(a).
pub struct Block {
    temporal_norm: RmsNorm,
    temporal: TemporalBlock,
    channel_norm: RmsNorm,
    mlp: Mlp,
}

enum TemporalBlock {
    Recurrent(RecurrentBlock),
    Attention(LocalAttention),
}

impl Block {
    pub fn load(from: &mut Checkpoint<'_>, config: &Config, layer: usize, forms: Forms) -> Result<Self, Error> {
        let name = format!("model.layers.{layer}");
        let temporal_name = format!("{name}.temporal_block");
        let norm = |from: &mut Checkpoint<'_>, kind: &str| {
            RmsNorm::load(from, &format!("{name}.{kind}_pre_norm"), config.width, config.norm_eps)
        };
        Ok(Self {
            temporal_norm: norm(from, "temporal")?,
            temporal: match config.layers[layer] {
                Temporal::Recurrent => {
                    TemporalBlock::Recurrent(RecurrentBlock::load(from, config, &temporal_name, forms.temporal)?)
                }
                Temporal::Attention => {
                    TemporalBlock::Attention(LocalAttention::load(from, config, &temporal_name, forms.temporal)?)
                }
            },
            channel_norm: norm(from, "channel")?,
            mlp: Mlp::load(from, config, &format!("{name}.mlp_block"), forms.mlp)?,
        })
    }

    /// x [t, d] → [t, d]; `memory` moves on by t tokens.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory, chunk: &Chunk) -> Result<Tensor, Error> {
        let normed = self.temporal_norm.forward(x)?; // [t, d]
        let mixed = match (&self.temporal, &mut *memory) {
            (TemporalBlock::Recurrent(block), Memory::Recurrent { h, conv }) => {
                block.forward(&normed, h, conv, chunk)?
            }
            (TemporalBlock::Attention(block), Memory::Attention { k, v }) => block.forward(&normed, k, v, chunk)?,
            _ => return Err(other_pattern()),
        };
        let r = (x + mixed)?; // [t, d]
        let channels = self.mlp.forward(&self.channel_norm.forward(&r)?)?; // [t, d]
        Ok((r + channels)?)
    }

    /// What [`Block::forward`] does to `memory`, without an output: all that ingesting needs of the last layer.
    pub fn remember(&self, x: &Tensor, memory: &mut Memory, chunk: &Chunk) -> Result<(), Error> {
        let normed = self.temporal_norm.forward(x)?; // [t, d]
        match (&self.temporal, memory) {
            (TemporalBlock::Recurrent(block), Memory::Recurrent { h, conv }) => {
                block.recur(&normed, h, conv, chunk)?;
            }
            (TemporalBlock::Attention(block), Memory::Attention { k, v }) => {
                block.remember(&normed, k, v, chunk)?;
            }
            _ => return Err(other_pattern()),
        }
        Ok(())
    }

    /// Bytes of the matrices.
    pub fn bytes(&self) -> u64 {
        let temporal = match &self.temporal {
            TemporalBlock::Recurrent(block) => {
                [&block.linear_y, &block.linear_x, &block.linear_out].map(Linear::bytes).iter().sum::<u64>()
            }
            TemporalBlock::Attention(block) => [&block.q, &block.k, &block.v, &block.o].map(Linear::bytes).iter().sum(),
        };
        temporal + [&self.mlp.gate, &self.mlp.up, &self.mlp.down].map(Linear::bytes).iter().sum::<u64>()
    }
}

fn other_pattern() -> Error {
    Error::State { reason: "its layers are of other kinds".into() }
}

/// linear_out(gelu(linear_y x) · rg_lru(conv1d(linear_x x))). Figure 2(c).
struct RecurrentBlock {
    linear_y: Linear,
    linear_x: Linear,
    conv: Conv1d,
    rg_lru: RgLru,
    linear_out: Linear,
}

impl RecurrentBlock {
    fn load(from: &mut Checkpoint<'_>, config: &Config, name: &str, form: Form) -> Result<Self, Error> {
        let (d, r) = (config.width, config.lru_width);
        Ok(Self {
            linear_y: Linear::load(from, &format!("{name}.linear_y"), r, d, true, form)?,
            linear_x: Linear::load(from, &format!("{name}.linear_x"), r, d, true, form)?,
            conv: Conv1d::load(from, &format!("{name}.conv_1d"), r, config.conv_width)?,
            rg_lru: RgLru::load(from, &format!("{name}.rg_lru"), r, config.heads)?,
            linear_out: Linear::load(from, &format!("{name}.linear_out"), d, r, true, form)?,
        })
    }

    fn forward(&self, x: &Tensor, h: &mut Tensor, conv: &mut Tensor, chunk: &Chunk) -> Result<Tensor, Error> {
        let y = self.linear_y.forward(x)?; // [t, r]
        let s = self.recur(x, h, conv, chunk)?; // [t, r]
        self.linear_out.forward(&gelu_gated(&y, &s)?) // [t, d]
    }

    /// The right branch: x [t, d] → [t, r].
    fn recur(&self, x: &Tensor, h: &mut Tensor, conv: &mut Tensor, chunk: &Chunk) -> Result<Tensor, Error> {
        let (u, past) = self.conv.forward(&self.linear_x.forward(x)?, conv)?; // [t, r], [c−1, r]
        let s = self.rg_lru.forward(&u, h, chunk.begun)?; // [t, r]
        *conv = past;
        *h = s.get(s.dim(0)? - 1)?.force_contiguous()?; // [r]
        Ok(s)
    }
}

/// Multi-query attention to the token itself and the w before it (section 2.3).
struct LocalAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: usize,
    kv_heads: usize,
    window: usize,
}

impl LocalAttention {
    fn load(from: &mut Checkpoint<'_>, config: &Config, name: &str, form: Form) -> Result<Self, Error> {
        let (d, q_width, kv_width) = (config.width, config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let bias = config.attention_bias;
        Ok(Self {
            q: Linear::load(from, &format!("{name}.q_proj"), q_width, d, bias, form)?,
            k: Linear::load(from, &format!("{name}.k_proj"), kv_width, d, bias, form)?,
            v: Linear::load(from, &format!("{name}.v_proj"), kv_width, d, bias, form)?,
            o: Linear::load(from, &format!("{name}.o_proj"), d, q_width, true, form)?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            window: config.window,
        })
    }

    fn forward(&self, x: &Tensor, k: &mut Tensor, v: &mut Tensor, chunk: &Chunk) -> Result<Tensor, Error> {
        let t = x.dim(0)?;
        let (n, g) = (self.heads, self.kv_heads);
        let past = self.past(chunk);
        let (keys, values) = self.remember(x, k, v, chunk)?; // [g, w+t, h] each
        let h = keys.dim(2)?;
        let in_use = |all: &Tensor| all.narrow(1, self.window - past, past + t)?.to_dtype(candle_core::DType::F32);
        let (keys, values) = (in_use(&keys)?, in_use(&values)?); // [g, s, h]

        let scale = 1.0 / (h as f32).sqrt();
        let q = chunk.angles.rotate(&self.q.forward(x)?, n, scale)?; // [n, t, h]
        let q = q.reshape((g, n / g * t, h))?; // every query head beside the others of its keys: one product
        let scores = q.matmul(&keys.t()?)?; // [g, n/g·t, s]
        let p = window_softmax(&scores, t, past, self.window)?; // [g, n/g·t, s]
        let mixed = p.matmul(&values)?.reshape((n, t, h))?; // [n, t, h]
        let mixed = mixed.transpose(0, 1)?.reshape((t, n * h))?; // [t, n·h]
        self.o.forward(&mixed) // [t, d]
    }

    /// Appends the keys and values of x [t, d] and keeps the last w; returns all w + t of both, [g, w+t, h].
    ///
    /// New keys are rounded to the ring's type before anyone sees them, so that it makes no difference where a chunk ends.
    fn remember(&self, x: &Tensor, k: &mut Tensor, v: &mut Tensor, chunk: &Chunk) -> Result<(Tensor, Tensor), Error> {
        let t = x.dim(0)?;
        let new_k = chunk.angles.rotate(&self.k.forward(x)?, self.kv_heads, 1.0)?; // [g, t, h]
        let new_v = self.v.forward(x)?.reshape((t, self.kv_heads, ()))?.transpose(0, 1)?; // [g, t, h]
        let append = |ring: &mut Tensor, new: Tensor| -> Result<Tensor, Error> {
            let all = Tensor::cat(&[&*ring, &new.to_dtype(ring.dtype())?], 1)?; // [g, w+t, h]
            *ring = all.narrow(1, t, self.window)?.force_contiguous()?; // [g, w, h]
            Ok(all)
        };
        Ok((append(k, new_k)?, append(v, new_v)?))
    }

    /// Keys of earlier tokens in the ring.
    fn past(&self, chunk: &Chunk) -> usize {
        usize::try_from(chunk.tokens_read).unwrap_or(usize::MAX).min(self.window)
    }
}

/// down(gelu(gate x) · up x) (section 2.2).
struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    fn load(from: &mut Checkpoint<'_>, config: &Config, name: &str, form: Form) -> Result<Self, Error> {
        let (d, e) = (config.width, config.mlp_width);
        Ok(Self {
            gate: Linear::load(from, &format!("{name}.gate_proj"), e, d, true, form)?,
            up: Linear::load(from, &format!("{name}.up_proj"), e, d, true, form)?,
            down: Linear::load(from, &format!("{name}.down_proj"), d, e, true, form)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        let gate = self.gate.forward(x)?; // [t, e]
        let up = self.up.forward(x)?; // [t, e]
        self.down.forward(&gelu_gated(&gate, &up)?) // [t, d]
    }
}
