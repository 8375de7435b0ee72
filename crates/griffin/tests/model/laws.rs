//! What holds for any tokens: chunking, forking, fixed size, quantization.

use griffin::Quantization;
use griffin::kernels::Kernel;
use griffin::{Error, Generation, KvCacheType, Logits, Model, Sampler, Sampling, State};
use proptest::prelude::*;

use super::settings::{odd, read, synthetic, synthetic_dir};
use super::{bits, load, load_for, nano_dir, runner, tiny, tiny_dir, worst};

/// Tokens of the tiny model, and sizes of chunks to read them in.
pub(super) fn tokens_and_sizes() -> impl Strategy<Value = (Vec<u32>, Vec<usize>)> {
    (prop::collection::vec(0u32..96, 1..80), prop::collection::vec(1usize..30, 1..20))
}

pub(super) fn in_chunks(tokens: &[u32], sizes: &[usize], mut each: impl FnMut(&[u32])) {
    let mut rest = tokens;
    for &size in sizes.iter().cycle() {
        let (chunk, left) = rest.split_at(size.min(rest.len()));
        each(chunk);
        rest = left;
        if rest.is_empty() {
            return;
        }
    }
}

fn stepwise(model: &Model, tokens: &[u32]) -> (State, Logits) {
    let mut state = model.state();
    let logits = tokens.iter().map(|&token| model.step(token, &mut state).unwrap()).last().unwrap();
    (state, logits)
}

#[test]
fn any_chunking_is_the_same_as_step_by_step() {
    let odd = synthetic_dir(&odd(), |_| ());
    let models = |kernel| {
        [
            (load_for(kernel, &tiny_dir(), Quantization::F32, KvCacheType::F32), 1e-4),
            (load_for(kernel, odd.path(), Quantization::F32, KvCacheType::F32), 1e-4),
            (load_for(kernel, &tiny_dir(), Quantization::F32, KvCacheType::I16), 2e-2),
        ]
    };
    for (model, tolerance) in Kernel::available().flat_map(models) {
        let mut runner = runner(40);
        let law = |(tokens, sizes): (Vec<u32>, Vec<usize>)| {
            let vocab = model.config().vocab_size as u32;
            let tokens: Vec<u32> = tokens.into_iter().map(|token| token % vocab).collect();
            let (mut one, expected) = stepwise(&model, &tokens);
            let mut other = model.state();
            let (&last, before) = tokens.split_last().unwrap();
            if !before.is_empty() {
                in_chunks(before, &sizes, |chunk| model.ingest(chunk, &mut other).unwrap());
            }
            let found = model.step(last, &mut other).unwrap();
            prop_assert!(worst(found.values(), expected.values()) <= tolerance);
            prop_assert_eq!(one.tokens_read(), other.tokens_read());
            let one = model.step(7, &mut one).unwrap();
            let other = model.step(7, &mut other).unwrap();
            prop_assert!(worst(one.values(), other.values()) <= tolerance);
            Ok(())
        };
        runner.run(&tokens_and_sizes(), law).unwrap();
    }
}

/// A text that is written in pieces, with other texts between them, is the one that is written at once.
#[test]
fn a_text_in_pieces_is_the_text_at_once() {
    let model = load(&tiny_dir(), Quantization::F32, KvCacheType::F32);
    let mut runner = runner(20);
    let law = |(tokens, sizes): (Vec<u32>, Vec<usize>)| {
        let mut state = model.state();
        model.ingest(&[3, 1, 4], &mut state).unwrap();
        let (before, most) = (state.tensors(), tokens.len() % 30);
        let (mut fork, mut expected) = (state.fork(), Vec::new());
        let mut logits = model.read(&tokens, &mut fork).unwrap();
        let ends = |token| token % 11 == 5;
        while expected.len() < most && !ends(logits.argmax()) {
            expected.push(logits.argmax());
            logits = model.step(*expected.last().unwrap(), &mut fork).unwrap();
        }
        let begin = || Generation::new(state.fork(), tokens.clone(), Sampler::new(Sampling::default()), most);
        let (mut one, mut other, mut pieces) = (begin(), begin(), 0);
        while !one.is_finished() {
            pieces += one.advance(&model, sizes[pieces % sizes.len()], ends).unwrap();
            other.advance(&model, 1, |_| false).unwrap();
        }
        prop_assert_eq!(one.tokens(), &expected[..]);
        prop_assert_eq!(one.has_ended(), expected.len() < most);
        prop_assert_eq!(one.advance(&model, 9, ends).unwrap(), 0);
        prop_assert_eq!(pieces, if most == 0 { 0 } else { tokens.len() + expected.len() });
        prop_assert_eq!(state.tensors(), before);
        Ok(())
    };
    runner.run(&tokens_and_sizes(), law).unwrap();
}

#[test]
fn several_streams_are_read_as_each_alone() {
    let model = load(&tiny_dir(), Quantization::F32, KvCacheType::F32);
    let streams: [&[u32]; 4] = [&[1, 2, 3], &[5; 70], &[], &[9]];
    let mut alone = streams.map(|tokens| {
        let mut state = model.state();
        model.ingest(tokens, &mut state).unwrap();
        state
    });
    let mut together = streams.map(|_| model.state());
    let mut round: Vec<_> = together.iter_mut().zip(streams).collect();
    model.ingest_all(&mut round).unwrap();
    for (alone, together) in alone.iter_mut().zip(&mut together) {
        assert_eq!(alone.tokens_read(), together.tokens_read());
        let (alone, together) = (model.step(7, alone).unwrap(), model.step(7, together).unwrap());
        assert!(worst(alone.values(), together.values()) < 1e-4);
    }
}

/// Grouped queries: heads of keys that are copies of each other are one.
#[test]
fn two_equal_key_heads_are_the_same_as_one() {
    let one = json_with(odd(), "num_key_value_heads", 1);
    let one_dir = synthetic_dir(&one, |_| ());
    let ones = synthetic(&read(&one).unwrap());
    let two_dir = synthetic_dir(&odd(), |tensors| {
        for mut tensor in ones {
            if tensor.name.contains("k_proj") || tensor.name.contains("v_proj") {
                tensor.shape[0] *= 2;
                tensor.bytes = tensor.bytes.repeat(2);
            }
            let place = tensors.iter_mut().find(|other| other.name == tensor.name).unwrap();
            *place = tensor;
        }
    });
    let predict = |dir: &std::path::Path| {
        let model = load(dir, Quantization::F32, KvCacheType::F32);
        let tokens: Vec<u32> = (0..40).map(|i| i * 7 % 50).collect();
        let logits = model.logits(&tokens, &mut model.state()).unwrap();
        logits.iter().flat_map(|logits| logits.values().to_vec()).collect::<Vec<_>>()
    };
    let one = predict(one_dir.path());
    let two = predict(two_dir.path());
    assert!(one.iter().any(|l| l.abs() > 0.1), "the model says something");
    assert!(worst(&one, &two) <= 1e-5);
}

fn json_with(mut config: serde_json::Value, key: &str, value: u64) -> serde_json::Value {
    config[key] = value.into();
    config
}

#[test]
fn a_fork_never_alters_its_parent() {
    for model in Kernel::available().map(|kernel| load_for(kernel, &tiny_dir(), Quantization::F32, KvCacheType::F32)) {
        let mut runner = runner(24);
        let law = |(tokens, question): (Vec<u32>, Vec<u32>)| {
            let mut parent = model.state();
            model.ingest(&tokens, &mut parent).unwrap();
            let before = bits(&parent);
            let mut fork = parent.fork();
            prop_assert_eq!(&bits(&fork), &before);
            model.ingest(&question, &mut fork).unwrap();
            model.step(1, &mut fork).unwrap();
            prop_assert_eq!(&bits(&parent), &before);
            // And the other way round: what the parent reads does not change the fork.
            let fork_before = bits(&fork);
            model.ingest(&question, &mut parent).unwrap();
            prop_assert_eq!(bits(&fork), fork_before);
            Ok(())
        };
        let tokens = || prop::collection::vec(0u32..96, 0..40);
        runner.run(&(tokens(), tokens()), law).unwrap();
    }
}

#[test]
fn a_state_is_as_large_when_fresh_as_after_five_thousand_tokens() {
    let model = load(&nano_dir(), Quantization::F32, KvCacheType::F32);
    let mut state = model.state();
    let fresh = state.bytes();
    let tokens: Vec<u32> = (0..5000).map(|i| 6 + i * 31 % 2000).collect();
    for chunk in tokens.chunks(250) {
        model.ingest(chunk, &mut state).unwrap();
        assert_eq!(state.bytes(), fresh);
    }
    assert_eq!(state.tokens_read(), 5000);
    let leaves: usize = state.tensors().iter().map(|leaf| leaf.bytes.len()).sum();
    assert_eq!(leaves as u64, fresh, "what is counted is all there is");
}

#[test]
fn streams_read_together_predict_the_same_as_one_by_one() {
    let models = |kernel| {
        [
            (load_for(kernel, &tiny_dir(), Quantization::F32, KvCacheType::F32), 1e-5, 0.0),
            (load_for(kernel, &nano_dir(), Quantization::F32, KvCacheType::F32), 1e-3, 0.0),
            (load_for(kernel, &nano_dir(), Quantization::Q4K, KvCacheType::I16), 1e-3, 0.3),
        ]
    };
    for (model, tolerance, rounding) in Kernel::available().flat_map(models) {
        let vocab = model.config().vocab_size as u32;
        let mut state = model.state();
        model.ingest(&(0..100).map(|i| i * 31 % vocab).collect::<Vec<_>>(), &mut state).unwrap();
        let before = bits(&state);
        let asked: Vec<Vec<u32>> =
            [1, 24, 90, 5, 24].iter().map(|&count| (0..count).map(|i| (i * 7 + count) % vocab).collect()).collect();
        let mut forks: Vec<State> = asked.iter().map(|_| state.fork()).collect();
        let mut streams: Vec<_> = forks.iter_mut().zip(asked.iter().map(Vec::as_slice)).collect();
        let answers = model.read_all(&mut streams).unwrap();
        for ((tokens, answer), fork) in asked.iter().zip(&answers).zip(&mut forks) {
            let mut alone = state.fork();
            let expected = model.read(tokens, &mut alone).unwrap();
            assert!(worst(answer.values(), expected.values()) <= tolerance);
            assert_eq!(fork.tokens_read(), alone.tokens_read());
            // Their states are the same, too.
            let next = model.step(3, fork).unwrap();
            let expected = model.step(3, &mut alone).unwrap();
            assert!(worst(next.values(), expected.values()) <= tolerance);
        }
        assert_eq!(bits(&state), before, "a fork never alters its parent");
        let mut fork = state.fork();
        assert!(matches!(model.read_all(&mut [(&mut fork, &[])]), Err(Error::NoTokens)));
        assert_eq!(model.read_all(&mut []).unwrap(), []);
        assert!(matches!(model.read_all_for(&mut [(&mut fork, &[])], &[1]), Err(Error::NoTokens)));
        assert!(matches!(model.read_all_for(&mut [(&mut fork, &[2])], &[vocab]), Err(Error::Token { .. })));
        // Of some tokens alone it predicts the same, and leaves the same states.
        let mut forks: Vec<State> = asked.iter().map(|_| state.fork()).collect();
        let mut streams: Vec<_> = forks.iter_mut().zip(asked.iter().map(Vec::as_slice)).collect();
        let candidates = [5, 0, vocab - 1];
        let some = model.read_all_for(&mut streams, &candidates).unwrap();
        for ((answer, some), (fork, tokens)) in answers.iter().zip(some).zip(forks.iter_mut().zip(&asked)) {
            let expected = candidates.map(|token| answer.values()[token as usize]);
            // Products with quantized weights round their inputs otherwise.
            assert!(worst(&some, &expected) <= tolerance.max(rounding));
            let mut alone = state.fork();
            model.read(tokens, &mut alone).unwrap();
            let next = model.step(3, fork).unwrap();
            assert!(worst(next.values(), model.step(3, &mut alone).unwrap().values()) <= tolerance);
        }
    }
}

#[test]
fn two_hundred_thousand_tokens_leave_a_state_finite_bounded_and_restorable() {
    let model = load(&nano_dir(), Quantization::Q8_0, KvCacheType::I16);
    let tokens: Vec<u32> = (0..200_000u64).map(|i| 6 + (i * 0x9e37_79b9 % 2_040) as u32).collect();
    let (first, second) = tokens.split_at(100_000);
    let mut state = model.state();
    model.ingest(first, &mut state).unwrap();
    let mut restored = model.restore(state.tokens_read(), &state.tensors()).unwrap();
    model.ingest(second, &mut state).unwrap();
    model.ingest(second, &mut restored).unwrap();
    assert_eq!(bits(&state), bits(&restored), "a snapshot in the middle changes nothing");
    for leaf in state.tensors() {
        let values = leaf.bytes.chunks_exact(if leaf.half { 2 } else { 4 });
        let value = |bytes: &[u8]| match bytes {
            &[a, b] => half::f16::from_le_bytes([a, b]).to_f32(),
            bytes => f32::from_le_bytes(bytes.try_into().unwrap()),
        };
        let all: Vec<f32> = values.map(value).collect();
        assert!(all.iter().all(|x| x.is_finite() && x.abs() < 1e4), "{}", leaf.name);
    }
}

#[test]
fn a_call_that_fails_leaves_the_state_as_it_was() {
    let model = tiny();
    let mut state = model.state();
    model.ingest(&[2, 5, 7], &mut state).unwrap();
    let before = bits(&state);
    let error = model.ingest(&[3, 96], &mut state).unwrap_err();
    let message = "token 96 lies outside the model's vocabulary of 96; \
                   tokenizer and model belong to different checkpoints";
    assert_eq!(error.to_string(), message);
    assert!(matches!(model.read(&[], &mut state), Err(Error::NoTokens)));
    assert_eq!(bits(&state), before);
    model.ingest(&[], &mut state).unwrap();
    assert_eq!(bits(&state), before);
}

#[test]
fn a_state_of_another_model_is_refused() {
    let tiny = tiny();
    let nano = load(&nano_dir(), Quantization::F32, KvCacheType::F32);
    let error = tiny.ingest(&[1], &mut nano.state()).unwrap_err();
    assert!(matches!(error, Error::State { .. }), "{error}");
}

/// A stretch of talk, as nano reads it.
fn talk() -> Vec<u32> {
    let tokenizer = griffin::Tokenizer::load(&nano_dir()).unwrap();
    let text = "user\nYou are listening to a household. This is the running transcript.\n Did you take your pills this \
                morning? Not yet, they are in the kitchen. The doorbell just rang, can somebody get it? There is water \
                all over the bathroom floor. What is for dinner tonight? I thought we could have soup.";
    let mut tokens = vec![tokenizer.special_tokens().bos, tokenizer.special_tokens().start_of_turn];
    tokens.extend(tokenizer.encode(text).unwrap());
    tokens
}

/// How far predictions are from the exact ones: mean and worst Kullback-Leibler divergence, in nats.
fn divergence(exact: &[Logits], rough: &[Logits]) -> (f64, f64) {
    let log_p = |logits: &Logits| {
        let all: Vec<u32> = (0..logits.values().len() as u32).collect();
        let total = logits.log_sum_exp(&all);
        logits.values().iter().map(|&l| f64::from(l) - total).collect::<Vec<_>>()
    };
    let each = exact.iter().zip(rough).map(|(exact, rough)| {
        let pairs = log_p(exact).into_iter().zip(log_p(rough));
        pairs.map(|(exact, rough)| exact.exp() * (exact - rough)).sum::<f64>()
    });
    let each: Vec<f64> = each.collect();
    (each.iter().sum::<f64>() / each.len() as f64, each.iter().copied().fold(0.0, f64::max))
}

#[test]
fn quantized_weights_predict_nearly_what_f32_does() {
    let tokens = talk();
    let predict = |model: Model| model.logits(&tokens, &mut model.state()).unwrap();
    let exact = predict(load(&nano_dir(), Quantization::F32, KvCacheType::F32));
    for kernel in Kernel::available() {
        for (form, ring, mean_limit, worst_limit) in [
            (Quantization::F32, KvCacheType::I16, 1e-6, 1e-5),
            (Quantization::Q8_0, KvCacheType::I16, 1e-3, 1e-2),
            (Quantization::Q4K, KvCacheType::I16, 5e-2, 0.4),
        ] {
            let (mean, worst) = divergence(&exact, &predict(load_for(kernel, &nano_dir(), form, ring)));
            let found = format!("{kernel}, {form:?}, a ring of {ring:?}: mean {mean:.2e} nats, worst {worst:.2e}");
            println!("{found}");
            assert!(mean <= mean_limit && worst <= worst_limit, "{found}");
        }
    }
}
