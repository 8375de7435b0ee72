//! How much what is read surprises a model.

use griffin::{Error, KvCacheType, Quantization};
use proptest::prelude::*;

use super::laws::{in_chunks, tokens_and_sizes};
use super::{load, runner, tiny_dir, worst};

/// Surprise is that of the predictions, in whatever parts the tokens are read, and leaves the same state.
#[test]
fn surprise_is_what_the_predictions_say() {
    let model = load(&tiny_dir(), Quantization::F32, KvCacheType::F32);
    let law = |(tokens, sizes): (Vec<u32>, Vec<usize>)| {
        let (mut plain, mut whole, mut parts) = (model.state(), model.state(), model.state());
        let logits = model.logits(&tokens, &mut plain).unwrap();
        let expected: f64 = logits.iter().zip(&tokens[1..]).map(|(l, next)| -l.log_probability(*next)).sum();
        let nats = model.surprise(&tokens, None, &mut whole).unwrap();
        let (mut sum, mut read) = (0.0, 0);
        in_chunks(&tokens, &sizes, |part| {
            read += part.len();
            sum += model.surprise(part, tokens.get(read).copied(), &mut parts).unwrap();
        });
        prop_assert!((nats - expected).abs() < 1e-3 && (sum - expected).abs() < 1e-3, "{nats}, {sum}, {expected}");
        for mut state in [whole, parts] {
            prop_assert_eq!(state.tokens_read(), tokens.len() as u64);
            let (one, other) = (model.step(7, &mut plain.fork()).unwrap(), model.step(7, &mut state).unwrap());
            prop_assert!(worst(one.values(), other.values()) < 1e-4);
        }
        Ok(())
    };
    runner(40).run(&tokens_and_sizes(), law).unwrap();
    assert!(matches!(model.surprise(&[1, 2], Some(96), &mut model.state()), Err(Error::Token { token: 96, .. })));
}
