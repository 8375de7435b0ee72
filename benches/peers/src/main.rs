//! hearth's engine beside candle-transformers' `quantized_recurrent_gemma`, on the same weights in the same run.
//!
//!     hearth-peers make DIR [SHAPE]     keeps random weights of a shape (2b unless said otherwise) in DIR
//!     hearth-peers hearth FILE          measures one engine in a process of its own, and prints a line of JSON
//!     hearth-peers candle FILE CONFIG
//!
//! `compare.py` runs them in turns with llama.cpp.
//!
//! One checkpoint in bf16 is drawn, tensor by tensor; ours is quantized from it as a user would, candle's with its own quantizer,
//! whose numbers are ours bit for bit. Both matrices are q4_K; candle wants the gates in f32.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor, safetensors::MmapedSafetensors};
use candle_transformers::models::{quantized_recurrent_gemma as candle_model, recurrent_gemma};
use griffin::Quantization;
use griffin::gguf::Gguf;
use griffin::{self, Config, Model, Options};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Tokens read at once.
const CHUNK: usize = 64;
/// Tokens written before a speed is told.
const WRITTEN: usize = 32;
/// Age at which speed is looked at again.
const AGE: usize = 1000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hearth", file] => show(hearth(Path::new(file))?),
        ["candle", file, config] => show(candle(Path::new(file), Path::new(config))?),
        ["make", dir] => make(Path::new(dir), "2b"),
        ["make", dir, shape] => make(Path::new(dir), shape),
        _ => bail!("usage: hearth-peers make DIR [2b|9b] | hearth FILE | candle FILE CONFIG"),
    }
}

fn make(dir: &Path, shape: &str) -> Result<()> {
    let config = Config::preset(shape).with_context(|| format!("there is no shape {shape}"))?;
    std::fs::create_dir_all(dir)?;
    let (checkpoint, ours, theirs) = (dir.join("checkpoint"), dir.join("hearth.gguf"), dir.join("candle.gguf"));
    if ours.exists() && theirs.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&checkpoint)?;
    std::fs::write(checkpoint.join("config.json"), config.to_json())?;
    eprintln!("drawing random weights");
    // A file of that shape tells the tensors' names and shapes.
    griffin::write_random(&config, Quantization::Q4K, 0, &ours, true, &mut |_, _| ())?;
    let tensors =
        Gguf::open(&ours)?.tensors().map(|(name, tensor)| (name.to_string(), tensor.shape.clone())).collect();
    let names = draw(tensors, &checkpoint.join("model.safetensors"))?;
    eprintln!("quantizing for hearth");
    griffin::quantize(&checkpoint, &ours, Quantization::Q4K, true, &mut |_, _| ())?;
    eprintln!("quantizing for candle");
    quantize_for_candle(&checkpoint.join("model.safetensors"), &names, &theirs)?;
    std::fs::remove_file(checkpoint.join("model.safetensors"))?;
    Ok(())
}

/// What one engine did.
struct Row {
    read: f64,
    written: f64,
    written_late: f64,
    rss: u64,
    load_s: f64,
    note: String,
}

fn show(row: Row) -> Result<()> {
    let Row { read, written, written_late, rss, load_s, note } = row;
    let rss_gb = rss as f64 / 1e9;
    let row = serde_json::json!({"read": read, "written": written, "written_late": written_late, "rss_gb": rss_gb, "load_s": load_s, "note": note});
    println!("{row}");
    Ok(())
}

fn tokens(count: usize, vocab: usize) -> Vec<u32> {
    (0..count as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % vocab as u64) as u32).collect()
}

fn hearth(file: &Path) -> Result<Row> {
    let started = Instant::now();
    let model = Model::load(file, &Options::default())?;
    model.ingest(&[2], &mut model.state())?;
    let load_s = started.elapsed().as_secs_f64();
    let tokens = tokens(AGE, model.config().vocab_size);
    // Once for the pages, once for the clock.
    model.ingest(&tokens[..CHUNK], &mut model.state())?;
    let mut state = model.state();
    let started = Instant::now();
    model.ingest(&tokens[..CHUNK], &mut state)?;
    let read = CHUNK as f64 / started.elapsed().as_secs_f64();
    let mut logits = model.step(2, &mut state)?;
    let mut write = |state: &mut griffin::State| -> Result<f64> {
        let started = Instant::now();
        for _ in 0..WRITTEN {
            model.step_into(logits.argmax(), state, &mut logits)?;
        }
        Ok(WRITTEN as f64 / started.elapsed().as_secs_f64())
    };
    let written = write(&mut state)?;
    model.ingest(&tokens[state.tokens_read() as usize..], &mut state)?;
    let written_late = write(&mut state)?;
    Ok(Row { read, written, written_late, rss: rss(), load_s, note: String::new() })
}

fn candle(file: &Path, config: &Path) -> Result<Row> {
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(config)?)?;
    config["hidden_activation"] = "gelu_pytorch_tanh".into();
    let config: recurrent_gemma::Config = serde_json::from_value(config)?;
    let tokens = tokens(AGE, config.vocab_size);
    let started = Instant::now();
    let weights = candle_model::VarBuilder::from_gguf(file, &Device::Cpu)?;
    let loaded = candle_model::Model::new(&config, weights)?;
    let input = |tokens: &[u32]| Ok::<_, candle_core::Error>(Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?);
    loaded.clone().forward(&input(&[2])?, 0)?;
    let load_s = started.elapsed().as_secs_f64();
    let mut model = loaded.clone();
    model.forward(&input(&tokens[..CHUNK])?, 0)?;
    let mut model = loaded.clone();
    let started = Instant::now();
    let mut logits = model.forward(&input(&tokens[..CHUNK])?, 0)?;
    let read = CHUNK as f64 / started.elapsed().as_secs_f64();
    let second = loaded.clone();
    let again = second_chunk(second, &input(&tokens[..CHUNK])?);
    let write = |model: &mut candle_model::Model, logits: &mut Tensor, from: usize| -> Result<f64> {
        let started = Instant::now();
        for position in from..from + WRITTEN {
            let next: u32 = logits.flatten_all()?.argmax(0)?.to_scalar()?;
            *logits = model.forward(&input(&[next])?, position)?;
        }
        Ok(WRITTEN as f64 / started.elapsed().as_secs_f64())
    };
    let written = write(&mut model, &mut logits, CHUNK)?;
    let memory = rss();
    // It cannot read on, so it reads all at once.
    let mut model = loaded.clone();
    let mut logits = model.forward(&input(&tokens)?, 0)?;
    let written_late = write(&mut model, &mut logits, AGE)?;
    Ok(Row { read, written, written_late, rss: memory, load_s, note: again })
}

/// What becomes of a second chunk.
fn second_chunk(mut model: candle_model::Model, chunk: &Tensor) -> String {
    let once = model.forward(chunk, 0);
    match once.and_then(|_| model.forward(chunk, CHUNK)) {
        Ok(_) => String::new(),
        Err(error) => {
            let text = error.to_string();
            format!("a second chunk is an error: {}", text.lines().next().unwrap_or_default())
        }
    }
}

fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    1024 * line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
}

/// Draws a checkpoint in bf16, a row at a time; returns the tensors' names.
fn draw(all: Vec<(String, Vec<usize>)>, out: &Path) -> Result<Vec<String>> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in &all {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}));
    }
    let header = serde_json::to_string(&header)?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut rng = SmallRng::seed_from_u64(1);
    for (name, shape) in &all {
        let count: usize = shape.iter().product();
        let columns = shape[shape.len() - 1] as f32;
        let range = match shape.len() {
            _ if name.ends_with("recurrent_param") => -9.0..-4.3,
            1 => -0.05..0.05,
            _ => -(3.0 / columns).sqrt()..(3.0 / columns).sqrt(),
        };
        for _ in 0..count {
            file.write_all(&half::bf16::from_f32(rng.random_range(range.clone())).to_le_bytes())?;
        }
    }
    file.flush()?;
    Ok(all.into_iter().map(|(name, _)| name).collect())
}

/// Candle's file: its names are Hugging Face's without the first part; matrices in q4_K, the rest in f32.
fn quantize_for_candle(checkpoint: &Path, names: &[String], out: &Path) -> Result<()> {
    // SAFETY: nobody else writes to the file that was just made.
    let tensors = unsafe { MmapedSafetensors::new(checkpoint)? };
    let mut made = HashMap::new();
    for name in names {
        let tensor = tensors.load(name, &Device::Cpu)?.to_dtype(DType::F32)?;
        let kind = if tensor.rank() == 2 && tensor.dim(1)?.is_multiple_of(256) && name.ends_with(".weight") {
            GgmlDType::Q4K
        } else {
            GgmlDType::F32
        };
        made.insert(name.trim_start_matches("model.").to_string(), QTensor::quantize(&tensor, kind)?);
    }
    let all: Vec<_> = made.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut BufWriter::new(File::create(out)?), &[], &all)?;
    Ok(())
}
