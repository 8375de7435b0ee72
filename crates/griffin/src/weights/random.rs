//! Quantization drawn at random, for measuring speed.
//!
//! Owns their distribution: what is multiplied by them keeps its size. Invariant: the same seed and shape give the same bytes, in
//! memory and in a file.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::super::kernel::{self, Form};
use super::slabs::Slabs;

const ROWS: usize = 16;

/// Elements from which quants are drawn rather than weights.
const LARGE: usize = 1 << 20;

/// A small tensor: norms, biases and taps near zero; Λ so that the recurrence forgets over ten to a thousand tokens.
pub fn vector(seed: u64, name: &str, out: &mut [f32]) {
    let mut rng = rng(seed, name, 0);
    let range = if name.ends_with("recurrent_param") { -9.0..-4.3 } else { -0.05..0.05 };
    out.iter_mut().for_each(|value| *value = rng.random_range(range.clone()));
}

/// The packed bytes of a slab of a matrix.
pub fn slab(seed: u64, name: &str, slabs: &Slabs, slab: usize, out: &mut [u8]) {
    let mut rng = rng(seed, name, slab as u64 + 1);
    let (rows, columns) = (slabs.rows_of(slab), slabs.columns);
    let bound = (3.0 / columns as f32).sqrt();
    let mut weights = |count: usize| (0..count).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>();
    if slabs.rows * columns < LARGE || !rows.is_multiple_of(ROWS) {
        return kernel::pack(slabs.form, columns, &weights(rows * columns), out);
    }
    // The scales of one packed group serve all; the quants are drawn. Packing every weight would take minutes.
    let group = out.len() / (rows / ROWS);
    let mut first = vec![0; group];
    kernel::pack(slabs.form, columns, &weights(ROWS * columns), &mut first);
    for group in out.chunks_exact_mut(group) {
        group.copy_from_slice(&first);
        draw(slabs.form, columns, bound, group, &mut rng);
    }
}

fn draw(form: Form, columns: usize, bound: f32, group: &mut [u8], rng: &mut SmallRng) {
    match form {
        Form::F32 => {
            rng.fill_bytes(group);
            for bytes in group.as_chunks_mut::<4>().0 {
                let unit = (u32::from_le_bytes(*bytes) >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
                *bytes = (unit * bound).to_le_bytes();
            }
        }
        Form::Q8_0 => {
            let quants = &mut group[..ROWS * columns];
            rng.fill_bytes(quants);
            // −128 is no quant.
            quants.iter_mut().for_each(|quant| *quant += u8::from(*quant == 0x80));
        }
        // Scales and minima first, then 16 · 256 quants of half a byte.
        Form::Q4K => group.chunks_exact_mut(ROWS * 144).for_each(|block| rng.fill_bytes(&mut block[ROWS * 16..])),
    }
}

/// A generator of its own for each slab, so that they can be drawn in any order.
fn rng(seed: u64, name: &str, slab: u64) -> SmallRng {
    // FNV-1a
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    SmallRng::seed_from_u64(seed ^ hash ^ slab.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
