//! GGUF files: what was written is read.

use std::path::{Path, PathBuf};

use griffin::Quantization;
use griffin::kernels::Kernel;
use griffin::{
    Config, KvCacheType, Model, Options, TensorGroup, Tokenizer, quantize, sidecar, summary, verify, write_random,
};

use super::files::copy_with;
use super::{load_for, nano_dir, tiny_dir, worst};

const FORMS: [Quantization; 3] = [Quantization::F32, Quantization::Q8_0, Quantization::Q4K];

pub(super) fn silent() -> impl FnMut(u64, u64) + Send {
    |_, _| ()
}

pub(super) fn make(dir: &Path, into: &Path, weights: Quantization) -> PathBuf {
    let out = into.join(format!("{weights:?}.gguf"));
    quantize(dir, &out, weights, true, &mut silent()).unwrap();
    out
}

fn load(path: &Path, weights: Quantization) -> Model {
    Model::load(path, &Options { weights, threads: 1, ..Options::default() }).unwrap()
}

fn predictions(model: &Model) -> Vec<f32> {
    let vocab = model.config().vocab_size as u32;
    let tokens: Vec<u32> = (0..40).map(|i| i * 37 % vocab).collect();
    let logits = model.logits(&tokens, &mut model.state()).unwrap();
    logits.iter().flat_map(|logits| logits.values().to_vec()).collect()
}

#[test]
fn a_file_computes_the_same_as_its_checkpoint_packed_in_memory() {
    let work = tempfile::tempdir().unwrap();
    for dir in [tiny_dir(), nano_dir()] {
        let exact = load(&dir, Quantization::F32);
        for weights in FORMS {
            let file = make(&dir, work.path(), weights);
            let mapped = load(&file, Quantization::Auto);
            let packed = load(&dir, weights);
            assert_eq!(predictions(&mapped), predictions(&packed), "{weights:?} of {}", dir.display());
            assert_eq!(mapped.fingerprint(), exact.fingerprint(), "states survive quantizing");
            assert_eq!(mapped.config(), exact.config());
            assert_eq!(mapped.bytes(), packed.bytes());
            verify(&file, &mut silent()).unwrap();
        }
    }
}

#[test]
fn a_quantized_model_predicts_nearly_what_its_checkpoint_does() {
    let work = tempfile::tempdir().unwrap();
    for (dir, bounds) in [(tiny_dir(), [1e-4, 0.8, 0.8]), (nano_dir(), [1e-3, 0.8, 6.0])] {
        let exact = predictions(&load(&dir, Quantization::F32));
        for (weights, bound) in FORMS.into_iter().zip(bounds) {
            let file = make(&dir, work.path(), weights);
            for kernel in Kernel::available() {
                let rough = load_for(kernel, &file, Quantization::Auto, KvCacheType::F32);
                let off = worst(&predictions(&rough), &exact);
                let found = format!("{weights:?} of {} with {kernel}: off by {off} at most", dir.display());
                println!("{found}");
                assert!(off < bound, "{found}");
            }
        }
    }
}

#[test]
fn a_state_of_the_checkpoint_goes_on_in_the_file() {
    let work = tempfile::tempdir().unwrap();
    let checkpoint = load(&nano_dir(), Quantization::F32);
    let file =
        Model::load(&make(&nano_dir(), work.path(), Quantization::F32), &Options { threads: 1, ..Options::default() });
    let file = file.unwrap();
    let mut state = checkpoint.state();
    checkpoint.ingest(&[2, 5, 9, 11], &mut state).unwrap();
    let mut other = file.restore(state.tokens_read(), &state.tensors()).unwrap();
    let expected = checkpoint.step(7, &mut state).unwrap();
    assert_eq!(file.step(7, &mut other).unwrap(), expected);
}

#[test]
fn each_group_has_the_format_of_the_recipe_and_reports_its_error() {
    let work = tempfile::tempdir().unwrap();
    let report = quantize(&nano_dir(), &work.path().join("a"), Quantization::Q4K, false, &mut silent()).unwrap();
    let share = |group| report.groups[&group];
    for group in [TensorGroup::Embedding, TensorGroup::Mlp, TensorGroup::Recurrent, TensorGroup::Attention] {
        assert_eq!(share(group).bits_per_weight(), 4.5);
        assert!((0.01..0.12).contains(&share(group).relative_error()), "{group:?}: {:?}", share(group));
    }
    for group in [TensorGroup::KeysValues, TensorGroup::Gates] {
        assert_eq!(share(group).bits_per_weight(), 8.5);
        assert!((0.001..0.01).contains(&share(group).relative_error()), "{group:?}: {:?}", share(group));
    }
    assert_eq!((report.small.bits_per_weight(), report.small.relative_error()), (32.0, 0.0));
    let config = Config::load(&nano_dir()).unwrap();
    assert_eq!(report.total().parameters, config.parameters());
    let exact = quantize(&tiny_dir(), &work.path().join("b"), Quantization::F32, false, &mut silent()).unwrap();
    assert_eq!(exact.total().relative_error(), 0.0);
}

#[test]
fn tokenizer_prompt_and_calibration_come_out_of_the_file() {
    let work = tempfile::tempdir().unwrap();
    let file = make(&nano_dir(), work.path(), Quantization::Q4K);
    let text = "The kettle is on; milk is needed. Ünïcödé 🙂";
    let tokens = Tokenizer::load(&nano_dir()).unwrap().encode(text).unwrap();
    assert_eq!(Tokenizer::load(&file).unwrap().encode(text).unwrap(), tokens);
    let prompt = |model: &Path| sidecar(model, "prompt.json").unwrap().map(|found| found.text);
    assert!(prompt(&file).is_some());
    assert_eq!(prompt(&file), prompt(&nano_dir()));
    let calibration = |model: &Path| sidecar(model, "calibration.json").unwrap().map(|found| found.text);
    assert!(calibration(&file).is_some());
    assert_eq!(calibration(&file), calibration(&nano_dir()));

    let bare = make(&tiny_dir(), work.path(), Quantization::F32);
    assert_eq!(prompt(&bare), None);
    let error = Tokenizer::load(&bare).err().unwrap().to_string();
    assert!(error.contains("F32.gguf") && error.contains("lacks a tokenizer.json"), "{error}");
}

#[test]
fn a_summary_has_size_and_format_of_either_layout() {
    let work = tempfile::tempdir().unwrap();
    let file = make(&nano_dir(), work.path(), Quantization::Q4K);
    let checkpoint = summary(&nano_dir()).unwrap();
    let packed = summary(&file).unwrap();
    let parameters = |summary: &griffin::ModelSummary| summary.groups.values().map(|c| c.parameters).sum::<u64>();
    assert_eq!(parameters(&checkpoint), checkpoint.config.parameters());
    assert_eq!(parameters(&packed), checkpoint.config.parameters());
    assert_eq!(packed.bytes, file.metadata().unwrap().len());
    let form = |group| packed.groups[&group].formats.iter().cloned().collect::<Vec<_>>();
    assert_eq!(form(Some(TensorGroup::Mlp)), ["q4_k"]);
    assert_eq!(form(Some(TensorGroup::Gates)), ["q8_0"]);
    assert_eq!(form(None), ["f32"]);
}

#[test]
fn a_config_written_as_json_is_read_as_the_same_config() {
    let read = |dir: PathBuf| Config::load(&dir).unwrap();
    let presets = ["2b", "9b"].map(|name| Config::preset(name).unwrap());
    for config in [read(tiny_dir()), read(nano_dir())].into_iter().chain(presets) {
        assert_eq!(Config::from_json(&config.to_json(), Path::new("config.json")).unwrap(), config);
    }
}

#[test]
fn random_weights_are_the_same_in_memory_and_in_a_file() {
    let work = tempfile::tempdir().unwrap();
    // Wide enough that quants are drawn, not packed.
    let config =
        Config { hidden_size: 1024, lru_width: 1024, mlp_expanded_width: 1280, ..Config::load(&nano_dir()).unwrap() };
    for weights in FORMS {
        let out = work.path().join(format!("{weights:?}"));
        let bytes = write_random(&config, weights, 7, &out, false, &mut silent()).unwrap();
        assert_eq!(bytes, out.metadata().unwrap().len());
        let options = Options { weights, threads: 1, ..Options::default() };
        let file = load(&out, weights);
        let memory = Model::random(config.clone(), &options, 7).unwrap();
        assert_eq!(file.fingerprint(), memory.fingerprint());
        let predicted = predictions(&file);
        assert_eq!(predicted, predictions(&memory));
        let spread = predicted.iter().map(|x| x * x).sum::<f32>() / predicted.len() as f32;
        assert!(predicted.iter().all(|x| x.is_finite()) && (0.01..100.0).contains(&spread), "{weights:?}: {spread}");
        verify(&out, &mut silent()).unwrap();
    }
}

#[test]
fn a_file_is_replaced_only_when_asked_and_never_half_written() {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("model.gguf");
    std::fs::write(&out, "precious").unwrap();
    let error = quantize(&tiny_dir(), &out, Quantization::F32, false, &mut silent()).unwrap_err().to_string();
    assert!(error.contains("model.gguf exists already") && error.contains("force its replacement"), "{error}");
    let broken = copy_with(&tiny_dir(), work.path(), |all| {
        let last = all.iter_mut().find(|tensor| tensor.name == "model.layers.4.mlp_block.down_proj.weight").unwrap();
        last.bytes[400..404].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let error = quantize(&broken, &out, Quantization::Q8_0, true, &mut silent()).unwrap_err().to_string();
    assert!(error.contains("layers.4.mlp_block.down_proj.weight") && error.contains("no number"), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");
    let left: Vec<_> = std::fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    quantize(&tiny_dir(), &out, Quantization::F32, true, &mut silent()).unwrap();
    verify(&out, &mut silent()).unwrap();
    let nowhere = quantize(&tiny_dir(), &work.path().join("no/model.gguf"), Quantization::F32, false, &mut silent());
    assert!(nowhere.unwrap_err().to_string().contains("no/model.gguf cannot be written"));
}
