//! The entries into code that is compiled for certain instructions.
//!
//! For each instruction set, one list of features makes both the check ([`instruction_set!`]'s `is_available`) and the functions
//! that need it. All other functions of a kernel are safe `#[target_feature]` functions, which the compiler lets these entries
//! call only if the list covers their features: none can need an instruction that was not asked for.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;

use super::activations::ActivationView;
use super::simd::SimdTask;
use super::{GroupSums, WeightFormat};

macro_rules! instruction_set {
    ($name:ident, $detected:ident, [$($feature:tt),+], { $($entries:tt)* } $(,)?) => {
        pub(super) mod $name {
            use super::*;

            /// Whether this processor has every feature of the list.
            pub(in super::super) fn is_available() -> bool {
                $($detected!($feature))&&+
            }

            instruction_set!(@entries [$($feature),+] $($entries)*);
        }
    };
    (@entries $features:tt $($(#[$doc:meta])* fn $function:ident $(<$($generic:ident: $bound:path),*>)? ($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block)*) => {
        $(instruction_set!(@entry $features [$(#[$doc])*] [$(<$($generic: $bound),*>)?] [$(-> $output)?] $function ($($argument: $type),*) $body);)*
    };
    (@entry [$($feature:tt),+] [$(#[$doc:meta])*] [$($generics:tt)*] [$($output:tt)*] $function:ident ($($argument:ident: $type:ty),*) $body:block) => {
        $(#[$doc])*
        $(#[target_feature(enable = $feature)])+
        pub(in super::super) fn $function $($generics)* ($($argument: $type),*) $($output)* $body
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(avx2, is_x86_feature_detected, ["avx2", "fma", "f16c"], {
    fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
        crate::kernels::avx2::group(format, weights, view, sums);
    }
    fn gemv(
        format: WeightFormat,
        weights: [&[u8]; crate::kernels::INTERLEAVED_GROUPS],
        view: &ActivationView<'_>,
        sums: [&mut GroupSums; crate::kernels::INTERLEAVED_GROUPS],
    ) {
        crate::kernels::avx2::gemv(format, weights, view, sums);
    }
    fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
        crate::kernels::avx2::peak_flops(format, rounds)
    }
    fn run<T: SimdTask>(task: T) -> T::Output {
        task.run(crate::kernels::simd::Avx2::new())
    }
});

#[cfg(target_arch = "x86_64")]
instruction_set!(avx_vnni, is_x86_feature_detected, ["avx2", "fma", "f16c", "avxvnni"], {
    fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
        crate::kernels::avx2::vnni::group(format, weights, view, sums);
    }
    fn gemv(
        format: WeightFormat,
        weights: [&[u8]; crate::kernels::INTERLEAVED_GROUPS],
        view: &ActivationView<'_>,
        sums: [&mut GroupSums; crate::kernels::INTERLEAVED_GROUPS],
    ) {
        crate::kernels::avx2::vnni::gemv(format, weights, view, sums);
    }
    fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
        crate::kernels::avx2::vnni::peak_flops(format, rounds)
    }
});

#[cfg(target_arch = "x86_64")]
instruction_set!(
    avx512,
    is_x86_feature_detected,
    ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"],
    {
        fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
            crate::kernels::avx512::group(format, weights, view, sums);
        }
        fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
            crate::kernels::avx512::peak_flops(format, rounds)
        }
        fn run<T: SimdTask>(task: T) -> T::Output {
            task.run(crate::kernels::simd::Avx512::new())
        }
    }
);

#[cfg(target_arch = "aarch64")]
instruction_set!(neon, is_aarch64_feature_detected, ["neon"], {
    fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
        crate::kernels::neon::group(format, weights, view, sums);
    }
    fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
        crate::kernels::neon::peak_flops(format, rounds)
    }
    fn run<T: SimdTask>(task: T) -> T::Output {
        task.run(crate::kernels::simd::Neon::new())
    }
});

#[cfg(target_arch = "aarch64")]
instruction_set!(neon_dot, is_aarch64_feature_detected, ["neon", "dotprod"], {
    fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
        crate::kernels::neon::group_dot(format, weights, view, sums);
    }
    fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
        crate::kernels::neon::peak_flops_dot(format, rounds)
    }
});
