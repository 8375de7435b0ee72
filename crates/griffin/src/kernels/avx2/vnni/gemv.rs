//! A single vector, over several groups in turns as with AVX2.

use std::arch::x86_64::*;

use super::dpwssd;
use crate::kernels::GroupSums;
use crate::kernels::activations::{ActivationView, Q8SuperBlock};
use crate::kernels::avx2::gemv::{Q8Group, add_block, add_run, groups as avx2_groups, q4k_blocks_of};
use crate::kernels::avx2::{load_256, load_pair, part, q4k_block, store_pair};
use crate::kernels::weights::{QUANTS, SUB_BLOCK, SUB_BLOCK_BYTES, SUPER_BLOCK, SUPER_BLOCK_BYTES, WeightFormat};

/// One vector times G groups of the same columns.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(crate) fn groups<const G: usize>(
    format: WeightFormat,
    weights: [&[u8]; G],
    view: &ActivationView<'_>,
    sums: [&mut GroupSums; G],
) {
    match format {
        WeightFormat::F32 => avx2_groups(format, weights, view, sums),
        WeightFormat::Q8_0 => q8_0(weights, view, sums),
        WeightFormat::Q4K => q4k(weights, view, sums),
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn q8_0<const G: usize>(weights: [&[u8]; G], view: &ActivationView<'_>, sums: [&mut GroupSums; G]) {
    let sign = _mm256_set1_epi8(-128);
    let groups = weights.map(|weights| Q8Group::new(weights, view.columns));
    let mut totals = [[_mm256_setzero_ps(); 2]; G];
    for run in 0..view.columns / SUB_BLOCK {
        let x = &view.run(run)[0];
        let mut dots = [[_mm256_set1_epi32(x.offset); 2]; G];
        for quad in 0..8 {
            let x = _mm256_set1_epi32(x.quads[quad]);
            for g in 0..G {
                let weights = load_pair(part(&groups[g].quants[run], 64 * quad));
                for half in 0..2 {
                    let weights = _mm256_xor_si256(weights[half], sign);
                    dots[g][half] = _mm256_dpbusd_avx_epi32(dots[g][half], weights, x);
                }
            }
        }
        for g in 0..G {
            add_run(&groups[g].scales[run], x.scale, dots[g], &mut totals[g]);
        }
    }
    for (sums, totals) in sums.into_iter().zip(totals) {
        store_pair(sums, totals);
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
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

/// Sums of half a run fit 16 bits (16 · 15 · 127 = 30480) without an offset, which a single vector would have to pay for alone.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn q4k_blocks<const G: usize>(blocks: [&[u8; SUPER_BLOCK_BYTES]; G], x: &Q8SuperBlock, totals: &mut [[__m256; 2]; G]) {
    let zero = _mm256_setzero_si256();
    let low = _mm256_set1_epi8(0x0f);
    let lower = _mm256_set1_epi32(0xffff);
    let mut scales = [[zero; 4]; G];
    for g in 0..G {
        scales[g] = q4k_block::scales(blocks[g]);
    }
    let mut sums = [[zero; 2]; G];
    for pair in 0..4 {
        for half in 0..2 {
            let mut of_runs = [[zero; 2]; G];
            for g in 0..G {
                let runs = q4k_block::of_runs(scales[g][pair]);
                for run in 0..2 {
                    of_runs[g][run] = _mm256_and_si256(q4k_block::spread(runs[run], half), lower);
                }
            }
            for first in [0, 4] {
                let mut dots = [[zero; 2]; G];
                for quad in first..first + 4 {
                    let at = 16 * pair + quad;
                    let x = [_mm256_set1_epi32(x.quads[at]), _mm256_set1_epi32(x.quads[at + 8])];
                    for g in 0..G {
                        let at = QUANTS + SUB_BLOCK_BYTES * pair + 64 * quad + 32 * half;
                        let weights = load_256(part(blocks[g], at));
                        let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(weights), low);
                        let runs = [_mm256_and_si256(weights, low), upper];
                        for run in 0..2 {
                            dots[g][run] = _mm256_dpbusd_avx_epi32(dots[g][run], runs[run], x[run]);
                        }
                    }
                }
                for g in 0..G {
                    for run in 0..2 {
                        sums[g][half] = dpwssd(sums[g][half], dots[g][run], of_runs[g][run]);
                    }
                }
            }
        }
    }
    for g in 0..G {
        add_block(blocks[g], x, sums[g], &mut totals[g]);
    }
}
