//! AVX-512 with VNNI: a register holds 16 rows.
//!
//! `vpdpbusd` multiplies unsigned weights with signed inputs and adds four products to each row's sum; the four inputs are
//! broadcast by the instruction's own load. Eight vectors share what was loaded of the weights.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers side by side; iterators' closures lack the features and stay calls"
)]

use std::arch::asm;
use std::arch::x86_64::*;

use super::activations::{ActivationView, Q8Runs, Q8SuperBlock};
use super::avx2::NextWeights;
use super::tiles::for_each_tile;
use super::weights::{D, D_MIN, MINS, QUANTS, SCALES, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES, UPPER, WeightFormat};
use super::{GROUP_ROWS, GroupSums};

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    match format {
        WeightFormat::F32 => f32(weights, view, sums),
        WeightFormat::Q8_0 => q8_0(weights, view, sums),
        WeightFormat::Q4K => q4k(weights, view, sums),
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn f32(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    let (columns, _) = weights.as_chunks::<{ 4 * GROUP_ROWS }>();
    for_each_tile!(sums, |token, rest| f32_tile::<8 | 4 | 2 | 1>(columns, view, token, rest));
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn f32_tile<const N: usize>(
    columns: &[[u8; 4 * GROUP_ROWS]],
    view: &ActivationView<'_>,
    token: usize,
    sums: &mut [GroupSums],
) -> usize {
    let mut x: [&[f32]; N] = [&[]; N];
    for i in 0..N {
        x[i] = &view.dense(token + i)[..columns.len()];
    }
    let mut totals = [_mm512_setzero_ps(); N];
    for (column, weights) in columns.iter().enumerate() {
        let weights = _mm512_castsi512_ps(load(weights));
        for i in 0..N {
            totals[i] = _mm512_fmadd_ps(weights, _mm512_set1_ps(x[i][column]), totals[i]);
        }
    }
    for i in 0..N {
        store(&mut sums[i], totals[i]);
    }
    N
}

/// Runs whose sums stay in registers.
const RUNS: usize = 8;

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn q8_0(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    let (quants, scales) = weights.split_at(view.columns * GROUP_ROWS);
    let quants = quants.as_chunks::<SUB_BLOCK_BYTES>().0;
    let scales = scales.as_chunks::<{ 2 * GROUP_ROWS }>().0;
    for (index, (quants, scales)) in quants.chunks(RUNS).zip(scales.chunks(RUNS)).enumerate() {
        NextWeights::behind(quants.as_flattened()).fetch(usize::MAX);
        let x = Q8Runs { view, first: RUNS * index };
        for_each_tile!(sums, |token, rest| q8_0_tile::<8 | 4 | 2 | 1>(quants, scales, &x, token, rest));
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn q8_0_tile<const N: usize>(
    quants: &[[u8; SUB_BLOCK_BYTES]],
    scales: &[[u8; 2 * GROUP_ROWS]],
    x: &Q8Runs<'_>,
    token: usize,
    sums: &mut [GroupSums],
) -> usize {
    let sign = _mm512_set1_epi8(-128);
    let mut totals = [_mm512_setzero_ps(); N];
    for i in 0..N {
        totals[i] = load_sums(&sums[i]);
    }
    for (run, (quants, scales)) in quants.iter().zip(scales).enumerate() {
        let x = &x.run(run)[token..][..N];
        // w + 128 is unsigned; the products with 128 are subtracted beforehand.
        let mut dots = [sign; N];
        for i in 0..N {
            dots[i] = _mm512_set1_epi32(x[i].offset);
        }
        for (quad, weights) in quants.as_chunks::<64>().0.iter().enumerate() {
            let weights = _mm512_xor_si512(load(weights), sign);
            for i in 0..N {
                dots[i] = _mm512_dpbusd_epi32(dots[i], weights, _mm512_set1_epi32(x[i].quads[quad]));
            }
        }
        let scale = halves(scales);
        for i in 0..N {
            let scale = _mm512_mul_ps(scale, _mm512_set1_ps(x[i].scale));
            totals[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[i]), scale, totals[i]);
        }
    }
    for i in 0..N {
        store(&mut sums[i], totals[i]);
    }
    N
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    for (index, block) in weights.as_chunks::<SUPER_BLOCK_BYTES>().0.iter().enumerate() {
        NextWeights::behind(block).fetch(usize::MAX);
        let factors = Avx512Factors::new(block);
        let x = view.super_block(index);
        for_each_tile!(sums, |token, rest| q4k_tile::<8 | 4 | 2 | 1>(block, &factors, &x[token..], rest));
    }
}

/// What the quants of a super-block are multiplied with.
struct Avx512Factors {
    /// s of each run.
    scales: [__m512i; 8],
    /// Minima of two runs, i16, in each lane.
    mins: [__m512i; 4],
    d: __m512,
    d_min: __m512,
}

impl Avx512Factors {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(block: &[u8; SUPER_BLOCK_BYTES]) -> Self {
        let low = _mm_set1_epi8(0x0f);
        let high = _mm_set1_epi8(0x30);
        let wide_low = _mm256_set1_epi8(0x0f);
        let wide_high = _mm256_set1_epi8(0x30);
        let zero = _mm512_setzero_si512();
        let mut scales = [zero; 8];
        let mut mins = [zero; 4];
        // What a shift carries over from the neighboring byte is masked off.
        for i in 0..4 {
            let lower = load_128(part(block, SCALES + 16 * i));
            let upper = load_128(part(block, UPPER + 16 * i));
            let lower = [lower, _mm_srli_epi16::<4>(lower)];
            let upper = [_mm_slli_epi16::<4>(upper), _mm_slli_epi16::<2>(upper)];
            for half in 0..2 {
                let scale = _mm_or_si128(_mm_and_si128(lower[half], low), _mm_and_si128(upper[half], high));
                scales[4 * half + i] = _mm512_cvtepu8_epi32(scale);
            }
        }
        for i in 0..2 {
            let lower = load_256(part(block, MINS + 32 * i));
            let upper = load_256(part(block, UPPER + 32 * i));
            let lower = [lower, _mm256_srli_epi16::<4>(lower)];
            let upper = [upper, _mm256_srli_epi16::<2>(upper)];
            for half in 0..2 {
                let lower = _mm256_and_si256(lower[half], wide_low);
                let min = _mm256_or_si256(lower, _mm256_and_si256(upper[half], wide_high));
                mins[2 * half + i] = _mm512_cvtepu8_epi16(min);
            }
        }
        Self { scales, mins, d: halves(part(block, D)), d_min: halves(part(block, D_MIN)) }
    }
}

/// Scaling is done in integers: on Zen 4, multiplying and adding f32 shares the two pipes of `vpdpbusd`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn q4k_tile<const N: usize>(
    block: &[u8; SUPER_BLOCK_BYTES],
    factors: &Avx512Factors,
    x: &[Q8SuperBlock],
    sums: &mut [GroupSums],
) -> usize {
    let x = &x[..N];
    let sums = &mut sums[..N];
    let low = _mm512_set1_epi8(0x0f);
    let zero = _mm512_setzero_si512();
    let mut totals = [zero; N];
    for (pair, quants) in block[QUANTS..].as_chunks::<SUB_BLOCK_BYTES>().0.iter().enumerate() {
        let mut dots = [[zero; 2]; N];
        for (quad, weights) in quants.as_chunks::<64>().0.iter().enumerate() {
            let weights = load(weights);
            let weights = [_mm512_and_si512(weights, low), _mm512_and_si512(_mm512_srli_epi16::<4>(weights), low)];
            for i in 0..N {
                for run in 0..2 {
                    let x = _mm512_set1_epi32(x[i].quads[16 * pair + 8 * run + quad]);
                    dots[i][run] = _mm512_dpbusd_epi32(dots[i][run], weights[run], x);
                }
            }
        }
        for i in 0..N {
            for run in 0..2 {
                let scaled = _mm512_mullo_epi32(dots[i][run], factors.scales[2 * pair + run]);
                totals[i] = _mm512_add_epi32(totals[i], scaled);
            }
        }
    }
    for i in 0..N {
        let mut mins = zero;
        for pair in 0..4 {
            let scaled = _mm512_madd_epi16(factors.mins[pair], _mm512_set1_epi32(x[i].sum_pairs[pair]));
            mins = _mm512_add_epi32(mins, scaled);
        }
        let total = _mm512_mul_ps(_mm512_cvtepi32_ps(totals[i]), factors.d);
        let total = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(mins), factors.d_min, total);
        let sum = _mm512_fmadd_ps(_mm512_set1_ps(x[i].scale), total, load_sums(&sums[i]));
        store(&mut sums[i], sum);
    }
    N
}

/// Makes products from registers; returns how many.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
    const SUMS: usize = 12;
    let a = _mm512_set1_epi8(3);
    let b = _mm512_set1_epi8(5);
    let mut sums = [_mm512_setzero_si512(); SUMS];
    let each = match format {
        WeightFormat::F32 => {
            for _ in 0..rounds {
                for sum in &mut sums {
                    let a = _mm512_castsi512_ps(a);
                    let b = _mm512_castsi512_ps(b);
                    *sum = _mm512_castps_si512(_mm512_fmadd_ps(a, b, _mm512_castsi512_ps(*sum)));
                    // SAFETY: no instruction; the compiler must believe that the sum is used and changed.
                    unsafe { asm!("/* {} */", inout(zmm_reg) * sum, options(nomem, nostack, preserves_flags)) };
                }
            }
            GROUP_ROWS
        }
        WeightFormat::Q8_0 | WeightFormat::Q4K => {
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = _mm512_dpbusd_epi32(*sum, a, b);
                    // SAFETY: no instruction; the compiler must believe that the sum is used and changed.
                    unsafe { asm!("/* {} */", inout(zmm_reg) * sum, options(nomem, nostack, preserves_flags)) };
                }
            }
            4 * GROUP_ROWS
        }
    };
    rounds * SUMS * each
}

/// The N bytes of a block from `at` on.
#[inline(always)]
fn part<const N: usize>(block: &[u8; SUPER_BLOCK_BYTES], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("a part lies within its block")
}

/// 16 f16.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(bytes: &[u8; 2 * GROUP_ROWS]) -> __m512 {
    // SAFETY: 32 bytes are read from a reference to 32 bytes.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_sums(sums: &GroupSums) -> __m512 {
    // SAFETY: 16 numbers are read from a reference to 16 numbers.
    unsafe { _mm512_loadu_ps(sums.as_ptr()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_128(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are read from a reference to 16 bytes.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are read from a reference to 32 bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read from a reference to 64 bytes.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(sums: &mut GroupSums, values: __m512) {
    // SAFETY: 16 numbers are written to a reference to 16 numbers.
    unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), values) }
}
