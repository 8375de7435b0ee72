//! A single vector. It is bound by reading weights, so what counts is how many loads are under way at once.
//!
//! The arithmetic takes up so much of the core's reorder buffer that it does not look far ahead, and the hardware prefetcher starts
//! anew at every page. Several groups that are far from each other, read in turns, are several streams at once. Software prefetching
//! made it slower at any distance (docs/performance.md).

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Pair, halves, load_256, load_pair, part, q4k_block, store_pair};
use crate::kernels::activations::{ActivationView, Q8SuperBlock};
use crate::kernels::weights::{
    D, D_MIN, QUANTS, SUB_BLOCK, SUB_BLOCK_BYTES, SUPER_BLOCK, SUPER_BLOCK_BYTES, WeightFormat,
};
use crate::kernels::{GROUP_ROWS, GroupSums};

/// One vector times G groups of the same columns.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn groups<const G: usize>(
    format: WeightFormat,
    weights: [&[u8]; G],
    view: &ActivationView<'_>,
    sums: [&mut GroupSums; G],
) {
    match format {
        WeightFormat::F32 => {
            for (weights, sums) in weights.into_iter().zip(sums) {
                super::f32(weights, view, std::slice::from_mut(sums));
            }
        }
        WeightFormat::Q8_0 => q8_0(weights, view, sums),
        WeightFormat::Q4K => q4k(weights, view, sums),
    }
}

/// The same arithmetic as for tiles of several vectors.
#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0<const G: usize>(weights: [&[u8]; G], view: &ActivationView<'_>, sums: [&mut GroupSums; G]) {
    let ones = _mm256_set1_epi16(1);
    let groups = weights.map(|weights| Q8Group::new(weights, view.columns));
    let mut totals = [[_mm256_setzero_ps(); 2]; G];
    for run in 0..view.columns / SUB_BLOCK {
        let x = &view.run(run)[0];
        let mut dots = [[_mm256_setzero_si256(); 2]; G];
        unrolled!(quad, {
            let x = _mm256_set1_epi32(x.quads[quad]);
            for g in 0..G {
                let weights = load_pair(part(&groups[g].quants[run], 64 * quad));
                for half in 0..2 {
                    let signed = _mm256_sign_epi8(x, weights[half]);
                    let products = _mm256_maddubs_epi16(_mm256_abs_epi8(weights[half]), signed);
                    dots[g][half] = _mm256_add_epi32(dots[g][half], _mm256_madd_epi16(products, ones));
                    in_order!(dots[g][half]);
                }
            }
        });
        for g in 0..G {
            add_run(&groups[g].scales[run], x.scale, dots[g], &mut totals[g]);
        }
    }
    for (sums, totals) in sums.into_iter().zip(totals) {
        store_pair(sums, totals);
    }
}

/// The weights of a group by runs of 32 columns.
pub(super) struct Q8Group<'a> {
    pub(super) quants: &'a [[u8; SUB_BLOCK_BYTES]],
    pub(super) scales: &'a [[u8; 2 * GROUP_ROWS]],
}

impl<'a> Q8Group<'a> {
    /// Both are as long as there are runs, so that indexing them needs one check for all.
    #[inline]
    pub(super) fn new(weights: &'a [u8], columns: usize) -> Self {
        let (quants, scales) = weights.split_at(columns * GROUP_ROWS);
        let runs = columns / SUB_BLOCK;
        Self { quants: &quants.as_chunks().0[..runs], scales: &scales.as_chunks().0[..runs] }
    }
}

/// Scales a run's sums of products and adds them to the sums of a group.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add_run(scales: &[u8; 2 * GROUP_ROWS], scale: f32, dots: Pair, totals: &mut [__m256; 2]) {
    let scales = halves(scales);
    for half in 0..2 {
        let scale = _mm256_mul_ps(scales[half], _mm256_set1_ps(scale));
        totals[half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[half]), scale, totals[half]);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q4k<const G: usize>(weights: [&[u8]; G], view: &ActivationView<'_>, sums: [&mut GroupSums; G]) {
    let groups = weights.map(|weights| q4k_blocks_of(weights, view.columns));
    let mut totals = [[_mm256_setzero_ps(); 2]; G];
    for index in 0..view.columns / SUPER_BLOCK {
        q4k_blocks(groups.map(|blocks| &blocks[index]), &view.super_block(index)[0], &mut totals);
    }
    for (sums, totals) in sums.into_iter().zip(totals) {
        store_pair(sums, totals);
    }
}

/// The super-blocks of a group, exactly as many as there are in its columns.
#[inline]
pub(super) fn q4k_blocks_of(weights: &[u8], columns: usize) -> &[[u8; SUPER_BLOCK_BYTES]] {
    &weights.as_chunks().0[..columns / SUPER_BLOCK]
}

/// A block of each of G groups, in turns by 32 bytes, so that an input which was broadcast to a register serves all of them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4k_blocks<const G: usize>(blocks: [&[u8; SUPER_BLOCK_BYTES]; G], x: &Q8SuperBlock, totals: &mut [[__m256; 2]; G]) {
    let zero = _mm256_setzero_si256();
    let low = _mm256_set1_epi8(0x0f);
    let mut scales = [[zero; 4]; G];
    for g in 0..G {
        scales[g] = q4k_block::scales(blocks[g]);
    }
    let mut sums = [[zero; 2]; G];
    for pair in 0..4 {
        for half in 0..2 {
            let mut dots = [[zero; 2]; G];
            unrolled!(quad, {
                let at = 16 * pair + quad;
                let x = [_mm256_set1_epi32(x.quads[at]), _mm256_set1_epi32(x.quads[at + 8])];
                for g in 0..G {
                    let weights = load_256(part(blocks[g], QUANTS + SUB_BLOCK_BYTES * pair + 64 * quad + 32 * half));
                    let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(weights), low);
                    let runs = [_mm256_and_si256(weights, low), upper];
                    for run in 0..2 {
                        let products = _mm256_maddubs_epi16(runs[run], x[run]);
                        dots[g][run] = _mm256_add_epi16(dots[g][run], products);
                        in_order!(dots[g][run]);
                    }
                }
            });
            for g in 0..G {
                let of_runs = q4k_block::of_runs(scales[g][pair]);
                for run in 0..2 {
                    let scale = q4k_block::spread(of_runs[run], half);
                    sums[g][half] = _mm256_add_epi32(sums[g][half], _mm256_madd_epi16(dots[g][run], scale));
                }
            }
        }
    }
    for g in 0..G {
        add_block(blocks[g], x, sums[g], &mut totals[g]);
    }
}

/// Subtracts the minima of a block from its sums of products, scales them, and adds them to the sums of a group.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add_block(block: &[u8; SUPER_BLOCK_BYTES], x: &Q8SuperBlock, sums: Pair, totals: &mut [__m256; 2]) {
    let mins = q4k_block::mins_of(&q4k_block::mins(block), x);
    let d = halves(part(block, D));
    let d_min = halves(part(block, D_MIN));
    let scale = _mm256_set1_ps(x.scale);
    for half in 0..2 {
        let products = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), d[half]);
        let total = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(mins[half]), d_min[half], products);
        totals[half] = _mm256_fmadd_ps(scale, total, totals[half]);
    }
}
