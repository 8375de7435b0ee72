//! Loads, stores and prefetches.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::{GROUP_ROWS, GroupSums};

/// The N bytes of a block from `at` on.
#[inline(always)]
pub(super) fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("a part lies within its block")
}

/// Prefetches the weights that come next. Several vectors keep a kernel at a block so long that the hardware prefetcher has
/// stopped; fetching all of the next block at once would delay the loads of inputs.
pub(in super::super) struct NextWeights {
    start: *const u8,
    lines: Range<usize>,
}

impl NextWeights {
    /// As many bytes as these, behind them.
    #[inline(always)]
    pub(in super::super) fn behind(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr_range().end, lines: 0..bytes.len().div_ceil(64) }
    }

    /// Fetches so many more cache lines, or all that are left.
    #[inline(always)]
    pub(in super::super) fn fetch(&mut self, count: usize) {
        for line in self.lines.by_ref().take(count) {
            prefetch(self.start.wrapping_add(64 * line));
        }
    }
}

/// Cache lines of the next `bytes` to fetch with each tile of four of so many vectors. Computed once for all blocks, since it is a
/// division.
#[inline(always)]
pub(super) fn share(bytes: usize, vectors: usize) -> usize {
    bytes.div_ceil(64).div_ceil(vectors.div_ceil(4))
}

/// Fetches the cache line of any address, whether or not there is memory.
#[inline(always)]
pub(in super::super) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch has no effect except on time, for any address; all of x86-64 has SSE.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// 16 f16.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn halves(bytes: &[u8; 2 * GROUP_ROWS]) -> [__m256; 2] {
    let start = bytes.as_ptr().cast::<__m128i>();
    // SAFETY: twice 16 bytes are read from a reference to 32 bytes.
    unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(start)), _mm256_cvtph_ps(_mm_loadu_si128(start.add(1)))] }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_sums(sums: &GroupSums) -> [__m256; 2] {
    let start = sums.as_ptr();
    // SAFETY: twice 8 numbers are read from a reference to 16 numbers.
    unsafe { [_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8))] }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are read from a reference to 32 bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Rows 0 to 7, rows 8 to 15.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_pair(bytes: &[u8; 64]) -> [__m256i; 2] {
    let start = bytes.as_ptr().cast::<__m256i>();
    // SAFETY: twice 32 bytes are read from a reference to 64 bytes.
    unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_pair(sums: &mut GroupSums, values: [__m256; 2]) {
    let start = sums.as_mut_ptr();
    // SAFETY: twice 8 numbers are written to a reference to 16 numbers.
    unsafe {
        _mm256_storeu_ps(start, values[0]);
        _mm256_storeu_ps(start.add(8), values[1]);
    }
}
