//! The blocks of the paper: recurrent, local attention, gated MLP, and the residual block around them (section 2.2).
//!
//! Owns how layers are put together and what each block does to the states of a batch. Refuses to
//! know how many blocks there are. Invariants: `forward` and `remember` leave the same memory; `remember` computes nothing
//! else; tokens of different streams in one batch never meet but in the weights that they share.

use std::ops::Range;

use rayon::prelude::*;

use super::Error;
use super::batch::{Batch, Span};
use super::config::{Config, Temporal};
use super::kernel::Kernel;
use super::layers::{Conv1d, Linear, RgLru, RmsNorm, add, gelu_gated, multiply};
use super::ring::{Element, Queries, Ring, Sight};
use super::state::{Memory, Rings};
use super::weights::{Checkpoint, Group, Matrix};

/// Queries that one task of the attention takes together: keys and values are read once for them, and their scores stay in the
/// second cache.
const QUERIES_AT_ONCE: usize = 20;

/// The same where there are fewer tokens than threads.
const FEW_QUERIES: usize = 5;

/// x → r = x + temporal(norm x); r + mlp(norm r). Figure 2(a).
pub struct Block {
    layer: usize,
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
    pub fn load(from: &mut Checkpoint<'_>, config: &Config, layer: usize) -> Result<Self, Error> {
        let name = format!("model.layers.{layer}");
        let temporal_name = format!("{name}.temporal_block");
        let norm = |from: &mut Checkpoint<'_>, kind: &str| {
            RmsNorm::load(from, &format!("{name}.{kind}_pre_norm"), config.width, config.norm_eps)
        };
        Ok(Self {
            layer,
            temporal_norm: norm(from, "temporal")?,
            temporal: match config.layers[layer] {
                Temporal::Recurrent => TemporalBlock::Recurrent(RecurrentBlock::load(from, config, &temporal_name)?),
                Temporal::Attention => TemporalBlock::Attention(LocalAttention::load(from, config, &temporal_name)?),
            },
            channel_norm: norm(from, "channel")?,
            mlp: Mlp::load(from, config, &format!("{name}.mlp_block"))?,
        })
    }

    /// Takes a batch through the block; the memory of each of its streams moves on.
    pub fn forward(&self, batch: &mut Batch, spans: &mut [Span<'_>]) {
        let kernel = batch.kernel;
        self.temporal_norm.forward(kernel, &batch.x, &mut batch.normed);
        match &self.temporal {
            TemporalBlock::Recurrent(block) => block.forward(batch, spans, self.layer),
            TemporalBlock::Attention(block) => block.forward(batch, spans, self.layer),
        }
        self.channel_norm.forward_sum(kernel, &mut batch.x, &batch.out, &mut batch.normed);
        self.mlp.forward(batch);
        add(kernel, &mut batch.x, &batch.out, self.mlp.width);
    }

    /// What [`Block::forward`] does to the memories, without an output: all that ingesting needs of the last layer.
    pub fn remember(&self, batch: &mut Batch, spans: &mut [Span<'_>]) {
        self.temporal_norm.forward(batch.kernel, &batch.x, &mut batch.normed);
        match &self.temporal {
            TemporalBlock::Recurrent(block) => block.remember(batch, spans, self.layer),
            TemporalBlock::Attention(block) => block.remember(batch, spans, self.layer),
        }
    }

    /// All matrices.
    pub fn matrices(&self) -> Vec<&Matrix> {
        let mut all = match &self.temporal {
            TemporalBlock::Recurrent(block) => vec![&block.linear_y, &block.linear_out],
            TemporalBlock::Attention(block) => vec![&block.q, &block.o],
        };
        all.extend([&self.mlp.gate, &self.mlp.up, &self.mlp.down]);
        all.into_iter().map(Linear::matrix).chain(self.remembering()).collect()
    }

    /// Those that [`Block::remember`] reads.
    pub fn remembering(&self) -> Vec<&Matrix> {
        let read = match &self.temporal {
            TemporalBlock::Recurrent(block) => vec![&block.linear_x, &block.rg_lru.input, &block.rg_lru.recurrence],
            TemporalBlock::Attention(block) => vec![&block.k, &block.v],
        };
        read.into_iter().map(Linear::matrix).collect()
    }
}

/// linear_out(gelu(linear_y x) · rg_lru(conv1d(linear_x x))). Figure 2(c).
struct RecurrentBlock {
    linear_y: Linear,
    linear_x: Linear,
    conv: Conv1d,
    rg_lru: RgLru,
    linear_out: Linear,
    width: usize,
    lru_width: usize,
}

impl RecurrentBlock {
    fn load(from: &mut Checkpoint<'_>, config: &Config, name: &str) -> Result<Self, Error> {
        let (d, r) = (config.width, config.lru_width);
        Ok(Self {
            linear_y: Linear::load(from, &format!("{name}.linear_y"), r, d, true, Group::Recurrent)?,
            linear_x: Linear::load(from, &format!("{name}.linear_x"), r, d, true, Group::Recurrent)?,
            conv: Conv1d::load(from, &format!("{name}.conv_1d"), r, config.conv_width)?,
            rg_lru: RgLru::load(from, &format!("{name}.rg_lru"), r, config.heads)?,
            linear_out: Linear::load(from, &format!("{name}.linear_out"), d, r, true, Group::Recurrent)?,
            width: d,
            lru_width: r,
        })
    }

    fn forward(&self, batch: &mut Batch, spans: &mut [Span<'_>], layer: usize) {
        let Batch { kernel, input, normed, left, right, .. } = batch;
        let t = normed.len() / self.width;
        let mut products = [self.linear_y.product(t, left), self.linear_x.product(t, right)];
        multiply(*kernel, input, normed, self.width, &mut products);
        self.recur(batch, spans, layer);
        let Batch { kernel, input, left, mixed, out, .. } = batch;
        gelu_gated(*kernel, left, mixed, self.lru_width);
        multiply(*kernel, input, left, self.lru_width, &mut [self.linear_out.product(t, out)]);
    }

    fn remember(&self, batch: &mut Batch, spans: &mut [Span<'_>], layer: usize) {
        let Batch { kernel, input, normed, right, .. } = batch;
        let t = normed.len() / self.width;
        multiply(*kernel, input, normed, self.width, &mut [self.linear_x.product(t, right)]);
        self.recur(batch, spans, layer);
    }

    /// The right branch behind linear_x: `right` [t, r] → `mixed` [t, r].
    fn recur(&self, batch: &mut Batch, spans: &mut [Span<'_>], layer: usize) {
        let Batch { kernel, input, right, third, u, mixed, .. } = batch;
        let r = self.lru_width;
        let t = right.len() / r;
        u.resize(t * r, 0.0);
        mixed.resize(t * r, 0.0);
        for Span { state, rows } in spans.iter_mut() {
            let values = rows.start * r..rows.end * r;
            let Memory::Recurrent { conv, .. } = &mut state.layers[layer] else { unreachable!("{PATTERN}") };
            self.conv.forward(*kernel, &right[values.clone()], conv, &mut u[values]);
        }
        // The gates take the places of the convolution's input and of a third.
        let mut products = [self.rg_lru.input.product(t, right), self.rg_lru.recurrence.product(t, third)];
        multiply(*kernel, input, u, r, &mut products);
        for Span { state, rows } in spans.iter_mut() {
            let values = rows.start * r..rows.end * r;
            let begun = state.begun;
            let Memory::Recurrent { h, .. } = &mut state.layers[layer] else { unreachable!("{PATTERN}") };
            let gates = [&mut right[values.clone()], &mut third[values.clone()]];
            self.rg_lru.forward(*kernel, gates, &u[values.clone()], h, begun, &mut mixed[values]);
        }
    }
}

const PATTERN: &str = "a state was compared with the model when the call began";

/// Multi-query attention to the token itself and the w before it (section 2.3).
struct LocalAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    width: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl LocalAttention {
    fn load(from: &mut Checkpoint<'_>, config: &Config, name: &str) -> Result<Self, Error> {
        let d = config.width;
        let (q_width, kv_width) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let bias = config.attention_bias;
        let mut linear = |kind: &str, outputs, inputs, bias, group| {
            Linear::load(from, &format!("{name}.{kind}_proj"), outputs, inputs, bias, group)
        };
        Ok(Self {
            q: linear("q", q_width, d, bias, Group::Attention)?,
            k: linear("k", kv_width, d, bias, Group::KeysValues)?,
            v: linear("v", kv_width, d, bias, Group::KeysValues)?,
            o: linear("o", d, q_width, true, Group::Attention)?,
            width: d,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        })
    }

    fn forward(&self, batch: &mut Batch, spans: &mut [Span<'_>], layer: usize) {
        let Batch { kernel, input, normed, left, right, third, mixed, out, angles, new, .. } = batch;
        let kernel = *kernel;
        let t = normed.len() / self.width;
        let mut products = [self.q.product(t, left), self.k.product(t, right), self.v.product(t, third)];
        multiply(kernel, input, normed, self.width, &mut products);
        angles.rotate(left, self.heads, 1.0 / (self.head_dim as f32).sqrt());
        angles.rotate(right, self.kv_heads, 1.0);
        mixed.resize(left.len(), 0.0);
        for Span { state, rows } in spans.iter_mut() {
            let past = state.tokens_read;
            let keys = Keys { attention: self, kernel, past, rows: rows.clone(), k: right, v: third };
            match &mut state.layers[layer] {
                Memory::Attention(Rings::F32(ring)) => keys.attend(ring, &mut new.0, left, mixed),
                Memory::Attention(Rings::I16(ring)) => keys.attend(ring, &mut new.1, left, mixed),
                Memory::Recurrent { .. } => unreachable!("{PATTERN}"),
            }
        }
        multiply(kernel, input, mixed, self.heads * self.head_dim, &mut [self.o.product(t, out)]);
    }

    fn remember(&self, batch: &mut Batch, spans: &mut [Span<'_>], layer: usize) {
        let Batch { kernel, input, normed, right, third, angles, new, .. } = batch;
        let t = normed.len() / self.width;
        let mut products = [self.k.product(t, right), self.v.product(t, third)];
        multiply(*kernel, input, normed, self.width, &mut products);
        angles.rotate(right, self.kv_heads, 1.0);
        for Span { state, rows } in spans.iter_mut() {
            let past = state.tokens_read;
            let keys = Keys { attention: self, kernel: *kernel, past, rows: rows.clone(), k: right, v: third };
            match &mut state.layers[layer] {
                Memory::Attention(Rings::F32(ring)) => keys.keep(ring, &mut new.0),
                Memory::Attention(Rings::I16(ring)) => keys.keep(ring, &mut new.1),
                Memory::Recurrent { .. } => unreachable!("{PATTERN}"),
            }
        }
    }
}

/// The new keys and values of one stream.
struct Keys<'a> {
    attention: &'a LocalAttention,
    kernel: Kernel,
    past: u64,
    rows: Range<usize>,
    /// Of the whole batch [t, g·h].
    k: &'a [f32],
    v: &'a [f32],
}

impl Keys<'_> {
    fn keep<E: Element>(&self, ring: &mut Ring<E>, new: &mut Ring<E>) {
        self.collect(new);
        ring.append(new, self.rows.len(), self.past);
    }

    fn collect<E: Element>(&self, new: &mut Ring<E>) {
        let width = self.attention.kv_heads * self.attention.head_dim;
        new.begin(self.rows.len());
        for (slot, row) in self.rows.clone().enumerate() {
            new.put(slot, &self.k[row * width..][..width], &self.v[row * width..][..width]);
        }
    }

    /// q [t, n·h] of the whole batch → the stream's rows of `mixed` [t, n·h].
    fn attend<E: Element>(&self, ring: &mut Ring<E>, new: &mut Ring<E>, q: &[f32], mixed: &mut [f32]) {
        self.collect(new);
        let LocalAttention { heads, kv_heads, head_dim, .. } = *self.attention;
        let (t, threads, share) = (self.rows.len(), rayon::current_num_threads(), heads / kv_heads);
        // A task takes some tokens, or some of the heads of one that share keys.
        let some = if t < threads && share.is_multiple_of(FEW_QUERIES) { FEW_QUERIES } else { heads };
        let tokens = (QUERIES_AT_ONCE / heads).min(t / (4 * threads)).max(1);
        let task = if some < heads { some } else { tokens * heads };
        let values = self.rows.start * heads * head_dim..self.rows.end * heads * head_dim;
        let sight = Sight { ring, new, past: self.past };
        let tasks = mixed[values.clone()].par_chunks_mut(task * head_dim).zip(q[values].par_chunks(task * head_dim));
        tasks.enumerate().for_each(|(i, (mixed, q))| {
            let (token, head) = (i * task / heads, i * task % heads);
            let share = share.min(some);
            let queries = Queries { token, key_head: head / (heads / kv_heads), key_heads: some / share, share, q };
            sight.attend(self.kernel, queries, mixed);
        });
        ring.append(new, self.rows.len(), self.past);
    }
}

/// down(gelu(gate x) · up x) (section 2.2).
struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    width: usize,
    mlp_width: usize,
}

impl Mlp {
    fn load(from: &mut Checkpoint<'_>, config: &Config, name: &str) -> Result<Self, Error> {
        let (d, e) = (config.width, config.mlp_width);
        let mut linear = |kind: &str, outputs, inputs| {
            Linear::load(from, &format!("{name}.{kind}_proj"), outputs, inputs, true, Group::Mlp)
        };
        Ok(Self {
            gate: linear("gate", e, d)?,
            up: linear("up", e, d)?,
            down: linear("down", d, e)?,
            width: d,
            mlp_width: e,
        })
    }

    /// `normed` [t, d] → `out` [t, d].
    fn forward(&self, batch: &mut Batch) {
        let Batch { kernel, input, normed, left, right, out, .. } = batch;
        let t = normed.len() / self.width;
        let mut products = [self.gate.product(t, left), self.up.product(t, right)];
        multiply(*kernel, input, normed, self.width, &mut products);
        gelu_gated(*kernel, left, right, self.mlp_width);
        multiply(*kernel, input, left, self.mlp_width, &mut [self.down.product(t, out)]);
    }
}
