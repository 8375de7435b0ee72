//! Eight values at a time with AVX2, sixteen with AVX-512.

use std::arch::x86_64::*;

use super::{Simd, operations};

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2(());

impl Avx2 {
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(in super::super) fn new() -> Self {
        Self(())
    }
}

impl Simd for Avx2 {
    type V = __m256;
    type Pairs = __m256i;
    type Sums = __m256i;
    const N: usize = 8;

    operations! {
        fn splat(x: f32) -> Self::V { _mm256_set1_ps(x) }
        fn load(from: &[f32]) -> Self::V { assert!(from.len() >= 8); _mm256_loadu_ps(from.as_ptr()) }
        fn store(v: Self::V, to: &mut [f32]) { assert!(to.len() >= 8); _mm256_storeu_ps(to.as_mut_ptr(), v) }
        fn add(a: Self::V, b: Self::V) -> Self::V { _mm256_add_ps(a, b) }
        fn sub(a: Self::V, b: Self::V) -> Self::V { _mm256_sub_ps(a, b) }
        fn mul(a: Self::V, b: Self::V) -> Self::V { _mm256_mul_ps(a, b) }
        fn div(a: Self::V, b: Self::V) -> Self::V { _mm256_div_ps(a, b) }
        fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V { _mm256_fmadd_ps(a, b, c) }
        fn max(a: Self::V, b: Self::V) -> Self::V { _mm256_max_ps(a, b) }
        fn min(a: Self::V, b: Self::V) -> Self::V { _mm256_min_ps(a, b) }
        fn sqrt(a: Self::V) -> Self::V { _mm256_sqrt_ps(a) }
        fn exp2_rounded(n: Self::V) -> Self::V {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(n));
            _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f80_0000)))
        }
        fn load_pairs(from: &[[i16; 2]]) -> Self::Pairs {
            assert!(from.len() >= 8);
            _mm256_loadu_si256(from.as_ptr().cast())
        }
        fn splat_pair(pair: [i16; 2]) -> Self::Pairs {
            _mm256_set1_epi32(i32::from(pair[1]) << 16 | i32::from(pair[0] as u16))
        }
        fn zero_sums() -> Self::Sums { _mm256_setzero_si256() }
        fn dot_pairs(a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums {
            _mm256_add_epi32(sums, _mm256_madd_epi16(a, b))
        }
        fn to_f32(sums: Self::Sums) -> Self::V { _mm256_cvtepi32_ps(sums) }
    }
}

/// AVX-512 with VNNI.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512(());

impl Avx512 {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    pub(in super::super) fn new() -> Self {
        Self(())
    }
}

impl Simd for Avx512 {
    type V = __m512;
    type Pairs = __m512i;
    type Sums = __m512i;
    const N: usize = 16;

    operations! {
        fn splat(x: f32) -> Self::V { _mm512_set1_ps(x) }
        fn load(from: &[f32]) -> Self::V { assert!(from.len() >= 16); _mm512_loadu_ps(from.as_ptr()) }
        fn store(v: Self::V, to: &mut [f32]) { assert!(to.len() >= 16); _mm512_storeu_ps(to.as_mut_ptr(), v) }
        fn add(a: Self::V, b: Self::V) -> Self::V { _mm512_add_ps(a, b) }
        fn sub(a: Self::V, b: Self::V) -> Self::V { _mm512_sub_ps(a, b) }
        fn mul(a: Self::V, b: Self::V) -> Self::V { _mm512_mul_ps(a, b) }
        fn div(a: Self::V, b: Self::V) -> Self::V { _mm512_div_ps(a, b) }
        fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V { _mm512_fmadd_ps(a, b, c) }
        fn max(a: Self::V, b: Self::V) -> Self::V { _mm512_max_ps(a, b) }
        fn min(a: Self::V, b: Self::V) -> Self::V { _mm512_min_ps(a, b) }
        fn sqrt(a: Self::V) -> Self::V { _mm512_sqrt_ps(a) }
        fn exp2_rounded(n: Self::V) -> Self::V {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(n));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f80_0000)))
        }
        fn load_pairs(from: &[[i16; 2]]) -> Self::Pairs {
            assert!(from.len() >= 16);
            _mm512_loadu_si512(from.as_ptr().cast())
        }
        fn splat_pair(pair: [i16; 2]) -> Self::Pairs {
            _mm512_set1_epi32(i32::from(pair[1]) << 16 | i32::from(pair[0] as u16))
        }
        fn zero_sums() -> Self::Sums { _mm512_setzero_si512() }
        fn dot_pairs(a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums { _mm512_dpwssd_epi32(sums, a, b) }
        fn to_f32(sums: Self::Sums) -> Self::V { _mm512_cvtepi32_ps(sums) }
    }
}
