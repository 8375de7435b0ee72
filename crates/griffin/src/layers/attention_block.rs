//! Local multi-query attention.

use std::ops::Range;

use rayon::prelude::*;

use super::{Linear, STATE_WAS_CHECKED, multiply};
use crate::formats::{TensorGroup, TensorSource};
use crate::kernels::Kernel;
use crate::scratch::{Scratch, StreamSpan};
use crate::state::LayerState;
use crate::state::kv_cache::{AnyKvCache, AttentionWindow, KvCache, KvElement, Queries};
use crate::{Config, Error};

/// Queries which one task of the attention takes together: keys and values are read once for them, and their scores stay in
/// the second-level cache.
const QUERIES_PER_TASK: usize = 20;

/// The same where there are fewer tokens than threads.
const FEW_QUERIES_PER_TASK: usize = 5;

/// Multi-query attention to the token itself and the w before it (section 2.3).
pub(crate) struct LocalAttentionBlock {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    hidden_size: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl LocalAttentionBlock {
    pub(crate) fn load(source: &mut dyn TensorSource, config: &Config, name: &str) -> Result<Self, Error> {
        let d = config.hidden_size;
        let q_width = config.num_attention_heads * config.head_dim;
        let kv_width = config.num_key_value_heads * config.head_dim;
        let bias = config.attention_bias;
        let mut linear = |projection: &str, group, shape, has_bias| {
            Linear::load(source, &format!("{name}.{projection}"), group, shape, has_bias)
        };
        Ok(Self {
            q_proj: linear("q_proj", TensorGroup::Attention, [q_width, d], bias)?,
            k_proj: linear("k_proj", TensorGroup::KeysValues, [kv_width, d], bias)?,
            v_proj: linear("v_proj", TensorGroup::KeysValues, [kv_width, d], bias)?,
            o_proj: linear("o_proj", TensorGroup::Attention, [d, q_width], true)?,
            hidden_size: d,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        })
    }

    /// `normed` [t, d] → `out` [t, d]; the states of the streams move on.
    pub(crate) fn forward(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>], layer: usize) {
        let Scratch { kernel, activations, normed, projections: [q, k, v], mixed, out, angles, new_keys, .. } = scratch;
        let kernel = *kernel;
        let t = normed.len() / self.hidden_size;
        let mut matmuls = [self.q_proj.matmul(t, q), self.k_proj.matmul(t, k), self.v_proj.matmul(t, v)];
        multiply(kernel, activations, normed, self.hidden_size, &mut matmuls);
        angles.rotate(q, self.heads, 1.0 / (self.head_dim as f32).sqrt());
        angles.rotate(k, self.kv_heads, 1.0);
        mixed.resize(q.len(), 0.0);
        for StreamSpan { state, rows } in spans.iter_mut() {
            let past = state.tokens_read;
            let new = NewTokens { block: self, past, rows: rows.clone(), k, v };
            match &mut state.layers[layer] {
                LayerState::Attention(AnyKvCache::F32(cache)) => {
                    new.attend(kernel, cache, &mut new_keys.f32, q, mixed);
                }
                LayerState::Attention(AnyKvCache::I16(cache)) => {
                    new.attend(kernel, cache, &mut new_keys.i16, q, mixed);
                }
                LayerState::Recurrent { .. } => unreachable!("{STATE_WAS_CHECKED}"),
            }
        }
        multiply(kernel, activations, mixed, self.heads * self.head_dim, &mut [self.o_proj.matmul(t, out)]);
    }

    /// What [`LocalAttentionBlock::forward`] does to the states, without an output.
    pub(crate) fn update_state(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>], layer: usize) {
        let Scratch { kernel, activations, normed, projections: [_, k, v], angles, new_keys, .. } = scratch;
        let t = normed.len() / self.hidden_size;
        let mut matmuls = [self.k_proj.matmul(t, k), self.v_proj.matmul(t, v)];
        multiply(*kernel, activations, normed, self.hidden_size, &mut matmuls);
        angles.rotate(k, self.kv_heads, 1.0);
        for StreamSpan { state, rows } in spans.iter_mut() {
            let past = state.tokens_read;
            let new = NewTokens { block: self, past, rows: rows.clone(), k, v };
            match &mut state.layers[layer] {
                LayerState::Attention(AnyKvCache::F32(cache)) => new.append_to(cache, &mut new_keys.f32),
                LayerState::Attention(AnyKvCache::I16(cache)) => new.append_to(cache, &mut new_keys.i16),
                LayerState::Recurrent { .. } => unreachable!("{STATE_WAS_CHECKED}"),
            }
        }
    }
}

/// The keys and values of one stream's new tokens.
struct NewTokens<'a> {
    block: &'a LocalAttentionBlock,
    /// Tokens which the stream read before.
    past: u64,
    /// The stream's tokens among those of the batch.
    rows: Range<usize>,
    /// Of the whole batch [t, g·h].
    k: &'a [f32],
    v: &'a [f32],
}

impl NewTokens<'_> {
    fn append_to<T: KvElement>(&self, cache: &mut KvCache<T>, new_keys: &mut KvCache<T>) {
        self.collect(new_keys);
        cache.append(new_keys, self.rows.len(), self.past);
    }

    fn collect<T: KvElement>(&self, new_keys: &mut KvCache<T>) {
        let width = self.block.kv_heads * self.block.head_dim;
        new_keys.begin(self.rows.len());
        for (slot, row) in self.rows.clone().enumerate() {
            new_keys.put(slot, &self.k[row * width..][..width], &self.v[row * width..][..width]);
        }
    }

    /// q [t, n·h] of the whole batch → the stream's rows of `mixed` [t, n·h].
    fn attend<T: KvElement>(
        &self,
        kernel: Kernel,
        cache: &mut KvCache<T>,
        new_keys: &mut KvCache<T>,
        q: &[f32],
        mixed: &mut [f32],
    ) {
        self.collect(new_keys);
        let LocalAttentionBlock { heads, kv_heads, head_dim, .. } = *self.block;
        let t = self.rows.len();
        let threads = rayon::current_num_threads();
        let queries_per_key = heads / kv_heads;
        // A task takes some tokens, or of one token some of the heads which share keys.
        let splits_heads = t < threads && queries_per_key.is_multiple_of(FEW_QUERIES_PER_TASK);
        let heads_per_task = if splits_heads { FEW_QUERIES_PER_TASK } else { heads };
        let tokens_per_task = (QUERIES_PER_TASK / heads).min(t / (4 * threads)).max(1);
        let queries_per_task = if heads_per_task < heads { heads_per_task } else { tokens_per_task * heads };
        let share = queries_per_key.min(heads_per_task);
        let window = AttentionWindow { cache, new_keys, past: self.past };
        let values = self.rows.start * heads * head_dim..self.rows.end * heads * head_dim;
        let mixed = mixed[values.clone()].par_chunks_mut(queries_per_task * head_dim);
        let tasks = mixed.zip(q[values].par_chunks(queries_per_task * head_dim));
        tasks.enumerate().for_each(|(task, (mixed, q))| {
            let token = task * queries_per_task / heads;
            let head = task * queries_per_task % heads;
            let key_head = head / queries_per_key;
            window.attend(kernel, Queries { token, key_head, key_heads: heads_per_task / share, share, q }, mixed);
        });
        cache.append(new_keys, self.rows.len(), self.past);
    }
}
