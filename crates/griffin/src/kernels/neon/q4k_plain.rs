//! Q4K without `sdot`: two vectors and eight rows at a time. A single vector has a path of its own.
//!
//! A run's products fit 16 bits (8 · 15 · 127 = 15240), and so do sums of two columns of them, which `smlal` multiplies with scales in
//! pairs. Everything waits for the pipe of `smlal`, and nearly all that it does are these products.

use std::arch::aarch64::*;
use std::arch::asm;

use super::q4k_block::{self, UnpackedQuants};
use super::q4k_plain_single::block_once;
use super::registers::{add, halves, load_quads, part};
use crate::kernels::activations::{ActivationView, Q8SuperBlock};
use crate::kernels::weights::{D, D_MIN, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES};
use crate::kernels::{GROUP_ROWS, GroupSums};

/// The products of a group for all vectors of the view.
#[target_feature(enable = "neon")]
pub(super) fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    let mut quants = [[0; SUB_BLOCK_BYTES]; 8];
    for (index, block) in weights.as_chunks::<SUPER_BLOCK_BYTES>().0.iter().enumerate() {
        let factors = Factors::new(block);
        let (x, x_rest) = view.super_block(index).as_chunks::<2>();
        let (tiles, rest) = sums.as_chunks_mut::<2>();
        if !tiles.is_empty() {
            q4k_block::unpack(block, &mut quants);
        }
        for (sums, x) in tiles.iter_mut().zip(x) {
            tile_of_2(&quants, &factors, x, sums);
        }
        for (sums, x) in rest.iter_mut().zip(x_rest) {
            block_once(block, &factors, x, sums);
        }
    }
}

/// What the quants of a super-block are multiplied with.
#[repr(C, align(64))]
pub(super) struct Factors {
    /// Each scale twice: [run][row][2].
    pub(super) scales: [[i16; 2 * GROUP_ROWS]; 8],
    /// [run][row]
    mins: [[i16; GROUP_ROWS]; 8],
    pub(super) d: [float32x4_t; 4],
    pub(super) d_min: [float32x4_t; 4],
}

impl Factors {
    #[target_feature(enable = "neon")]
    #[inline(never)]
    fn new(block: &[u8; SUPER_BLOCK_BYTES]) -> Self {
        let mut scales = [[0; 2 * GROUP_ROWS]; 8];
        for (out, scales) in scales.iter_mut().zip(q4k_block::scales(block)) {
            let twice = [vzip1q_u8(scales, scales), vzip2q_u8(scales, scales)];
            for (out, twice) in out.as_chunks_mut::<16>().0.iter_mut().zip(twice) {
                store(part_mut(out, 0), vmovl_u8(vget_low_u8(twice)));
                store(part_mut(out, 8), vmovl_high_u8(twice));
            }
        }
        let mut mins = [[0; GROUP_ROWS]; 8];
        for (out, pair) in mins.as_chunks_mut::<2>().0.iter_mut().zip(q4k_block::mins(block)) {
            for rows in 0..2 {
                store(part_mut(&mut out[0], 8 * rows), vandq_u16(pair[rows], vdupq_n_u16(0xff)));
                store(part_mut(&mut out[1], 8 * rows), vshrq_n_u16::<8>(pair[rows]));
            }
        }
        Self { scales, mins, d: halves(part(block, D)), d_min: halves(part(block, D_MIN)) }
    }

    /// Σ m · Σ x over the runs, of the first or the last eight rows.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn minima(&self, half: usize, sums: &[i32; 8]) -> [int32x4_t; 2] {
        let mut minima = [vdupq_n_s32(0); 2];
        let sums = [vmovn_s32(load_quads(part(sums, 0))), vmovn_s32(load_quads(part(sums, 4)))];
        for late in 0..2 {
            let of = |run: usize| part::<_, 8>(&self.mins[4 * late + run], 8 * half);
            minima = add_minima::<0>(minima, of(0), sums[late]);
            minima = add_minima::<1>(minima, of(1), sums[late]);
            minima = add_minima::<2>(minima, of(2), sums[late]);
            minima = add_minima::<3>(minima, of(3), sums[late]);
        }
        minima
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn add_minima<const LANE: i32>(minima: [int32x4_t; 2], mins: &[i16; 8], sums: int16x4_t) -> [int32x4_t; 2] {
    // SAFETY: 8 numbers are read from a reference to 8 numbers.
    let mins = unsafe { vld1q_s16(mins.as_ptr()) };
    [vmlal_lane_s16::<LANE>(minima[0], vget_low_s16(mins), sums), vmlal_high_lane_s16::<LANE>(minima[1], mins, sums)]
}

fn part_mut<const N: usize>(of: &mut [i16], at: usize) -> &mut [i16; N] {
    of[at..].first_chunk_mut().expect("a part lies within its block")
}

#[inline]
#[target_feature(enable = "neon")]
fn store(out: &mut [i16; 8], values: uint16x8_t) {
    // SAFETY: 8 numbers are written to a reference to 8 numbers.
    unsafe { vst1q_s16(out.as_mut_ptr(), vreinterpretq_s16_u16(values)) }
}

#[inline(never)]
#[target_feature(enable = "neon")]
fn tile_of_2(quants: &UnpackedQuants, factors: &Factors, x: &[Q8SuperBlock; 2], sums: &mut [GroupSums; 2]) {
    for half in 0..2 {
        let totals = runs_of_2(quants, factors, half, x);
        for i in 0..2 {
            let minima = factors.minima(half, &x[i].sums);
            for quarter in 0..2 {
                let [even, odd] = totals[i][quarter];
                let at = 2 * half + quarter;
                let total = vmulq_f32(vcvtq_f32_s32(vpaddq_s32(even, odd)), factors.d[at]);
                let total = vfmsq_f32(total, vcvtq_f32_s32(minima[quarter]), factors.d_min[at]);
                add(&mut sums[i], 4 * at, total, x[i].scale);
            }
        }
    }
}

/// A quad of columns of eight rows, v$a and v$b, times lane $lane of the two vectors' inputs in v16 and v17.
#[rustfmt::skip]
macro_rules! quad_of_2 {
    ($op:literal, $lane:literal, $a:literal, $b:literal) => {
        concat!(
            "ldp q", $a, ", q", $b, ", [{quants}], #64\n", "dup v18.4s, v16.s[", $lane, "]\n", "dup v19.4s, v17.s[", $lane, "]\n",
            $op, " v0.8h, v", $a, ".8b, v18.8b\n", $op, "2 v1.8h, v", $a, ".16b, v18.16b\n",
            $op, " v2.8h, v", $b, ".8b, v18.8b\n", $op, "2 v3.8h, v", $b, ".16b, v18.16b\n",
            $op, " v4.8h, v", $a, ".8b, v19.8b\n", $op, "2 v5.8h, v", $a, ".16b, v19.16b\n",
            $op, " v6.8h, v", $b, ".8b, v19.8b\n", $op, "2 v7.8h, v", $b, ".16b, v19.16b\n",
        )
    };
}

/// Σ s · Σ q x over the runs, of two vectors and the first or the last eight rows; of each four rows eight sums, two for each row. In
/// assembly, since LLVM makes `ext` and `smlal` of `smlal2`.
#[inline]
#[target_feature(enable = "neon")]
#[rustfmt::skip]
fn runs_of_2(quants: &UnpackedQuants, factors: &Factors, half: usize, x: &[Q8SuperBlock; 2]) -> [[[int32x4_t; 2]; 2]; 2] {
    let quants = &quants.as_flattened()[32 * half..];
    let scales = &factors.scales.as_flattened()[16 * half..];
    let [x0, x1] = x.each_ref().map(|x| x.quads.as_ptr());
    let mut totals = [[[vdupq_n_s32(0); 2]; 2]; 2];
    let [[[t0, t1], [t2, t3]], [[t4, t5], [t6, t7]]] = &mut totals;
    // SAFETY: of the quants 32 of each 64 bytes are read, of the scales 16 of each 32, of each vector all 64 quads; pointers end up to
    // 64 bytes behind what was read. Nothing is written but the registers named.
    unsafe {
        asm!(
            "2:",
            "ldr q16, [{x0}], #16", "ldr q17, [{x1}], #16",
            quad_of_2!("smull", "0", "20", "21"), quad_of_2!("smlal", "1", "22", "23"),
            quad_of_2!("smlal", "2", "20", "21"), quad_of_2!("smlal", "3", "22", "23"),
            "ldr q16, [{x0}], #16", "ldr q17, [{x1}], #16",
            quad_of_2!("smlal", "0", "20", "21"), quad_of_2!("smlal", "1", "22", "23"),
            quad_of_2!("smlal", "2", "20", "21"), quad_of_2!("smlal", "3", "22", "23"),
            "ldp q24, q25, [{scales}]", "add {scales}, {scales}, #64", "subs {runs:w}, {runs:w}, #1",
            "addp v0.8h, v0.8h, v1.8h", "addp v2.8h, v2.8h, v3.8h", "addp v4.8h, v4.8h, v5.8h", "addp v6.8h, v6.8h, v7.8h",
            "smlal v8.4s, v0.4h, v24.4h", "smlal2 v9.4s, v0.8h, v24.8h", "smlal v10.4s, v2.4h, v25.4h", "smlal2 v11.4s, v2.8h, v25.8h",
            "smlal v12.4s, v4.4h, v24.4h", "smlal2 v13.4s, v4.8h, v24.8h", "smlal v14.4s, v6.4h, v25.4h", "smlal2 v15.4s, v6.8h, v25.8h",
            "b.ne 2b",
            quants = inout(reg) quants.as_ptr() => _, scales = inout(reg) scales.as_ptr() => _, runs = inout(reg) 8 => _,
            x0 = inout(reg) x0 => _, x1 = inout(reg) x1 => _,
            inout("v8") *t0, inout("v9") *t1, inout("v10") *t2, inout("v11") *t3,
            inout("v12") *t4, inout("v13") *t5, inout("v14") *t6, inout("v15") *t7,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _,
            options(readonly, nostack),
        );
    }
    totals
}
