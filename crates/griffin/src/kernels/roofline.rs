//! How fast the machine could be: the limits which kernels are measured against, in the same run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::{INTERLEAVED_GROUPS, Kernel, WeightFormat};

/// What bounds a kernel on this machine with all threads of the current pool, over some length of time.
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// Reading memory, GB/s.
    pub read_gb_s: f64,
    /// Products from registers with the instructions of each format's inner loop, two operations each, Gop/s: what it takes to have
    /// exact sums of 32 bits.
    pub f32_gop_s: f64,
    pub q8_0_gop_s: f64,
    pub q4k_gop_s: f64,
}

impl Roofline {
    /// How long each of the four is measured.
    const TIME: Duration = Duration::from_millis(100);

    /// Measures both limits, in about 0.4 s. Where a core is shared with other work, the best moment lies far above the mean, and
    /// only the mean bounds what runs for longer. `buffer` should be far larger than all caches: 2 GiB.
    pub fn measure(kernel: Kernel, buffer: &[u8]) -> RooflineMeasurement {
        let all = [
            read(buffer),
            peak_flops(kernel, WeightFormat::F32),
            peak_flops(kernel, WeightFormat::Q8_0),
            peak_flops(kernel, WeightFormat::Q4K),
        ];
        let of = |rates: [f64; 4]| {
            let [read_gb_s, f32_gop_s, q8_0_gop_s, q4k_gop_s] = rates;
            Self { read_gb_s, f32_gop_s, q8_0_gop_s, q4k_gop_s }
        };
        RooflineMeasurement { sustained: of(all.map(|rate| rate.sustained)), best: of(all.map(|rate| rate.best)) }
    }

    /// Of several measurements, at least one, the median of each.
    pub fn median(all: &[Self]) -> Self {
        Self::of(all, |sorted| sorted[sorted.len() / 2])
    }

    /// The highest of each.
    pub fn highest(all: &[Self]) -> Self {
        Self::of(all, |sorted| sorted[sorted.len() - 1])
    }

    fn of(all: &[Self], pick: impl Fn(&[f64]) -> f64) -> Self {
        let picked = |of: fn(&Self) -> f64| {
            let mut rates: Vec<f64> = all.iter().map(of).collect();
            rates.sort_by(f64::total_cmp);
            pick(&rates)
        };
        Self {
            read_gb_s: picked(|roofs| roofs.read_gb_s),
            f32_gop_s: picked(|roofs| roofs.f32_gop_s),
            q8_0_gop_s: picked(|roofs| roofs.q8_0_gop_s),
            q4k_gop_s: picked(|roofs| roofs.q4k_gop_s),
        }
    }

    pub fn gop_s(&self, format: WeightFormat) -> f64 {
        match format {
            WeightFormat::F32 => self.f32_gop_s,
            WeightFormat::Q8_0 => self.q8_0_gop_s,
            WeightFormat::Q4K => self.q4k_gop_s,
        }
    }
}

/// The limits, over two lengths of time.
#[derive(Clone, Copy, Debug)]
pub struct RooflineMeasurement {
    /// A mean over 100 ms.
    pub sustained: Roofline,
    /// The highest over a millisecond or two: shorter than the time that a system gives to another process, so that it bounds what
    /// is measured as shortly, whatever else runs.
    pub best: Roofline,
}

/// In 1e9 a second.
#[derive(Clone, Copy)]
struct Rate {
    sustained: f64,
    best: f64,
}

fn read(buffer: &[u8]) -> Rate {
    const PIECE: usize = 1 << 20;
    let mut slices = buffer.chunks((buffer.len() / 128).max(1)).cycle();
    rate(|| {
        let slice = slices.next().unwrap_or_default();
        black_box(slice.par_chunks(PIECE).map(sum).reduce(|| 0, u64::wrapping_add));
        slice.len() as f64
    })
}

/// Does a short piece of work again and again.
fn rate(mut work: impl FnMut() -> f64) -> Rate {
    let begun = Instant::now();
    let mut done = 0.0;
    let mut seconds = 0.0;
    let mut best = 0.0_f64;
    while done == 0.0 || begun.elapsed() < Roofline::TIME {
        let begun = Instant::now();
        let some = work() / 1e9;
        let took = begun.elapsed().as_secs_f64();
        done += some;
        seconds += took;
        best = best.max(some / took);
    }
    Rate { sustained: done / seconds, best }
}

/// Reads a piece from several places in turns, as a kernel does with a single vector: from one place alone a Zen 3 reads
/// 12 to 15 % less.
fn sum(piece: &[u8]) -> u64 {
    let (lines, _) = piece.as_chunks::<64>();
    let length = lines.len() / INTERLEAVED_GROUPS;
    let streams: [&[[u8; 64]]; INTERLEAVED_GROUPS] = std::array::from_fn(|stream| &lines[stream * length..][..length]);
    let mut sums = [[0u64; 8]; INTERLEAVED_GROUPS];
    for line in 0..length {
        for (sums, stream) in sums.iter_mut().zip(streams) {
            for (sum, word) in sums.iter_mut().zip(stream[line].as_chunks::<8>().0) {
                *sum = sum.wrapping_add(u64::from_le_bytes(*word));
            }
        }
    }
    sums.into_iter().flatten().fold(0, u64::wrapping_add)
}

fn peak_flops(kernel: Kernel, format: WeightFormat) -> Rate {
    const TIME: Duration = Duration::from_millis(1);
    rate(|| {
        let begun = Instant::now();
        let threads = (0..rayon::current_num_threads()).into_par_iter().with_max_len(1);
        let products = threads.map(|_| {
            let mut products = 0;
            while begun.elapsed() < TIME {
                products += kernel.peak_flops(format, 500);
            }
            products
        });
        2.0 * products.sum::<usize>() as f64
    })
}
