//! What keys and values are rounded to, and the loops over them: scores of keys, mixtures of values. Longer than most files: both
//! types have both loops, side by side.
//!
//! Owns the two types and their arithmetic. Refuses to know who sees what. Invariants: a number that was rounded is not changed
//! by rounding again; a value that is not finite makes all that is mixed of it NaN.
//!
//! What age costs: nothing once the window is full. Of the 2B shape (5 heads of 256, 2048 slots; one Zen 3 core with AVX2, best of
//! 3,000) a token's five heads took 148 µs as f16 widened to f32, 113 µs as pairs of i16 whose products go into sums of i32 in one
//! instruction, and 92 µs when values lay so that they, too, are read from end to end.
//! On two threads the second half of the window makes a token 2 to 6 % slower. Two tokens going over keys and values together, so
//! that these come from the third cache half as often, were measured in three pairs of turns (1 k against 2.2 k tokens): 12.4, 12.5
//! and 14.0 ms a token with a full window after 14.6, 13.3 and 13.7 before; relative to a half window, 4 to 6 % more after 2 to 3 %.
//! Four tokens together were no faster (0.99). Values mixed without a detour of the sums by the stack: a full window took 5.3 % of
//! the time instead of 5.7 %.
//! 2.1 % is what the window's products are of all, so no engine whose attention is not faster than its matrices stays below that.

use super::{Part, TILE};
use crate::kernel::lanes::{Lanes, ROUND};

/// A type of keys and values.
pub trait Element: Copy + Default + Send + Sync {
    /// Dimensions of a key, or slots of a value, that lie side by side.
    const SIDE: usize;

    /// What the elements of a vector are to be multiplied with.
    fn scale(vector: &[f32]) -> f32;
    /// The element of a vector of that scale.
    fn round(x: f32, scale: f32) -> Self;
    fn times(self, scale: f32) -> f32;

    /// Scores of some queries, R at a time, against the keys of both parts: q → scores [rows, slots].
    fn score<L: Lanes, const R: usize>(
        l: L,
        rows: Rows,
        q: &[f32],
        parts: [Part<'_, Self>; 2],
        room: &mut Room,
        scores: &mut [f32],
    );

    /// Σ p·value over the slots of both parts: p [rows, slots], none negative, Σ p = 1 → out. Spoils p.
    fn mix<L: Lanes, const R: usize>(
        l: L,
        rows: Rows,
        p: &mut [f32],
        parts: [Part<'_, Self>; 2],
        room: &mut Room,
        out: &mut [f32],
    );
}

/// Where the queries that share a key head lie among those of some tokens [t, g, share, h]; what they mix lies there, too.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The key head.
    pub head: usize,
    /// g
    pub key_heads: usize,
    /// Queries of a token that share a key head.
    pub share: usize,
    /// h
    pub width: usize,
    /// t · share
    pub count: usize,
}

impl Rows {
    fn at(self, row: usize) -> usize {
        let (token, query) = (row / self.share, row % self.share);
        ((token * self.key_heads + self.head) * self.share + query) * self.width
    }

    fn of(self, all: &[f32], row: usize) -> &[f32] {
        &all[self.at(row)..][..self.width]
    }

    fn of_mut(self, all: &mut [f32], row: usize) -> &mut [f32] {
        &mut all[self.at(row)..][..self.width]
    }
}

/// Room for what is computed on the way.
#[derive(Default)]
pub struct Room {
    /// Queries, dimension by dimension [rows/R, h, R].
    queries: Vec<f32>,
    /// The same in pairs of dimensions [rows/R, h/2, R].
    query_pairs: Vec<[i16; 2]>,
    /// p in pairs of slots [rows, slots/2].
    p_pairs: Vec<[i16; 2]>,
    /// What makes numbers of the sums of a row.
    scales: Vec<f32>,
}

impl Room {
    pub const fn new() -> Self {
        Self { queries: Vec::new(), query_pairs: Vec::new(), p_pairs: Vec::new(), scales: Vec::new() }
    }
}

impl Element for f32 {
    const SIDE: usize = 1;

    fn scale(_: &[f32]) -> f32 {
        1.0
    }
    fn round(x: f32, _: f32) -> Self {
        x
    }
    fn times(self, _: f32) -> f32 {
        self
    }

    #[inline(always)]
    fn score<L: Lanes, const R: usize>(
        l: L,
        rows: Rows,
        q: &[f32],
        parts: [Part<'_, Self>; 2],
        room: &mut Room,
        scores: &mut [f32],
    ) {
        let (h, stride) = (rows.width, scores.len() / rows.count);
        room.queries.clear();
        for first in (0..rows.count).step_by(R) {
            let q: [&[f32]; R] = std::array::from_fn(|r| rows.of(q, first + r));
            room.queries.extend((0..h * R).map(|i| q[i % R][i / R]));
        }
        let (queries, _) = room.queries.as_chunks::<R>();
        let mut at = 0;
        for part in parts {
            for keys in part.keys.as_chunks::<TILE>().0.chunks_exact(h) {
                for (queries, scores) in queries.chunks_exact(h).zip(scores.chunks_exact_mut(R * stride)) {
                    let mut sums = [[l.splat(0.0); 4]; R];
                    for (keys, q) in keys.iter().zip(queries) {
                        for part in 0..TILE / L::N {
                            let key = l.load(&keys[part * L::N..]);
                            for r in 0..R {
                                sums[r][part] = l.fma(l.splat(q[r]), key, sums[r][part]);
                            }
                        }
                    }
                    for (r, sums) in sums.iter().enumerate() {
                        for part in 0..TILE / L::N {
                            l.store(sums[part], &mut scores[r * stride + at + part * L::N..]);
                        }
                    }
                }
                at += TILE;
            }
        }
    }

    #[inline(always)]
    fn mix<L: Lanes, const R: usize>(
        l: L,
        rows: Rows,
        p: &mut [f32],
        parts: [Part<'_, Self>; 2],
        _: &mut Room,
        out: &mut [f32],
    ) {
        let (h, stride) = (rows.width, p.len() / rows.count);
        for dim in (0..h).step_by(TILE) {
            for (some, p) in p.chunks_exact(R * stride).enumerate() {
                let mut sums = [[l.splat(0.0); 4]; R];
                let mut at = 0;
                for part in parts {
                    for values in part.values(dim).as_chunks::<TILE>().0.as_chunks::<TILE>().0 {
                        let p: [&[f32; TILE]; R] = std::array::from_fn(|r| tile(&p[r * stride + at..]));
                        for (slot, value) in values.iter().enumerate() {
                            for part in 0..TILE / L::N {
                                let value = l.load(&value[part * L::N..]);
                                for r in 0..R {
                                    sums[r][part] = l.fma(l.splat(p[r][slot]), value, sums[r][part]);
                                }
                            }
                        }
                        at += TILE;
                    }
                }
                for (r, sums) in sums.into_iter().enumerate() {
                    store(l, sums, &mut rows.of_mut(out, some * R + r)[dim..]);
                }
            }
        }
    }
}

/// The largest |q|.
const LARGEST: f32 = 2047.0;

/// The most that q can be summed with, so that 32 bits hold the sum: 2047 · 2²⁰ < 2³¹.
const SUM: f32 = 1_048_576.0;

/// Fixed point: a vector's numbers are q·2ᵉ with one e for all and |q| ≤ 2047. Each is an f16 exactly, for an f16 has eleven bits
/// as well. The largest number of a vector loses no more than it would as f16; a smaller one loses as much as the largest.
impl Element for i16 {
    const SIDE: usize = 2;

    /// A power of two from 2⁻²⁴ to 2⁵, the exponents of whole numbers in f16; NaN if the vector is not finite.
    fn scale(vector: &[f32]) -> f32 {
        let largest = largest(vector);
        if !largest.is_finite() {
            return f32::NAN;
        }
        let power = |exponent: i32| f32::from_bits(((exponent + 127) as u32) << 23);
        // Of 1.x · 2ⁿ ten bits behind the point are left, or nine if it is rounded up to 2ⁿ⁺¹.
        let exponent = (largest.to_bits() >> 23) as i32 - 127 - 10;
        let exponent = exponent.clamp(-24, 5);
        let rounds_up = exponent < 5 && (largest / power(exponent)).round_ties_even() > LARGEST;
        power(exponent + i32::from(rounds_up))
    }

    fn round(x: f32, scale: f32) -> Self {
        // NaN becomes 0, whose scale is NaN.
        (x / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i16
    }

    fn times(self, scale: f32) -> f32 {
        f32::from(self) * scale
    }

    #[inline(always)]
    fn score<L: Lanes, const R: usize>(
        l: L,
        rows: Rows,
        q: &[f32],
        parts: [Part<'_, Self>; 2],
        room: &mut Room,
        scores: &mut [f32],
    ) {
        let (h, stride) = (rows.width, scores.len() / rows.count);
        let pairs = h.div_ceil(2);
        room.query_pairs.clear();
        room.query_pairs.resize(pairs * rows.count, [0; 2]);
        room.scales.clear();
        let most = (SUM / (2 * pairs) as f32).min(f32::from(i16::MAX)).floor();
        for row in 0..rows.count {
            let q = rows.of(q, row);
            let (factor, scale) = factors(most, largest(q));
            room.scales.push(scale);
            let query = &mut room.query_pairs[row / R * R * pairs + row % R..];
            for (dim, q) in q.iter().enumerate() {
                query[dim / 2 * R][dim % 2] = whole(*q, factor);
            }
        }
        let (queries, _) = room.query_pairs.as_chunks::<R>();
        let mut at = 0;
        for part in parts {
            let keys = pairs_of(part.keys).as_chunks::<TILE>().0.chunks_exact(pairs);
            for (keys, key_scales) in keys.zip(part.key_scales.as_chunks::<TILE>().0) {
                let all = queries.chunks_exact(pairs).zip(room.scales.as_chunks::<R>().0);
                for ((queries, scales), scores) in all.zip(scores.chunks_exact_mut(R * stride)) {
                    let mut sums = [[l.no_sums(); 4]; R];
                    for (keys, q) in keys.iter().zip(queries) {
                        for part in 0..TILE / L::N {
                            let key = l.load_pairs(&keys[part * L::N..]);
                            for r in 0..R {
                                sums[r][part] = l.dot_pairs(key, l.splat_pair(q[r]), sums[r][part]);
                            }
                        }
                    }
                    for part in 0..TILE / L::N {
                        let key_scales = l.load(&key_scales[part * L::N..]);
                        for r in 0..R {
                            let scale = l.mul(key_scales, l.splat(scales[r]));
                            let score = l.mul(l.floats(sums[r][part]), scale);
                            l.store(score, &mut scores[r * stride + at + part * L::N..]);
                        }
                    }
                }
                at += TILE;
            }
        }
    }

    #[inline(always)]
    fn mix<L: Lanes, const R: usize>(
        l: L,
        rows: Rows,
        p: &mut [f32],
        parts: [Part<'_, Self>; 2],
        room: &mut Room,
        out: &mut [f32],
    ) {
        let (h, stride) = (rows.width, p.len() / rows.count);
        room.p_pairs.resize(rows.count * stride / 2, [0; 2]);
        room.scales.clear();
        for (row, p) in p.chunks_exact_mut(stride).enumerate() {
            let (mut sum, mut most) = (l.splat(0.0), l.splat(0.0));
            let mut at = 0;
            for part in parts {
                for scales in part.value_scales.chunks_exact(L::N) {
                    let scaled = l.mul(l.load(&p[at..]), l.load(scales));
                    (sum, most) = (l.add(sum, scaled), l.max(scaled, most));
                    l.store(scaled, &mut p[at..]);
                    at += L::N;
                }
            }
            // Rounding may add half to each.
            let (sum, most) = (l.sum(sum), l.largest(most));
            let least = ((SUM - stride as f32) / sum).min(f32::from(i16::MAX) / most);
            let factor = if sum > 0.0 { least } else { 0.0 };
            room.scales.push(if sum > 0.0 { 1.0 / least } else { sum });
            for (pair, p) in room.p_pairs[row * stride / 2..].iter_mut().zip(p.as_chunks::<2>().0) {
                *pair = [whole(p[0], factor), whole(p[1], factor)];
            }
        }
        for dim in (0..h).step_by(TILE) {
            for (some, p_pairs) in room.p_pairs.chunks_exact(R * stride / 2).enumerate() {
                let mut sums = [[l.no_sums(); 4]; R];
                let mut at = 0;
                for part in parts {
                    let values = pairs_of(part.values(dim)).as_chunks::<TILE>().0;
                    let p: [&[[i16; 2]]; R] = std::array::from_fn(|r| &p_pairs[r * stride / 2 + at..][..values.len()]);
                    // As many turns as nobody knows beforehand: eight of them unrolled, the compiler rearranges the sums, and
                    // all of them go by way of the stack.
                    for (pair, value) in values.iter().enumerate() {
                        for part in 0..TILE / L::N {
                            let value = l.load_pairs(&value[part * L::N..]);
                            for r in 0..R {
                                sums[r][part] = l.dot_pairs(value, l.splat_pair(p[r][pair]), sums[r][part]);
                            }
                        }
                    }
                    at += values.len();
                }
                for (r, sums) in sums.into_iter().enumerate() {
                    let row = some * R + r;
                    let scale = l.splat(room.scales[row]);
                    let mut mixed = [l.splat(0.0); 4];
                    for part in 0..TILE / L::N {
                        mixed[part] = l.mul(l.floats(sums[part]), scale);
                    }
                    store(l, mixed, &mut rows.of_mut(out, row)[dim..]);
                }
            }
        }
    }
}

/// The largest magnitude; NaN or infinite if one is.
fn largest(vector: &[f32]) -> f32 {
    // The bits of magnitudes compare as the magnitudes do, NaN above all.
    let largest = vector.iter().fold(0, |largest: u32, x| largest.max(x.to_bits() & 0x7fff_ffff));
    f32::from_bits(largest)
}

/// What takes numbers up to `largest` to whole ones up to `most`, and what takes them back: NaN if they are not finite.
fn factors(most: f32, largest: f32) -> (f32, f32) {
    match largest {
        // What is less cannot be divided by; as scores it is zero.
        0.0..1e-30 => (0.0, 0.0),
        _ if largest.is_finite() => (most / largest, largest / most),
        _ => (0.0, f32::NAN),
    }
}

/// x·factor as the nearest whole number of 16 bits.
#[inline(always)]
fn whole(x: f32, factor: f32) -> i16 {
    (x * factor + ROUND).to_bits() as i16
}

#[inline(always)]
fn pairs_of(all: &[i16]) -> &[[i16; 2]] {
    all.as_chunks().0
}

/// The first of some columns.
#[inline(always)]
fn tile<T, const N: usize>(row: &[T]) -> &[T; N] {
    row.first_chunk().expect("there is a column for every slot")
}

/// The first 16 dimensions, or as many as are left.
#[inline(always)]
fn store<L: Lanes>(l: L, sums: [L::V; 4], out: &mut [f32]) {
    let mut mixed = [0f32; TILE];
    for part in 0..TILE / L::N {
        l.store(sums[part], &mut mixed[part * L::N..]);
    }
    let left = out.len().min(TILE);
    out[..left].copy_from_slice(&mixed[..left]);
}
