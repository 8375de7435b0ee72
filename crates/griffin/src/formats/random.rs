//! Random weights, for measuring speed. The same seed and shape give the same bytes, in memory and in a file. They are drawn so
//! that what is multiplied by them keeps its size.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::RowChunks;
use crate::kernels::{self, GROUP_ROWS, Q4K_BLOCK_ROW_BYTES, WeightFormat};

/// Weights of a matrix from which quants are drawn rather than weights.
const DRAW_QUANTS_FROM: usize = 1 << 20;

/// A small tensor: norms, biases and taps near zero; Λ so that the recurrence forgets over ten to a thousand tokens.
pub(crate) fn vector(seed: u64, name: &str, out: &mut [f32]) {
    let mut rng = rng(seed, name, 0);
    let range = if name.ends_with("recurrent_param") { -9.0..-4.3 } else { -0.05..0.05 };
    out.iter_mut().for_each(|value| *value = rng.random_range(range.clone()));
}

/// The packed bytes of a chunk of a matrix.
pub(crate) fn chunk(seed: u64, name: &str, chunks: &RowChunks, chunk: usize, out: &mut [u8]) {
    let mut rng = rng(seed, name, chunk as u64 + 1);
    let rows = chunks.rows_of(chunk);
    let columns = chunks.columns;
    let bound = (3.0 / columns as f32).sqrt();
    let mut weights = |count: usize| (0..count).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>();
    if chunks.rows * columns < DRAW_QUANTS_FROM || !rows.is_multiple_of(GROUP_ROWS) {
        return kernels::pack(chunks.format, columns, &weights(rows * columns), out);
    }
    // The scales of one packed group serve all, and only the quants are drawn: packing every weight would take minutes.
    let group_bytes = out.len() / (rows / GROUP_ROWS);
    let mut first = vec![0; group_bytes];
    kernels::pack(chunks.format, columns, &weights(GROUP_ROWS * columns), &mut first);
    for group in out.chunks_exact_mut(group_bytes) {
        group.copy_from_slice(&first);
        draw_quants(chunks.format, columns, bound, group, &mut rng);
    }
}

fn draw_quants(format: WeightFormat, columns: usize, bound: f32, group: &mut [u8], rng: &mut SmallRng) {
    match format {
        WeightFormat::F32 => {
            rng.fill_bytes(group);
            for bytes in group.as_chunks_mut::<4>().0 {
                let unit = (u32::from_le_bytes(*bytes) >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
                *bytes = (unit * bound).to_le_bytes();
            }
        }
        WeightFormat::Q8_0 => {
            let quants = &mut group[..GROUP_ROWS * columns];
            rng.fill_bytes(quants);
            // −128 is no quant.
            quants.iter_mut().for_each(|quant| *quant += u8::from(*quant == 0x80));
        }
        WeightFormat::Q4K => {
            // Scales and minima first, then 16 · 256 quants of half a byte.
            for block in group.chunks_exact_mut(GROUP_ROWS * Q4K_BLOCK_ROW_BYTES) {
                rng.fill_bytes(&mut block[GROUP_ROWS * 16..]);
            }
        }
    }
}

/// A generator of its own for each chunk, so that they can be drawn in any order.
fn rng(seed: u64, name: &str, chunk: u64) -> SmallRng {
    // FNV-1a
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    SmallRng::seed_from_u64(seed ^ hash ^ chunk.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
