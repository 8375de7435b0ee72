//! Q4K with `sdot`: four vectors and eight rows at a time, which is as much as 32 registers hold. A single vector has a path of its own.
//!
//! What keeps the other pipes from waiting for each other:
//! - Sums are never cleared. With S_r the running sum after run r, Σ s_r (S_r − S_(r−1)) = Σ S_r (s_r − s_(r+1)): running sums are
//!   multiplied with differences of scales. |S_r| is at most 487,680, so that all of it fits 32 bits.
//! - The sum of a run's inputs has 13 bits. As two digits of 7 bits it is multiplied with the minima by `sdot`, too.
//! - An integer below 2²² that is added to the bits of 1.5 · 2²³ is a number from which one subtraction makes an f32.

use std::arch::aarch64::*;
use std::arch::asm;

use super::q4k_block::{self, UnpackedQuants};
use super::q4k_dot_single::block_once;
use super::registers::{add, halves, load, load_four, load_quads, part, sdot, store};
use crate::kernels::activations::{ActivationView, Q8SuperBlock};
use crate::kernels::weights::{D, D_MIN, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES};
use crate::kernels::{GROUP_ROWS, GroupSums};

/// Vectors from which it pays to unpack a block into memory.
const MANY: usize = 3;

/// The products of a group for all vectors of the view.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    let blocks = weights.as_chunks::<SUPER_BLOCK_BYTES>().0.iter().enumerate();
    if sums.len() < MANY {
        for (index, block) in blocks {
            for (sums, x) in sums.iter_mut().zip(view.super_block(index)) {
                block_once(block, x, sums);
            }
        }
        return;
    }
    let mut unpacked = UnpackedBlock::new();
    for (index, block) in blocks {
        unpacked.fill(block);
        let (x, x_rest) = view.super_block(index).as_chunks::<4>();
        let (tiles, rest) = sums.as_chunks_mut::<4>();
        for (sums, x) in tiles.iter_mut().zip(x) {
            tile_of_4(&unpacked, x, sums);
        }
        for (sums, x) in rest.iter_mut().zip(x_rest) {
            tile_of_1(&unpacked, x, sums);
        }
    }
}

/// A block as the tiles read it.
#[repr(C, align(64))]
struct UnpackedBlock {
    quants: UnpackedQuants,
    /// The scale of a run minus that of the next one: [run][row].
    steps: [[i32; GROUP_ROWS]; 8],
    /// Of runs 0 to 3, of runs 4 to 7: [row][run].
    mins: [[i8; 4 * GROUP_ROWS]; 2],
    d: GroupSums,
    d_min: GroupSums,
}

impl UnpackedBlock {
    fn new() -> Self {
        Self {
            quants: [[0; SUB_BLOCK_BYTES]; 8],
            steps: [[0; GROUP_ROWS]; 8],
            mins: [[0; 4 * GROUP_ROWS]; 2],
            d: [0.0; GROUP_ROWS],
            d_min: [0.0; GROUP_ROWS],
        }
    }

    #[target_feature(enable = "neon")]
    #[inline(never)]
    fn fill(&mut self, block: &[u8; SUPER_BLOCK_BYTES]) {
        q4k_block::unpack(block, &mut self.quants);
        let scales = q4k_block::scales(block);
        for (run, steps) in self.steps.iter_mut().enumerate() {
            let next = if run < 7 { scales[run + 1] } else { vdupq_n_u8(0) };
            let step = vreinterpretq_s8_u8(vsubq_u8(scales[run], next));
            let halves = [vmovl_s8(vget_low_s8(step)), vmovl_high_s8(step)];
            for (steps, half) in steps.as_chunks_mut::<8>().0.iter_mut().zip(halves) {
                // SAFETY: twice 4 numbers are written to a reference to 8 numbers.
                unsafe {
                    vst1q_s32(steps.as_mut_ptr(), vmovl_s16(vget_low_s16(half)));
                    vst1q_s32(steps.as_mut_ptr().add(4), vmovl_high_s16(half));
                }
            }
        }
        for (mins, quarters) in self.mins.iter_mut().zip(mins_by_row(block)) {
            for (mins, quarter) in mins.as_chunks_mut::<16>().0.iter_mut().zip(quarters) {
                // SAFETY: 16 bytes are written to a reference to 16 bytes.
                unsafe { vst1q_s8(mins.as_mut_ptr(), quarter) }
            }
        }
        store(&mut self.d, halves(part(block, D)));
        store(&mut self.d_min, halves(part(block, D_MIN)));
    }
}

/// Of runs 0 to 3, of runs 4 to 7: minima of four rows in each register, [row][run].
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn mins_by_row(block: &[u8; SUPER_BLOCK_BYTES]) -> [[int8x16_t; 4]; 2] {
    let pairs = q4k_block::mins(block);
    let mut mins = [[vdupq_n_s8(0); 4]; 2];
    for half in 0..2 {
        for rows in 0..2 {
            let [first, second] = [pairs[2 * half][rows], pairs[2 * half + 1][rows]];
            mins[half][2 * rows] = vreinterpretq_s8_u16(vzip1q_u16(first, second));
            mins[half][2 * rows + 1] = vreinterpretq_s8_u16(vzip2q_u16(first, second));
        }
    }
    mins
}

/// The sums of a vector's runs as two digits of seven bits, the upper one signed: the low ones of runs 0 to 7, then the high ones.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn digits(sums: &[i32; 8]) -> int32x4_t {
    let [a, b] = [load_quads(part(sums, 0)), load_quads(part(sums, 4))];
    let low = vdupq_n_s32(127);
    let low = vuzp1q_s16(vreinterpretq_s16_s32(vandq_s32(a, low)), vreinterpretq_s16_s32(vandq_s32(b, low)));
    let high = vuzp1q_s16(vreinterpretq_s16_s32(vshrq_n_s32::<7>(a)), vreinterpretq_s16_s32(vshrq_n_s32::<7>(b)));
    vreinterpretq_s32_s8(vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high)))
}

/// The bits of 1.5 · 2²³.
const ROUND_BITS: i32 = 0x4b40_0000;

/// Σ m · Σ x over the runs, of four rows, which is below 2²²: the upper digits first, then all of it times 128.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn minima(mins: [int8x16_t; 2], digits: int32x4_t) -> float32x4_t {
    let high = vdupq_n_s32(ROUND_BITS >> 7);
    let high = sdot::<3>(sdot::<2>(high, mins[0], digits), mins[1], digits);
    let all = sdot::<1>(sdot::<0>(vshlq_n_s32::<7>(high), mins[0], digits), mins[1], digits);
    vsubq_f32(vreinterpretq_f32_s32(all), vreinterpretq_f32_s32(vdupq_n_s32(ROUND_BITS)))
}

#[inline(never)]
#[target_feature(enable = "neon,dotprod")]
fn tile_of_4(block: &UnpackedBlock, x: &[Q8SuperBlock; 4], sums: &mut [GroupSums; 4]) {
    let mut of_runs = [vdupq_n_s32(0); 4];
    for i in 0..4 {
        of_runs[i] = digits(&x[i].sums);
    }
    for half in 0..2 {
        let totals = runs_of_4(block, half, x);
        for quarter in 0..2 {
            let row = 8 * half + 4 * quarter;
            let mins = [load_bytes(part(&block.mins[0], 4 * row)), load_bytes(part(&block.mins[1], 4 * row))];
            let [d, d_min] = [load_four(part(&block.d, row)), load_four(part(&block.d_min, row))];
            for i in 0..4 {
                let total = vmulq_f32(vcvtq_f32_s32(totals[i][quarter]), d);
                add(&mut sums[i], row, vfmsq_f32(total, minima(mins, of_runs[i]), d_min), x[i].scale);
            }
        }
    }
}

#[inline(never)]
#[target_feature(enable = "neon,dotprod")]
fn tile_of_1(block: &UnpackedBlock, x: &Q8SuperBlock, sums: &mut GroupSums) {
    let of_runs = digits(&x.sums);
    let totals = runs_of_1(block, x);
    for quarter in 0..4 {
        let row = 4 * quarter;
        let mins = [load_bytes(part(&block.mins[0], 4 * row)), load_bytes(part(&block.mins[1], 4 * row))];
        let total = vmulq_f32(vcvtq_f32_s32(totals[quarter]), load_four(part(&block.d, row)));
        let total = vfmsq_f32(total, minima(mins, of_runs), load_four(part(&block.d_min, row)));
        add(sums, row, total, x.scale);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_bytes(bytes: &[i8; 16]) -> int8x16_t {
    // SAFETY: 16 bytes are read from a reference to 16 bytes.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

/// A quad of columns of eight rows, v$a and v$b, times lane $lane of the four vectors' inputs in v16 to v19.
#[rustfmt::skip]
macro_rules! quad_of_4 {
    ($a:literal, $b:literal, $lane:literal) => {
        concat!(
            "ldp q", $a, ", q", $b, ", [{quants}], #64\n",
            "sdot v0.4s, v", $a, ".16b, v16.4b[", $lane, "]\n", "sdot v1.4s, v", $b, ".16b, v16.4b[", $lane, "]\n",
            "sdot v2.4s, v", $a, ".16b, v17.4b[", $lane, "]\n", "sdot v3.4s, v", $b, ".16b, v17.4b[", $lane, "]\n",
            "sdot v4.4s, v", $a, ".16b, v18.4b[", $lane, "]\n", "sdot v5.4s, v", $b, ".16b, v18.4b[", $lane, "]\n",
            "sdot v6.4s, v", $a, ".16b, v19.4b[", $lane, "]\n", "sdot v7.4s, v", $b, ".16b, v19.4b[", $lane, "]\n",
        )
    };
}

/// 16 columns.
#[rustfmt::skip]
macro_rules! quads_of_4 {
    () => {
        concat!(
            "ldr q16, [{x0}], #16\n", "ldr q17, [{x1}], #16\n", "ldr q18, [{x2}], #16\n", "ldr q19, [{x3}], #16\n",
            quad_of_4!("20", "21", "0"), quad_of_4!("22", "23", "1"), quad_of_4!("24", "25", "2"), quad_of_4!("26", "27", "3"),
        )
    };
}

/// Σ s · Σ q x over the runs, of four vectors and the first or the last eight rows. In assembly, since LLVM moves loads of quants
/// together until registers are spilled.
#[inline]
#[target_feature(enable = "neon,dotprod")]
#[rustfmt::skip]
fn runs_of_4(block: &UnpackedBlock, half: usize, x: &[Q8SuperBlock; 4]) -> [[int32x4_t; 2]; 4] {
    let quants = &block.quants.as_flattened()[32 * half..];
    let steps = &block.steps.as_flattened()[8 * half..];
    let [x0, x1, x2, x3] = x.each_ref().map(|x| x.quads.as_ptr());
    let mut totals = [[vdupq_n_s32(0); 2]; 4];
    let [[t0, t1], [t2, t3], [t4, t5], [t6, t7]] = &mut totals;
    // SAFETY: of the quants 32 of each 64 bytes are read, of the steps 8 of each 16, of each vector all 64 quads; the pointers end up to
    // 64 bytes behind what was read. Nothing is written but the registers named.
    unsafe {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0",
            "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0",
            "2:",
            quads_of_4!(), quads_of_4!(),
            "ldp q28, q29, [{steps}]", "add {steps}, {steps}, #64", "subs {runs:w}, {runs:w}, #1",
            "mla v8.4s, v0.4s, v28.4s", "mla v9.4s, v1.4s, v29.4s", "mla v10.4s, v2.4s, v28.4s", "mla v11.4s, v3.4s, v29.4s",
            "mla v12.4s, v4.4s, v28.4s", "mla v13.4s, v5.4s, v29.4s", "mla v14.4s, v6.4s, v28.4s", "mla v15.4s, v7.4s, v29.4s",
            "b.ne 2b",
            quants = inout(reg) quants.as_ptr() => _, steps = inout(reg) steps.as_ptr() => _, runs = inout(reg) 8 => _,
            x0 = inout(reg) x0 => _, x1 = inout(reg) x1 => _, x2 = inout(reg) x2 => _, x3 = inout(reg) x3 => _,
            inout("v8") *t0, inout("v9") *t1, inout("v10") *t2, inout("v11") *t3,
            inout("v12") *t4, inout("v13") *t5, inout("v14") *t6, inout("v15") *t7,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            options(readonly, nostack),
        );
    }
    totals
}

/// The same of one vector and sixteen rows.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn runs_of_1(block: &UnpackedBlock, x: &Q8SuperBlock) -> [int32x4_t; 4] {
    let mut running = [vdupq_n_s32(0); 4];
    let mut totals = running;
    for run in 0..8 {
        for part_of_run in 0..2 {
            let x = load_quads(part(&x.quads, 8 * run + 4 * part_of_run));
            let quants = &block.quants[run].as_chunks::<16>().0[16 * part_of_run..][..16];
            for quarter in 0..4 {
                let of = |quad: usize| &quants[4 * quad + quarter];
                let sum = &mut running[quarter];
                *sum = sdot::<0>(*sum, vreinterpretq_s8_u8(load(of(0))), x);
                *sum = sdot::<1>(*sum, vreinterpretq_s8_u8(load(of(1))), x);
                *sum = sdot::<2>(*sum, vreinterpretq_s8_u8(load(of(2))), x);
                *sum = sdot::<3>(*sum, vreinterpretq_s8_u8(load(of(3))), x);
            }
        }
        for quarter in 0..4 {
            let step = load_quads(part(&block.steps[run], 4 * quarter));
            totals[quarter] = vmlaq_s32(totals[quarter], running[quarter], step);
        }
    }
    totals
}
