//! Takes a block of Q4K apart: scales and minima, six bits each, and quants. What a shift carries over from the neighboring field is
//! masked off.

use std::arch::aarch64::*;

use super::registers::{load, part};
use crate::kernels::weights::{MINS, QUANTS, SCALES, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES, UPPER};

/// UnpackedQuants as bytes: [run][quad][row][column].
pub(super) type UnpackedQuants = [[u8; SUB_BLOCK_BYTES]; 8];

#[target_feature(enable = "neon")]
pub(super) fn unpack(block: &[u8; SUPER_BLOCK_BYTES], out: &mut UnpackedQuants) {
    let low = vdupq_n_u8(0x0f);
    for (quants, out) in block[QUANTS..].as_chunks::<SUB_BLOCK_BYTES>().0.iter().zip(out.as_chunks_mut::<2>().0) {
        let [lower, upper] = out.each_mut().map(|out| out.as_chunks_mut::<16>().0);
        for ((quants, lower), upper) in quants.as_chunks::<16>().0.iter().zip(lower).zip(upper) {
            let quants = load(quants);
            // SAFETY: 16 bytes each are written to references to 16 bytes.
            unsafe {
                vst1q_u8(lower.as_mut_ptr(), vandq_u8(quants, low));
                vst1q_u8(upper.as_mut_ptr(), vshrq_n_u8::<4>(quants));
            }
        }
    }
}

/// The scales of each run, a byte for each row.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn scales(block: &[u8; SUPER_BLOCK_BYTES]) -> [uint8x16_t; 8] {
    let low = vdupq_n_u8(0x0f);
    let high = vdupq_n_u8(0x30);
    let mut scales = [low; 8];
    for i in 0..4 {
        let scale = load(part(block, SCALES + 16 * i));
        let upper = load(part(block, UPPER + 16 * i));
        scales[i] = vorrq_u8(vandq_u8(scale, low), vandq_u8(vshlq_n_u8::<4>(upper), high));
        scales[i + 4] = vorrq_u8(vshrq_n_u8::<4>(scale), vandq_u8(vshlq_n_u8::<2>(upper), high));
    }
    scales
}

/// The minima of pairs of runs, of rows 0 to 7 and of rows 8 to 15; the first run's is the low byte.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn mins(block: &[u8; SUPER_BLOCK_BYTES]) -> [[uint16x8_t; 2]; 4] {
    let low = vdupq_n_u8(0x0f);
    let high = vdupq_n_u8(0x30);
    let mut mins = [[vdupq_n_u16(0); 2]; 4];
    for i in 0..4 {
        let min = load(part(block, MINS + 16 * i));
        let upper = load(part(block, UPPER + 16 * i));
        let early = vorrq_u8(vandq_u8(min, low), vandq_u8(upper, high));
        let late = vorrq_u8(vshrq_n_u8::<4>(min), vandq_u8(vshrq_n_u8::<2>(upper), high));
        mins[i / 2][i % 2] = vreinterpretq_u16_u8(early);
        mins[i / 2 + 2][i % 2] = vreinterpretq_u16_u8(late);
    }
    mins
}
