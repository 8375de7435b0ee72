//! NEON, with `sdot` and without: a register holds 4 rows, a quarter of a group. Q8_0 is compiled twice; Q4K has files of its own for
//! each, which are in assembly where LLVM spills registers.
//!
//! With `sdot`, four products are added to each row's sum, the inputs taken from a lane. Without, `smlal` adds eight products to
//! sums of 16 bits: all 32 columns of 4-bit weights fit (8 · 15 · 127 = 15240), of 8-bit ones two quads (2 · 128 · 127 = 32512).
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers side by side; iterators' closures lack the features and stay calls"
)]

mod peak_flops;
mod q4k_block;
mod q4k_dot;
mod q4k_dot_single;
mod q4k_plain;
mod q4k_plain_single;
mod registers;

use std::arch::aarch64::*;

use super::activations::{ActivationView, Q8Block};
use super::weights::{SUB_BLOCK_BYTES, WeightFormat};
use super::{GROUP_ROWS, GroupSums};
use registers::{halves, load, load_quads, load_sums, part, sdot, store};

pub(super) use dot::{group as group_dot, peak_flops as peak_flops_dot};
pub(super) use plain::{group, peak_flops};

/// 16 rows times 4 columns.
type Quad = [int8x16_t; 4];

/// A number for each of 16 rows.
type RowSums = [int32x4_t; 4];

/// The sums over a run of Q8_0 for N vectors.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots_dot<const N: usize>(quants: &[Quad; 8], x: &[&[i32; 8]; N]) -> [RowSums; N] {
    let mut sums = [[vdupq_n_s32(0); 4]; N];
    for half in 0..2 {
        let mut inputs = [vdupq_n_s32(0); N];
        for i in 0..N {
            inputs[i] = load_quads(part(x[i], 4 * half));
        }
        let quants = &quants[4 * half..][..4];
        for i in 0..N {
            for quarter in 0..4 {
                let sum = &mut sums[i][quarter];
                *sum = sdot::<0>(*sum, quants[0][quarter], inputs[i]);
                *sum = sdot::<1>(*sum, quants[1][quarter], inputs[i]);
                *sum = sdot::<2>(*sum, quants[2][quarter], inputs[i]);
                *sum = sdot::<3>(*sum, quants[3][quarter], inputs[i]);
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "neon")]
fn dots_plain<const N: usize>(quants: &[Quad; 8], x: &[&[i32; 8]; N]) -> [RowSums; N] {
    /// Quads whose products fit 16 bits.
    const FITS: usize = 2;
    // Of each row two sums side by side, rows 0 and 1 of four, rows 2 and 3.
    let mut sums = [[[vdupq_n_s32(0); 2]; 4]; N];
    for first in (0..8).step_by(FITS) {
        for i in 0..N {
            for quarter in 0..4 {
                let mut lower = vdupq_n_s16(0);
                let mut upper = vdupq_n_s16(0);
                for quad in first..first + FITS {
                    let quants = quants[quad][quarter];
                    let x = vreinterpretq_s8_s32(vdupq_n_s32(x[i][quad]));
                    lower = vmlal_s8(lower, vget_low_s8(quants), vget_low_s8(x));
                    upper = vmlal_high_s8(upper, quants, x);
                }
                let [rows_01, rows_23] = &mut sums[i][quarter];
                *rows_01 = vpadalq_s16(*rows_01, lower);
                *rows_23 = vpadalq_s16(*rows_23, upper);
            }
        }
    }
    let mut out = [[vdupq_n_s32(0); 4]; N];
    for i in 0..N {
        for quarter in 0..4 {
            let [rows_01, rows_23] = sums[i][quarter];
            out[i][quarter] = vpaddq_s32(rows_01, rows_23);
        }
    }
    out
}

/// The kernels, once for each way to sum over a run.
macro_rules! kernels {
    ($name:ident, $features:literal, $dots:ident, $tile:literal, $q4k:ident, $products:ident) => {
        mod $name {
            use super::*;

            /// Vectors that share what was loaded of the weights.
            const TILE: usize = $tile;

            #[target_feature(enable = $features)]
            pub(in crate::kernels) fn group(
                format: WeightFormat,
                weights: &[u8],
                view: &ActivationView<'_>,
                sums: &mut [GroupSums],
            ) {
                match format {
                    WeightFormat::F32 => f32(weights, view, sums),
                    WeightFormat::Q8_0 => q8_0(weights, view, sums),
                    WeightFormat::Q4K => super::$q4k::q4k(weights, view, sums),
                }
            }

            #[target_feature(enable = $features)]
            fn q8_0(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
                sums.fill([0.0; GROUP_ROWS]);
                let (quants, scales) = weights.split_at(view.columns * GROUP_ROWS);
                let runs =
                    quants.as_chunks::<SUB_BLOCK_BYTES>().0.iter().zip(scales.as_chunks::<{ 2 * GROUP_ROWS }>().0);
                for (index, (bytes, scales)) in runs.enumerate() {
                    let mut quants = [[vdupq_n_s8(0); 4]; 8];
                    for (quants, bytes) in quants.as_flattened_mut().iter_mut().zip(bytes.as_chunks::<16>().0) {
                        *quants = vreinterpretq_s8_u8(load(bytes));
                    }
                    let scales = halves(scales);
                    let (x, _) = view.run(index).as_chunks::<TILE>();
                    let (tiles, rest) = sums.as_chunks_mut::<TILE>();
                    tiles.iter_mut().zip(x).for_each(|(sums, x)| q8_0_tile(&quants, &scales, x, sums));
                    let (x, _) = view.run(index)[tiles.len() * TILE..].as_chunks::<1>();
                    let (rest, _) = rest.as_chunks_mut::<1>();
                    rest.iter_mut().zip(x).for_each(|(sums, x)| q8_0_tile(&quants, &scales, x, sums));
                }
            }

            #[target_feature(enable = $features)]
            fn q8_0_tile<const N: usize>(
                quants: &[Quad; 8],
                scales: &[float32x4_t; 4],
                x: &[Q8Block; N],
                sums: &mut [GroupSums; N],
            ) {
                let dots = $dots::<N>(quants, &x.each_ref().map(|x| &x.quads));
                for i in 0..N {
                    let mut after = load_sums(&sums[i]);
                    for quarter in 0..4 {
                        let scale = vmulq_n_f32(scales[quarter], x[i].scale);
                        after[quarter] = vfmaq_f32(after[quarter], vcvtq_f32_s32(dots[i][quarter]), scale);
                    }
                    store(&mut sums[i], after);
                }
            }

            /// Makes products from registers; returns how many.
            #[target_feature(enable = $features)]
            pub(in crate::kernels) fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
                if format != WeightFormat::F32 {
                    return peak_flops::$products(rounds);
                }
                let mut sums = [vdupq_n_f32(0.0); 16];
                for _ in 0..rounds {
                    let x = std::hint::black_box(1.5);
                    for sum in &mut sums {
                        *sum = vfmaq_n_f32(*sum, vdupq_n_f32(3.0), x);
                    }
                }
                std::hint::black_box(sums);
                4 * 16 * rounds
            }
        }
    };
}

kernels!(plain, "neon", dots_plain, 2, q4k_plain, smlal);
kernels!(dot, "neon,dotprod", dots_dot, 4, q4k_dot, sdot);

#[target_feature(enable = "neon")]
fn f32(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    let (columns, _) = weights.as_chunks::<{ 4 * GROUP_ROWS }>();
    let (tiles, rest) = sums.as_chunks_mut::<4>();
    for (tile, sums) in tiles.iter_mut().enumerate() {
        f32_tile(columns, view, 4 * tile, sums);
    }
    for (index, sums) in rest.as_chunks_mut::<1>().0.iter_mut().enumerate() {
        f32_tile(columns, view, 4 * tiles.len() + index, sums);
    }
}

#[target_feature(enable = "neon")]
fn f32_tile<const N: usize>(
    columns: &[[u8; 4 * GROUP_ROWS]],
    view: &ActivationView<'_>,
    token: usize,
    sums: &mut [GroupSums; N],
) {
    let mut x: [&[f32]; N] = [&[]; N];
    for i in 0..N {
        x[i] = &view.dense(token + i)[..columns.len()];
    }
    let mut totals = [[vdupq_n_f32(0.0); 4]; N];
    for (column, weights) in columns.iter().enumerate() {
        for (quarter, weights) in weights.as_chunks::<16>().0.iter().enumerate() {
            let weights = vreinterpretq_f32_u8(load(weights));
            for i in 0..N {
                totals[i][quarter] = vfmaq_n_f32(totals[i][quarter], weights, x[i][column]);
            }
        }
    }
    for i in 0..N {
        store(&mut sums[i], totals[i]);
    }
}
