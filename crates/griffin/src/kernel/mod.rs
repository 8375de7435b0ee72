//! Products of packed weights with vectors: where the model spends its time. Longer than most files by what was tried, and
//! what it brought.
//!
//! Owns the packed forms, the kernels that read them, the vectors quantised for them, the split over threads, and every `unsafe`
//! of `griffin` but the mapping of files. Refuses to know what a matrix is for. Invariant: whatever the kernel, the threads and the
//! number of vectors at a time, each output is the same sum, to f32 rounding; the integer part of it is exact.
//!
//! Read in this order: `pack` (the layout), `input`, `portable` (what is computed, plainly), then `avx512`, `avx2`, `neon` (the
//! same, fast), `roofs` (how fast it could be). `lanes` is for the loops between the products.
//!
//! What each step brought: products a second in the best moment, as a share of what the same instructions reach from registers
//! in theirs ([`Roofs`]), one thread of a Zen 4, [128, 2560] Q4K weights from memory unless said otherwise, each pair measured
//! minutes apart on a machine that others used, too, so two points are noise. `benches/kernel.rs` measures anew.
//!
//! | step | vectors | before | after |
//! |---|---|---|---|
//! | AVX-512: helper functions for closures, which are not inlined across target features | 64 | 44 % | 61 % (means, both) |
//! | AVX-512: scales multiplied as integers, an input's block as one struct | 64 | 72 % | 75 % |
//! | the same, Q8_0 | 64 | 57 % | 72 % |
//! | AVX-512: minima in f32, or scaling one run late between products | 64 | 75 % | 73 %: dropped |
//! | AVX2: sums held in order, so that LLVM does not send broadcast inputs by the stack | 64 | 65 % (a mean) | 71 % |
//! | AVX2: quads unrolled by hand | 64 | 71 % | 72 % |
//! | AVX2: minima in f32 | 64 | 72 % | 67 %: dropped |
//! | AVX2: the next block prefetched | 64 | 72 % | 75 % |
//! | AVX2: two vectors unpack on their way | 2 | 14 GB/s | 21 GB/s |
//! | AVX2: unpacked into one place, not copied | 4, 8 | 42, 56 % | 48, 61 % |
//! | AVX2 on a Zen 3: the next block prefetched tile by tile, not at once, Q8_0 | 64 | 58 % | 62 % |
//! | AVX2 on a Zen 3: a tile's run by hand in assembly | 64 | 75 % | 77 % (weights in cache): dropped |
//! | AVX2 on a Zen 3: no prefetching of our own for one vector or two, whole model, two threads | 1 | 7.8 tok/s | 9.6 tok/s (means of 3) |
//! | the place for sums cleared once a call, not once a group, whole model | 1 | 7.8 tok/s | 9.2 tok/s (means of 2) |
//! | AVX2 on a Zen 3: one vector over four groups in turns, four streams for the machine's own prefetching | 1 | 13 GB/s, Q8_0 12 | 21 GB/s, Q8_0 20 |
//! | the same: two streams, eight | 1 | 13 GB/s | 17 GB/s, 16 GB/s: dropped |
//! | the same: prefetching of our own 256 bytes to 4 KiB ahead, by every hint, or of the next page | 1 | 17 GB/s | 18 to 12 GB/s (a model of the loop): dropped |
//! | AVX2: scales and minima of one vector's block taken apart two at a time | 1 | 29 GB/s | 36 GB/s (weights in cache) |
//! | AVX2 on a Zen 3: lines of the outputs fetched while their sums are computed, [7680, 2560] | 64 | 76 % | 82 % |
//! | AVX2 on a Zen 3, Q8_0: weights widened to 16 bits once for all vectors, so that none takes over signs | 64 | 60 % | 40 %: dropped |
//! | AVX2 on a Zen 3: shares of the prefetching told without a division a tile, two threads, 50 pairs of passes | 64 | 1 | 1.012 and 1.023 times as fast |
//! | the same: outputs put down tile by tile behind the last block; their lines fetched for writing; fetched twice | 64 | 1 | 0.97; 1.00; 1.005: dropped |
//! | AVX2: four groups in turns by 32 bytes, not by 512, so that an input is spread once for all; where plain reading gets 33 to 35 GB/s | 1 | 30 GB/s | 32 to 35 GB/s |
//! | the same, written tokens of the whole model, two threads, two times 60 s of pairs | 1 | 1 | 1.10 to 1.14 times as fast |
//! | the same: scales spread by loads, not by shuffles | 1 | 1 | 1.00 (1.04 from cache): dropped |
//! | AVX2: scales and minima of a block taken apart two runs at once for several vectors, too | 8 | 1 | 1.02 times as fast |
//! | the same: the first four vectors unpack on their way and leave the quants for the others | 4, 8; 64 | 1 | 1.03, 1.01; 1.00: dropped |
//! | tasks of 8 µs instead of 20, written tokens of the whole model, two threads, in pairs; of 4 µs against 8 | 1 | 1 | 1.01 to 1.04 times as fast; 0.97 to 0.99: dropped |
//! | loading [64, 7680] as Q4K: AVX2, one struct a block | | 214 µs | 95 µs |
//!
//! Outside of the products, on the Zen 3 with AVX2: outputs copied 64 bytes at a time by a call took 4 % of ingesting, a softmax that
//! was not inlined 1.5 %; both are gone (the loops between the products went from 15 to 8 % of the time of the model's threads).
//! Gates of the recurrence and the convolution on all threads: 0.65 to 0.42 ms and 0.29 to 0.16 ms a layer for 64 tokens. Threads
//! that are kept awake during a pass: 715 and 781 ms for 64 tokens before, 649 and 653 after, in turns.
//!
//! What bounds the shares below 100 %: on Zen 4 scales and minima take the multiplying pipes, 82 % (AVX-512) and 84 % (AVX2) are
//! left. One vector is bound by reading: the best short passes of one thread read 18 to 37 GB/s, some of it from the third cache,
//! where plain reading of memory gave 23 to 28. Huge pages made no difference to it.

mod avx2;
mod avx512;
mod input;
pub(super) mod lanes;
mod neon;
mod pack;
mod portable;
mod roofs;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

pub use input::Input;
pub use pack::{Form, Packed, pack};
pub use roofs::{Measured, Roofs};

use input::View;

/// Outputs that are computed together: the rows of a group.
const ROWS: usize = 16;

/// Vectors that go over a group of weights together. Their part of the input stays in the first cache meanwhile.
const TOKENS: usize = 64;

/// Groups of weights that a single vector goes over at once, far from each other.
const STREAMS: usize = 4;

/// The outputs of one group for one vector.
type Sums = [f32; ROWS];

/// The instructions that products are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2, FMA and F16C: Intel since 2013, AMD since 2015.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL and VNNI: Intel servers since 2019, AMD since Zen 4.
    Avx512,
    /// aarch64: a Raspberry Pi 4.
    Neon,
    /// aarch64 with `sdot`: a Raspberry Pi 5.
    NeonDot,
}

impl Kernel {
    const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Neon, Self::NeonDot];

    /// Those this machine can run, the best one last.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The fastest one this machine can run.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }

    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
        }
    }

    /// Writes the outputs of one group of rows to `sums`, one entry for each vector of `view`.
    ///
    /// # Panics
    /// If this machine cannot run the kernel.
    fn group(self, form: Form, weights: &[u8], view: &View<'_>, sums: &mut [Sums]) {
        assert!(self.is_available(), "kernel {self} on a machine that has it");
        match self {
            Self::Portable => portable::group(form, weights, view, sums),
            // SAFETY (all four): the machine has the features that the function is compiled for, as asserted above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::group(form, weights, view, sums) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::group(form, weights, view, sums) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { neon::group(form, weights, view, sums) },
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => unsafe { neon::group_dot(form, weights, view, sums) },
            _ => unreachable!("only kernels of this architecture are available"),
        }
    }

    /// Whether a single vector goes faster over [`STREAMS`] groups at once.
    fn streams(self) -> bool {
        self == Self::Avx2
    }

    /// Writes the outputs of several groups of rows, which read the same columns, for the only vector of `view`.
    ///
    /// # Panics
    /// If this machine cannot run the kernel.
    fn groups(self, form: Form, weights: [&[u8]; STREAMS], view: &View<'_>, sums: [&mut Sums; STREAMS]) {
        assert!(self.is_available(), "kernel {self} on a machine that has it");
        match self {
            // SAFETY: as in `group`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::groups(form, weights, view, sums) },
            _ => {
                for (weights, sums) in weights.into_iter().zip(sums) {
                    self.group(form, weights, view, std::slice::from_mut(sums));
                }
            }
        }
    }
}

impl Kernel {
    /// Makes products from registers with the instructions of a form's inner loop; returns how many.
    fn spin(self, form: Form, rounds: usize) -> usize {
        assert!(self.is_available(), "kernel {self} on a machine that has it");
        match self {
            Self::Portable => portable::spin(form, rounds),
            // SAFETY (all four): as in `group`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::spin(form, rounds) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::spin(form, rounds) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { neon::spin(form, rounds) },
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => unsafe { neon::spin_dot(form, rounds) },
            _ => unreachable!("only kernels of this architecture are available"),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kernel {
    type Err = UnknownKernel;

    /// Any kernel by its name, whether or not this machine can run it: ask [`Kernel::is_available`].
    fn from_str(name: &str) -> Result<Self, UnknownKernel> {
        Self::ALL.into_iter().find(|kernel| kernel.name() == name).ok_or_else(|| UnknownKernel(name.into()))
    }
}

/// A name that is no kernel's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no kernel: use portable, avx2, avx512, neon or neon-dot")]
pub struct UnknownKernel(String);

/// out = x·Wᵀ + bias.
#[derive(Debug)]
pub struct Product<'a> {
    pub weights: Packed<'a>,
    /// [blocks·rows]
    pub bias: Option<&'a [f32]>,
    /// [t, blocks·rows]
    pub out: &'a mut [f32],
}

/// All products of one input, on the current rayon pool, in one fork-join; a pool of one thread is not asked at all.
///
/// # Panics
/// If this machine cannot run the kernel, the input was not loaded for it and the weights' forms, or a length does not fit.
pub fn multiply(kernel: Kernel, input: &Input, products: &mut [Product<'_>]) {
    for product in products.iter() {
        let weights = &product.weights;
        assert_eq!(weights.blocks() * weights.columns(), input.columns(), "the input's columns");
        assert_eq!(product.out.len(), input.tokens() * weights.outputs(), "the output's length");
        assert!(product.bias.is_none_or(|bias| bias.len() == weights.outputs()), "the bias's length");
        assert!(input.is_loaded_for(kernel, weights.form()), "the input's forms");
    }
    let tasks = Tasks { kernel, input, products: Shared::new(products), next: AtomicUsize::new(0) };
    match rayon::current_num_threads() {
        1 => tasks.work(),
        threads => (0..threads).into_par_iter().with_max_len(1).for_each(|_| tasks.work()),
    }
}

/// What a task should take at least, in picoseconds of an ordinary core: handing one out costs a fortieth of that, and whoever has
/// the last one of a product is waited for.
const TASK_PS: usize = 8_000_000;

/// The work of one [`multiply`]. Whoever is free takes the next task, so a thread that the house needs elsewhere holds nobody up.
struct Tasks<'a> {
    kernel: Kernel,
    input: &'a Input,
    products: Shared<'a>,
    next: AtomicUsize,
}

impl Tasks<'_> {
    /// Takes tasks until there are none.
    fn work(&self) {
        let mut task = self.next.fetch_add(1, Ordering::Relaxed);
        let mut before = 0;
        let mut sums = [[0.0; ROWS]; TOKENS];
        for index in 0..self.products.count {
            let target = self.products.get(index);
            let groups = target.weights.groups();
            let step = self.step(&target.weights);
            let count = groups.div_ceil(step);
            while task < before + count {
                let start = (task - before) * step;
                self.groups(&target, start..groups.min(start + step), &mut sums);
                task = self.next.fetch_add(1, Ordering::Relaxed);
            }
            before += count;
        }
    }

    /// Groups in a task.
    fn step(&self, weights: &Packed<'_>) -> usize {
        // A byte at 15 GB/s, or for each vector sixteen products of a column at 100 a nanosecond.
        let read = 66 * weights.group_bytes();
        let compute = 160 * weights.columns() * self.input.tokens();
        let step = (TASK_PS / read.max(compute).max(1)).max(1);
        if self.streams(weights) { step.next_multiple_of(STREAMS) } else { step }
    }

    /// Whether a task reads its groups from several places at once.
    fn streams(&self, weights: &Packed<'_>) -> bool {
        self.kernel.streams() && self.input.tokens() == 1 && weights.blocks() == 1
    }

    fn groups(&self, target: &Target<'_>, mut groups: Range<usize>, sums: &mut [Sums; TOKENS]) {
        let weights = &target.weights;
        if self.streams(weights) {
            let view = View { input: self.input, column: 0, columns: weights.columns(), tokens: 0..1 };
            let length = groups.len() / STREAMS;
            for first in groups.start..groups.start + length {
                let streams: [usize; STREAMS] = std::array::from_fn(|stream| first + stream * length);
                let sums = sums.first_chunk_mut::<STREAMS>().expect("there is room for more vectors than streams");
                self.kernel.groups(weights.form(), streams.map(|group| weights.group(group)), &view, sums.each_mut());
                for (group, sums) in streams.into_iter().zip(sums) {
                    target.place(group).put(0, sums);
                }
            }
            groups.start += length * STREAMS;
        }
        groups.for_each(|group| self.group(target, group, sums));
    }

    fn group(&self, target: &Target<'_>, group: usize, sums: &mut [Sums; TOKENS]) {
        let weights = &target.weights;
        let place = target.place(group);
        let column = group / weights.block_groups() * weights.columns();
        for start in (0..self.input.tokens()).step_by(TOKENS) {
            let tokens = start..self.input.tokens().min(start + TOKENS);
            let sums = &mut sums[..tokens.len()];
            tokens.clone().for_each(|token| place.announce(token));
            let view = View { input: self.input, column, columns: weights.columns(), tokens };
            self.kernel.group(weights.form(), weights.group(group), &view, sums);
            for (token, sums) in (start..).zip(sums) {
                place.put(token, sums);
            }
        }
    }
}

/// The products of one [`multiply`], for all threads: each task writes other columns of the outputs.
struct Shared<'a> {
    products: *const Product<'a>,
    count: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: all that is shared is read, but for the outputs, of which each task writes its own columns (see `Place::put`).
unsafe impl Sync for Shared<'_> {}

struct Target<'a> {
    weights: Packed<'a>,
    bias: Option<&'a [f32]>,
    out: *mut f32,
}

impl Target<'_> {
    /// Where the outputs of a group go.
    fn place(&self, group: usize) -> Place {
        let weights = &self.weights;
        let (block, first) = (group / weights.block_groups(), group % weights.block_groups() * ROWS);
        let rows = ROWS.min(weights.rows() - first);
        let output = block * weights.rows() + first;
        let mut bias = [0.0; ROWS];
        if let Some(all) = self.bias {
            bias[..rows].copy_from_slice(&all[output..][..rows]);
        }
        Place { out: self.out.wrapping_add(output), stride: weights.outputs(), rows, bias }
    }
}

/// The columns of an output that belong to one group.
struct Place {
    out: *mut f32,
    stride: usize,
    rows: usize,
    bias: Sums,
}

impl Place {
    /// Has the memory fetched while the sums are computed: rows of an output often are a multiple of 2 KiB apart, share two
    /// sets of the first cache, and were long since driven out of it.
    fn announce(&self, token: usize) {
        #[cfg(target_arch = "x86_64")]
        avx2::prefetch(self.out.wrapping_add(token * self.stride).cast());
        #[cfg(not(target_arch = "x86_64"))]
        let _ = token;
    }

    /// Adds the bias, and writes the outputs for one vector.
    fn put(&self, token: usize, sums: &mut Sums) {
        sums.iter_mut().zip(self.bias).for_each(|(sum, bias)| *sum += bias);
        // SAFETY: `rows` columns from here on lie within the [t, outputs] of the product, whose length was checked; the task that
        // owns this group is the only one that writes these columns, and nobody reads them before the join.
        unsafe {
            let out = self.out.add(token * self.stride);
            match self.rows {
                // Of a length that is known it is two moves, not a call.
                ROWS => out.cast::<Sums>().write_unaligned(*sums),
                rows => out.copy_from_nonoverlapping(sums.as_ptr(), rows),
            }
        }
    }
}

impl<'a> Shared<'a> {
    fn new<'b: 'a>(products: &'a mut [Product<'b>]) -> Self {
        Self { products: products.as_mut_ptr().cast(), count: products.len(), borrow: PhantomData }
    }

    fn get(&self, index: usize) -> Target<'a> {
        assert!(index < self.count);
        // SAFETY: the pointer is that of `count` products which are borrowed for as long as `self` lives. The reference to the
        // output is read as the raw pointer it is, so that no two threads ever hold a `&mut` to it.
        unsafe {
            let product = self.products.add(index);
            let out = (&raw const (*product).out).cast::<*mut [f32]>().read();
            Target { weights: (*product).weights, bias: (*product).bias, out: out.cast() }
        }
    }
}
