//! The arithmetic: products of packed weights, and loops over vectors, for each instruction set that is worth it.
//!
//! All `unsafe` code of the crate is below this module, save the mapping of files. A [`Kernel`] can only be had where the
//! processor was asked for its instructions, which is what makes calling code compiled for them sound.
//!
//! Read in this order: `weights` (the packed layout), `activations`, `scalar` (what is computed, plainly), then `avx512`, `avx2`,
//! `neon` (the same, fast), `matmul` (the split over threads), `roofline` (how fast it could be). `simd` and `elementwise` are
//! for the loops between the products. docs/performance.md tells what was tried and what it brought.

mod activations;
mod avx2;
mod avx512;
pub(crate) mod elementwise;
mod instruction_sets;
mod matmul;
mod neon;
mod roofline;
mod scalar;
pub(crate) mod simd;
#[cfg(test)]
mod tests;
mod tiles;
mod weights;

use std::fmt;
use std::str::FromStr;

pub use activations::QuantizedActivations;
pub use matmul::{Matmul, multiply};
pub use roofline::{Roofline, RooflineMeasurement};
pub(crate) use weights::Q4K_BLOCK_ROW_BYTES;
pub use weights::{PackedMatrix, WeightFormat, pack};

use activations::ActivationView;
use simd::SimdTask;

/// Outputs which are computed together: the rows of a group.
pub(crate) const GROUP_ROWS: usize = 16;

/// Vectors that go over a group of weights together. Their part of the input stays in the first-level cache meanwhile.
const VECTORS_PER_PASS: usize = 64;

/// Groups of weights that a single vector goes over at once, far from each other.
const INTERLEAVED_GROUPS: usize = 4;

/// The outputs of one group for one vector.
type GroupSums = [f32; GROUP_ROWS];

/// The instructions to compute with. Having one proves that this processor has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kernel(InstructionSet);

/// Made into a [`Kernel`] only by [`Kernel::new`], which asks the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InstructionSet {
    /// Plain Rust.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C: Intel since 2013, AMD since 2015.
    Avx2,
    /// x86-64 with AVX2 and VNNI: Intel's N100 and Core from the 12th generation.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI: Intel servers since 2019, AMD since Zen 4.
    Avx512,
    /// aarch64: a Raspberry Pi 4.
    Neon,
    /// aarch64 with `sdot`: a Raspberry Pi 5.
    NeonDot,
}

impl InstructionSet {
    /// The fastest one last.
    const ALL: [Self; 6] = [Self::Scalar, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Neon, Self::NeonDot];

    /// As it is written in settings.
    fn name(self) -> &'static str {
        match self {
            Self::Scalar => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
        }
    }
}

impl Kernel {
    /// Plain Rust, which every processor runs.
    pub const SCALAR: Self = Self(InstructionSet::Scalar);

    fn new(set: InstructionSet) -> Option<Self> {
        let is_available = match set {
            InstructionSet::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => instruction_sets::avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::AvxVnni => instruction_sets::avx_vnni::is_available(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => instruction_sets::avx512::is_available(),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => instruction_sets::neon::is_available(),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::NeonDot => instruction_sets::neon_dot::is_available(),
            _ => false,
        };
        if is_available { Some(Self(set)) } else { None }
    }

    /// Those this processor can run, the fastest one last.
    pub fn available() -> impl Iterator<Item = Self> {
        InstructionSet::ALL.into_iter().filter_map(Self::new)
    }

    /// The fastest one this processor can run.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::SCALAR)
    }

    /// A kernel by its name: portable, avx2, avx-vnni, avx512, neon or neon-dot. None if there is none of this name, or this processor
    /// cannot run it.
    pub fn by_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Writes the outputs of one group of rows to `sums`, one entry for each vector of `view`.
    fn group(self, format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
        match self.0 {
            InstructionSet::Scalar => scalar::group(format, weights, view, sums),
            // SAFETY: this kernel is only made where `avx2::is_available`, which asks for the features of `avx2::group`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { instruction_sets::avx2::group(format, weights, view, sums) },
            // SAFETY: this kernel is only made where `avx_vnni::is_available`, which asks for the features of `avx_vnni::group`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::AvxVnni => unsafe { instruction_sets::avx_vnni::group(format, weights, view, sums) },
            // SAFETY: this kernel is only made where `avx512::is_available`, which asks for the features of `avx512::group`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { instruction_sets::avx512::group(format, weights, view, sums) },
            // SAFETY: this kernel is only made where `neon::is_available`, which asks for the features of `neon::group`.
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => unsafe { instruction_sets::neon::group(format, weights, view, sums) },
            // SAFETY: this kernel is only made where `neon_dot::is_available`, which asks for the features of `neon_dot::group`.
            #[cfg(target_arch = "aarch64")]
            InstructionSet::NeonDot => unsafe { instruction_sets::neon_dot::group(format, weights, view, sums) },
            _ => unreachable!("a kernel of this architecture"),
        }
    }

    /// Whether a single vector goes faster over [`INTERLEAVED_GROUPS`] groups at once.
    fn interleaves_groups(self) -> bool {
        matches!(self.0, InstructionSet::Avx2 | InstructionSet::AvxVnni)
    }

    /// What a byte of weights takes to read, and sixteen products of a column to make, roughly and on one core.
    fn picoseconds(self) -> (usize, usize) {
        match self.0 {
            // 2.6 GB/s and 6 products a nanosecond on a Raspberry Pi 4, 37 on a Raspberry Pi 5.
            InstructionSet::Neon => (380, 2700),
            InstructionSet::NeonDot => (380, 430),
            // 15 GB/s, 100 products a nanosecond.
            _ => (66, 160),
        }
    }

    /// Writes the outputs of several groups of rows, which read the same columns, for the only vector of `view`.
    fn gemv(
        self,
        format: WeightFormat,
        weights: [&[u8]; INTERLEAVED_GROUPS],
        view: &ActivationView<'_>,
        sums: [&mut GroupSums; INTERLEAVED_GROUPS],
    ) {
        match self.0 {
            // SAFETY: this kernel is only made where `avx2::is_available`, which asks for the features of `avx2::gemv`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { instruction_sets::avx2::gemv(format, weights, view, sums) },
            // SAFETY: this kernel is only made where `avx_vnni::is_available`, which asks for the features of `avx_vnni::gemv`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::AvxVnni => unsafe { instruction_sets::avx_vnni::gemv(format, weights, view, sums) },
            _ => {
                for (weights, sums) in weights.into_iter().zip(sums) {
                    self.group(format, weights, view, std::slice::from_mut(sums));
                }
            }
        }
    }

    /// Makes products from registers with the instructions of a format's inner loop; returns how many.
    fn peak_flops(self, format: WeightFormat, rounds: usize) -> usize {
        match self.0 {
            InstructionSet::Scalar => scalar::peak_flops(format, rounds),
            // SAFETY: this kernel is only made where `avx2::is_available`, which asks for the features of `avx2::peak_flops`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { instruction_sets::avx2::peak_flops(format, rounds) },
            // SAFETY: this kernel is only made where `avx_vnni::is_available`, which asks for the features that this needs.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::AvxVnni => unsafe { instruction_sets::avx_vnni::peak_flops(format, rounds) },
            // SAFETY: this kernel is only made where `avx512::is_available`, which asks for the features that this needs.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { instruction_sets::avx512::peak_flops(format, rounds) },
            // SAFETY: this kernel is only made where `neon::is_available`, which asks for the features of `neon::peak_flops`.
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => unsafe { instruction_sets::neon::peak_flops(format, rounds) },
            // SAFETY: this kernel is only made where `neon_dot::is_available`, which asks for the features that this needs.
            #[cfg(target_arch = "aarch64")]
            InstructionSet::NeonDot => unsafe { instruction_sets::neon_dot::peak_flops(format, rounds) },
            _ => unreachable!("a kernel of this architecture"),
        }
    }

    /// Runs `task` as compiled for this kernel.
    pub(crate) fn run<T: SimdTask>(self, task: T) -> T::Output {
        match self.0 {
            // SAFETY: these kernels are only made where `avx2::is_available` or `avx_vnni::is_available`, which ask for the
            // features of `avx2::run`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 | InstructionSet::AvxVnni => unsafe { instruction_sets::avx2::run(task) },
            // SAFETY: this kernel is only made where `avx512::is_available`, which asks for the features of `avx512::run`.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { instruction_sets::avx512::run(task) },
            // SAFETY: these kernels are only made where `neon::is_available`, which asks for the features of `neon::run`; a
            // processor with `sdot` has the rest of NEON.
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon | InstructionSet::NeonDot => unsafe { instruction_sets::neon::run(task) },
            _ => task.run(simd::Scalar),
        }
    }

    /// Whether quantizing activations may use AVX2.
    #[cfg(target_arch = "x86_64")]
    fn has_avx2(self) -> bool {
        matches!(self.0, InstructionSet::Avx2 | InstructionSet::AvxVnni | InstructionSet::Avx512)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kernel {
    type Err = KernelError;

    /// # Errors
    /// [`KernelError`] when there is no kernel of this name, or this processor cannot run it.
    fn from_str(name: &str) -> Result<Self, KernelError> {
        let set = InstructionSet::ALL.into_iter().find(|set| set.name() == name);
        let set = set.ok_or_else(|| KernelError::Unknown { name: name.into() })?;
        Self::new(set).ok_or(KernelError::Unavailable { name: set.name() })
    }
}

/// Why there is no such kernel.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel has this name.
    #[error("`{name}` is no kernel: use portable, avx2, avx-vnni, avx512, neon or neon-dot")]
    #[allow(missing_docs)]
    Unknown { name: String },
    /// The processor lacks its instructions.
    #[error("this processor cannot run the kernel {name}; leave the choice to the engine")]
    #[allow(missing_docs)]
    Unavailable { name: &'static str },
}
