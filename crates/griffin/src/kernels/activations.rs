//! Activations, in the formats which the kernels multiply weights with.
//!
//! Quantized vectors lie block by block, all vectors of a block together, so that what a kernel reads while it holds a block of
//! weights is contiguous (rows of the input are often a multiple of 4 KiB apart, and would share a few cache sets). Four
//! consecutive columns are one i32, its low byte first: what a kernel broadcasts. A value that is not finite makes the products of
//! its own vector NaN, and no other's.

use std::ops::Range;

use rayon::prelude::*;

use super::weights::{SUB_BLOCK, SUPER_BLOCK, WeightFormat};
use super::{Kernel, VECTORS_PER_PASS};

/// [t, columns], in every format that products read. Loading allocates nothing once it has seen as many vectors.
#[derive(Debug, Default)]
pub struct QuantizedActivations {
    tokens: usize,
    columns: usize,
    /// Which kernel and which formats it is ready for.
    kernel: Option<Kernel>,
    formats: [bool; 3],
    dense: Vec<f32>,
    blocks: Vec<Q8Block>,
    super_blocks: Vec<Q8SuperBlock>,
}

/// 32 columns of a vector: 8 bits each, and a scale.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Q8Block {
    pub quads: [i32; SUB_BLOCK / 4],
    pub scale: f32,
    /// −128 times the sum of the quants: what weights offset by 128 count too much. For AVX-512.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub offset: i32,
}

/// 256 columns of a vector: 8 bits each, and a scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Q8SuperBlock {
    pub quads: [i32; SUPER_BLOCK / 4],
    pub scale: f32,
    /// The sums of each 32 quants.
    pub sums: [i32; 8],
    /// The same, two as i16 in each, the first one low. For AVX2 and AVX-512.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub sum_pairs: [i32; 4],
    /// −8 times each sum: what sums of products start with, so that they fit 16 bits. For AVX-VNNI and AVX-512.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub offsets: [i32; 8],
}

impl QuantizedActivations {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Takes x [t, columns], for products by `kernel` with weights of each format that `is_used`; on the current rayon pool if
    /// there is much of it.
    ///
    /// # Panics
    /// If `x` are no whole vectors, or a format does not fit `columns`.
    pub fn load(&mut self, kernel: Kernel, x: &[f32], columns: usize, is_used: impl Fn(WeightFormat) -> bool) {
        assert!(columns > 0 && x.len().is_multiple_of(columns), "whole vectors of {columns}");
        self.tokens = x.len() / columns;
        self.columns = columns;
        self.kernel = Some(kernel);
        self.formats = [false; 3];
        for format in WeightFormat::ALL {
            if !is_used(format) {
                continue;
            }
            assert!(format.fits(columns), "{columns} columns as {format:?}");
            self.formats[format as usize] = true;
            match format {
                WeightFormat::F32 => {
                    self.dense.clear();
                    self.dense.extend_from_slice(x);
                }
                WeightFormat::Q8_0 => fill(&mut self.blocks, kernel, x, columns),
                WeightFormat::Q4K => fill(&mut self.super_blocks, kernel, x, columns),
            }
        }
    }

    pub(super) fn is_loaded_for(&self, kernel: Kernel, format: WeightFormat) -> bool {
        self.kernel == Some(kernel) && self.formats[format as usize]
    }
}

/// A piece of a vector that is quantized by itself.
trait ActivationBlock: Copy + Default + Send {
    const COLUMNS: usize;

    /// Of [`ActivationBlock::COLUMNS`] values.
    fn quantized(values: &[f32]) -> Self;
}

impl ActivationBlock for Q8Block {
    const COLUMNS: usize = SUB_BLOCK;

    #[inline(always)]
    fn quantized(values: &[f32]) -> Self {
        let (quants, scale) = quantize::<SUB_BLOCK>(values);
        Self { quads: quads(&quants), scale, offset: -128 * sum(&quants) }
    }
}

impl Default for Q8SuperBlock {
    fn default() -> Self {
        Self { quads: [0; SUPER_BLOCK / 4], scale: 0.0, sums: [0; 8], sum_pairs: [0; 4], offsets: [0; 8] }
    }
}

impl ActivationBlock for Q8SuperBlock {
    const COLUMNS: usize = SUPER_BLOCK;

    #[inline(always)]
    fn quantized(values: &[f32]) -> Self {
        let (quants, scale) = quantize::<SUPER_BLOCK>(values);
        let mut sums = [0; 8];
        let mut sum_pairs = [0; 4];
        for (run, quants) in quants.as_chunks::<SUB_BLOCK>().0.iter().enumerate() {
            sums[run] = sum(quants);
            sum_pairs[run / 2] |= (sums[run] & 0xffff) << (run % 2 * 16);
        }
        Self { quads: quads(&quants), scale, sums, sum_pairs, offsets: sums.map(|sum| -8 * sum) }
    }
}

/// Values from which it pays to use another thread: some tens of microseconds.
const SHARE: usize = 1 << 16;

/// All blocks of x [t, columns]: [block][t].
fn fill<B: ActivationBlock>(out: &mut Vec<B>, kernel: Kernel, x: &[f32], columns: usize) {
    let tokens = x.len() / columns;
    out.resize(x.len() / B::COLUMNS, B::default());
    let strip = |(index, out): (usize, &mut [B])| {
        #[cfg(target_arch = "x86_64")]
        if kernel.has_avx2() {
            // SAFETY: a kernel that has AVX2 is only made where the processor has it.
            unsafe { fill_strip_avx2(out, x, columns, index) };
            return;
        }
        fill_strip(out, x, columns, index);
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = kernel;
    let strips = STRIP / B::COLUMNS * tokens;
    if tokens == 0 {
    } else if x.len() < 2 * SHARE || rayon::current_num_threads() == 1 {
        out.chunks_mut(strips).enumerate().for_each(strip);
    } else {
        out.par_chunks_mut(strips).enumerate().with_min_len((SHARE / STRIP / tokens).max(1)).for_each(strip);
    }
}

/// Columns whose blocks are filled together, so that what is read of a vector at a time is more than a few cache lines.
const STRIP: usize = SUPER_BLOCK;

/// The same, compiled for wider registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_strip_avx2<B: ActivationBlock>(out: &mut [B], x: &[f32], columns: usize, index: usize) {
    fill_strip(out, x, columns, index);
}

#[inline(always)]
fn fill_strip<B: ActivationBlock>(out: &mut [B], x: &[f32], columns: usize, index: usize) {
    let tokens = x.len() / columns;
    for (token, x) in x.chunks_exact(columns).enumerate() {
        let blocks = x[index * STRIP..].chunks_exact(B::COLUMNS);
        for (out, values) in out.chunks_exact_mut(tokens).zip(blocks) {
            out[token] = B::quantized(values);
        }
    }
}

/// N values as quants of 8 bits, −127 to 127, and their scale.
#[inline(always)]
fn quantize<const N: usize>(values: &[f32]) -> ([i8; N], f32) {
    // The bits of magnitudes compare as the magnitudes do, NaN above all.
    let max = f32::from_bits(values.iter().fold(0, |max, value| max.max(value.abs().to_bits())));
    if !max.is_finite() {
        return ([0; N], f32::NAN);
    }
    let scale = max / 127.0;
    // So small a magnitude has an inverse that is not finite: it counts as zero.
    let inverse = if scale > f32::MIN_POSITIVE { 127.0 / max } else { 0.0 };
    // Adding 1.5 · 2²³ leaves the nearest integer, ties to even, in the lowest bits.
    let mut quants = [0; N];
    for (quant, value) in quants.iter_mut().zip(values) {
        *quant = (value * inverse + 12_582_912.0).to_bits() as i8;
    }
    (quants, scale)
}

#[inline(always)]
fn quads<const N: usize, const Q: usize>(quants: &[i8; N]) -> [i32; Q] {
    let mut quads = [0; Q];
    for (quad, quants) in quads.iter_mut().zip(quants.as_chunks::<4>().0) {
        *quad = i32::from_le_bytes(quants.map(|quant| quant as u8));
    }
    quads
}

#[inline(always)]
fn sum(quants: &[i8; SUB_BLOCK]) -> i32 {
    quants.iter().map(|quant| i32::from(*quant)).sum()
}

/// Some columns of some vectors, which one group of weights is multiplied with; at most [`VECTORS_PER_PASS`].
pub(super) struct ActivationView<'a> {
    pub input: &'a QuantizedActivations,
    pub column: usize,
    pub columns: usize,
    pub tokens: Range<usize>,
}

impl<'a> ActivationView<'a> {
    /// The columns of one vector.
    pub(super) fn dense(&self, token: usize) -> &'a [f32] {
        &self.input.dense[(self.tokens.start + token) * self.input.columns + self.column..][..self.columns]
    }

    /// 32 columns of all vectors.
    #[inline]
    pub(super) fn run(&self, index: usize) -> &'a [Q8Block] {
        &self.input.blocks[self.range(self.column / SUB_BLOCK + index)]
    }

    /// 256 columns of all vectors.
    #[inline]
    pub(super) fn super_block(&self, index: usize) -> &'a [Q8SuperBlock] {
        &self.input.super_blocks[self.range(self.column / SUPER_BLOCK + index)]
    }

    #[inline]
    fn range(&self, block: usize) -> Range<usize> {
        debug_assert!(self.tokens.len() <= VECTORS_PER_PASS);
        let start = block * self.input.tokens;
        start + self.tokens.start..start + self.tokens.end
    }
}

/// Some runs of 32 columns, from `first` on.
#[cfg(target_arch = "x86_64")]
pub(super) struct Q8Runs<'a> {
    pub(super) view: &'a ActivationView<'a>,
    pub(super) first: usize,
}

#[cfg(target_arch = "x86_64")]
impl<'a> Q8Runs<'a> {
    #[inline]
    pub(super) fn run(&self, index: usize) -> &'a [Q8Block] {
        self.view.run(self.first + index)
    }
}
