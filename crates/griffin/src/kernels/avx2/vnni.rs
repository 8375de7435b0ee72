//! AVX2 with VNNI: what Intel's small and desktop processors have since Alder Lake (N100, N150, Core from the 12th generation), which
//! lack AVX-512.
//!
//! `vpdpbusd` does what AVX2 does in two or three instructions, and its sums have 32 bits. As for AVX-512, sums of Q4K start with minus
//! eight times the sum of the inputs, so that they fit 16 bits, and `vpdpwssd` scales and adds them. F32 is AVX2's.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Avx2Factors, NextWeights, Pair, finish, halves, load_pair, load_sums, share, store_pair, unpack};
use crate::kernels::activations::{ActivationView, Q8Runs, Q8SuperBlock};
use crate::kernels::tiles::for_each_tile;
use crate::kernels::weights::{SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES, WeightFormat};
use crate::kernels::{GROUP_ROWS, GroupSums};

mod gemv;
pub(in super::super) use gemv::groups as gemv;

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(in super::super) fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    if let [sums] = sums {
        return gemv(format, [weights], view, [sums]);
    }
    match format {
        WeightFormat::F32 => super::f32(weights, view, sums),
        WeightFormat::Q8_0 => q8_0(weights, view, sums),
        WeightFormat::Q4K => q4k(weights, view, sums),
    }
}

/// Two products of i16 to each lane, in one instruction: the compiler would make it a multiplication and an addition.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn dpwssd(mut sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the instruction only reads and writes these registers.
    unsafe {
        asm!(
            "{{vex}} vpdpwssd {sums}, {a}, {b}", sums = inout(ymm_reg) sums, a = in(ymm_reg) a, b = in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn q8_0(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    let (quants, scales) = weights.split_at(view.columns * GROUP_ROWS);
    let quants = quants.as_chunks::<SUB_BLOCK_BYTES>().0;
    let scales = scales.as_chunks::<{ 2 * GROUP_ROWS }>().0;
    let share = share(super::RUNS * SUB_BLOCK_BYTES, sums.len());
    for (index, (quants, scales)) in quants.chunks(super::RUNS).zip(scales.chunks(super::RUNS)).enumerate() {
        let mut next = NextWeights::behind(quants.as_flattened());
        let x = Q8Runs { view, first: super::RUNS * index };
        for_each_tile!(sums, |token, rest| q8_0_tile::<4 | 2 | 1>(quants, scales, &x, token, rest), next.fetch(share));
    }
}

/// w + 128 is unsigned; the products with 128 are subtracted beforehand.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn q8_0_tile<const N: usize>(
    quants: &[[u8; SUB_BLOCK_BYTES]],
    scales: &[[u8; 2 * GROUP_ROWS]],
    x: &Q8Runs<'_>,
    token: usize,
    sums: &mut [GroupSums],
) -> usize {
    let sums = &mut sums[..N];
    let sign = _mm256_set1_epi8(-128);
    for (run, (quants, scales)) in quants.iter().zip(scales).enumerate() {
        let x = &x.run(run)[token..][..N];
        let mut dots = [[sign; 2]; N];
        for i in 0..N {
            dots[i] = [_mm256_set1_epi32(x[i].offset); 2];
        }
        for (quad, weights) in quants.as_chunks::<64>().0.iter().enumerate() {
            let weights = load_pair(weights).map(|weights| _mm256_xor_si256(weights, sign));
            for i in 0..N {
                let x = _mm256_set1_epi32(x[i].quads[quad]);
                for half in 0..2 {
                    dots[i][half] = _mm256_dpbusd_avx_epi32(dots[i][half], weights[half], x);
                }
            }
        }
        let scales = halves(scales);
        for i in 0..N {
            let mut after = load_sums(&sums[i]);
            for half in 0..2 {
                let scale = _mm256_mul_ps(scales[half], _mm256_set1_ps(x[i].scale));
                after[half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[i][half]), scale, after[half]);
            }
            store_pair(&mut sums[i], after);
        }
    }
    N
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    // Unpacking beforehand pays from one whole tile on. Below that reading bounds, and AVX2 is as fast.
    if sums.len() < 4 {
        return super::q4k(weights, view, sums);
    }
    sums.fill([0.0; GROUP_ROWS]);
    let share = share(SUPER_BLOCK_BYTES, sums.len());
    let mut quants = [[[_mm256_setzero_si256(); 2]; 8]; 8];
    for (index, block) in weights.as_chunks::<SUPER_BLOCK_BYTES>().0.iter().enumerate() {
        let factors = VnniFactors::new(block);
        unpack(block, &mut quants);
        let x = view.super_block(index);
        let mut next = NextWeights::behind(block);
        for_each_tile!(sums, |token, rest| q4k_tile::<4 | 2 | 1>(&quants, &factors, &x[token..], rest), next.fetch(share));
    }
}

/// What the quants of a super-block are multiplied with, each of rows 0 to 7 and 8 to 15.
struct VnniFactors {
    /// s of each run.
    scales: [Pair; 8],
    /// Eight times the scales of two runs, i16, in each lane.
    eights: [Pair; 4],
    others: Avx2Factors,
}

impl VnniFactors {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new(block: &[u8; SUPER_BLOCK_BYTES]) -> Self {
        let others = Avx2Factors::new(block);
        let mut scales = others.scales;
        let lower = _mm256_set1_epi32(0xffff);
        for scale in scales.as_flattened_mut() {
            *scale = _mm256_and_si256(*scale, lower);
        }
        let mut eights = [[lower; 2]; 4];
        for pair in 0..4 {
            for half in 0..2 {
                let first = _mm256_slli_epi32::<3>(scales[2 * pair][half]);
                eights[pair][half] = _mm256_or_si256(first, _mm256_slli_epi32::<19>(scales[2 * pair + 1][half]));
            }
        }
        Self { scales, eights, others }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn q4k_tile<const N: usize>(
    quants: &[[Pair; 8]; 8],
    factors: &VnniFactors,
    x: &[Q8SuperBlock],
    sums: &mut [GroupSums],
) -> usize {
    let x = &x[..N];
    let sums = &mut sums[..N];
    let mut totals = [[_mm256_setzero_si256(); 2]; N];
    for run in 0..8 {
        let mut dots = totals;
        for i in 0..N {
            dots[i] = [_mm256_set1_epi32(x[i].offsets[run]); 2];
        }
        for quad in 0..8 {
            for i in 0..N {
                let x = _mm256_set1_epi32(x[i].quads[8 * run + quad]);
                for half in 0..2 {
                    dots[i][half] = _mm256_dpbusd_avx_epi32(dots[i][half], quants[run][quad][half], x);
                }
            }
        }
        for i in 0..N {
            for half in 0..2 {
                totals[i][half] = dpwssd(totals[i][half], dots[i][half], factors.scales[run][half]);
            }
        }
    }
    for i in 0..N {
        for pair in 0..4 {
            let sums = _mm256_set1_epi32(x[i].sum_pairs[pair]);
            for half in 0..2 {
                totals[i][half] = dpwssd(totals[i][half], factors.eights[pair][half], sums);
            }
        }
        finish(&factors.others, &x[i], totals[i], &mut sums[i]);
    }
    N
}

/// Makes products from registers; returns how many.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(in super::super) fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
    const SUMS: usize = 12;
    if format == WeightFormat::F32 {
        return super::peak_flops(format, rounds);
    }
    let a = _mm256_set1_epi8(3);
    let mut sums = [_mm256_setzero_si256(); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, a, a);
            in_order!(*sum);
        }
    }
    rounds * SUMS * 32
}
