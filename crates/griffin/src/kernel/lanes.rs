//! Vectors of f32, in the width the processor has. Longer than most files: the same two dozen operations for four instruction sets.
//!
//! Owns the few operations that the layers' loops are made of, once for each instruction set, and the step from "this kernel"
//! to code compiled for it. Refuses to know what is computed. Invariant: a value of a type that is [`Lanes`] exists only where
//! the processor has its instructions, which is what makes its methods safe to call.

use super::Kernel;

/// [`Lanes::N`] f32 at a time.
pub trait Lanes: Copy {
    type V: Copy;
    /// [`Lanes::N`] pairs of i16, and as many sums of i32.
    type Pairs: Copy;
    type Sums: Copy;
    /// How many; divides 16.
    const N: usize;

    fn splat(self, x: f32) -> Self::V;
    /// The first N values.
    fn load(self, from: &[f32]) -> Self::V;
    fn store(self, v: Self::V, to: &mut [f32]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b + c, rounded once where the processor can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// 2ⁿ for whole numbers n in [−126, 127] that come as n + [`ROUND`].
    fn exp2_rounded(self, n: Self::V) -> Self::V;

    /// The first N pairs.
    fn load_pairs(self, from: &[[i16; 2]]) -> Self::Pairs;
    fn splat_pair(self, pair: [i16; 2]) -> Self::Pairs;
    fn no_sums(self) -> Self::Sums;
    /// sums + a₀·b₀ + a₁·b₁, exact as long as it fits.
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums;
    fn floats(self, sums: Self::Sums) -> Self::V;

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut all = [0f32; 16];
        self.store(v, &mut all);
        all[..Self::N].iter().sum()
    }

    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        let mut all = [f32::NEG_INFINITY; 16];
        self.store(v, &mut all);
        all.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Adding this to a number rounds it to a whole one, which then stands in the low bits of the mantissa.
pub const ROUND: f32 = 12_582_912.0;

/// Work that is compiled once for each instruction set.
pub trait Work {
    type Out;
    fn run<L: Lanes>(self, lanes: L) -> Self::Out;
}

/// Runs `work` as compiled for `kernel`.
pub fn run<W: Work>(kernel: Kernel, work: W) -> W::Out {
    match kernel {
        // SAFETY: a kernel that was chosen is available, so the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => unsafe { x86::avx2(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => unsafe { x86::avx512(work) },
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon | Kernel::NeonDot => work.run(arm::Neon::new()),
        _ => work.run(Plain),
    }
}

/// No instructions but those that every processor has.
#[derive(Clone, Copy)]
struct Plain;

impl Plain {
    #[inline(always)]
    fn map2(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
        std::array::from_fn(|i| f(a[i], b[i]))
    }
}

impl Lanes for Plain {
    type V = [f32; 4];
    type Pairs = [[i16; 2]; 4];
    type Sums = [i32; 4];
    const N: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 4]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        [from[0], from[1], from[2], from[3]]
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32]) {
        to[..4].copy_from_slice(&v);
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn exp2_rounded(self, n: Self::V) -> Self::V {
        n.map(|n| f32::from_bits((n.to_bits() << 23).wrapping_add(0x3f80_0000)))
    }
    #[inline(always)]
    fn load_pairs(self, from: &[[i16; 2]]) -> Self::Pairs {
        [from[0], from[1], from[2], from[3]]
    }
    #[inline(always)]
    fn splat_pair(self, pair: [i16; 2]) -> Self::Pairs {
        [pair; 4]
    }
    #[inline(always)]
    fn no_sums(self) -> Self::Sums {
        [0; 4]
    }
    #[inline(always)]
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums {
        let dot = |a: [i16; 2], b: [i16; 2]| i32::from(a[0]) * i32::from(b[0]) + i32::from(a[1]) * i32::from(b[1]);
        std::array::from_fn(|i| sums[i] + dot(a[i], b[i]))
    }
    #[inline(always)]
    fn floats(self, sums: Self::Sums) -> Self::V {
        sums.map(|sum| sum as f32)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Work};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn avx2<W: Work>(work: W) -> W::Out {
        work.run(Avx2(()))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    pub fn avx512<W: Work>(work: W) -> W::Out {
        work.run(Avx512(()))
    }

    #[derive(Clone, Copy)]
    struct Avx2(());

    #[derive(Clone, Copy)]
    struct Avx512(());

    /// The methods of one instruction set. SAFETY, for all of them: the value `self` is only made in a function that the
    /// processor was found fit for; loads and stores stay in slices whose length is asserted.
    macro_rules! lanes {
        ($name:ident, $v:ty, $i:ty, $n:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident,
         $div:ident, $fma:ident, $max:ident, $min:ident, $sqrt:ident, $exp2:expr, $load_int:ident, $splat_int:ident,
         $zero_int:ident, $dot:expr, $floats:ident) => {
            impl Lanes for $name {
                type V = $v;
                type Pairs = $i;
                type Sums = $i;
                const N: usize = $n;

                #[inline(always)]
                fn splat(self, x: f32) -> Self::V {
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                fn load(self, from: &[f32]) -> Self::V {
                    assert!(from.len() >= $n);
                    unsafe { $load(from.as_ptr()) }
                }
                #[inline(always)]
                fn store(self, v: Self::V, to: &mut [f32]) {
                    assert!(to.len() >= $n);
                    unsafe { $store(to.as_mut_ptr(), v) }
                }
                #[inline(always)]
                fn add(self, a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                fn sub(self, a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $sub(a, b) }
                }
                #[inline(always)]
                fn mul(self, a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $mul(a, b) }
                }
                #[inline(always)]
                fn div(self, a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $div(a, b) }
                }
                #[inline(always)]
                fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                fn max(self, a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $max(a, b) }
                }
                #[inline(always)]
                fn min(self, a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $min(a, b) }
                }
                #[inline(always)]
                fn sqrt(self, a: Self::V) -> Self::V {
                    unsafe { $sqrt(a) }
                }
                #[inline(always)]
                fn exp2_rounded(self, n: Self::V) -> Self::V {
                    unsafe { $exp2(n) }
                }
                #[inline(always)]
                fn load_pairs(self, from: &[[i16; 2]]) -> Self::Pairs {
                    assert!(from.len() >= $n);
                    unsafe { $load_int(from.as_ptr().cast()) }
                }
                #[inline(always)]
                fn splat_pair(self, [low, high]: [i16; 2]) -> Self::Pairs {
                    unsafe { $splat_int(i32::from(high) << 16 | i32::from(low as u16)) }
                }
                #[inline(always)]
                fn no_sums(self) -> Self::Sums {
                    unsafe { $zero_int() }
                }
                #[inline(always)]
                fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums {
                    unsafe { $dot(a, b, sums) }
                }
                #[inline(always)]
                fn floats(self, sums: Self::Sums) -> Self::V {
                    unsafe { $floats(sums) }
                }
            }
        };
    }

    lanes!(
        Avx2,
        __m256,
        __m256i,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_div_ps,
        _mm256_fmadd_ps,
        _mm256_max_ps,
        _mm256_min_ps,
        _mm256_sqrt_ps,
        |n| _mm256_castsi256_ps(_mm256_add_epi32(
            _mm256_slli_epi32::<23>(_mm256_castps_si256(n)),
            _mm256_set1_epi32(0x3f80_0000)
        )),
        _mm256_loadu_si256,
        _mm256_set1_epi32,
        _mm256_setzero_si256,
        |a, b, sums| _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)),
        _mm256_cvtepi32_ps
    );

    lanes!(
        Avx512,
        __m512,
        __m512i,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_div_ps,
        _mm512_fmadd_ps,
        _mm512_max_ps,
        _mm512_min_ps,
        _mm512_sqrt_ps,
        |n| _mm512_castsi512_ps(_mm512_add_epi32(
            _mm512_slli_epi32::<23>(_mm512_castps_si512(n)),
            _mm512_set1_epi32(0x3f80_0000)
        )),
        _mm512_loadu_si512,
        _mm512_set1_epi32,
        _mm512_setzero_si512,
        |a, b, sums| _mm512_dpwssd_epi32(sums, a, b),
        _mm512_cvtepi32_ps
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::Lanes;

    /// Every arm64 has it.
    #[derive(Clone, Copy)]
    pub struct Neon(());

    impl Neon {
        pub fn new() -> Self {
            Self(())
        }
    }

    // SAFETY, for all of them: every arm64 processor has these instructions; loads and stores stay in slices whose length is
    // asserted.
    impl Lanes for Neon {
        type V = float32x4_t;
        /// The first of each pair, the second of each.
        type Pairs = int16x4x2_t;
        type Sums = int32x4_t;
        const N: usize = 4;

        #[inline(always)]
        fn splat(self, x: f32) -> Self::V {
            unsafe { vdupq_n_f32(x) }
        }
        #[inline(always)]
        fn load(self, from: &[f32]) -> Self::V {
            assert!(from.len() >= 4);
            unsafe { vld1q_f32(from.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, v: Self::V, to: &mut [f32]) {
            assert!(to.len() >= 4);
            unsafe { vst1q_f32(to.as_mut_ptr(), v) }
        }
        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { vsubq_f32(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { vmulq_f32(a, b) }
        }
        #[inline(always)]
        fn div(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { vdivq_f32(a, b) }
        }
        #[inline(always)]
        fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        fn max(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { vmaxq_f32(a, b) }
        }
        #[inline(always)]
        fn min(self, a: Self::V, b: Self::V) -> Self::V {
            unsafe { vminq_f32(a, b) }
        }
        #[inline(always)]
        fn sqrt(self, a: Self::V) -> Self::V {
            unsafe { vsqrtq_f32(a) }
        }
        #[inline(always)]
        fn exp2_rounded(self, n: Self::V) -> Self::V {
            unsafe {
                let bits = vshlq_n_u32::<23>(vreinterpretq_u32_f32(n));
                vreinterpretq_f32_u32(vaddq_u32(bits, vdupq_n_u32(0x3f80_0000)))
            }
        }
        #[inline(always)]
        fn load_pairs(self, from: &[[i16; 2]]) -> Self::Pairs {
            assert!(from.len() >= 4);
            unsafe { vld2_s16(from.as_ptr().cast()) }
        }
        #[inline(always)]
        fn splat_pair(self, [first, second]: [i16; 2]) -> Self::Pairs {
            unsafe { int16x4x2_t(vdup_n_s16(first), vdup_n_s16(second)) }
        }
        #[inline(always)]
        fn no_sums(self) -> Self::Sums {
            unsafe { vdupq_n_s32(0) }
        }
        #[inline(always)]
        fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums {
            unsafe { vmlal_s16(vmlal_s16(sums, a.0, b.0), a.1, b.1) }
        }
        #[inline(always)]
        fn floats(self, sums: Self::Sums) -> Self::V {
            unsafe { vcvtq_f32_s32(sums) }
        }
    }
}
