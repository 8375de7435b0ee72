//! Age alone changes nothing: what a state of a hundred million tokens predicts is what a young one with the same content does.

use griffin::kernels::Kernel;
use griffin::{KvCacheType, Model, Quantization, State};

use super::{load_for, nano_dir, tiny_dir, worst};

const OLD: u64 = 100_000_000;

/// A state of so many tokens whose content is that of an empty one.
fn aged(model: &Model, tokens: u64) -> State {
    model.restore(tokens, &model.state().tensors()).unwrap()
}

#[test]
fn a_state_of_a_hundred_million_tokens_predicts_what_a_young_one_does() {
    for kernel in Kernel::available() {
        for (dir, cache, tolerance) in [
            (tiny_dir(), KvCacheType::F32, 1e-4),
            (tiny_dir(), KvCacheType::I16, 2e-2),
            (nano_dir(), KvCacheType::F32, 1e-3),
        ] {
            let model = load_for(kernel, &dir, Quantization::F32, cache);
            let (vocab, window) = (model.config().vocab_size as u64, model.config().attention_window_size as u64);
            let tokens: Vec<u32> = (0..2 * window + 50).map(|i| (i * 0x9e37_79b9 % vocab) as u32).collect();
            let (mut young, mut old) = (aged(&model, window), aged(&model, OLD));
            for tokens in tokens.chunks(50) {
                let expected = model.logits(tokens, &mut young).unwrap();
                for (found, expected) in model.logits(tokens, &mut old).unwrap().iter().zip(&expected) {
                    let off = worst(found.values(), expected.values());
                    assert!(off <= tolerance, "{kernel:?}, {cache:?}: logits are off by {off}");
                }
            }
            assert_eq!(old.tokens_read(), OLD + tokens.len() as u64);
            let again = model.restore(old.tokens_read(), &old.tensors()).unwrap();
            assert_eq!(again.tensors(), old.tensors());
        }
    }
}

/// A state that holds no numbers any more makes no other wrong that the same model reads.
#[test]
fn a_broken_state_spoils_no_other() {
    for kernel in Kernel::available() {
        for (weights, cache) in [(Quantization::F32, KvCacheType::F32), (Quantization::Q8_0, KvCacheType::I16)] {
            let model = load_for(kernel, &nano_dir(), weights, cache);
            let mut tensors = model.state().tensors();
            for tensor in tensors.iter_mut().filter(|tensor| tensor.name.ends_with(".h")) {
                tensor.bytes.as_chunks_mut().0.iter_mut().for_each(|value| *value = f32::NAN.to_le_bytes());
            }
            let mut broken = model.restore(1_000, &tensors).unwrap();
            let tokens: Vec<u32> = (6..70).collect();
            let predict = || {
                let mut state = model.state();
                [&tokens[..9], &tokens[9..10], &tokens[10..]].map(|part| model.read(part, &mut state).unwrap())
            };
            let before = predict();
            model.ingest(&tokens, &mut broken).unwrap();
            assert!(predict() == before, "{kernel:?}, {cache:?}");
        }
    }
}
