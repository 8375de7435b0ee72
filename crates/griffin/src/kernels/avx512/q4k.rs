//! AVX-512: Q4K.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{halves, load, load_sums, store};
use crate::kernels::activations::{ActivationView, Q8SuperBlock};
use crate::kernels::avx2::NextWeights;
use crate::kernels::tiles::for_each_tile;
use crate::kernels::weights::{D, D_MIN, MINS, QUANTS, SCALES, SUPER_BLOCK_BYTES, UPPER};
use crate::kernels::{GROUP_ROWS, GroupSums};

/// Vectors from which it pays to unpack a block once for all tiles. Fewer of them unpack quants while they are multiplied.
const MANY: usize = 24;

/// Quants as bytes: [pair of runs][quad][run].
type Quants = [[[__m512i; 2]; 8]; 4];

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    sums.fill([0.0; GROUP_ROWS]);
    let is_many = sums.len() >= MANY;
    let mut unpacked = [[[_mm512_setzero_si512(); 2]; 8]; 4];
    for (index, block) in weights.as_chunks::<SUPER_BLOCK_BYTES>().0.iter().enumerate() {
        NextWeights::behind(block).fetch(usize::MAX);
        let factors = Avx512Factors::new(block);
        let x = view.super_block(index);
        let quants = block[QUANTS..].as_chunks().0.as_chunks::<8>().0;
        if is_many {
            for (quants, unpacked) in quants.as_flattened().iter().zip(unpacked.as_flattened_mut()) {
                *unpacked = unpack(quants);
            }
            for_each_tile!(sums, |token, rest| q4k_tile::<8 | 4 | 2 | 1>(&unpacked, &factors, &x[token..], rest));
        } else {
            for_each_tile!(sums, |token, rest| q4k_few::<8 | 4 | 2 | 1>(quants, &factors, &x[token..], rest));
        }
    }
}

/// 16 rows times 4 columns of two runs.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack(quants: &[u8; 64]) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(0x0f);
    let quants = load(quants);
    [_mm512_and_si512(quants, low), _mm512_and_si512(_mm512_srli_epi16::<4>(quants), low)]
}

/// What the quants of a super-block are multiplied with.
struct Avx512Factors {
    /// s of each run.
    scales: [__m512i; 8],
    /// Minima of two runs, i16, in each lane.
    mins: [__m512i; 4],
    /// Eight times the scales of two runs, i16, in each lane.
    eights: [__m512i; 4],
    d: __m512,
    d_min: __m512,
}

impl Avx512Factors {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(block: &[u8; SUPER_BLOCK_BYTES]) -> Self {
        let low = _mm_set1_epi8(0x0f);
        let high = _mm_set1_epi8(0x30);
        let wide_low = _mm256_set1_epi8(0x0f);
        let wide_high = _mm256_set1_epi8(0x30);
        let zero = _mm512_setzero_si512();
        let mut scales = [zero; 8];
        let mut mins = [zero; 4];
        // What a shift carries over from the neighboring byte is masked off.
        for i in 0..4 {
            let lower = load_128(part(block, SCALES + 16 * i));
            let upper = load_128(part(block, UPPER + 16 * i));
            let lower = [lower, _mm_srli_epi16::<4>(lower)];
            let upper = [_mm_slli_epi16::<4>(upper), _mm_slli_epi16::<2>(upper)];
            for half in 0..2 {
                let scale = _mm_or_si128(_mm_and_si128(lower[half], low), _mm_and_si128(upper[half], high));
                scales[4 * half + i] = _mm512_cvtepu8_epi32(scale);
            }
        }
        for i in 0..2 {
            let lower = load_256(part(block, MINS + 32 * i));
            let upper = load_256(part(block, UPPER + 32 * i));
            let lower = [lower, _mm256_srli_epi16::<4>(lower)];
            let upper = [upper, _mm256_srli_epi16::<2>(upper)];
            for half in 0..2 {
                let lower = _mm256_and_si256(lower[half], wide_low);
                let min = _mm256_or_si256(lower, _mm256_and_si256(upper[half], wide_high));
                mins[2 * half + i] = _mm512_cvtepu8_epi16(min);
            }
        }
        let mut eights = [zero; 4];
        for pair in 0..4 {
            eights[pair] = _mm512_or_si512(
                _mm512_slli_epi32::<3>(scales[2 * pair]),
                _mm512_slli_epi32::<19>(scales[2 * pair + 1]),
            );
        }
        Self { scales, mins, eights, d: halves(part(block, D)), d_min: halves(part(block, D_MIN)) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn q4k_tile<const N: usize>(
    quants: &Quants,
    factors: &Avx512Factors,
    x: &[Q8SuperBlock],
    sums: &mut [GroupSums],
) -> usize {
    let x = &x[..N];
    let mut totals = [_mm512_setzero_si512(); N];
    for pair in 0..4 {
        let mut dots = first_dots::<N>(pair, x);
        for quad in 0..8 {
            add_quad(pair, quad, quants[pair][quad], x, &mut dots);
        }
        add_scaled(pair, factors, &dots, &mut totals);
    }
    finish(factors, x, &mut totals, &mut sums[..N])
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn q4k_few<const N: usize>(
    quants: &[[[u8; 64]; 8]],
    factors: &Avx512Factors,
    x: &[Q8SuperBlock],
    sums: &mut [GroupSums],
) -> usize {
    let x = &x[..N];
    let mut totals = [_mm512_setzero_si512(); N];
    for (pair, quants) in quants.iter().enumerate() {
        let mut dots = first_dots::<N>(pair, x);
        for (quad, quants) in quants.iter().enumerate() {
            add_quad(pair, quad, unpack(quants), x, &mut dots);
        }
        add_scaled(pair, factors, &dots, &mut totals);
    }
    finish(factors, x, &mut totals, &mut sums[..N])
}

/// Sums of two runs, from which eight times the sums of the inputs are subtracted: as if quants were -8 to 7. So they fit 16 bits
/// (32 · 8 · 127 = 32512), and one instruction multiplies and adds them; multiplying 32 bits and adding takes three on Intel.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn first_dots<const N: usize>(pair: usize, x: &[Q8SuperBlock]) -> [[__m512i; 2]; N] {
    let mut dots = [[_mm512_setzero_si512(); 2]; N];
    for i in 0..N {
        for run in 0..2 {
            dots[i][run] = _mm512_set1_epi32(x[i].offsets[2 * pair + run]);
        }
    }
    dots
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_quad<const N: usize>(
    pair: usize,
    quad: usize,
    weights: [__m512i; 2],
    x: &[Q8SuperBlock],
    dots: &mut [[__m512i; 2]; N],
) {
    for i in 0..N {
        for run in 0..2 {
            let x = _mm512_set1_epi32(x[i].quads[16 * pair + 8 * run + quad]);
            dots[i][run] = _mm512_dpbusd_epi32(dots[i][run], weights[run], x);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_scaled<const N: usize>(
    pair: usize,
    factors: &Avx512Factors,
    dots: &[[__m512i; 2]; N],
    totals: &mut [__m512i; N],
) {
    for i in 0..N {
        for run in 0..2 {
            totals[i] = dpwssd(totals[i], dots[i][run], factors.scales[2 * pair + run]);
        }
    }
}

/// Adds what [`first_dots`] subtracted, subtracts the minima, scales, and adds to the sums of the vectors.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn finish<const N: usize>(
    factors: &Avx512Factors,
    x: &[Q8SuperBlock],
    totals: &mut [__m512i; N],
    sums: &mut [GroupSums],
) -> usize {
    for i in 0..N {
        let mut mins = _mm512_setzero_si512();
        for pair in 0..4 {
            let sums = _mm512_set1_epi32(x[i].sum_pairs[pair]);
            mins = dpwssd(mins, factors.mins[pair], sums);
            totals[i] = dpwssd(totals[i], factors.eights[pair], sums);
        }
        let total = _mm512_mul_ps(_mm512_cvtepi32_ps(totals[i]), factors.d);
        let total = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(mins), factors.d_min, total);
        let sum = _mm512_fmadd_ps(_mm512_set1_ps(x[i].scale), total, load_sums(&sums[i]));
        store(&mut sums[i], sum);
    }
    N
}

/// Adds two products of i16 to each lane, in one instruction: the compiler would make it a multiplication and an addition, to have
/// shorter chains, and these are two on the ports that bound this kernel.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dpwssd(mut sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the instruction only reads and writes these registers.
    unsafe {
        asm!("vpdpwssd {}, {}, {}", inout(zmm_reg) sums, in(zmm_reg) a, in(zmm_reg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// The N bytes of a block from `at` on.
#[inline(always)]
fn part<const N: usize>(block: &[u8; SUPER_BLOCK_BYTES], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("a part lies within its block")
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_128(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are read from a reference to 16 bytes.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are read from a reference to 32 bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
