//! Logits and every tensor of the state against a reference implementation.

use std::path::{Path, PathBuf};

use griffin::Quantization;
use griffin::kernels::Kernel;
use griffin::{KvCacheType, Logits, Model, Options, State, StateTensor};
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};

use super::runner;

const TOLERANCE: f32 = 1e-4;

/// Every directory with a golden: under `tests/fixtures`, and under `$HEARTH_FIXTURES` itself or one level down.
fn directories() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let own = goldens_under(&own);
    assert!(!own.is_empty(), "tests/fixtures holds no directory with a golden.safetensors");
    let elsewhere = std::env::var_os("HEARTH_FIXTURES").map(|dir| goldens_under(Path::new(&dir)));
    own.into_iter().chain(elsewhere.into_iter().flatten()).collect()
}

fn goldens_under(dir: &Path) -> Vec<PathBuf> {
    let below = std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<_> = std::iter::once(dir.to_path_buf())
        .chain(below)
        .filter(|dir| dir.join("golden.safetensors").is_file() && dir.join("config.json").is_file())
        .collect();
    found.sort();
    found
}

/// Every golden, for every kernel that this machine has.
fn goldens() -> impl Iterator<Item = Golden> {
    directories().into_iter().flat_map(|dir| Kernel::available().map(move |kernel| Golden::load(&dir, kernel)))
}

/// What a model of known weights must predict, and its state hold.
struct Golden {
    dir: PathBuf,
    model: Model,
    ids: Vec<u32>,
    bytes: Vec<u8>,
}

impl Golden {
    fn load(dir: &Path, kernel: Kernel) -> Self {
        println!("golden: {} with {kernel}", dir.display());
        let kv_cache = Some(KvCacheType::F32);
        let options =
            Options { weights: Quantization::F32, kv_cache, threads: 2, kernel: Some(kernel), ..Options::default() };
        let model = Model::load(dir, &options).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
        let ids = integers(&SafeTensors::deserialize(&bytes).unwrap(), "ids");
        Self { dir: dir.into(), model, ids, bytes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// Reads all ids in chunks of these sizes (the last one repeated) and compares every logit and every tensor that the
    /// golden has where a chunk ends.
    fn check(&self, sizes: &[usize], key: &str) -> usize {
        let tensors = self.tensors();
        let expected = floats(&tensors, key);
        let vocab = self.model.config().vocab_size;
        let mut state = self.model.state();
        let mut sizes = sizes.iter().copied();
        let mut read = 0;
        let mut size = 1;
        let mut leaves = 0;
        while read < self.ids.len() {
            size = sizes.next().unwrap_or(size).clamp(1, self.ids.len() - read);
            let logits = self.model.logits(&self.ids[read..read + size], &mut state).unwrap();
            for (logits, expected) in logits.iter().zip(expected[read * vocab..].chunks_exact(vocab)) {
                assert_close(logits.values(), expected, &format!("{key} in the chunk {read}+{size}"));
            }
            read += size;
            leaves += self.check_leaves(&tensors, &state);
        }
        assert_eq!(read, self.ids.len());
        leaves
    }

    /// Compares the tensors that the golden has after as many tokens as `state` has read; returns how many.
    fn check_leaves(&self, tensors: &SafeTensors<'_>, state: &State) -> usize {
        let last = state.tokens_read() - 1;
        let prefix = format!("t{last}.");
        let leaves = state.tensors();
        let names = tensors.names();
        let names: Vec<_> = names.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
        for name in &names {
            let leaf = leaves.iter().find(|leaf| leaf.name == **name).unwrap_or_else(|| panic!("no leaf {name}"));
            let key = format!("{prefix}{name}");
            let golden = floats(tensors, &key);
            let shape = tensors.tensor(&key).unwrap().shape().to_vec();
            assert_close(&as_golden(leaf, &shape), &golden, &key);
        }
        names.len()
    }
}

/// A tensor's values in the order the goldens have them: conv as [r, c−1]; of keys and values the newest only.
fn as_golden(leaf: &StateTensor, golden_shape: &[usize]) -> Vec<f32> {
    let values: Vec<f32> = leaf.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert!(!leaf.half);
    match leaf.shape[..] {
        [steps, r] => {
            (0..r).flat_map(|r_i| (0..steps).map(move |step| (step, r_i))).map(|(s, i)| values[s * r + i]).collect()
        }
        [_, window, h] => {
            let kept = golden_shape[golden_shape.len() - 2];
            values.chunks_exact(window * h).flat_map(|head| &head[(window - kept) * h..]).copied().collect()
        }
        _ => values,
    }
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |a: f32, b| if b.is_nan() { b } else { a.max(b) });
    assert!(worst <= TOLERANCE, "{what} is off by {worst}");
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = tensors.tensor(name).unwrap_or_else(|_| panic!("the golden has no {name}"));
    match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F64 => view.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        Dtype::F16 => view.data().as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => {
            view.data().as_chunks().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

fn integers(tensors: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let view = tensors.tensor(name).unwrap_or_else(|_| panic!("the golden has no {name}"));
    match view.dtype() {
        Dtype::I64 | Dtype::U64 => {
            view.data().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as u32).collect()
        }
        Dtype::I32 | Dtype::U32 => view.data().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn golden_logits_and_states_step_by_step() {
    for golden in goldens() {
        let leaves = golden.check(&[1], "logits_step");
        let is_leaf = |name: &&&str| name.starts_with('t') && name.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let expected = golden.tensors().names().iter().filter(is_leaf).count();
        assert_eq!(leaves, expected, "every tensor of the golden was compared");
        if golden.dir.starts_with(env!("CARGO_MANIFEST_DIR")) {
            assert!(
                golden.ids.len() > golden.model.config().attention_window_size + 1,
                "our golden goes past the window"
            );
        }
    }
}

#[test]
fn golden_logits_and_states_for_every_chunking() {
    for golden in goldens() {
        for size in [1, 2, 3, 5, 7, 16, golden.ids.len()] {
            for key in ["logits_full", "logits_step"] {
                golden.check(&[size], key);
            }
        }
    }
}

#[test]
fn golden_states_are_the_same_when_nothing_is_predicted() {
    for golden in goldens() {
        for size in [1, 2, 3, 5, 7, 16, golden.ids.len()] {
            let mut state = golden.model.state();
            for chunk in golden.ids.chunks(size) {
                golden.model.ingest(chunk, &mut state).unwrap();
                golden.check_leaves(&golden.tensors(), &state);
            }
        }
    }
}

#[test]
fn golden_logits_and_states_for_random_chunkings() {
    for golden in goldens() {
        let mut runner = runner(24);
        let sizes = prop::collection::vec(1usize..20, 1..30);
        runner
            .run(&sizes, |sizes| {
                golden.check(&sizes, "logits_step");
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn golden_predictions_do_not_depend_on_how_they_are_asked_for() {
    for golden in goldens() {
        let all = golden.model.logits(&golden.ids, &mut golden.model.state()).unwrap();
        let read = golden.model.read(&golden.ids, &mut golden.model.state()).unwrap();
        let mut state = golden.model.state();
        let stepped: Vec<Logits> = golden.ids.iter().map(|&id| golden.model.step(id, &mut state).unwrap()).collect();
        let last = all.last().unwrap();
        assert_close(read.values(), last.values(), "read");
        for (stepped, all) in stepped.iter().zip(&all) {
            assert_close(stepped.values(), all.values(), "step");
        }
    }
}
