//! One product of 16 rows, for tools that follow a kernel instruction by instruction (`make analyze-arm`):
//! `one_group KERNEL q4k|q8_0|f32 VECTORS COLUMNS`.

use std::process::ExitCode;

use griffin::kernels::{Kernel, Matmul, PackedMatrix, QuantizedActivations, WeightFormat, multiply};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [kernel, format, vectors, columns] = arguments else {
        return Err("one_group KERNEL q4k|q8_0|f32 VECTORS COLUMNS".into());
    };
    let kernel: Kernel = kernel.parse().map_err(|error| format!("{error}"))?;
    let format = match format.as_str() {
        "q4k" => WeightFormat::Q4K,
        "q8_0" => WeightFormat::Q8_0,
        "f32" => WeightFormat::F32,
        other => return Err(format!("`{other}` is no format: use q4k, q8_0 or f32")),
    };
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is no number"));
    let [vectors, columns] = [number(vectors)?, number(columns)?];
    let bytes = format.bytes(1, 16, columns).ok_or(format!("{columns} columns do not fit {format:?}"))?;
    // What the numbers are does not change the way through a kernel.
    let weights = vec![0x11; bytes];
    let weights = PackedMatrix::new(format, 1, 16, columns, &weights).ok_or("no weights")?;
    let x: Vec<f32> = (0..vectors * columns).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let mut input = QuantizedActivations::new();
    input.load(kernel, &x, columns, |used| used == format);
    let mut out = vec![0.0; vectors * 16];
    multiply(kernel, &input, &mut [Matmul { weights, bias: None, out: &mut out }]);
    println!("{}", out.iter().sum::<f32>());
    Ok(())
}
