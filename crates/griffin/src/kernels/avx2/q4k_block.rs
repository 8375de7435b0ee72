//! Takes a block of Q4K apart: the scales and the minima of its eight runs, six bits each, for all rows of two runs at once. What a
//! shift carries over from the neighboring byte is masked off.

use std::arch::x86_64::*;

use super::{Pair, load_256, part};
use crate::kernels::activations::Q8SuperBlock;
use crate::kernels::weights::{MINS, SCALES, SUPER_BLOCK_BYTES, UPPER};

/// The scales of runs 2i and 2i + 1, one in each half, a byte for each row.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn scales(block: &[u8; SUPER_BLOCK_BYTES]) -> [__m256i; 4] {
    let low = _mm256_set1_epi8(0x0f);
    let high = _mm256_set1_epi8(0x30);
    let mut scales = [_mm256_setzero_si256(); 4];
    for i in 0..2 {
        let scale = load_256(part(block, SCALES + 32 * i));
        let upper = load_256(part(block, UPPER + 32 * i));
        let bits = [scale, _mm256_srli_epi16::<4>(scale)];
        let upper = [_mm256_slli_epi16::<4>(upper), _mm256_slli_epi16::<2>(upper)];
        for later in 0..2 {
            scales[2 * later + i] =
                _mm256_or_si256(_mm256_and_si256(bits[later], low), _mm256_and_si256(upper[later], high));
        }
    }
    scales
}

/// Each of the two runs in both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn of_runs(pair: __m256i) -> Pair {
    [_mm256_permute4x64_epi64::<0x44>(pair), _mm256_permute4x64_epi64::<0xee>(pair)]
}

/// A run's scales of rows 0 to 7, or of rows 8 to 15: each as an i16, twice.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn spread(of_run: __m256i, half: usize) -> __m256i {
    _mm256_shuffle_epi8(of_run, load_256(&SPREAD[half]))
}

const SPREAD: [[u8; 32]; 2] = {
    const NONE: u8 = 0x80;
    let mut spread = [[NONE; 32]; 2];
    let mut i = 0;
    while i < 32 {
        let row = (i / 4) as u8;
        (spread[0][i], spread[1][i]) = (row, row + 8);
        i += 2;
    }
    spread
};

/// The minima of pairs of runs, i16, of rows 0 to 7 and of rows 8 to 15.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn mins(block: &[u8; SUPER_BLOCK_BYTES]) -> [Pair; 4] {
    let low = _mm256_set1_epi8(0x0f);
    let high = _mm256_set1_epi8(0x30);
    let mut pairs = [[_mm256_setzero_si256(); 2]; 4];
    for i in 0..2 {
        let min = load_256(part(block, MINS + 32 * i));
        let upper = load_256(part(block, UPPER + 32 * i));
        let bits = [min, _mm256_srli_epi16::<4>(min)];
        let upper = [upper, _mm256_srli_epi16::<2>(upper)];
        for later in 0..2 {
            let mins = _mm256_or_si256(_mm256_and_si256(bits[later], low), _mm256_and_si256(upper[later], high));
            pairs[2 * later + i] = [
                _mm256_cvtepu8_epi16(_mm256_castsi256_si128(mins)),
                _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(mins)),
            ];
        }
    }
    pairs
}

/// Σ m · Σ x over the runs, of each row.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn mins_of(pairs: &[Pair; 4], x: &Q8SuperBlock) -> Pair {
    let mut sums = [_mm256_setzero_si256(); 2];
    for (of_pair, sum) in pairs.iter().zip(&x.sum_pairs) {
        let sum = _mm256_set1_epi32(*sum);
        for half in 0..2 {
            sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(of_pair[half], sum));
        }
    }
    sums
}
