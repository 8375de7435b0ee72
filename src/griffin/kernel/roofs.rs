//! How fast the machine could be: what the kernels are measured against, in the same run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::{Form, Kernel};

/// What a kernel cannot beat on this machine with all threads of the current pool.
#[derive(Clone, Copy, Debug)]
pub struct Roofs {
    /// Reading memory, GB/s.
    pub read_gb_s: f64,
    /// Products from registers with the instructions of each form's inner loop, two operations each, Gop/s: what it takes to have
    /// exact sums of 32 bits.
    pub f32_gop_s: f64,
    pub q8_0_gop_s: f64,
    pub q4k_gop_s: f64,
}

impl Roofs {
    /// How long each of the four is measured.
    const TIME: Duration = Duration::from_millis(100);

    /// Measures for about 0.4 s. `buffer` should be far larger than all caches: 2 GiB.
    pub fn measure(kernel: Kernel, buffer: &[u8]) -> Self {
        Self {
            read_gb_s: read(buffer),
            f32_gop_s: spin(kernel, Form::F32),
            q8_0_gop_s: spin(kernel, Form::Q8_0),
            q4k_gop_s: spin(kernel, Form::Q4K),
        }
    }

    /// Of several measurements, at least one, the median of each.
    pub fn median(all: &[Self]) -> Self {
        let median = |of: fn(&Self) -> f64| {
            let mut all: Vec<f64> = all.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self {
            read_gb_s: median(|roofs| roofs.read_gb_s),
            f32_gop_s: median(|roofs| roofs.f32_gop_s),
            q8_0_gop_s: median(|roofs| roofs.q8_0_gop_s),
            q4k_gop_s: median(|roofs| roofs.q4k_gop_s),
        }
    }

    pub fn gop_s(&self, form: Form) -> f64 {
        match form {
            Form::F32 => self.f32_gop_s,
            Form::Q8_0 => self.q8_0_gop_s,
            Form::Q4K => self.q4k_gop_s,
        }
    }
}

fn read(buffer: &[u8]) -> f64 {
    const PIECE: usize = 1 << 20;
    let mut slices = buffer.chunks((buffer.len() / 32).max(1)).cycle();
    best(|| {
        let slice = slices.next().unwrap_or_default();
        black_box(slice.par_chunks(PIECE).map(sum).reduce(|| 0, u64::wrapping_add));
        slice.len() as f64
    })
}

/// The highest rate, in 1e9 a second, of many short measurements: what other work on the machine takes is not a limit of it.
fn best(mut measure: impl FnMut() -> f64) -> f64 {
    let begun = Instant::now();
    let mut best: f64 = 0.0;
    while best == 0.0 || begun.elapsed() < Roofs::TIME {
        let begun = Instant::now();
        best = best.max(measure() / begun.elapsed().as_secs_f64() / 1e9);
    }
    best
}

fn sum(piece: &[u8]) -> u64 {
    const LANES: usize = 16;
    let mut sums = [0u64; LANES];
    for line in piece.as_chunks::<{ 8 * LANES }>().0 {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

fn spin(kernel: Kernel, form: Form) -> f64 {
    const TIME: Duration = Duration::from_millis(2);
    best(|| {
        let begun = Instant::now();
        let threads = (0..rayon::current_num_threads()).into_par_iter().with_max_len(1);
        let products = threads.map(|_| {
            let mut products = 0;
            while begun.elapsed() < TIME {
                products += kernel.spin(form, 500);
            }
            products
        });
        2.0 * products.sum::<usize>() as f64
    })
}
