//! Products of packed weights with the activations of some tokens, spread over the threads of the current rayon pool.
//!
//! Whatever the kernel, the threads and the number of vectors at a time, each output is the same sum, up to f32 rounding; its
//! integer part is exact.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::activations::{ActivationView, QuantizedActivations};
use super::weights::PackedMatrix;
use super::{GROUP_ROWS, GroupSums, INTERLEAVED_GROUPS, Kernel, VECTORS_PER_PASS};

/// out = x·Wᵀ + bias.
#[derive(Debug)]
pub struct Matmul<'a> {
    pub weights: PackedMatrix<'a>,
    /// [blocks·rows]
    pub bias: Option<&'a [f32]>,
    /// [t, blocks·rows]
    pub out: &'a mut [f32],
}

/// All products of one input, on the current rayon pool, in one fork-join; on the calling thread where the pool has only one.
///
/// # Panics
/// If the activations were not loaded for the kernel and the weights' formats, or a length does not fit.
pub fn multiply(kernel: Kernel, input: &QuantizedActivations, products: &mut [Matmul<'_>]) {
    for product in products.iter() {
        let weights = &product.weights;
        assert_eq!(weights.blocks() * weights.columns(), input.columns(), "the input's columns");
        assert_eq!(product.out.len(), input.tokens() * weights.outputs(), "the output's length");
        assert!(product.bias.is_none_or(|bias| bias.len() == weights.outputs()), "the bias's length");
        assert!(input.is_loaded_for(kernel, weights.format()), "the input's formats");
    }
    let tasks = MatmulTasks { kernel, input, products: SharedMatmuls::new(products), next: AtomicUsize::new(0) };
    match rayon::current_num_threads() {
        1 => tasks.work(),
        threads => (0..threads).into_par_iter().with_max_len(1).for_each(|_| tasks.work()),
    }
}

/// What a task should take at least, in picoseconds of an ordinary core: handing one out costs a fortieth of that, and all threads
/// wait for the last one of a product.
const TASK_PS: usize = 8_000_000;

/// The work of one [`multiply`]. A free thread takes the next task, so that a thread which the system interrupts delays no other.
struct MatmulTasks<'a> {
    kernel: Kernel,
    input: &'a QuantizedActivations,
    products: SharedMatmuls<'a>,
    next: AtomicUsize,
}

impl MatmulTasks<'_> {
    /// Takes tasks until none are left.
    fn work(&self) {
        let mut task = self.next.fetch_add(1, Ordering::Relaxed);
        let mut before = 0;
        let mut sums = [[0.0; GROUP_ROWS]; VECTORS_PER_PASS];
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
    fn step(&self, weights: &PackedMatrix<'_>) -> usize {
        let (byte, column) = self.kernel.picoseconds();
        let read = byte * weights.group_bytes();
        let compute = column * weights.columns() * self.input.tokens();
        let step = (TASK_PS / read.max(compute).max(1)).max(1);
        if self.streams(weights) { step.next_multiple_of(INTERLEAVED_GROUPS) } else { step }
    }

    /// Whether a task reads its groups from several places at once.
    fn streams(&self, weights: &PackedMatrix<'_>) -> bool {
        self.kernel.interleaves_groups() && self.input.tokens() == 1 && weights.blocks() == 1
    }

    fn groups(&self, target: &MatmulTarget<'_>, mut groups: Range<usize>, sums: &mut [GroupSums; VECTORS_PER_PASS]) {
        let weights = &target.weights;
        if self.streams(weights) {
            let view = ActivationView { input: self.input, column: 0, columns: weights.columns(), tokens: 0..1 };
            let length = groups.len() / INTERLEAVED_GROUPS;
            for first in groups.start..groups.start + length {
                let streams: [usize; INTERLEAVED_GROUPS] = std::array::from_fn(|stream| first + stream * length);
                let sums =
                    sums.first_chunk_mut::<INTERLEAVED_GROUPS>().expect("there is room for more vectors than streams");
                self.kernel.gemv(weights.format(), streams.map(|group| weights.group(group)), &view, sums.each_mut());
                for (group, sums) in streams.into_iter().zip(sums) {
                    target.place(group).put(0, sums);
                }
            }
            groups.start += length * INTERLEAVED_GROUPS;
        }
        groups.for_each(|group| self.group(target, group, sums));
    }

    fn group(&self, target: &MatmulTarget<'_>, group: usize, sums: &mut [GroupSums; VECTORS_PER_PASS]) {
        let weights = &target.weights;
        let place = target.place(group);
        let column = group / weights.block_groups() * weights.columns();
        for start in (0..self.input.tokens()).step_by(VECTORS_PER_PASS) {
            let tokens = start..self.input.tokens().min(start + VECTORS_PER_PASS);
            let sums = &mut sums[..tokens.len()];
            tokens.clone().for_each(|token| place.prefetch(token));
            let view = ActivationView { input: self.input, column, columns: weights.columns(), tokens };
            self.kernel.group(weights.format(), weights.group(group), &view, sums);
            for (token, sums) in (start..).zip(sums) {
                place.put(token, sums);
            }
        }
    }
}

/// The products of one [`multiply`], for all threads: each task writes other columns of the outputs.
struct SharedMatmuls<'a> {
    products: *const Matmul<'a>,
    count: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: all that is shared is only read, except the outputs, of which each task writes its own columns (see
// `OutputColumns::put`).
unsafe impl Sync for SharedMatmuls<'_> {}

struct MatmulTarget<'a> {
    weights: PackedMatrix<'a>,
    bias: Option<&'a [f32]>,
    out: *mut f32,
}

impl MatmulTarget<'_> {
    /// Where the outputs of a group go.
    fn place(&self, group: usize) -> OutputColumns {
        let weights = &self.weights;
        let block = group / weights.block_groups();
        let first = group % weights.block_groups() * GROUP_ROWS;
        let rows = GROUP_ROWS.min(weights.rows() - first);
        let output = block * weights.rows() + first;
        let mut bias = [0.0; GROUP_ROWS];
        if let Some(all) = self.bias {
            bias[..rows].copy_from_slice(&all[output..][..rows]);
        }
        OutputColumns { out: self.out.wrapping_add(output), stride: weights.outputs(), rows, bias }
    }
}

/// The columns of an output that belong to one group.
struct OutputColumns {
    out: *mut f32,
    stride: usize,
    rows: usize,
    bias: GroupSums,
}

impl OutputColumns {
    /// Prefetches the outputs while the sums are computed: rows of an output are often a multiple of 2 KiB apart, so that they
    /// share two sets of the first-level cache and were evicted from it.
    fn prefetch(&self, token: usize) {
        #[cfg(target_arch = "x86_64")]
        super::avx2::prefetch(self.out.wrapping_add(token * self.stride).cast());
        #[cfg(not(target_arch = "x86_64"))]
        let _ = token;
    }

    /// Adds the bias, and writes the outputs for one vector.
    fn put(&self, token: usize, sums: &mut GroupSums) {
        sums.iter_mut().zip(self.bias).for_each(|(sum, bias)| *sum += bias);
        // SAFETY: `rows` columns from here on lie within the [t, outputs] of the product, whose length was checked; the task that
        // owns this group is the only one that writes these columns, and nobody reads them before the join.
        unsafe {
            let out = self.out.add(token * self.stride);
            match self.rows {
                // With a length that is known it is two moves, not a call.
                GROUP_ROWS => out.cast::<GroupSums>().write_unaligned(*sums),
                rows => out.copy_from_nonoverlapping(sums.as_ptr(), rows),
            }
        }
    }
}

impl<'a> SharedMatmuls<'a> {
    fn new<'b: 'a>(products: &'a mut [Matmul<'b>]) -> Self {
        Self { products: products.as_mut_ptr().cast(), count: products.len(), borrow: PhantomData }
    }

    fn get(&self, index: usize) -> MatmulTarget<'a> {
        assert!(index < self.count);
        // SAFETY: the pointer is that of `count` products which are borrowed for as long as `self` lives. The reference to the
        // output is read as the raw pointer it is, so that no two threads ever hold a `&mut` to it.
        unsafe {
            let product = self.products.add(index);
            let out = (&raw const (*product).out).cast::<*mut [f32]>().read();
            MatmulTarget { weights: (*product).weights, bias: (*product).bias, out: out.cast() }
        }
    }
}
