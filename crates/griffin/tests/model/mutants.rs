//! Changed copies of the smallest models: each is loaded or refused, whatever was changed. What is loaded reads two tokens, so a
//! false file that the reader accepts meets the kernels.
//!
//! A thousand copies of each layout in every run; `HEARTH_MUTANT_SECONDS` makes it run longer. `fuzz/` does the same, guided by
//! coverage.

use std::path::Path;
use std::time::{Duration, Instant};

use griffin::Quantization;
use griffin::gguf::Gguf;
use griffin::{Model, Options, verify, write_random};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::small_models::{small_checkpoint, small_config};

const MUTANTS: usize = 1000;

/// Numbers at the limits of types and sizes.
const EDGES: [u64; 12] = [0, 1, 2, 8, 63, 64, 255, 1 << 16, 1 << 31, 1 << 32, 1 << 63, u64::MAX];

/// Does with a model what can be done; the models that pass the check can be loaded.
fn meet(path: &Path, weights: Quantization) -> bool {
    let sound = verify(path, &mut |_, _| ()).is_ok();
    match Model::load(path, &Options { weights, threads: 1, ..Options::default() }) {
        Ok(model) => {
            let last = model.config().vocab_size as u32 - 1;
            model.read(&[0, last], &mut model.state()).unwrap();
            true
        }
        Err(error) => {
            assert!(!sound, "what is sound can be loaded: {error}");
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Changes a few places of what matters most: the header.
fn mutate(bytes: &mut Vec<u8>, header: usize, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..4) {
        let end = if rng.random_bool(0.9) { header } else { bytes.len() };
        let at = rng.random_range(0..end);
        match rng.random_range(0..6) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => {
                let edge = EDGES[rng.random_range(0..EDGES.len())].to_le_bytes();
                let length = [4, 8][rng.random_range(0..2)].min(bytes.len() - at);
                bytes[at..at + length].copy_from_slice(&edge[..length]);
            }
            3 => {
                let from = rng.random_range(0..header);
                let length = rng.random_range(1..32).min(bytes.len() - at.max(from));
                bytes.copy_within(from..from + length, at);
            }
            4 => bytes[at] = b"0123456789-.\"{}[],e"[rng.random_range(0..19)],
            _ if rng.random_bool(0.1) => bytes.truncate(at.max(1)),
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
        if bytes.len() <= header {
            return;
        }
    }
}

fn until_enough(mut one: impl FnMut(&mut StdRng) -> bool) {
    let seconds = std::env::var("HEARTH_MUTANT_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut count = 0;
    let mut loaded = 0;
    while end.map_or(count < MUTANTS, |end| Instant::now() < end) {
        loaded += usize::from(one(&mut rng));
        count += 1;
    }
    println!("{count} mutants, {loaded} of them loaded");
    assert!(loaded < count, "changes are noticed");
}

#[test]
fn mutants_of_a_gguf_file_are_loaded_or_refused() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("model.gguf");
    let models: Vec<_> = [(4, Quantization::F32), (32, Quantization::Q8_0), (256, Quantization::Q4K)]
        .into_iter()
        .map(|(width, weights)| {
            write_random(&small_config(width), weights, 1, &path, true, &mut |_, _| ()).unwrap();
            let start = Gguf::open(&path).unwrap().tensors().map(|(_, tensor)| tensor.bytes.start).min().unwrap();
            assert!(meet(&path, weights));
            (std::fs::read(&path).unwrap(), start)
        })
        .collect();
    until_enough(|rng| {
        let (bytes, header) = &models[rng.random_range(0..models.len())];
        let mut bytes = bytes.clone();
        mutate(&mut bytes, *header, rng);
        std::fs::write(&path, bytes).unwrap();
        meet(&path, Quantization::Auto)
    });
}

#[test]
fn mutants_of_a_checkpoint_are_loaded_or_refused() {
    let work = tempfile::tempdir().unwrap();
    let gguf = work.path().join("model.gguf");
    let config = small_config(32);
    write_random(&config, Quantization::F32, 1, &gguf, true, &mut |_, _| ()).unwrap();
    let mut weights = small_checkpoint(&gguf);
    let header = 8 + u64::from_le_bytes(*weights.first_chunk().unwrap()) as usize;
    weights[header..].fill(0x3c);
    let json = config.to_json().into_bytes();
    let put = |json: &[u8], weights: &[u8]| {
        std::fs::write(work.path().join("config.json"), json).unwrap();
        std::fs::write(work.path().join("model.safetensors"), weights).unwrap();
    };
    put(&json, &weights);
    assert!(meet(work.path(), Quantization::Q4K));
    until_enough(|rng| {
        let mut json = json.clone();
        let mut weights = weights.clone();
        if rng.random_bool(0.5) {
            let length = json.len();
            mutate(&mut json, length, rng);
        } else {
            mutate(&mut weights, header, rng);
        }
        put(&json, &weights);
        meet(work.path(), Quantization::Q4K)
    });
}
