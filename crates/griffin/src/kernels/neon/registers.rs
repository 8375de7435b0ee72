//! Loads and stores of NEON registers, and two instructions whose intrinsics are not stable.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::{GROUP_ROWS, GroupSums};

/// Adds four products to each lane; the four inputs are those of one lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot<const LANE: usize>(mut sum: int32x4_t, quants: int8x16_t, inputs: int32x4_t) -> int32x4_t {
    // SAFETY: the instruction, whose intrinsic is not stable yet, only reads and writes these registers.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {quants:v}.16b, {inputs:v}.4b[{lane}]",
            sum = inout(vreg) sum, quants = in(vreg) quants, inputs = in(vreg) inputs, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// N elements from `at` on.
#[inline(always)]
pub(super) fn part<T, const N: usize>(of: &[T], at: usize) -> &[T; N] {
    of[at..].first_chunk().expect("a part lies within its block")
}

/// 16 f16.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn halves(bytes: &[u8; 2 * GROUP_ROWS]) -> [float32x4_t; 4] {
    let mut out = [vdupq_n_f32(0.0); 4];
    for (bytes, out) in bytes.as_chunks::<8>().0.iter().zip(&mut out) {
        let halves = vcreate_u16(u64::from_le_bytes(*bytes));
        // SAFETY: the instruction, whose intrinsic needs a type that is not stable yet, only reads and writes these registers.
        unsafe {
            asm!("fcvtl {0:v}.4s, {1:v}.4h", lateout(vreg) *out, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
        }
    }
    out
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are read from a reference to 16 bytes.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_quads(quads: &[i32; 4]) -> int32x4_t {
    // SAFETY: 4 numbers are read from a reference to 4 numbers.
    unsafe { vld1q_s32(quads.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_sums(sums: &GroupSums) -> [float32x4_t; 4] {
    let start = sums.as_ptr();
    // SAFETY: four times 4 numbers are read from a reference to 16 numbers.
    unsafe { [vld1q_f32(start), vld1q_f32(start.add(4)), vld1q_f32(start.add(8)), vld1q_f32(start.add(12))] }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store(sums: &mut GroupSums, values: [float32x4_t; 4]) {
    for (sums, values) in sums.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        // SAFETY: 4 numbers are written to a reference to 4 numbers.
        unsafe { vst1q_f32(sums.as_mut_ptr(), values) }
    }
}

/// Adds the totals of four rows from `row` on, scaled.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add(sums: &mut GroupSums, row: usize, totals: float32x4_t, scale: f32) {
    let sums: &mut [f32; 4] = sums[row..].first_chunk_mut().expect("four rows of a group");
    let after = vfmaq_n_f32(load_four(sums), totals, scale);
    // SAFETY: 4 numbers are written to a reference to 4 numbers.
    unsafe { vst1q_f32(sums.as_mut_ptr(), after) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_four(values: &[f32; 4]) -> float32x4_t {
    // SAFETY: 4 numbers are read from a reference to 4 numbers.
    unsafe { vld1q_f32(values.as_ptr()) }
}
