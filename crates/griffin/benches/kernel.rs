//! Products of the 2B model's largest matrices, the widest and the longest, beside the machine's limits, in one run.
//!
//! `cargo bench -p recurrentgemma --bench kernel [-- KERNEL…]`. A row is one format and one number of vectors at a time; its share is
//! that of the lower of both limits, which for one vector is usually reading and for 64 the products. Limits and rows are the best
//! of many short measurements, since other work on the machine is no limit of it.

use std::time::{Duration, Instant};

use griffin::kernels::{Kernel, Matmul, PackedMatrix, QuantizedActivations, Roofline, WeightFormat, multiply, pack};

/// Rows and columns: the MLP's gate and up, its down.
const SHAPES: [[usize; 2]; 2] = [[7680, 2560], [2560, 7680]];
const TIME: Duration = Duration::from_millis(400);

fn main() {
    let named: Vec<Kernel> = std::env::args().skip(1).filter_map(|name| Kernel::by_name(&name)).collect();
    let buffer = vec![1u8; 2 << 30];
    for kernel in Kernel::available().filter(|kernel| named.is_empty() || named.contains(kernel)) {
        let roofline = Roofline::measure(kernel, &buffer).best;
        println!("{kernel}, {} threads: reads {:.1} GB/s", rayon::current_num_threads(), roofline.read_gb_s);
        for format in WeightFormat::ALL {
            for shape in SHAPES {
                println!("  {format:?} {shape:?}, at most {:.0} Gop/s", roofline.gop_s(format));
                for tokens in [1, 2, 4, 8, 16, 64] {
                    measure(kernel, &roofline, format, shape, tokens);
                }
            }
        }
    }
}

fn measure(kernel: Kernel, roofline: &Roofline, format: WeightFormat, [rows, columns]: [usize; 2], tokens: usize) {
    // So many copies that no cache holds them.
    let bytes = format.bytes(1, rows, columns).expect("whole blocks");
    let copies = (512 << 20) / bytes;
    let mut weights = vec![0; bytes];
    let row: Vec<f32> = (0..columns).map(|i| ((i * 7919 + 13) % 1000) as f32 / 500.0 - 1.0).collect();
    pack(format, columns, &row.repeat(16), &mut weights[..bytes * 16 / rows]);
    let group = weights[..bytes * 16 / rows].to_vec();
    weights.chunks_mut(group.len()).for_each(|bytes| bytes.copy_from_slice(&group));
    let weights: Vec<u8> = weights.repeat(copies);
    let mut activations = QuantizedActivations::new();
    activations.load(kernel, &row.repeat(tokens), columns, |used| used == format);
    let mut out = vec![0.0; tokens * rows];

    let begun = Instant::now();
    let mut seconds = f64::INFINITY;
    'measure: loop {
        for weights in weights.chunks_exact(bytes) {
            let weights = PackedMatrix::new(format, 1, rows, columns, weights).expect("the right length");
            let pass = Instant::now();
            multiply(kernel, &activations, &mut [Matmul { weights, bias: None, out: &mut out }]);
            seconds = seconds.min(pass.elapsed().as_secs_f64());
            if begun.elapsed() > TIME {
                break 'measure;
            }
        }
    }
    let read = bytes as f64 / 1e9;
    let operations = (2 * rows * columns * tokens) as f64 / 1e9;
    let limit = (read / roofline.read_gb_s).max(operations / roofline.gop_s(format));
    let ms = 1e3 * seconds;
    let gb_s = read / seconds;
    let gop_s = operations / seconds;
    let share = 100.0 * limit / seconds;
    println!("    {tokens:>3} vectors: {ms:8.3} ms {gb_s:6.1} GB/s {gop_s:7.1} Gop/s {share:5.1} % of the lower limit");
}
