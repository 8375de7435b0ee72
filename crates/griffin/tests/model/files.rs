//! Checkpoints as they are published: shards, types, extra tensors; and the messages for broken ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use griffin::Quantization;
use griffin::{Error, KvCacheType, Model, Options};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{load, tiny, tiny_dir, worst};

/// A tensor that is being rewritten.
pub(crate) struct Stored {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Stored {
    /// The same numbers in half as many bytes.
    fn narrow(&mut self, dtype: Dtype) {
        let values = self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        self.bytes = match dtype {
            Dtype::F16 => values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect(),
            _ => panic!("{dtype:?}"),
        };
        self.dtype = dtype;
    }

    /// Back to f32, with the precision that was left.
    fn widen(&mut self) {
        let pairs = self.bytes.as_chunks().0.iter();
        let values = pairs.map(|bytes| match self.dtype {
            Dtype::F16 => half::f16::from_le_bytes(*bytes).to_f32(),
            _ => half::bf16::from_le_bytes(*bytes).to_f32(),
        });
        self.bytes = values.flat_map(f32::to_le_bytes).collect();
        self.dtype = Dtype::F32;
    }
}

fn stored(dir: &Path) -> Vec<Stored> {
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut stored: Vec<Stored> = tensors
        .iter()
        .map(|(name, view)| Stored {
            name: name.into(),
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        })
        .collect();
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    stored
}

pub(crate) fn write(path: &Path, tensors: &[Stored]) {
    let views = tensors.iter().map(|tensor| {
        (tensor.name.clone(), TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A copy of a model in a directory of its own below `into`, its tensors changed.
pub(crate) fn copy_with(from: &Path, into: &Path, change: impl FnOnce(&mut Vec<Stored>)) -> PathBuf {
    let dir = tempfile::tempdir_in(into).unwrap().keep();
    std::fs::copy(from.join("config.json"), dir.join("config.json")).unwrap();
    let mut tensors = stored(from);
    change(&mut tensors);
    write(&dir.join("model.safetensors"), &tensors);
    dir
}

/// Splits `model.safetensors` into three files, and says where everything is.
fn shard(dir: &Path) -> serde_json::Value {
    let tensors = stored(dir);
    std::fs::remove_file(dir.join("model.safetensors")).unwrap();
    let mut places = BTreeMap::new();
    for (i, shard) in tensors.chunks(tensors.len().div_ceil(3)).enumerate() {
        let file = format!("model-{:05}-of-00003.safetensors", i + 1);
        write(&dir.join(&file), shard);
        places.extend(shard.iter().map(|tensor| (tensor.name.clone(), file.clone())));
    }
    serde_json::json!({ "metadata": {}, "weight_map": places })
}

fn predictions(model: &Model) -> Vec<f32> {
    let tokens: Vec<u32> = (0..24).map(|i| i * 37 % 96).collect();
    let logits = model.logits(&tokens, &mut model.state()).unwrap();
    logits.iter().flat_map(|logits| logits.values().to_vec()).collect()
}

#[test]
fn shards_are_the_same_model_with_and_without_an_index() {
    let work = tempfile::tempdir().unwrap();
    let whole = tiny();
    let dir = copy_with(&tiny_dir(), work.path(), |_| ());
    let index = shard(&dir);
    for indexed in [false, true] {
        if indexed {
            std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
        let sharded = load(&dir, Quantization::F32, KvCacheType::F32);
        assert_eq!(predictions(&sharded), predictions(&whole));
        assert_eq!(sharded.fingerprint(), whole.fingerprint());
    }
}

#[test]
fn half_precision_files_hold_what_they_say() {
    let work = tempfile::tempdir().unwrap();
    for dtype in [Dtype::F16, Dtype::BF16] {
        let narrow = copy_with(&tiny_dir(), work.path(), |all| all.iter_mut().for_each(|tensor| tensor.narrow(dtype)));
        let widened = copy_with(&narrow, work.path(), |all| all.iter_mut().for_each(Stored::widen));
        let narrow = load(&narrow, Quantization::F32, KvCacheType::F32);
        assert_eq!(predictions(&narrow), predictions(&load(&widened, Quantization::F32, KvCacheType::F32)));
        let off = worst(&predictions(&narrow), &predictions(&tiny()));
        assert!(off > 0.0 && off < 1.0, "{dtype:?} is off by {off}");
    }
}

#[test]
fn types_may_be_mixed_and_a_stored_head_is_ignored() {
    let work = tempfile::tempdir().unwrap();
    let dir = copy_with(&tiny_dir(), work.path(), |all| {
        let embedding = all.iter().find(|tensor| tensor.name == "model.embed_tokens.weight").unwrap();
        let dtype = embedding.dtype;
        let shape = embedding.shape.clone();
        let bytes = vec![0x3f; embedding.bytes.len()];
        all.push(Stored { name: "lm_head.weight".into(), dtype, shape, bytes });
    });
    let model = load(&dir, Quantization::F32, KvCacheType::F32);
    assert_eq!(predictions(&model), predictions(&tiny()));
    assert_eq!(model.fingerprint(), tiny().fingerprint());
    let mixed = copy_with(&tiny_dir(), work.path(), |all| {
        all.iter_mut().step_by(2).for_each(|tensor| tensor.narrow(Dtype::F16));
    });
    assert!(worst(&predictions(&load(&mixed, Quantization::F32, KvCacheType::F32)), &predictions(&tiny())) < 1.0);
}

#[test]
fn a_fingerprint_tells_any_two_weights_apart() {
    let work = tempfile::tempdir().unwrap();
    let whole = tiny().fingerprint();
    let count = stored(&tiny_dir()).len();
    for which in (0..count).step_by(9) {
        let dir = copy_with(&tiny_dir(), work.path(), |all| {
            let bytes = &mut all[which].bytes;
            let place = bytes.len() / 2;
            bytes[place] ^= 1;
        });
        assert_ne!(load(&dir, Quantization::F32, KvCacheType::F32).fingerprint(), whole);
    }
    assert_eq!(load(&tiny_dir(), Quantization::Q8_0, KvCacheType::I16).fingerprint(), whole, "options do not matter");
    let dir = copy_with(&tiny_dir(), work.path(), |_| ());
    let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
    std::fs::write(
        dir.join("config.json"),
        config.replace("\"attention_window_size\": 8", "\"attention_window_size\": 9"),
    )
    .unwrap();
    assert_ne!(load(&dir, Quantization::F32, KvCacheType::F32).fingerprint(), whole, "settings do");
}

#[test]
fn progress_ends_at_the_whole() {
    let mut last = (0, 0);
    let options = Options { weights: Quantization::F32, threads: 1, ..Options::default() };
    let model = Model::load_with(&tiny_dir(), &options, &mut |done, total| {
        assert!(done > last.0);
        last = (done, total);
    });
    let parameters = model.unwrap().config().parameters();
    assert_eq!(last, (parameters, parameters));
}

fn refusal(dir: &Path) -> String {
    match Model::load(dir, &Options::default()) {
        Ok(_) => panic!("{} was loaded", dir.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_broken_checkpoint_is_refused_in_words_that_name_file_and_tensor() {
    let work = tempfile::tempdir().unwrap();
    let says = |dir: &Path, expected: &[&str]| {
        let message = refusal(dir);
        for expected in expected {
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    };
    let change = |change: &dyn Fn(&mut Vec<Stored>)| copy_with(&tiny_dir(), work.path(), change);
    const NAME: &str = "model.layers.2.temporal_block.k_proj.weight";
    let index_of = |all: &[Stored]| all.iter().position(|tensor| tensor.name == NAME).unwrap();

    says(&change(&|all| drop(all.remove(index_of(all)))), &["holds no tensor", NAME]);
    says(
        &change(&|all| {
            let which = index_of(all);
            all[which].shape = vec![96, 24];
        }),
        &["model.safetensors", NAME, "[96, 24]", "[24, 96]"],
    );
    says(
        &change(&|all| {
            let which = index_of(all);
            all[which].dtype = Dtype::I32;
        }),
        &["model.safetensors", NAME, "I32", "F32, F16 and BF16"],
    );

    let dir = change(&|_| ());
    let path = dir.join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        says(&dir, &["model.safetensors", "is not a whole safetensors file", "download it again"]);
    }
    // A header that claims to be longer than any memory, and one with a type nobody knows.
    std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    says(&dir, &["is not a whole safetensors file"]);
    let header = br#"{"x":{"dtype":"Q3","shape":[1],"data_offsets":[0,4]}}"#;
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat()).unwrap();
    says(&dir, &["is not a whole safetensors file", "Q3"]);
    std::fs::remove_file(&path).unwrap();
    says(&dir, &["holds no model.safetensors"]);

    let dir = change(&|_| ());
    let index = shard(&dir);
    std::fs::remove_file(dir.join("model-00002-of-00003.safetensors")).unwrap();
    says(&dir, &["model-00002-of-00003.safetensors is missing"]);
    let index_path = dir.join("model.safetensors.index.json");
    std::fs::write(&index_path, index.to_string()).unwrap();
    says(&dir, &["model-00002-of-00003.safetensors is missing"]);
    std::fs::write(&index_path, "{").unwrap();
    says(&dir, &["index.json is not valid JSON"]);
    std::fs::write(&index_path, r#"{"weight_map": {"x": "../../etc/passwd"}}"#).unwrap();
    says(&dir, &["passwd is missing"]);

    says(&work.path().join("nowhere"), &["nowhere/config.json cannot be read"]);
}

#[test]
fn an_error_keeps_its_source() {
    let missing = Model::load(Path::new("/nonexistent"), &Options::default()).err().unwrap();
    assert!(std::error::Error::source(&missing).is_some());
    assert!(matches!(missing, Error::Read { .. }));
}
