//! NEON, with `sdot` and without: a register holds 4 rows, a quarter of a group. Two of the three formats are compiled twice.
//!
//! With `sdot`, four products are added to each row's sum, the inputs taken from a lane. Without, `smlal` adds eight products to
//! sums of 16 bits: all 32 columns of 4-bit weights fit (8 · 15 · 127 = 15240), of 8-bit ones two (2 · 128 · 127 = 32512).
#![cfg(target_arch = "aarch64")]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers side by side; iterators' closures lack the features and stay calls"
)]

mod registers;

use std::arch::aarch64::*;

use super::activations::{ActivationView, Q8Block, Q8SuperBlock};
use super::weights::{D, D_MIN, MINS, QUANTS, SCALES, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES, UPPER, WeightFormat};
use super::{GROUP_ROWS, GroupSums};
use registers::{halves, load, load_quads, load_sums, part, sdot, store};

pub(super) use dot::{group as group_dot, peak_flops as peak_flops_dot};
pub(super) use plain::{group, peak_flops};

/// 16 rows times 4 columns.
type Quad = [int8x16_t; 4];

/// A number for each of 16 rows.
type RowSums = [int32x4_t; 4];

/// What the quants of a super-block are multiplied with.
struct NeonFactors {
    scales: [RowSums; 8],
    mins: [RowSums; 8],
    d: [float32x4_t; 4],
    d_min: [float32x4_t; 4],
}

impl NeonFactors {
    #[target_feature(enable = "neon")]
    fn new(block: &[u8; SUPER_BLOCK_BYTES]) -> Self {
        let low = vdupq_n_u8(0x0f);
        let high = vdupq_n_u8(0x30);
        let zero = [vdupq_n_s32(0); 4];
        let mut scales = [zero; 8];
        let mut mins = [zero; 8];
        for i in 0..4 {
            let scale = load(part(block, SCALES + 16 * i));
            let min = load(part(block, MINS + 16 * i));
            let upper = load(part(block, UPPER + 16 * i));
            // Of runs 0 to 3, of runs 4 to 7.
            let scale_lower = [vandq_u8(scale, low), vshrq_n_u8::<4>(scale)];
            let scale_upper = [vshlq_n_u8::<4>(upper), vshlq_n_u8::<2>(upper)];
            let min_lower = [vandq_u8(min, low), vshrq_n_u8::<4>(min)];
            let min_upper = [upper, vshrq_n_u8::<2>(upper)];
            for half in 0..2 {
                let scale = vorrq_u8(scale_lower[half], vandq_u8(scale_upper[half], high));
                let [a, b] = wider(vmovl_u8(vget_low_u8(scale)));
                let [c, d] = wider(vmovl_high_u8(scale));
                scales[4 * half + i] = [a, b, c, d];
                // Eight rows, two runs side by side.
                let min = vreinterpretq_u16_u8(vorrq_u8(min_lower[half], vandq_u8(min_upper[half], high)));
                let run = 4 * half + i / 2 * 2;
                let quarter = i % 2 * 2;
                [mins[run][quarter], mins[run][quarter + 1]] = wider(vandq_u16(min, vdupq_n_u16(0xff)));
                [mins[run + 1][quarter], mins[run + 1][quarter + 1]] = wider(vshrq_n_u16::<8>(min));
            }
        }
        Self { scales, mins, d: halves(part(block, D)), d_min: halves(part(block, D_MIN)) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn wider(of: uint16x8_t) -> [int32x4_t; 2] {
    [vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(of))), vreinterpretq_s32_u32(vmovl_high_u16(of))]
}

/// Quants as bytes: [run][quad].
#[target_feature(enable = "neon")]
fn unpack(block: &[u8; SUPER_BLOCK_BYTES], out: &mut [[Quad; 8]; 8]) {
    let low = vdupq_n_u8(0x0f);
    for (pair, quants) in block[QUANTS..].as_chunks::<SUB_BLOCK_BYTES>().0.iter().enumerate() {
        for (index, quants) in quants.as_chunks::<16>().0.iter().enumerate() {
            let quad = index / 4;
            let quarter = index % 4;
            let quants = load(quants);
            out[2 * pair][quad][quarter] = vreinterpretq_s8_u8(vandq_u8(quants, low));
            out[2 * pair + 1][quad][quarter] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(quants));
        }
    }
}

/// The sums over a run for N vectors; `FITS` products fit into 16 bits, which matters without `sdot` only.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots_dot<const N: usize, const FITS: usize>(quants: &[Quad; 8], x: &[&[i32; 8]; N]) -> [RowSums; N] {
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
fn dots_plain<const N: usize, const FITS: usize>(quants: &[Quad; 8], x: &[&[i32; 8]; N]) -> [RowSums; N] {
    let mut sums = [[vdupq_n_s32(0); 4]; N];
    for first in (0..8).step_by(FITS) {
        for i in 0..N {
            for quarter in 0..4 {
                // Rows 0 and 1 of the four, rows 2 and 3: the products of the four columns each.
                let mut lower = vdupq_n_s16(0);
                let mut upper = vdupq_n_s16(0);
                for quad in first..first + FITS {
                    let quants = quants[quad][quarter];
                    let x = vreinterpretq_s8_s32(vdupq_n_s32(x[i][quad]));
                    lower = vmlal_s8(lower, vget_low_s8(quants), vget_low_s8(x));
                    upper = vmlal_high_s8(upper, quants, x);
                }
                let rows = vpaddq_s32(vpaddlq_s16(lower), vpaddlq_s16(upper));
                sums[i][quarter] = vaddq_s32(sums[i][quarter], rows);
            }
        }
    }
    sums
}

/// The kernels, once for each way to sum over a run.
macro_rules! kernels {
    ($name:ident, $features:literal, $dots:ident, $tile:literal) => {
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
                    WeightFormat::Q4K => q4k(weights, view, sums),
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
                let dots = $dots::<N, 2>(quants, &x.each_ref().map(|x| &x.quads));
                for i in 0..N {
                    let mut after = load_sums(&sums[i]);
                    for quarter in 0..4 {
                        let scale = vmulq_n_f32(scales[quarter], x[i].scale);
                        after[quarter] = vfmaq_f32(after[quarter], vcvtq_f32_s32(dots[i][quarter]), scale);
                    }
                    store(&mut sums[i], after);
                }
            }

            #[target_feature(enable = $features)]
            fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
                sums.fill([0.0; GROUP_ROWS]);
                let mut quants = [[[vdupq_n_s8(0); 4]; 8]; 8];
                for (index, block) in weights.as_chunks::<SUPER_BLOCK_BYTES>().0.iter().enumerate() {
                    let factors = NeonFactors::new(block);
                    unpack(block, &mut quants);
                    let (x, _) = view.super_block(index).as_chunks::<TILE>();
                    let (tiles, rest) = sums.as_chunks_mut::<TILE>();
                    tiles.iter_mut().zip(x).for_each(|(sums, x)| q4k_tile(&quants, &factors, x, sums));
                    let (x, _) = view.super_block(index)[tiles.len() * TILE..].as_chunks::<1>();
                    let (rest, _) = rest.as_chunks_mut::<1>();
                    rest.iter_mut().zip(x).for_each(|(sums, x)| q4k_tile(&quants, &factors, x, sums));
                }
            }

            #[target_feature(enable = $features)]
            fn q4k_tile<const N: usize>(
                quants: &[[Quad; 8]; 8],
                factors: &NeonFactors,
                x: &[Q8SuperBlock; N],
                sums: &mut [GroupSums; N],
            ) {
                let zero = [[vdupq_n_s32(0); 4]; N];
                let mut totals = zero;
                let mut mins = zero;
                for run in 0..8 {
                    let quads = x.each_ref().map(|x| part(&x.quads, 8 * run));
                    let dots = $dots::<N, 8>(&quants[run], &quads);
                    for i in 0..N {
                        for quarter in 0..4 {
                            let total = &mut totals[i][quarter];
                            *total = vmlaq_s32(*total, dots[i][quarter], factors.scales[run][quarter]);
                            mins[i][quarter] =
                                vmlaq_n_s32(mins[i][quarter], factors.mins[run][quarter], x[i].sums[run]);
                        }
                    }
                }
                for i in 0..N {
                    let mut after = load_sums(&sums[i]);
                    for quarter in 0..4 {
                        let total = vmulq_f32(vcvtq_f32_s32(totals[i][quarter]), factors.d[quarter]);
                        let total = vfmsq_f32(total, vcvtq_f32_s32(mins[i][quarter]), factors.d_min[quarter]);
                        after[quarter] = vfmaq_n_f32(after[quarter], total, x[i].scale);
                    }
                    store(&mut sums[i], after);
                }
            }

            /// Makes products from registers; returns how many.
            #[target_feature(enable = $features)]
            pub(in crate::kernels) fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
                let mut products = 0;
                if format == WeightFormat::F32 {
                    let mut sums = [vdupq_n_f32(0.0); 16];
                    for _ in 0..rounds {
                        let x = std::hint::black_box(1.5);
                        for sum in &mut sums {
                            *sum = vfmaq_n_f32(*sum, vdupq_n_f32(3.0), x);
                        }
                        products += 4 * sums.len();
                    }
                    std::hint::black_box(sums);
                } else {
                    let quants = [[vdupq_n_s8(3); 4]; 8];
                    let mut sums = [vdupq_n_s32(0); 4];
                    for _ in 0..rounds {
                        let quants = std::hint::black_box(&quants);
                        let x = [0x0102_0304; 8];
                        let dots = if format == WeightFormat::Q4K {
                            $dots::<1, 8>(quants, &[&x])
                        } else {
                            $dots::<1, 2>(quants, &[&x])
                        };
                        for quarter in 0..4 {
                            sums[quarter] = vaddq_s32(sums[quarter], dots[0][quarter]);
                        }
                        products += SUB_BLOCK_BYTES;
                    }
                    std::hint::black_box(sums);
                }
                products
            }
        }
    };
}

kernels!(plain, "neon", dots_plain, 2);
kernels!(dot, "neon,dotprod", dots_dot, 4);

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
