//! GGUF files that are damaged, false or of another model: each is refused by the name of what is wrong.

use std::io::Cursor;

use griffin::gguf::{self, GgufError, GgufWriter, Header, MetadataValue, TensorPlan, TensorType};
use griffin::kernels::WeightFormat;
use griffin::{Model, Options, Quantization, verify};
use proptest::prelude::*;

use super::gguf::{make, silent};
use super::{runner, tiny_dir};

/// A small file that is sound as far as the format goes.
fn small() -> Vec<u8> {
    let keys = [
        ("general.architecture", MetadataValue::Text("recurrentgemma".into())),
        ("hearth.layout", MetadataValue::Text("rows16.v1".into())),
        ("a.list", MetadataValue::Texts(vec!["x".into(), "yz".into()])),
        ("a.number", MetadataValue::F64(0.5)),
    ];
    let keys = keys.map(|(key, value)| (key.to_string(), value));
    let plan =
        |name: &str, shape: &[usize], tensor_type| TensorPlan { name: name.into(), shape: shape.to_vec(), tensor_type };
    let plans = [
        plan("tensor.a", &[5], TensorType::Plain),
        plan("tensor.b", &[3, 64], TensorType::Packed(WeightFormat::Q8_0)),
        plan("tensor.c", &[2, 4, 4], TensorType::Packed(WeightFormat::F32)),
    ];
    let mut writer = GgufWriter::begin(Cursor::new(Vec::new()), &keys, &plans).unwrap();
    plans.iter().for_each(|plan| writer.write(&vec![1; plan.bytes()]).unwrap());
    writer.finish().unwrap().into_inner()
}

/// Where `text` ends in a file.
fn behind(file: &[u8], text: &str) -> usize {
    file.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() + text.len()
}

/// What is said of the small file when these bytes stand so far behind a text.
fn changed(text: &str, offset: usize, bytes: &[u8]) -> String {
    let mut file = small();
    let at = behind(&file, text) + offset;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    Header::parse(&file).err().map_or("nothing".into(), |problem| problem.to_string())
}

#[test]
fn a_false_claim_in_a_header_is_refused_by_name() {
    Header::parse(&small()).unwrap();
    let huge = u64::MAX.to_le_bytes();
    let says = |text: &str, offset: usize, bytes: &[u8], expected: &[&str]| {
        let message = changed(text, offset, bytes);
        expected.iter().for_each(|part| assert!(message.contains(part), "{message:?} should say {part:?}"));
    };
    says("GGU", 0, b"X", &["no GGUF file", "quantized from a checkpoint"]);
    says("GGUF", 0, &2u32.to_le_bytes(), &["version 2", "only version 3"]);
    says("GGUF", 0, &3u32.to_be_bytes(), &["version 50331648", "little-endian"]);
    says("GGUF", 4, &huge, &["claims 18446744073709551615 tensors"]);
    says("GGUF", 12, &huge, &["claims 18446744073709551615 keys"]);
    says("GGUF", 12, &9u64.to_le_bytes(), &["key"]);
    says("GGUF", 20, &huge, &["bytes in a name"]);
    says("general.architecture", 12, b"llama\0\0\0", &["architecture", "llama", "RecurrentGemma"]);
    says("general.architecture", 4, &huge, &["ends within the value of general.architecture", "copy it again"]);
    says("general.architecture", 0, &4u32.to_le_bytes(), &["bytes in a name"]);
    says("general.alignment", 4, &48u32.to_le_bytes(), &["general.alignment is 48", "power of two"]);
    says("general.alignment", 4, &0u32.to_le_bytes(), &["general.alignment is 0"]);
    says("rows16.v", 0, b"9", &["rows16.v9", "rows16.v1", "quantize the original checkpoint"]);
    says("hearth.layou", 0, b"x", &["hearth.layout is absent"]);
    says("a.list", 0, &13u32.to_le_bytes(), &["the type of a.list is 13"]);
    says("a.list", 4, &9u32.to_le_bytes(), &["the type of a.list is 9"]);
    says("a.list", 8, &huge, &["ends within the value of a.list"]);
    says("a.list", 4, &[10, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 63], &["ends within the value of a.list"]);
    says("a.numbe", 0, &[0xff], &["the name of key 4", "UTF-8"]);
    says("tensor.", 0, b"b", &["tensor.b is named twice"]);
    says("tensor.a", 0, &0u32.to_le_bytes(), &["dimensions of tensor.a is 0", "1 to 4"]);
    says("tensor.a", 0, &u32::MAX.to_le_bytes(), &["dimensions of tensor.a"]);
    says("tensor.a", 4, &0u64.to_le_bytes(), &["a dimension of tensor.a"]);
    says("tensor.a", 4, &huge, &["the shape of tensor.a"]);
    says("tensor.a", 4, &(1u64 << 40).to_le_bytes(), &["ends within tensor.a"]);
    says("tensor.a", 12, &14u32.to_le_bytes(), &["tensor.a is of type 0xe", "quantize the original checkpoint"]);
    says("tensor.a", 16, &huge, &["the offset of tensor.a"]);
    says("tensor.a", 16, &4u64.to_le_bytes(), &["the offset of tensor.a", "multiple of 64"]);
    says("tensor.a", 16, &(1u64 << 62).to_le_bytes(), &["ends within tensor.a"]);
    says("tensor.b", 4, &96u64.to_le_bytes(), &["ends within tensor.b"]);
    says("tensor.b", 4, &63u64.to_le_bytes(), &["the shape of tensor.b is [3, 63]"]);
    says("tensor.b", 12, &huge, &["the shape of tensor.b"]);
    says("tensor.b", 24, &0u64.to_le_bytes(), &["share bytes"]);
    says("tensor.c", 28, &(gguf::PRIVATE + 8).to_le_bytes(), &["the shape of tensor.c"]);
}

#[test]
fn a_key_that_is_named_twice_is_refused() {
    let keys = vec![("twice".to_string(), MetadataValue::Bool(true)); 2];
    let file = GgufWriter::begin(Cursor::new(Vec::new()), &keys, &[]).unwrap().finish().unwrap().into_inner();
    assert!(matches!(Header::parse(&file), Err(GgufError::Twice { what }) if what == "twice"));
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let whole = small();
    // The last bytes are padding.
    let needed = whole.iter().rposition(|byte| *byte == 1).unwrap();
    for length in 0..=needed {
        let problem = Header::parse(&whole[..length]).expect_err("a part is no whole");
        let kind = matches!(problem, GgufError::Truncated { .. } | GgufError::Magic);
        assert!(kind, "cut at {length}: {problem}");
    }
    Header::parse(&whole[..=needed]).unwrap();

    let work = tempfile::tempdir().unwrap();
    let file = make(&tiny_dir(), work.path(), Quantization::Q8_0);
    let whole = std::fs::read(&file).unwrap();
    for length in (0..whole.len() - 64).step_by(whole.len() / 97) {
        std::fs::write(&file, &whole[..length]).unwrap();
        let error = Model::load(&file, &Options::default()).err().unwrap().to_string();
        assert!(error.contains("Q8_0.gguf") && (error.contains("cut short") || length < 4), "{length}: {error}");
    }
}

#[test]
fn a_sound_file_of_the_wrong_model_is_refused_by_key_or_tensor() {
    let work = tempfile::tempdir().unwrap();
    let file = make(&tiny_dir(), work.path(), Quantization::Q8_0);
    let whole = std::fs::read(&file).unwrap();
    let says = |text: &str, offset: isize, bytes: &[u8], expected: &[&str]| {
        let mut changed = whole.clone();
        let at = behind(&whole, text).checked_add_signed(offset).unwrap();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(&file, changed).unwrap();
        for message in [
            Model::load(&file, &Options::default()).err().unwrap().to_string(),
            verify(&file, &mut silent()).unwrap_err().to_string(),
        ] {
            expected.iter().for_each(|part| assert!(message.contains(part), "{message:?} should say {part:?}"));
        }
    };
    const KEY: &str = "recurrentgemma.embedding_length";
    says(KEY, 4, &97u32.to_le_bytes(), &[KEY, "97 instead of 96", "hearth.config"]);
    says("recurrentgemma.embedding_lengt", 0, b"x", &["lacks the key", KEY]);
    says("hearth.fingerprint", 12, b"x", &["hearth.fingerprint", "64 hexadecimal digits"]);
    says("hearth.fingerprin", 0, b"x", &["lacks the key hearth.fingerprint"]);
    says("hearth.config", 12, b"x", &["config.json is not valid JSON"]);
    says("hearth.confi", 0, b"x", &["lacks a config.json"]);
    const TENSOR: &str = "model.layers.2.temporal_block.k_proj.weight";
    says("model.layers.2.temporal_block.k_proj.weigh", 0, b"x", &["holds no tensor", TENSOR]);
    says(TENSOR, 4, &32u64.to_le_bytes(), &[TENSOR, "[24, 32]", "[24, 96]"]);
    // The type of a small tensor where a matrix must be, and the other way round.
    says("model.layers.2.temporal_block.o_proj.bias", 12, &gguf::PRIVATE.to_le_bytes(), &["o_proj.bias", "shape"]);
    says(TENSOR, 20, &0u32.to_le_bytes(), &[TENSOR]);
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let file = make(&tiny_dir(), work.path(), Quantization::Q8_0);
    let mut bytes = std::fs::read(&file).unwrap();
    // The scales of a group stand behind its quants; the embedding is the first tensor, 96 columns wide.
    let opened = gguf::Gguf::open(&file).unwrap();
    let tensor = opened.tensor("model.embed_tokens.weight").unwrap().clone();
    drop(opened);
    let scale = tensor.bytes.start + 16 * 96;
    bytes[scale..scale + 2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let error = verify(&file, &mut silent()).unwrap_err().to_string();
    assert!(error.contains("model.embed_tokens.weight") && error.contains("infinite"), "{error}");
}

#[test]
fn a_header_is_read_or_refused_whatever_is_in_it() {
    let file = small();
    let header = behind(&file, "tensor.c") + 40;
    let change = (0..header, prop_oneof![any::<u8>(), Just(0), Just(0xff), 0..16u8]);
    let changes = prop::collection::vec(change, 1..6);
    let cut = 0..file.len() + 1;
    runner(20_000)
        .run(&(changes, cut, any::<bool>()), |(changes, cut, whole)| {
            let mut file = file.clone();
            changes.into_iter().for_each(|(at, byte)| file[at] = byte);
            if !whole {
                file.truncate(cut);
            }
            // It may be either; what must not happen is a panic, or a tensor outside.
            let _ = Header::parse(&file);
            Ok(())
        })
        .unwrap();
}
