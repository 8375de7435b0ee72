//! Vectors of f32, as wide as the processor has them: the few operations which the layers' loops are made of.
//!
//! A loop is written once, as a [`SimdTask`] over any [`Simd`], and compiled for each instruction set (see
//! [`super::Kernel::run`]). A value of a type that is [`Simd`] is only made in functions compiled for its instructions, which is
//! what makes its methods safe to call.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// [`Simd::N`] f32 at a time.
pub(crate) trait Simd: Copy {
    /// N values.
    type V: Copy;
    /// N pairs of i16.
    type Pairs: Copy;
    /// N sums of i32.
    type Sums: Copy;
    /// Values in a vector; divides 16.
    const N: usize;

    fn splat(self, x: f32) -> Self::V;
    /// The first N values. Panics if there are fewer.
    fn load(self, from: &[f32]) -> Self::V;
    /// Overwrites the first N values. Panics if there are fewer.
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
    /// 2ⁿ for whole numbers n in [−126, 127], given as n + [`ROUND`].
    fn exp2_rounded(self, n: Self::V) -> Self::V;

    /// The first N pairs. Panics if there are fewer.
    fn load_pairs(self, from: &[[i16; 2]]) -> Self::Pairs;
    fn splat_pair(self, pair: [i16; 2]) -> Self::Pairs;
    fn zero_sums(self) -> Self::Sums;
    /// sums + a₀·b₀ + a₁·b₁, exact as long as it fits.
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums;
    fn to_f32(self, sums: Self::Sums) -> Self::V;

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
pub(crate) const ROUND: f32 = 12_582_912.0;

/// Work that is compiled once for each instruction set. Its loops must not be in closures: these are compiled without the
/// instructions, and each operation becomes a call.
pub(crate) trait SimdTask {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// No instructions but those which every processor has.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Scalar {
    #[inline(always)]
    fn map2(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
        std::array::from_fn(|i| f(a[i], b[i]))
    }
}

impl Simd for Scalar {
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
    fn zero_sums(self) -> Self::Sums {
        [0; 4]
    }
    #[inline(always)]
    fn dot_pairs(self, a: Self::Pairs, b: Self::Pairs, sums: Self::Sums) -> Self::Sums {
        let dot = |a: [i16; 2], b: [i16; 2]| i32::from(a[0]) * i32::from(b[0]) + i32::from(a[1]) * i32::from(b[1]);
        std::array::from_fn(|i| sums[i] + dot(a[i], b[i]))
    }
    #[inline(always)]
    fn to_f32(self, sums: Self::Sums) -> Self::V {
        sums.map(|sum| sum as f32)
    }
}

/// The methods of [`Simd`] that are made of instructions which need more than every processor has.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! operations {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)? { $($body:tt)* })*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: $type),*) $(-> $output)? {
                // SAFETY: `self` is only made in functions compiled for these instructions, which are only entered where the
                // processor has them. Loads and stores stay within slices whose length is checked first.
                unsafe { $($body)* }
            }
        )*
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use operations;
