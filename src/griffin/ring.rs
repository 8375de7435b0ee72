//! Local attention's memory: the keys and values of the last w tokens, and what a query makes of them.
//!
//! Owns how they lie in memory and the loops that read them. Refuses to know of weights. Invariants: the ring's size depends on
//! the model alone; a value is rounded to the ring's type before anyone sees it, so that it makes no difference where a chunk
//! ends; a query sees its own key and the w before it, never others.
//!
//! Keys lie in tiles of 16, dimension by dimension, so that 16 scores grow side by side; values lie row by row. The order of
//! the slots is that of arrival modulo w: a softmax does not mind.
//!
//! What age costs: nothing once the window is full. Of the 2B shape (w = 2048) in q4_K on one Zen 3 core, a token in a chunk of 64
//! took 25.2 ms of processor time after 1 k tokens, 25.8 after 2.1 k and 25.9 after 100 k (the best tenth of nine chunks each, in
//! turns): the second half of the window makes 2.5 % more. It is 0.085 Gop in f32, 0.9 ms at the most that AVX2 can: to come below
//! 2 %, keys and values would have to be integers.

use std::cell::Cell;

use half::f16;

use super::kernel::Kernel;
use super::kernel::lanes::{self, Lanes, Work};
use super::vector;

/// Keys side by side.
const TILE: usize = 16;

/// Query heads that share one pass over the keys.
const ROWS: usize = 5;

/// The score of a key that a query does not see.
const UNSEEN: f32 = -1e30;

/// What a ring is made of.
pub trait Element: Copy + Default + Send + Sync {
    fn from_f32(x: f32) -> Self;
    fn load<L: Lanes>(l: L, from: &[Self]) -> L::V;
}

impl Element for f32 {
    fn from_f32(x: f32) -> Self {
        x
    }
    #[inline(always)]
    fn load<L: Lanes>(l: L, from: &[Self]) -> L::V {
        l.load(from)
    }
}

impl Element for f16 {
    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }
    #[inline(always)]
    fn load<L: Lanes>(l: L, from: &[Self]) -> L::V {
        l.load_half(from)
    }
}

/// Keys and values of `slots` tokens for each of g heads, h wide.
#[derive(Clone, Debug)]
pub struct Ring<E> {
    /// [g, slots/16, h, 16]
    keys: Vec<E>,
    /// [g, slots, h], rows padded to 16
    values: Vec<E>,
    heads: usize,
    width: usize,
    slots: usize,
}

impl<E: Element> Ring<E> {
    /// An empty ring.
    pub fn new(heads: usize, width: usize, slots: usize) -> Self {
        let padded = slots.next_multiple_of(TILE);
        let zero = E::default();
        Self {
            keys: vec![zero; heads * padded * width],
            values: vec![zero; heads * padded * width.next_multiple_of(TILE)],
            heads,
            width,
            slots,
        }
    }

    fn key_at(&self, head: usize, slot: usize, dim: usize) -> usize {
        let tiles = self.slots.div_ceil(TILE);
        ((head * tiles + slot / TILE) * self.width + dim) * TILE + slot % TILE
    }

    fn value_at(&self, head: usize, slot: usize) -> usize {
        (head * self.slots.next_multiple_of(TILE) + slot) * self.width.next_multiple_of(TILE)
    }

    /// Puts one token's keys and values [g, h] into a slot.
    pub fn put(&mut self, slot: usize, keys: &[f32], values: &[f32]) {
        for head in 0..self.heads {
            for dim in 0..self.width {
                let at = self.key_at(head, slot, dim);
                self.keys[at] = E::from_f32(keys[head * self.width + dim]);
            }
            let at = self.value_at(head, slot);
            for (to, from) in self.values[at..].iter_mut().zip(&values[head * self.width..][..self.width]) {
                *to = E::from_f32(*from);
            }
        }
    }

    /// Copies one slot of another ring of the same shape but for its number of slots.
    fn take(&mut self, slot: usize, other: &Self, from: usize) {
        for head in 0..self.heads {
            for dim in 0..self.width {
                let (at, from) = (self.key_at(head, slot, dim), other.key_at(head, from, dim));
                self.keys[at] = other.keys[from];
            }
            let (at, from) = (self.value_at(head, slot), other.value_at(head, from));
            self.values[at..][..self.width].copy_from_slice(&other.values[from..][..self.width]);
        }
    }

    /// Moves on by the t tokens in `new`, the first of which is number `past`.
    pub fn append(&mut self, new: &Self, t: usize, past: u64) {
        for token in t.saturating_sub(self.slots)..t {
            self.take(((past + token as u64) % self.slots as u64) as usize, new, token);
        }
    }

    /// [g, w, h]
    pub fn shape(&self) -> [usize; 3] {
        [self.heads, self.slots, self.width]
    }

    /// Elements of the keys, or of the values.
    pub fn len(&self) -> usize {
        self.heads * self.slots * self.width
    }

    /// Keys and values [g, w, h] after `past` tokens, the newest last; zeros stand before the first.
    pub fn in_order(&self, past: u64) -> (Vec<E>, Vec<E>) {
        let (mut keys, mut values) = (vec![E::default(); self.len()], vec![E::default(); self.len()]);
        for (head, place, slot) in self.places(past) {
            let out = (head * self.slots + place) * self.width;
            let value = self.value_at(head, slot);
            values[out..][..self.width].copy_from_slice(&self.values[value..][..self.width]);
            let key = self.key_at(head, slot, 0);
            for (to, from) in keys[out..][..self.width].iter_mut().zip(self.keys[key..].iter().step_by(TILE)) {
                *to = *from;
            }
        }
        (keys, values)
    }

    /// Takes what [`Ring::in_order`] gave after as many tokens.
    pub fn fill_in_order(&mut self, past: u64, keys: &[f32], values: &[f32]) {
        for (head, place, slot) in self.places(past) {
            let from = (head * self.slots + place) * self.width;
            let value = self.value_at(head, slot);
            for (to, from) in self.values[value..].iter_mut().zip(&values[from..][..self.width]) {
                *to = E::from_f32(*from);
            }
            let key = self.key_at(head, slot, 0);
            for (to, from) in self.keys[key..].iter_mut().step_by(TILE).zip(&keys[from..][..self.width]) {
                *to = E::from_f32(*from);
            }
        }
    }

    /// (head, place in order of time, slot) of every token that is held after `past` tokens.
    fn places(&self, past: u64) -> impl Iterator<Item = (usize, usize, usize)> + use<E> {
        let (heads, slots) = (self.heads, self.slots as u64);
        let used = past.min(slots);
        let place = move |i: u64| ((slots - used + i) as usize, ((past - used + i) % slots) as usize);
        (0..heads).flat_map(move |head| (0..used).map(move |i| (head, place(i).0, place(i).1)))
    }

    fn keys(&self, head: usize, slots: usize) -> &[E] {
        &self.keys[self.key_at(head, 0, 0)..][..slots.div_ceil(TILE) * self.width * TILE]
    }

    fn values(&self, head: usize, slots: usize) -> &[E] {
        &self.values[self.value_at(head, 0)..][..slots.next_multiple_of(TILE) * self.width.next_multiple_of(TILE)]
    }
}

/// The keys that a chunk of tokens may look at.
pub struct Sight<'a, E> {
    /// The last w tokens before the chunk, in slots modulo w.
    pub ring: &'a Ring<E>,
    /// The chunk's own tokens, in order.
    pub new: &'a Ring<E>,
    /// Tokens before the chunk.
    pub past: u64,
}

impl<E: Element> Sight<'_, E> {
    /// What the `rows` query heads that share key head `head` mix for token `token` of the chunk: q [rows, h], rotated and
    /// scaled, → out [rows, h].
    pub fn attend(&self, kernel: Kernel, head: usize, token: usize, q: &[f32], out: &mut [f32]) {
        lanes::run(kernel, Attend { sight: self, head, token, q, out });
    }

    /// How many slots of the ring hold a token, and which of them the query of `token` no longer sees: (from, how many) modulo
    /// the used ones.
    fn seen(&self, token: usize) -> (usize, usize, usize) {
        let window = self.ring.slots as u64;
        let used = self.past.min(window);
        let hidden = (used + token as u64).saturating_sub(window).min(used);
        let oldest = (self.past - used) % window;
        (used as usize, oldest as usize, hidden as usize)
    }
}

thread_local! {
    /// Scores of some heads, and their queries. One a thread of the model's, kept for good.
    static SCRATCH: Cell<(Vec<f32>, Vec<f32>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// What some query heads that share keys make of a token's sight.
struct Attend<'a, E> {
    sight: &'a Sight<'a, E>,
    head: usize,
    token: usize,
    q: &'a [f32],
    out: &'a mut [f32],
}

impl<E: Element> Work for Attend<'_, E> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let h = self.sight.ring.width;
        // Not in a closure: it would be compiled without the instructions, and every one of them become a call.
        let (mut scores, mut turned) = SCRATCH.take();
        for (q, out) in self.q.chunks(ROWS * h).zip(self.out.chunks_mut(ROWS * h)) {
            let some = Attend { sight: self.sight, head: self.head, token: self.token, q, out };
            match q.len() / h {
                5 => some.rows::<L, 5>(l, &mut scores, &mut turned),
                4 => some.rows::<L, 4>(l, &mut scores, &mut turned),
                3 => some.rows::<L, 3>(l, &mut scores, &mut turned),
                2 => some.rows::<L, 2>(l, &mut scores, &mut turned),
                _ => some.rows::<L, 1>(l, &mut scores, &mut turned),
            }
        }
        SCRATCH.set((scores, turned));
    }
}

impl<E: Element> Attend<'_, E> {
    /// R query heads at once.
    #[inline(always)]
    fn rows<L: Lanes, const R: usize>(self, l: L, scores: &mut Vec<f32>, turned: &mut Vec<f32>) {
        let Sight { ring, new, .. } = self.sight;
        let h = ring.width;
        let (used, oldest, hidden) = self.sight.seen(self.token);
        let own = self.token + 1;
        let old_keys = used.next_multiple_of(TILE);
        let all = old_keys + own.next_multiple_of(TILE);

        turned.clear();
        turned.extend((0..h * R).map(|i| self.q[i % R * h + i / R])); // [h, R]
        scores.resize(R * all, 0.0); // [R, all]
        let (queries, _) = turned.as_chunks::<R>();
        score::<L, E, R>(l, queries, ring.keys(self.head, used), scores, all, 0);
        score::<L, E, R>(l, queries, new.keys(self.head, own), scores, all, old_keys);

        for row in scores.chunks_exact_mut(all) {
            row[used..old_keys].fill(UNSEEN);
            row[old_keys + own..].fill(UNSEEN);
            row[old_keys..old_keys + self.token.saturating_sub(ring.slots)].fill(UNSEEN);
            // The oldest slots of the ring, which may go round its end.
            let first = hidden.min(used - oldest.min(used));
            row[oldest..oldest + first].fill(UNSEEN);
            row[..hidden - first].fill(UNSEEN);
            vector::softmax(l, row);
        }

        let padded = h.next_multiple_of(TILE);
        for dim in (0..padded).step_by(TILE) {
            let mut sums = [[l.splat(0.0); 4]; R];
            mix::<L, E, R>(l, ring.values(self.head, used), padded, dim, scores, all, 0, &mut sums);
            mix::<L, E, R>(l, new.values(self.head, own), padded, dim, scores, all, old_keys, &mut sums);
            for (r, sums) in sums.iter().enumerate() {
                let mut mixed = [0f32; TILE];
                for part in 0..TILE / L::N {
                    l.store(sums[part], &mut mixed[part * L::N..]);
                }
                let end = h.min(dim + TILE);
                self.out[r * h + dim..r * h + end].copy_from_slice(&mixed[..end - dim]);
            }
        }
    }
}

/// Scores of R queries [h, R] against tiles of keys, written from column `at` on of rows `stride` long.
#[inline(always)]
fn score<L: Lanes, E: Element, const R: usize>(
    l: L,
    queries: &[[f32; R]],
    keys: &[E],
    scores: &mut [f32],
    stride: usize,
    at: usize,
) {
    let (keys, _) = keys.as_chunks::<TILE>();
    for (tile, keys) in keys.chunks_exact(queries.len()).enumerate() {
        let mut sums = [[l.splat(0.0); 4]; R];
        for (keys, q) in keys.iter().zip(queries) {
            for part in 0..TILE / L::N {
                let key = E::load(l, &keys[part * L::N..]);
                for r in 0..R {
                    sums[r][part] = l.fma(l.splat(q[r]), key, sums[r][part]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for part in 0..TILE / L::N {
                l.store(sums[part], &mut scores[r * stride + at + tile * TILE + part * L::N..]);
            }
        }
    }
}

/// Adds Σ p·value over slots to 16 dimensions of R rows.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "an inner loop: what it reads, where it stands, where it adds")]
fn mix<L: Lanes, E: Element, const R: usize>(
    l: L,
    values: &[E],
    width: usize,
    dim: usize,
    scores: &[f32],
    stride: usize,
    at: usize,
    sums: &mut [[L::V; 4]; R],
) {
    for (tile, values) in values.chunks_exact(TILE * width).enumerate() {
        let p: [&[f32; TILE]; R] = std::array::from_fn(|r| {
            let row = &scores[r * stride + at + tile * TILE..];
            row.first_chunk().expect("scores has a column for every slot")
        });
        for slot in 0..TILE {
            let value = &values[slot * width + dim..][..TILE];
            for part in 0..TILE / L::N {
                let value = E::load(l, &value[part * L::N..]);
                for r in 0..R {
                    sums[r][part] = l.fma(l.splat(p[r][slot]), value, sums[r][part]);
                }
            }
        }
    }
}
