//! The model against a reference implementation, its files, and what must hold for any input.

mod age;
mod files;
mod gemma_tokenizer;
mod gguf;
mod gguf_refused;
mod golden;
mod laws;
mod mutants;
mod settings;
mod small_models;
mod surprise;
mod text;

use std::path::{Path, PathBuf};

use griffin::Quantization;
use griffin::kernels::Kernel;
use griffin::{KvCacheType, Model, Options, State};

/// A file or directory of this crate.
fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file or directory of the repository.
fn in_repository(path: &str) -> PathBuf {
    in_crate("../..").join(path)
}

/// The seeded model of five layers, with a window of 8.
fn tiny_dir() -> PathBuf {
    in_crate("tests/fixtures/recurrentgemma-tiny")
}

fn nano_dir() -> PathBuf {
    in_repository("models/recurrentgemma-nano")
}

fn load(model: &Path, weights: Quantization, ring: KvCacheType) -> Model {
    load_for(Kernel::detect(), model, weights, ring)
}

/// For what must hold with every kernel that this machine has.
fn load_for(kernel: Kernel, model: &Path, weights: Quantization, ring: KvCacheType) -> Model {
    let options = Options { weights, kv_cache: Some(ring), threads: 1, kernel: Some(kernel), ..Options::default() };
    Model::load(model, &options).unwrap_or_else(|error| panic!("{}: {error}", model.display()))
}

fn tiny() -> Model {
    load(&tiny_dir(), Quantization::F32, KvCacheType::F32)
}

/// Every bit of a state.
fn bits(state: &State) -> (u64, Vec<griffin::StateTensor>) {
    (state.tokens_read(), state.tensors())
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst: f32, next| if next.is_nan() { next } else { worst.max(next) })
}

/// Checks a property on so many inputs. A failing input is printed; nothing is written into the repository.
fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    proptest::test_runner::TestRunner::new(config)
}
