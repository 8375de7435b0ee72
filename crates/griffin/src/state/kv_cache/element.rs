//! What keys and values are rounded to, and how they are multiplied.
//!
//! A number that was rounded is not changed by rounding again. A value that is not finite makes all that is mixed of it NaN.

use super::buffers::{AttentionScratch, QueryLayout, UnitBuffers};
use super::{HeadSlots, TILE};
use crate::kernels::simd::{ROUND, Simd};

/// A type of keys and values.
pub(crate) trait KvElement: Copy + Default + Send + Sync + Sized {
    /// Dimensions of a key, or slots of a value, that lie side by side and are multiplied as one unit.
    const SIDE: usize;
    /// [`KvElement::SIDE`] elements.
    type Unit: Copy + Default;
    /// [`Simd::N`] units.
    type Register<S: Simd>: Copy;
    /// [`Simd::N`] sums of products.
    type Sum<S: Simd>: Copy;

    /// What the elements of a vector are to be multiplied with.
    fn scale(vector: &[f32]) -> f32;
    /// The element of a vector of that scale.
    fn round(x: f32, scale: f32) -> Self;
    fn times(self, scale: f32) -> f32;

    fn units(elements: &[Self]) -> &[Self::Unit];
    fn load<S: Simd>(simd: S, units: &[Self::Unit]) -> Self::Register<S>;
    fn splat<S: Simd>(simd: S, unit: Self::Unit) -> Self::Register<S>;
    fn zero<S: Simd>(simd: S) -> Self::Sum<S>;
    /// sum + a·b
    fn multiply_add<S: Simd>(simd: S, a: Self::Register<S>, b: Self::Register<S>, sum: Self::Sum<S>) -> Self::Sum<S>;
    /// The sums as numbers, times `scale`.
    fn scaled<S: Simd>(simd: S, sum: Self::Sum<S>, scale: S::V) -> S::V;

    fn buffers(scratch: &mut AttentionScratch) -> &mut UnitBuffers<Self::Unit>;

    /// Queries as units [rows/R, h/side, R], and what their scores are to be multiplied with.
    fn pack_queries<const R: usize>(layout: QueryLayout, q: &[f32], out: &mut UnitBuffers<Self::Unit>);

    /// Probabilities [rows, slots], none negative, Σ p = 1, as units [rows, slots/side], and what the mixed values are to be
    /// multiplied with. Overwrites p.
    fn pack_probabilities<'a, S: Simd>(
        simd: S,
        layout: QueryLayout,
        p: &'a mut [f32],
        slots: [HeadSlots<'_, Self>; 2],
        out: &'a mut UnitBuffers<Self::Unit>,
    ) -> PackedProbabilities<'a, Self::Unit>;
}

/// What [`KvElement::pack_probabilities`] makes.
pub(crate) struct PackedProbabilities<'a, U> {
    /// [rows, slots/side]
    pub(crate) units: &'a [U],
    /// One for each row.
    pub(crate) scales: &'a [f32],
}

impl KvElement for f32 {
    const SIDE: usize = 1;
    type Unit = f32;
    type Register<S: Simd> = S::V;
    type Sum<S: Simd> = S::V;

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
    fn units(elements: &[f32]) -> &[f32] {
        elements
    }
    #[inline(always)]
    fn load<S: Simd>(simd: S, units: &[f32]) -> S::V {
        simd.load(units)
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, unit: f32) -> S::V {
        simd.splat(unit)
    }
    #[inline(always)]
    fn zero<S: Simd>(simd: S) -> S::V {
        simd.splat(0.0)
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        simd.fma(b, a, sum)
    }
    #[inline(always)]
    fn scaled<S: Simd>(_: S, sum: S::V, _: S::V) -> S::V {
        sum
    }

    fn buffers(scratch: &mut AttentionScratch) -> &mut UnitBuffers<f32> {
        &mut scratch.f32
    }

    #[inline(always)]
    fn pack_queries<const R: usize>(layout: QueryLayout, q: &[f32], out: &mut UnitBuffers<f32>) {
        out.queries.clear();
        for first in (0..layout.count).step_by(R) {
            let rows: [&[f32]; R] = std::array::from_fn(|r| layout.row(q, first + r));
            out.queries.extend((0..layout.width * R).map(|i| rows[i % R][i / R]));
        }
        out.query_scales.clear();
        out.query_scales.resize(layout.count, 1.0);
    }

    #[inline(always)]
    fn pack_probabilities<'a, S: Simd>(
        _: S,
        layout: QueryLayout,
        p: &'a mut [f32],
        _: [HeadSlots<'_, f32>; 2],
        out: &'a mut UnitBuffers<f32>,
    ) -> PackedProbabilities<'a, f32> {
        out.probability_scales.clear();
        out.probability_scales.resize(layout.count, 1.0);
        PackedProbabilities { units: p, scales: &out.probability_scales }
    }
}

/// The largest |q|.
const LARGEST: f32 = 2047.0;

/// The most that q can be summed with, so that 32 bits hold the sum: 2047 · 2²⁰ < 2³¹.
const SUM: f32 = 1_048_576.0;

/// Fixed point: a vector's numbers are q·2ᵉ with one e for all and |q| ≤ 2047. Each is an f16 exactly, for an f16 has eleven bits
/// as well. The largest number of a vector loses no more than it would as f16; a smaller one loses as much as the largest.
impl KvElement for i16 {
    const SIDE: usize = 2;
    type Unit = [i16; 2];
    type Register<S: Simd> = S::Pairs;
    type Sum<S: Simd> = S::Sums;

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
    fn units(elements: &[i16]) -> &[[i16; 2]] {
        elements.as_chunks().0
    }
    #[inline(always)]
    fn load<S: Simd>(simd: S, units: &[[i16; 2]]) -> S::Pairs {
        simd.load_pairs(units)
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, unit: [i16; 2]) -> S::Pairs {
        simd.splat_pair(unit)
    }
    #[inline(always)]
    fn zero<S: Simd>(simd: S) -> S::Sums {
        simd.zero_sums()
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::Pairs, b: S::Pairs, sum: S::Sums) -> S::Sums {
        simd.dot_pairs(a, b, sum)
    }
    #[inline(always)]
    fn scaled<S: Simd>(simd: S, sum: S::Sums, scale: S::V) -> S::V {
        simd.mul(simd.to_f32(sum), scale)
    }

    fn buffers(scratch: &mut AttentionScratch) -> &mut UnitBuffers<[i16; 2]> {
        &mut scratch.i16
    }

    #[inline(always)]
    fn pack_queries<const R: usize>(layout: QueryLayout, q: &[f32], out: &mut UnitBuffers<[i16; 2]>) {
        let pairs = layout.width.div_ceil(2);
        out.queries.clear();
        out.queries.resize(pairs * layout.count, [0; 2]);
        out.query_scales.clear();
        let most = (SUM / (2 * pairs) as f32).min(f32::from(i16::MAX)).floor();
        for row in 0..layout.count {
            let q = layout.row(q, row);
            let (factor, scale) = factors(most, largest(q));
            out.query_scales.push(scale);
            let query = &mut out.queries[row / R * R * pairs + row % R..];
            for (dim, q) in q.iter().enumerate() {
                query[dim / 2 * R][dim % 2] = to_whole(*q, factor);
            }
        }
    }

    #[inline(always)]
    fn pack_probabilities<'a, S: Simd>(
        simd: S,
        layout: QueryLayout,
        p: &'a mut [f32],
        slots: [HeadSlots<'_, i16>; 2],
        out: &'a mut UnitBuffers<[i16; 2]>,
    ) -> PackedProbabilities<'a, [i16; 2]> {
        let stride = p.len() / layout.count;
        out.probabilities.resize(layout.count * stride / 2, [0; 2]);
        out.probability_scales.clear();
        for (row, p) in p.chunks_exact_mut(stride).enumerate() {
            let mut sum = simd.splat(0.0);
            let mut most = simd.splat(0.0);
            let mut at = 0;
            for slots in slots {
                for scales in slots.value_scales.chunks_exact(S::N) {
                    let scaled = simd.mul(simd.load(&p[at..]), simd.load(scales));
                    sum = simd.add(sum, scaled);
                    most = simd.max(scaled, most);
                    simd.store(scaled, &mut p[at..]);
                    at += S::N;
                }
            }
            let sum = simd.sum(sum);
            let most = simd.largest(most);
            // Rounding may add half to each.
            let least = ((SUM - stride as f32) / sum).min(f32::from(i16::MAX) / most);
            let factor = if sum > 0.0 { least } else { 0.0 };
            out.probability_scales.push(if sum > 0.0 { 1.0 / least } else { sum });
            for (pair, p) in out.probabilities[row * stride / 2..].iter_mut().zip(p.as_chunks::<2>().0) {
                *pair = [to_whole(p[0], factor), to_whole(p[1], factor)];
            }
        }
        PackedProbabilities { units: &out.probabilities, scales: &out.probability_scales }
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
fn to_whole(x: f32, factor: f32) -> i16 {
    (x * factor + ROUND).to_bits() as i16
}

/// Stores 16 dimensions, or as many as are left.
#[inline(always)]
pub(super) fn store_tile<S: Simd>(simd: S, sums: [S::V; 4], out: &mut [f32]) {
    let mut mixed = [0f32; TILE];
    for part in 0..TILE / S::N {
        simd.store(sums[part], &mut mixed[part * S::N..]);
    }
    let left = out.len().min(TILE);
    out[..left].copy_from_slice(&mixed[..left]);
}
