//! AVX2 with FMA and F16C: a register holds 8 rows, half a group. There are three formats, each with a path of its own for few
//! vectors; `gemv` is the path for a single one.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers side by side; iterators' closures lack the features and stay calls"
)]

use std::arch::asm;
use std::arch::x86_64::*;

use super::activations::{ActivationView, Q8Runs, Q8SuperBlock};
use super::tiles::for_each_tile;
use super::weights::{D, D_MIN, QUANTS, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES, WeightFormat};
use super::{GROUP_ROWS, GroupSums};

/// Makes the compiler compute a sum here and as it is written. It would otherwise rearrange integer sums, and hold so many
/// broadcast inputs for that, that all registers are spilled to the stack.
macro_rules! in_order {
    ($sum:expr) => {
        // SAFETY: there is no instruction in it.
        unsafe { asm!("/* {} */", inout(ymm_reg) $sum, options(nomem, nostack, preserves_flags)) }
    };
}

/// Eight copies of a block, for 0 to 7: the compiler does not unroll a loop that contains `in_order`.
macro_rules! unrolled {
    ($i:ident, $body:block) => {
        unrolled!($i, $body, 0, 1, 2, 3, 4, 5, 6, 7)
    };
    ($i:ident, $body:block, $($value:literal),*) => {
        $({
            let $i = $value;
            $body
        })*
    };
}

mod memory;
mod peak_flops;
mod q4k_block;
// It uses the macros above.
mod gemv;
pub(super) use gemv::groups as gemv;
pub(super) mod vnni;

pub(super) use memory::{NextWeights, prefetch};
use memory::{halves, load_256, load_pair, load_sums, part, share, store_pair};
pub(super) use peak_flops::peak_flops;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    if let [sums] = sums {
        return gemv(format, [weights], view, [sums]);
    }
    match format {
        WeightFormat::F32 => f32(weights, view, sums),
        WeightFormat::Q8_0 => q8_0(weights, view, sums),
        WeightFormat::Q4K => q4k(weights, view, sums),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn f32(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    let (columns, _) = weights.as_chunks::<{ 4 * GROUP_ROWS }>();
    // Of six vectors: twelve sums, two registers of weights, one value, which are all the registers there are.
    for_each_tile!(sums, |token, rest| f32_tile::<6 | 4 | 2 | 1>(columns, view, token, rest));
}

#[target_feature(enable = "avx2,fma,f16c")]
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
    let mut totals = [[_mm256_setzero_ps(); 2]; N];
    for (column, weights) in columns.iter().enumerate() {
        let weights = load_pair(weights);
        for i in 0..N {
            let x = _mm256_set1_ps(x[i][column]);
            for half in 0..2 {
                totals[i][half] = _mm256_fmadd_ps(_mm256_castsi256_ps(weights[half]), x, totals[i][half]);
            }
        }
    }
    for i in 0..N {
        store_pair(&mut sums[i], totals[i]);
    }
    N
}

/// So few vectors read weights as fast as memory gives them, and the hardware prefetcher keeps up: software prefetching only
/// disturbs it.
const FEW: usize = 2;

/// Runs that all vectors go over before the next ones, so that their weights stay in the first-level cache.
const RUNS: usize = 8;

#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    let (quants, scales) = weights.split_at(view.columns * GROUP_ROWS);
    let quants = quants.as_chunks::<SUB_BLOCK_BYTES>().0;
    let scales = scales.as_chunks::<{ 2 * GROUP_ROWS }>().0;
    let tokens = sums.len();
    let share = share(RUNS * SUB_BLOCK_BYTES, sums.len());
    for (index, (quants, scales)) in quants.chunks(RUNS).zip(scales.chunks(RUNS)).enumerate() {
        let mut next = NextWeights::behind(quants.as_flattened());
        let mut before_tile = || {
            if tokens > FEW {
                next.fetch(share);
            }
        };
        let x = Q8Runs { view, first: RUNS * index };
        for_each_tile!(sums, |token, rest| q8_0_tile::<4 | 2 | 1>(quants, scales, &x, token, rest), before_tile());
    }
}

/// `maddubs` takes unsigned weights: their signs are moved to the inputs. 128 · 127 · 2 fits 16 bits, two such sums would not.
#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0_tile<const N: usize>(
    quants: &[[u8; SUB_BLOCK_BYTES]],
    scales: &[[u8; 2 * GROUP_ROWS]],
    x: &Q8Runs<'_>,
    token: usize,
    sums: &mut [GroupSums],
) -> usize {
    let sums = &mut sums[..N];
    let ones = _mm256_set1_epi16(1);
    for (run, (quants, scales)) in quants.iter().zip(scales).enumerate() {
        let x = &x.run(run)[token..][..N];
        let mut dots = [[_mm256_setzero_si256(); 2]; N];
        let (chunks, _) = quants.as_chunks::<64>();
        unrolled!(quad, {
            let weights = load_pair(&chunks[quad]);
            let magnitudes = [_mm256_abs_epi8(weights[0]), _mm256_abs_epi8(weights[1])];
            for i in 0..N {
                let x = _mm256_set1_epi32(x[i].quads[quad]);
                for half in 0..2 {
                    let products = _mm256_maddubs_epi16(magnitudes[half], _mm256_sign_epi8(x, weights[half]));
                    dots[i][half] = _mm256_add_epi32(dots[i][half], _mm256_madd_epi16(products, ones));
                    in_order!(dots[i][half]);
                }
            }
        });
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

#[target_feature(enable = "avx2,fma,f16c")]
fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    let tokens = sums.len();
    let share = share(SUPER_BLOCK_BYTES, sums.len());
    let mut quants = [[[_mm256_setzero_si256(); 2]; 8]; 8];
    for (index, block) in weights.as_chunks::<SUPER_BLOCK_BYTES>().0.iter().enumerate() {
        let factors = Avx2Factors::new(block);
        let x = view.super_block(index);
        let mut next = NextWeights::behind(block);
        // Unpacking beforehand pays from one whole tile on.
        if tokens >= 4 {
            unpack(block, &mut quants);
        }
        let mut token = 0;
        while token < tokens {
            let x = &x[token..];
            let rest = &mut sums[token..];
            if tokens > FEW {
                next.fetch(share);
            }
            token += match rest.len() {
                4.. => q4k_tile::<4>(&quants, &factors, x, rest),
                2.. => q4k_small::<2>(block, &factors, x, rest),
                _ => q4k_small::<1>(block, &factors, x, rest),
            };
        }
    }
}

/// What the quants of a super-block are multiplied with, each of rows 0 to 7 and 8 to 15.
struct Avx2Factors {
    /// s of each run, i16, twice in each lane.
    scales: [Pair; 8],
    /// Minima of two runs, i16, in each lane.
    mins: [Pair; 4],
    d: [__m256; 2],
    d_min: [__m256; 2],
}

type Pair = [__m256i; 2];

impl Avx2Factors {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new(block: &[u8; SUPER_BLOCK_BYTES]) -> Self {
        let mut scales = [[_mm256_setzero_si256(); 2]; 8];
        let of_pairs = q4k_block::scales(block);
        for pair in 0..4 {
            let of_runs = q4k_block::of_runs(of_pairs[pair]);
            for run in 0..2 {
                scales[2 * pair + run] = [q4k_block::spread(of_runs[run], 0), q4k_block::spread(of_runs[run], 1)];
            }
        }
        Self { scales, mins: q4k_block::mins(block), d: halves(part(block, D)), d_min: halves(part(block, D_MIN)) }
    }
}

/// Quants as bytes: [run][quad], each rows 0 to 7 and 8 to 15.
#[target_feature(enable = "avx2,fma,f16c")]
fn unpack(block: &[u8; SUPER_BLOCK_BYTES], out: &mut [[Pair; 8]; 8]) {
    let low = _mm256_set1_epi8(0x0f);
    for (pair, quants) in block[QUANTS..].as_chunks::<SUB_BLOCK_BYTES>().0.iter().enumerate() {
        for (quad, weights) in quants.as_chunks::<64>().0.iter().enumerate() {
            let weights = load_pair(weights);
            for half in 0..2 {
                out[2 * pair][quad][half] = _mm256_and_si256(weights[half], low);
                out[2 * pair + 1][quad][half] = _mm256_and_si256(_mm256_srli_epi16::<4>(weights[half]), low);
            }
        }
    }
}

/// Eight `maddubs` of a run are summed in 16 bits (8 · 2 · 15 · 127 = 30480), so that one `madd`, with the run's scale, makes
/// them 32 bits.
#[target_feature(enable = "avx2,fma,f16c")]
fn q4k_tile<const N: usize>(
    quants: &[[Pair; 8]; 8],
    factors: &Avx2Factors,
    x: &[Q8SuperBlock],
    sums: &mut [GroupSums],
) -> usize {
    let x = &x[..N];
    let sums = &mut sums[..N];
    let mut totals = [[_mm256_setzero_si256(); 2]; N];
    for (run, (quants, scale)) in quants.iter().zip(&factors.scales).enumerate() {
        let mut dots = [[_mm256_setzero_si256(); 2]; N];
        unrolled!(quad, {
            for i in 0..N {
                let x = _mm256_set1_epi32(x[i].quads[8 * run + quad]);
                for half in 0..2 {
                    dots[i][half] = _mm256_add_epi16(dots[i][half], _mm256_maddubs_epi16(quants[quad][half], x));
                    in_order!(dots[i][half]);
                }
            }
        });
        for i in 0..N {
            for half in 0..2 {
                let dots = _mm256_madd_epi16(dots[i][half], scale[half]);
                totals[i][half] = _mm256_add_epi32(totals[i][half], dots);
            }
        }
    }
    for i in 0..N {
        finish(factors, &x[i], totals[i], &mut sums[i]);
    }
    N
}

/// A few vectors: quants are unpacked while they are multiplied, both runs of a pair at once.
#[target_feature(enable = "avx2,fma,f16c")]
fn q4k_small<const N: usize>(
    block: &[u8; SUPER_BLOCK_BYTES],
    factors: &Avx2Factors,
    x: &[Q8SuperBlock],
    sums: &mut [GroupSums],
) -> usize {
    let x = &x[..N];
    let sums = &mut sums[..N];
    let low = _mm256_set1_epi8(0x0f);
    let mut totals = [[_mm256_setzero_si256(); 2]; N];
    for (pair, quants) in block[QUANTS..].as_chunks::<SUB_BLOCK_BYTES>().0.iter().enumerate() {
        let mut dots = [[[_mm256_setzero_si256(); 2]; 2]; N];
        let (chunks, _) = quants.as_chunks::<64>();
        unrolled!(quad, {
            let weights = load_pair(&chunks[quad]);
            for half in 0..2 {
                let lower = _mm256_and_si256(weights[half], low);
                let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(weights[half]), low);
                for i in 0..N {
                    let [dots_lower, dots_upper] = &mut dots[i][half];
                    let x = &x[i].quads[16 * pair + quad..];
                    *dots_lower = _mm256_add_epi16(*dots_lower, _mm256_maddubs_epi16(lower, _mm256_set1_epi32(x[0])));
                    *dots_upper = _mm256_add_epi16(*dots_upper, _mm256_maddubs_epi16(upper, _mm256_set1_epi32(x[8])));
                    in_order!(*dots_lower);
                    in_order!(*dots_upper);
                }
            }
        });
        for i in 0..N {
            for half in 0..2 {
                for run in 0..2 {
                    let dots = _mm256_madd_epi16(dots[i][half][run], factors.scales[2 * pair + run][half]);
                    totals[i][half] = _mm256_add_epi32(totals[i][half], dots);
                }
            }
        }
    }
    for i in 0..N {
        finish(factors, &x[i], totals[i], &mut sums[i]);
    }
    N
}

/// Subtracts the minima, scales, and adds to the sums of a vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish(factors: &Avx2Factors, x: &Q8SuperBlock, totals: Pair, sums: &mut GroupSums) {
    let mins = q4k_block::mins_of(&factors.mins, x);
    let scale = _mm256_set1_ps(x.scale);
    let mut after = load_sums(sums);
    for half in 0..2 {
        let products = _mm256_mul_ps(_mm256_cvtepi32_ps(totals[half]), factors.d[half]);
        let total = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(mins[half]), factors.d_min[half], products);
        after[half] = _mm256_fmadd_ps(scale, total, after[half]);
    }
    store_pair(sums, after);
}
