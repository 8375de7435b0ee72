//! Numbers become Q4K as ggml's quantize_row_q4_K does it (make_qkx1_quants of its first k-quants), operation by operation as in candle,
//! so that a file made here holds the same bits as one made of their blocks. A test compares them.

use half::f16;

use super::{SUB_BLOCK, SUPER_BLOCK};

const RUNS: usize = SUPER_BLOCK / SUB_BLOCK;

/// The largest quant, of 4 bits.
const MAX_QUANT: f32 = 15.0;

/// The largest scale or minimum of a run, of 6 bits.
const MAX_SCALE: f32 = 63.0;

/// A super-block of one row. A weight is d · scale · quant − d_min · min.
pub(super) struct QuantizedBlock {
    pub(super) d: f16,
    pub(super) d_min: f16,
    /// 6 bits each, of each run.
    pub(super) scales: [u8; RUNS],
    pub(super) mins: [u8; RUNS],
    /// 4 bits each.
    pub(super) quants: [[u8; SUB_BLOCK]; RUNS],
}

impl QuantizedBlock {
    pub(super) fn new(values: &[f32; SUPER_BLOCK]) -> Self {
        let runs = values.as_chunks::<SUB_BLOCK>().0;
        let mut scales = [0.0; RUNS];
        let mut mins = [0.0; RUNS];
        for (run, values) in runs.iter().enumerate() {
            (scales[run], mins[run]) = fit(values);
        }
        let (d, scales) = six_bits(scales);
        let (d_min, mins) = six_bits(mins);
        let mut quants = [[0; SUB_BLOCK]; RUNS];
        for (run, values) in runs.iter().enumerate() {
            let scale = d.to_f32() * f32::from(scales[run]);
            if scale != 0.0 {
                let min = d_min.to_f32() * f32::from(mins[run]);
                quants[run] = values.map(|value| ((value + min) / scale).round().clamp(0.0, MAX_QUANT) as u8);
            }
        }
        Self { d, d_min, scales, mins, quants }
    }
}

/// A factor for all runs, and each run's share of it.
fn six_bits(of_runs: [f32; RUNS]) -> (f16, [u8; RUNS]) {
    let max = of_runs.into_iter().fold(0.0, f32::max);
    let inverse = if max > 0.0 { MAX_SCALE / max } else { 0.0 };
    (f16::from_f32(max / MAX_SCALE), of_runs.map(|of_run| (inverse * of_run).round().min(MAX_SCALE) as u8))
}

/// The scale and the minimum, as a positive number to be subtracted, that come near to the numbers of a run. Quants and both are fitted in
/// turns.
fn fit(values: &[f32; SUB_BLOCK]) -> (f32, f32) {
    const ROUNDS: usize = 5;
    let lowest = values.iter().copied().min_by(f32::total_cmp).unwrap_or(0.0);
    let highest = values.iter().copied().max_by(f32::total_cmp).unwrap_or(0.0);
    if lowest == highest {
        return (0.0, 0.0);
    }
    let mut min = lowest.min(0.0);
    let mut inverse = MAX_QUANT / (highest - min);
    let mut scale = 1.0 / inverse;
    let mut quants = [0.0; SUB_BLOCK];
    for _ in 0..ROUNDS {
        let before = quants;
        quants = values.map(|value| (inverse * (value - min)).round().clamp(0.0, MAX_QUANT));
        let mut products = 0.0;
        let mut squares = 0.0;
        for (value, quant) in values.iter().zip(&quants) {
            products += (value - min) * quant;
            squares += quant * quant;
        }
        scale = products / squares;
        let rest: f32 = values.iter().zip(&quants).map(|(value, quant)| value - scale * quant).sum();
        min = (rest / SUB_BLOCK as f32).min(0.0);
        inverse = 1.0 / scale;
        if quants == before {
            break;
        }
    }
    (scale, -min)
}
