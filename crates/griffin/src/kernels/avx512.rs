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

use super::activations::{ActivationView, Q8Runs};
use super::avx2::NextWeights;
use super::tiles::for_each_tile;
use super::weights::{SUB_BLOCK_BYTES, WeightFormat};
use super::{GROUP_ROWS, GroupSums};

mod q4k;
use q4k::q4k;

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
