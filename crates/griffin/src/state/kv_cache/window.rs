//! Which keys a query sees: its own and the w before it, never others.

use std::cell::Cell;

use super::attention::HeadAttention;
use super::buffers::{AttentionScratch, QueryLayout};
use super::element::KvElement;
use super::{KvCache, TILE};
use crate::kernels::simd::{Simd, SimdTask};
use crate::kernels::{Kernel, elementwise};

/// The score of a key that a query does not see.
const MASKED: f32 = -1e30;

/// The keys and values that a chunk of tokens may see.
pub(crate) struct AttentionWindow<'a, T> {
    /// The last w tokens before the chunk, in slots modulo w.
    pub(crate) cache: &'a KvCache<T>,
    /// The chunk's own tokens, in order.
    pub(crate) new_keys: &'a KvCache<T>,
    /// Tokens before the chunk.
    pub(crate) past: u64,
}

/// Queries of one or several tokens of the chunk.
pub(crate) struct Queries<'a> {
    /// The first token.
    pub(crate) token: usize,
    /// The first key head, and how many there are.
    pub(crate) key_head: usize,
    pub(crate) key_heads: usize,
    /// Query heads of a token that share a key head.
    pub(crate) share: usize,
    /// [t, g, share, h], rotated and scaled.
    pub(crate) q: &'a [f32],
}

impl<T: KvElement> AttentionWindow<'_, T> {
    /// softmax(q·Kᵀ)·V over all that each query sees → out [t, g, share, h].
    pub(crate) fn attend(&self, kernel: Kernel, queries: Queries<'_>, out: &mut [f32]) {
        kernel.run(Attend { window: self, queries, out });
    }

    /// Masks, in the scores of a query of `token` [slots of the cache, of the chunk, both padded], what it does not see.
    #[inline(always)]
    fn mask(&self, token: usize, scores: &mut [f32]) {
        let window = self.cache.slots;
        let used = self.past.min(window as u64) as usize;
        let (old, own) = scores.split_at_mut(used.next_multiple_of(TILE));
        old[used..].fill(MASKED);
        own[token + 1..].fill(MASKED);
        own[..token.saturating_sub(window)].fill(MASKED);
        // The oldest slots of the cache, which may go round its end.
        let hidden = (used + token).saturating_sub(window).min(used);
        let oldest = ((self.past - used as u64) % window as u64) as usize;
        let first = hidden.min(used - oldest.min(used));
        old[oldest..oldest + first].fill(MASKED);
        old[..hidden - first].fill(MASKED);
    }
}

thread_local! {
    /// One for each thread of a model, kept for good.
    static SCRATCH: Cell<AttentionScratch> = const { Cell::new(AttentionScratch::new()) };
}

/// Attention of some queries, to be compiled for a kernel.
struct Attend<'a, T> {
    window: &'a AttentionWindow<'a, T>,
    queries: Queries<'a>,
    out: &'a mut [f32],
}

impl<T: KvElement> SimdTask for Attend<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Queries { key_heads, share, q, .. } = self.queries;
        let width = self.window.cache.width;
        let mut scratch = SCRATCH.take();
        for head in 0..key_heads {
            let layout = QueryLayout { head, key_heads, share, width, count: q.len() / key_heads / width };
            // As many at once as there are registers for their sums, and none left over.
            match layout.count {
                n if n.is_multiple_of(5) => self.head::<S, 5>(simd, layout, &mut scratch),
                n if n.is_multiple_of(4) => self.head::<S, 4>(simd, layout, &mut scratch),
                n if n.is_multiple_of(3) => self.head::<S, 3>(simd, layout, &mut scratch),
                n if n.is_multiple_of(2) => self.head::<S, 2>(simd, layout, &mut scratch),
                _ => self.head::<S, 1>(simd, layout, &mut scratch),
            }
        }
        SCRATCH.set(scratch);
    }
}

impl<T: KvElement> Attend<'_, T> {
    /// The queries of one key head, R at a time.
    #[inline(always)]
    fn head<S: Simd, const R: usize>(&mut self, simd: S, layout: QueryLayout, scratch: &mut AttentionScratch) {
        let AttentionWindow { cache, new_keys, past } = *self.window;
        let Queries { token, key_head, share, q, .. } = self.queries;
        let used = past.min(cache.slots as u64) as usize;
        // What the last token sees of the chunk.
        let own = token + layout.count / share;
        let row_length = used.next_multiple_of(TILE) + own.next_multiple_of(TILE);
        let key_head = key_head + layout.head;
        let slots = [cache.head_slots(key_head, used), new_keys.head_slots(key_head, own)];
        let attention = HeadAttention { layout, slots };

        let mut scores = std::mem::take(&mut scratch.scores);
        let buffers = T::buffers(scratch);
        scores.resize(layout.count * row_length, 0.0); // [rows, slots]
        T::pack_queries::<R>(layout, q, buffers);
        attention.score::<S, R>(simd, &buffers.queries, &buffers.query_scales, &mut scores);
        for (index, row) in scores.chunks_exact_mut(row_length).enumerate() {
            self.window.mask(token + index / share, row);
            elementwise::softmax(simd, row);
        }
        let p = T::pack_probabilities(simd, layout, &mut scores, slots, buffers);
        attention.mix::<S, R>(simd, p, self.out);
        scratch.scores = scores;
    }
}
