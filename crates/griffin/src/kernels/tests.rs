//! Every kernel computes what the scalar one does, and that is what candle's dequantized weights give.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const COLUMNS: [usize; 5] = [32, 96, 256, 768, 2560];
const TOKENS_AT_ONCE: [usize; 10] = [1, 2, 3, 7, 8, 9, 63, 64, 65, 130];

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0f32)).collect()
}

/// [blocks, rows, columns] → packed.
fn packed(format: WeightFormat, blocks: usize, rows: usize, columns: usize, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xaa; format.bytes(blocks, rows, columns).unwrap()];
    let block = bytes.len() / blocks;
    for (values, bytes) in values.chunks(rows * columns).zip(bytes.chunks_mut(block)) {
        pack(format, columns, values, bytes);
    }
    bytes
}

fn product(kernel: Kernel, weights: PackedMatrix<'_>, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let mut input = QuantizedActivations::new();
    let columns = weights.blocks() * weights.columns();
    input.load(kernel, x, columns, |format| format == weights.format());
    let mut out = vec![f32::NAN; input.tokens() * weights.outputs()];
    multiply(kernel, &input, &mut [Matmul { weights, bias, out: &mut out }]);
    out
}

/// Each pair within 1e-5 of the size of what was added up.
fn assert_close(found: &[f32], expected: &[f32], columns: usize, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let size = expected.abs().max((columns as f32).sqrt() * 0.3);
        assert!((found - expected).abs() <= 1e-5 * size, "{what}, output {i}: {found} instead of {expected}");
    }
}

#[test]
fn packed_rows_are_the_numbers_of_candle_bit_for_bit() {
    let rows = 37;
    let columns = 768;
    let mut values = random(1, rows * columns);
    // Rows which quantizing treats in a way of its own, behind some which it does not.
    let special: [fn(usize, f32) -> f32; 7] = [
        |_, _| 0.0,
        |_, _| -0.5,
        |_, x| x.abs(),
        |_, x| -x.abs(),
        |i, x| if i % 97 == 0 { 300.0 * x } else { x },
        |_, x| 1e-30 * x,
        |i, x| if i % 64 < 32 { 0.25 } else { x },
    ];
    for (row, special) in values.chunks_mut(columns).skip(20).zip(special) {
        row.iter_mut().enumerate().for_each(|(i, x)| *x = special(i, *x));
    }
    for (format, dtype) in [
        (WeightFormat::Q8_0, GgmlDType::Q8_0),
        (WeightFormat::Q4K, GgmlDType::Q4K),
        (WeightFormat::F32, GgmlDType::F32),
    ] {
        let tensor = Tensor::from_slice(&values, (rows, columns), &Device::Cpu).unwrap();
        let tensor = QTensor::quantize(&tensor, dtype).unwrap().dequantize(&Device::Cpu).unwrap();
        let expected: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let bytes = packed(format, 1, rows, columns, &values);
        let weights = PackedMatrix::new(format, 1, rows, columns, &bytes).unwrap();
        let mut found = vec![0.0; columns];
        for (row, expected) in expected.chunks(columns).enumerate() {
            weights.row(row, &mut found);
            assert_eq!(found, expected, "{format:?}, row {row}");
        }
    }
}

#[test]
fn every_kernel_computes_what_the_scalar_one_does() {
    for format in WeightFormat::ALL {
        for columns in COLUMNS.into_iter().filter(|columns| format.fits(*columns)) {
            for (blocks, rows) in [(1, 1), (1, 16), (1, 37), (3, 24), (1, 150)] {
                let values = random(2, blocks * rows * columns);
                let bytes = packed(format, blocks, rows, columns, &values);
                let weights = PackedMatrix::new(format, blocks, rows, columns, &bytes).unwrap();
                let bias = random(3, blocks * rows);
                for t in TOKENS_AT_ONCE {
                    let x = random(t as u64, t * blocks * columns);
                    let expected = product(Kernel::SCALAR, weights, &x, Some(&bias));
                    for kernel in Kernel::available().filter(|kernel| *kernel != Kernel::SCALAR) {
                        let found = product(kernel, weights, &x, Some(&bias));
                        let what = format!("{kernel} {format:?} {blocks}×[{rows}, {columns}] × {t}");
                        assert_close(&found, &expected, columns, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn every_kernel_but_the_scalar_one_gives_the_same_bits() {
    let rows = 48;
    for format in WeightFormat::ALL {
        for columns in COLUMNS.into_iter().filter(|columns| format.fits(*columns)) {
            let bytes = packed(format, 1, rows, columns, &random(10, rows * columns));
            let weights = PackedMatrix::new(format, 1, rows, columns, &bytes).unwrap();
            for tokens in (1..=64usize).filter(|tokens| tokens % 4 == 3 || tokens.is_power_of_two()) {
                let x = random(tokens as u64, tokens * columns);
                for kernel in Kernel::available().filter(|kernel| *kernel != Kernel::SCALAR) {
                    let mut input = QuantizedActivations::new();
                    input.load(kernel, &x, columns, |used| used == format);
                    let view = ActivationView { input: &input, column: 0, columns, tokens: 0..tokens };
                    let found = product(kernel, weights, &x, None);
                    let mut sums = vec![[0.0; GROUP_ROWS]; tokens];
                    for group in 0..weights.groups() {
                        scalar::group_with(format, weights.group(group), &view, &mut sums, f32::mul_add);
                        for (found, sums) in found.chunks(rows).zip(&sums) {
                            let found = &found[GROUP_ROWS * group..][..GROUP_ROWS];
                            assert_eq!(found, sums, "{kernel} {format:?} [{rows}, {columns}] × {tokens}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn products_are_candles_up_to_the_rounding_of_the_input() {
    let rows = 48;
    let columns = 768;
    let t = 9;
    let x = random(5, t * columns);
    for kernel in Kernel::available() {
        for (format, step) in [(WeightFormat::F32, 1), (WeightFormat::Q8_0, 32), (WeightFormat::Q4K, 256)] {
            let bytes = packed(format, 1, rows, columns, &random(4, rows * columns));
            let weights = PackedMatrix::new(format, 1, rows, columns, &bytes).unwrap();
            let found = product(kernel, weights, &x, None);
            let mut row = vec![0.0; columns];
            for output in 0..rows {
                weights.row(output, &mut row);
                for (token, x) in x.chunks(columns).enumerate() {
                    let expected: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    // Half a step of each block's scale for each of its weights.
                    let bound: f32 = (row.chunks(step).zip(x.chunks(step)))
                        .map(|(row, x)| {
                            let scale = x.iter().fold(0.0, |max: f32, x| max.max(x.abs())) / 127.0;
                            row.iter().map(|w| w.abs()).sum::<f32>() * scale / 2.0
                        })
                        .sum();
                    let bound = if format == WeightFormat::F32 { 1e-4 } else { f64::from(bound) * 1.001 };
                    let found = f64::from(found[token * rows + output]);
                    assert!((found - expected).abs() <= bound, "{kernel} {format:?}: {found} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn no_sum_overflows_at_the_extremes() {
    let rows = 16;
    let columns = 512;
    let one = half::f16::ONE.to_le_bytes();
    let inputs: [fn(usize) -> f32; 4] = [|_| 1.0, |_| -1.0, |i| if i % 2 == 0 { 1.0 } else { -1.0 }, |_| 0.0];
    let x: Vec<f32> = inputs.iter().flat_map(|value| (0..columns).map(value)).collect();
    for fill in [0x00, 0x7f, 0x80, 0x81, 0xff] {
        for format in [WeightFormat::Q8_0, WeightFormat::Q4K] {
            let mut bytes = vec![fill; format.bytes(1, rows, columns).unwrap()];
            let scales = match format {
                WeightFormat::Q8_0 => (0..1).map(|_| rows * columns..bytes.len()).collect::<Vec<_>>(),
                _ => (0..2)
                    .map(|block| block * weights::SUPER_BLOCK_BYTES..block * weights::SUPER_BLOCK_BYTES + 64)
                    .collect(),
            };
            for range in scales {
                bytes[range].chunks_mut(2).for_each(|scale| scale.copy_from_slice(&one));
            }
            let weights = PackedMatrix::new(format, 1, rows, columns, &bytes).unwrap();
            let mut row = vec![0.0; columns];
            weights.row(0, &mut row);
            for kernel in Kernel::available() {
                let found = product(kernel, weights, &x, None);
                for (found, x) in found.chunks(rows).zip(x.chunks(columns)) {
                    // GroupSums of integers that f64 holds.
                    let expected: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let size: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
                    let close = |found: &f32| (f64::from(*found) - expected).abs() <= 1e-5 * size + 1e-3;
                    assert!(found.iter().all(close), "{kernel} {format:?} {fill:x}: {found:?} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn a_value_that_is_not_finite_changes_no_other_vector() {
    let rows = 20;
    let columns = 512;
    let t = 11;
    let clean = random(7, t * columns);
    let mut x = clean.clone();
    x[3 * columns + 300] = f32::NAN;
    x[9 * columns] = f32::NEG_INFINITY;
    for kernel in Kernel::available() {
        for format in WeightFormat::ALL {
            let bytes = packed(format, 1, rows, columns, &random(6, rows * columns));
            let weights = PackedMatrix::new(format, 1, rows, columns, &bytes).unwrap();
            let clean = product(kernel, weights, &clean, None);
            let found = product(kernel, weights, &x, None);
            for token in 0..t {
                let clean = &clean[token * rows..][..rows];
                let found = &found[token * rows..][..rows];
                match token {
                    3 | 9 => assert!(found.iter().all(|value| !value.is_finite()), "{kernel} {format:?}: {found:?}"),
                    _ => assert_eq!(found, clean, "{kernel} {format:?}, vector {token}"),
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_and_products_at_once_is_the_same() {
    let columns = 512;
    let t = 70;
    let x = random(8, t * columns);
    let matrices = [
        (WeightFormat::Q4K, 2, 700, 256),
        (WeightFormat::Q8_0, 1, 330, 512),
        (WeightFormat::F32, 4, 9, 128),
        (WeightFormat::Q4K, 1, 512, 512),
    ];
    let packed = matrices.map(|(format, blocks, rows, columns)| {
        (packed(format, blocks, rows, columns, &random(9, blocks * rows * columns)), format, blocks, rows, columns)
    });
    let weights = packed.each_ref().map(|(bytes, format, blocks, rows, columns)| {
        PackedMatrix::new(*format, *blocks, *rows, *columns, bytes).unwrap()
    });
    for kernel in Kernel::available() {
        let together = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut input = QuantizedActivations::new();
                input.load(kernel, &x, columns, |_| true);
                let mut outs = weights.map(|weights| vec![f32::NAN; t * weights.outputs()]);
                let mut products = Vec::new();
                for (weights, out) in weights.iter().zip(&mut outs) {
                    products.push(Matmul { weights: *weights, bias: None, out });
                }
                multiply(kernel, &input, &mut products);
                outs
            })
        };
        let alone = weights.map(|weights| product(kernel, weights, &x, None));
        assert_eq!(together(1), alone, "{kernel}");
        assert_eq!(together(3), alone, "{kernel}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    assert_eq!(WeightFormat::Q4K.bytes(1, 16, 128), None, "half a super-block");
    assert_eq!(WeightFormat::Q8_0.bytes(1, 16, 0), None, "no columns");
    assert_eq!(WeightFormat::F32.bytes(usize::MAX / 8, 1 << 20, 1 << 20), None, "an absurd size");
    assert_eq!(WeightFormat::Q4K.bytes(1, 17, 256), Some(2 * weights::SUPER_BLOCK_BYTES));
    assert_eq!(WeightFormat::Q8_0.bytes(2, 16, 32), Some(2 * 16 * 34));
    assert!(PackedMatrix::new(WeightFormat::F32, 1, 16, 1, &[0; 63]).is_none());
    assert!(PackedMatrix::new(WeightFormat::F32, 0, 16, 1, &[]).is_none());
}

#[test]
fn a_kernel_is_had_by_its_name_where_the_processor_has_its_instructions() {
    for set in InstructionSet::ALL {
        let kernel = Kernel::by_name(set.name());
        assert_eq!(kernel, Kernel::available().find(|kernel| kernel.0 == set));
        match set.name().parse::<Kernel>() {
            Ok(parsed) => assert_eq!(kernel, Some(parsed)),
            Err(error) => {
                assert_eq!(kernel, None);
                assert!(error.to_string().contains(&format!("cannot run the kernel {}", set.name())), "{error}");
            }
        }
    }
    assert_eq!(Kernel::by_name("portable"), Some(Kernel::SCALAR));
    let error = "sse".parse::<Kernel>().unwrap_err().to_string();
    assert_eq!(error, "`sse` is no kernel: use portable, avx2, avx-vnni, avx512, neon or neon-dot");
}
