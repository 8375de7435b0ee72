//! What hearth does with a language model: the commands `generate` and `models`, prompts, and snapshots of states.

mod generate;
mod model_files;
mod prompt;
mod snapshot;

use std::path::{Path, PathBuf};

use griffin::kernels::Kernel;
use griffin::{KvCacheType, Model, Options, Quantization, State};

/// A file or directory of this repository.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A model of five layers with random weights and a window of 8.
fn tiny_dir() -> PathBuf {
    here("crates/griffin/tests/fixtures/recurrentgemma-tiny")
}

fn nano_dir() -> PathBuf {
    here("models/recurrentgemma-nano")
}

fn load(model: &Path, weights: Quantization, ring: KvCacheType) -> Model {
    load_for(Kernel::detect(), model, weights, ring)
}

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

/// Checks a property on so many inputs. A failing input is printed; nothing is written into the repository.
fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    proptest::test_runner::TestRunner::new(config)
}
