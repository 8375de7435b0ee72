//! Products of the 2B model's largest matrices, the widest and the longest, against the machine's roofs, in one run.
//!
//! `cargo bench --bench kernel [-- KERNEL…]`. A row is one form and one number of vectors at a time; its share is that of the lower
//! of both roofs, which for one vector is usually reading and for 64 the products. Roofs and rows are the best of many short
//! measurements, since other work on the machine is no limit of it.

use std::time::{Duration, Instant};

use griffin::kernel::{Form, Input, Kernel, Packed, Product, Roofs, multiply, pack};

/// Rows and columns: the MLP's gate and up, its down.
const SHAPES: [[usize; 2]; 2] = [[7680, 2560], [2560, 7680]];
const TIME: Duration = Duration::from_millis(400);

fn main() {
    let named: Vec<Kernel> = std::env::args().skip(1).filter_map(|name| name.parse().ok()).collect();
    let buffer = vec![1u8; 2 << 30];
    for kernel in Kernel::available().filter(|kernel| named.is_empty() || named.contains(kernel)) {
        let roofs = Roofs::measure(kernel, &buffer).best;
        println!("{kernel}, {} threads: reads {:.1} GB/s", rayon::current_num_threads(), roofs.read_gb_s);
        for form in [Form::F32, Form::Q8_0, Form::Q4K] {
            for shape in SHAPES {
                println!("  {form:?} {shape:?}, at most {:.0} Gop/s", roofs.gop_s(form));
                for tokens in [1, 2, 4, 8, 16, 64] {
                    measure(kernel, &roofs, form, shape, tokens);
                }
            }
        }
    }
}

fn measure(kernel: Kernel, roofs: &Roofs, form: Form, [rows, columns]: [usize; 2], tokens: usize) {
    // So many copies that no cache holds them.
    let bytes = form.bytes(1, rows, columns).expect("whole blocks");
    let copies = (512 << 20) / bytes;
    let mut weights = vec![0; bytes];
    let row: Vec<f32> = (0..columns).map(|i| ((i * 7919 + 13) % 1000) as f32 / 500.0 - 1.0).collect();
    pack(form, columns, &row.repeat(16), &mut weights[..bytes * 16 / rows]);
    let group = weights[..bytes * 16 / rows].to_vec();
    weights.chunks_mut(group.len()).for_each(|bytes| bytes.copy_from_slice(&group));
    let weights: Vec<u8> = weights.repeat(copies);
    let mut input = Input::new();
    input.load(kernel, &row.repeat(tokens), columns, &[form]);
    let mut out = vec![0.0; tokens * rows];

    let (begun, mut seconds) = (Instant::now(), f64::INFINITY);
    'measure: loop {
        for weights in weights.chunks_exact(bytes) {
            let weights = Packed::new(form, 1, rows, columns, weights).expect("the right length");
            let pass = Instant::now();
            multiply(kernel, &input, &mut [Product { weights, bias: None, out: &mut out }]);
            seconds = seconds.min(pass.elapsed().as_secs_f64());
            if begun.elapsed() > TIME {
                break 'measure;
            }
        }
    }
    let (read, operations) = (bytes as f64 / 1e9, (2 * rows * columns * tokens) as f64 / 1e9);
    let limit = (read / roofs.read_gb_s).max(operations / roofs.gop_s(form));
    let (gb_s, gop_s, share) = (read / seconds, operations / seconds, 100.0 * limit / seconds);
    let ms = 1e3 * seconds;
    println!("    {tokens:>3} vectors: {ms:8.3} ms {gb_s:6.1} GB/s {gop_s:7.1} Gop/s {share:5.1} % of the lower roof");
}
