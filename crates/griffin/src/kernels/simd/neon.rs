//! Four values at a time with NEON.

use std::arch::aarch64::*;

use super::{Simd, operations};

#[derive(Clone, Copy)]
pub(in super::super) struct Neon(());

impl Neon {
    #[target_feature(enable = "neon")]
    pub(in super::super) fn new() -> Self {
        Self(())
    }
}

impl Simd for Neon {
    type V = float32x4_t;
    /// The first of each pair, the second of each.
    type Pairs = int16x4x2_t;
    type Sums = int32x4_t;
    const N: usize = 4;

    operations! {
        fn splat(x: f32) -> Self::V { vdupq_n_f32(x) }
        fn load(from: &[f32]) -> Self::V { assert!(from.len() >= 4); vld1q_f32(from.as_ptr()) }
        fn store(v: Self::V, to: &mut [f32]) { assert!(to.len() >= 4); vst1q_f32(to.as_mut_ptr(), v) }
        fn add(a: Self::V, b: Self::V) -> Self::V { vaddq_f32(a, b) }
        fn sub(a: Self::V, b: Self::V) -> Self::V { vsubq_f32(a, b) }
        fn mul(a: Self::V, b: Self::V) -> Self::V { vmulq_f32(a, b) }
        fn div(a: Self::V, b: Self::V) -> Self::V { vdivq_f32(a, b) }
        fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V { vfmaq_f32(c, a, b) }
        fn max(a: Self::V, b: Self::V) -> Self::V { vmaxq_f32(a, b) }
        fn min(a: Self::V, b: Self::V) -> Self::V { vminq_f32(a, b) }
        fn sqrt(a: Self::V) -> Self::V { vsqrtq_f32(a) }
        fn exp2_rounded(n: Self::V) -> Self::V {
            let exponent = vshlq_n_u32::<23>(vreinterpretq_u32_f32(n));
            vreinterpretq_f32_u32(vaddq_u32(exponent, vdupq_n_u32(0x3f80_0000)))
        }
        fn load_pairs(from: &[[i16; 2]]) -> Self::Pairs { assert!(from.len() >= 4); vld2_s16(from.as_ptr().cast()) }
        fn splat_pair(pair: [i16; 2]) -> Self::Pairs { int16x4x2_t(vdup_n_s16(pair[0]), vdup_n_s16(pair[1])) }
        fn zero_sums() -> Self::Sums { vdupq_n_s32(0) }
        fn dot_pairs(a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums {
            vmlal_s16(vmlal_s16(sums, a.0, b.0), a.1, b.1)
        }
        fn to_f32(sums: Self::Sums) -> Self::V { vcvtq_f32_s32(sums) }
    }
}
