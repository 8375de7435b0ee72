//! What the kernels compute, in plain Rust: the reference for the others, and what a processor without them runs.

use std::hint::black_box;

use super::activations::ActivationView;
use super::weights::{D, D_MIN, QUANTS, SUB_BLOCK, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES, WeightFormat, half, scale_min};
use super::{GROUP_ROWS, GroupSums};

pub(super) fn group(format: WeightFormat, weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums]) {
    group_with(format, weights, view, sums, |a, b, c| a * b + c);
}

/// With a·b + c rounded once, it gives what all other kernels do, bit for bit.
pub(super) fn group_with(
    format: WeightFormat,
    weights: &[u8],
    view: &ActivationView<'_>,
    sums: &mut [GroupSums],
    fma: impl Fn(f32, f32, f32) -> f32,
) {
    sums.fill([0.0; GROUP_ROWS]);
    match format {
        WeightFormat::F32 => f32(weights, view, sums, fma),
        WeightFormat::Q8_0 => q8_0(weights, view, sums, fma),
        WeightFormat::Q4K => q4k(weights, view, sums, fma),
    }
}

fn f32(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums], fma: impl Fn(f32, f32, f32) -> f32) {
    let (columns, _) = weights.as_chunks::<{ 4 * GROUP_ROWS }>();
    for (token, sums) in sums.iter_mut().enumerate() {
        for (x, column) in view.dense(token).iter().zip(columns) {
            let (weights, _) = column.as_chunks::<4>();
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum = fma(*x, f32::from_le_bytes(*weight), *sum));
        }
    }
}

fn q8_0(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums], fma: impl Fn(f32, f32, f32) -> f32) {
    let (quants, scales) = weights.split_at(view.columns * GROUP_ROWS);
    let runs = quants.chunks_exact(SUB_BLOCK_BYTES).zip(scales.chunks_exact(2 * GROUP_ROWS));
    for (index, (quants, scales)) in runs.enumerate() {
        let x = view.run(index);
        for (token, sums) in sums.iter_mut().enumerate() {
            let x = &x[token];
            let products = dot(&x.quads, quants, |weight| i32::from(weight as i8));
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = fma(half(scales, row) * x.scale, products[row] as f32, *sum);
            }
        }
    }
}

fn q4k(weights: &[u8], view: &ActivationView<'_>, sums: &mut [GroupSums], fma: impl Fn(f32, f32, f32) -> f32) {
    for (index, block) in weights.chunks_exact(SUPER_BLOCK_BYTES).enumerate() {
        let x = view.super_block(index);
        for (token, sums) in sums.iter_mut().enumerate() {
            let x = &x[token];
            let mut products = [0; GROUP_ROWS];
            let mut mins = [0; GROUP_ROWS];
            for run in 0..8 {
                let quads = &x.quads[run * SUB_BLOCK / 4..][..SUB_BLOCK / 4];
                let quants = &block[QUANTS + run / 2 * SUB_BLOCK_BYTES..][..SUB_BLOCK_BYTES];
                let of_run = dot(quads, quants, |weights| i32::from(weights >> (run % 2 * 4) & 15));
                for row in 0..GROUP_ROWS {
                    let (scale, min) = scale_min(block, run, row);
                    products[row] += i32::from(scale) * of_run[row];
                    mins[row] += i32::from(min) * x.sums[run];
                }
            }
            for (row, sum) in sums.iter_mut().enumerate() {
                let scaled = half(&block[D..], row) * products[row] as f32;
                let scaled = fma(-half(&block[D_MIN..], row), mins[row] as f32, scaled);
                *sum = fma(x.scale, scaled, *sum);
            }
        }
    }
}

/// The sum over the quads of columns, for each row.
fn dot(quads: &[i32], weights: &[u8], value: impl Fn(u8) -> i32) -> [i32; GROUP_ROWS] {
    let mut sums = [0; GROUP_ROWS];
    for (quad, weights) in quads.iter().zip(weights.as_chunks::<{ 4 * GROUP_ROWS }>().0) {
        let x = quad.to_le_bytes().map(|x| i32::from(x as i8));
        for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
            *sum += x.iter().zip(weights).map(|(x, weight)| x * value(*weight)).sum::<i32>();
        }
    }
    sums
}

/// Makes products from registers; returns how many.
pub(super) fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
    const SUMS: usize = 32;
    if format == WeightFormat::F32 {
        let mut sums = [0f32; SUMS];
        for _ in 0..rounds {
            let x = black_box(1.5);
            sums.iter_mut().for_each(|sum| *sum += x * 0.3);
        }
        black_box(sums);
    } else {
        let mut sums = [0i32; SUMS];
        for _ in 0..rounds {
            let x = black_box(3);
            sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += x * i as i32);
        }
        black_box(sums);
    }
    rounds * SUMS
}
