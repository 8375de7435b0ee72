//! Text to tokens and back, and the choice of the next token.

use griffin::{Logits, Sampler, Sampling, Tokenizer};
use proptest::prelude::*;

use super::{nano_dir, runner};

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&nano_dir()).unwrap()
}

#[test]
fn any_text_survives_tokens_whole_and_as_a_stream() {
    let tokenizer = tokenizer();
    let mut runner = runner(200);
    let law = |text: String| {
        let tokens = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&tokens).unwrap(), text.clone());
        let mut decoder = tokenizer.decoder();
        let pieces: Vec<String> = tokens.iter().filter_map(|&token| decoder.push(token).unwrap()).collect();
        prop_assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{:?}", pieces);
        prop_assert_eq!(pieces.concat(), text);
        Ok(())
    };
    // The tokenizer writes spaces as ▁, so that one character does not come back; � is what half a character looks like.
    runner.run(&"[^▁\u{fffd}\u{0}]{0,40}", law).unwrap();
}

#[test]
fn a_stream_never_shows_half_a_character() {
    let tokenizer = tokenizer();
    let tokens = tokenizer.encode("🦜é").unwrap();
    assert!(tokens.len() > 2, "the bundled vocabulary spells these out in bytes");
    let mut decoder = tokenizer.decoder();
    let pieces: Vec<String> = tokens.iter().filter_map(|&token| decoder.push(token).unwrap()).collect();
    assert_eq!(pieces, ["🦜", "é"]);
    // A stream that stops within a character keeps the half to itself.
    let mut decoder = tokenizer.decoder();
    assert!(tokens[..2].iter().all(|&token| decoder.push(token).unwrap().is_none()));
}

#[test]
fn no_text_becomes_a_turn_token() {
    let tokenizer = tokenizer();
    let turns = tokenizer.special_tokens();
    let tokens = tokenizer.encode("Say <end_of_turn> and <start_of_turn>model\n<bos><eos>").unwrap();
    for turn in [turns.bos, turns.eos, turns.start_of_turn, turns.end_of_turn] {
        assert!(!tokens.contains(&turn));
    }
    assert_eq!(tokenizer.decode(&[turns.bos, turns.start_of_turn, turns.end_of_turn]).unwrap(), "");
    assert!(tokenizer.encode("").unwrap().is_empty());
    assert_eq!(tokenizer.id("<bos>"), Some(turns.bos));
    assert_eq!(tokenizer.vocab(), 2048);
}

#[test]
fn a_tokenizer_without_a_turn_token_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = || Tokenizer::load(dir.path()).err().unwrap().to_string();
    assert!(refusal().contains("tokenizer.json cannot be read"), "{}", refusal());
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, "{").unwrap();
    assert!(refusal().contains("tokenizer.json cannot be used as a tokenizer"), "{}", refusal());
    let json = std::fs::read_to_string(nano_dir().join("tokenizer.json")).unwrap();
    std::fs::write(&path, json.replace("<end_of_turn>", "<end_of_talk>")).unwrap();
    assert!(refusal().contains("tokenizer.json has no token <end_of_turn>"), "{}", refusal());
}

fn logits() -> Logits {
    Logits::new(vec![1.0, 3.0, 2.0, -1.0, 3.0])
}

#[test]
fn greedy_takes_the_first_of_the_likeliest() {
    assert_eq!(logits().argmax(), 1);
    assert_eq!(Sampler::new(Sampling::default()).choose(&logits()), 1);
}

#[test]
fn the_same_seed_draws_the_same_tokens_and_another_others() {
    let draw = |seed| {
        let mut sampler = Sampler::new(Sampling { temperature: 1.0, seed, ..Sampling::default() });
        (0..50).map(|_| sampler.choose(&logits())).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn draws_follow_the_probabilities_within_the_bounds() {
    let share = |sampling: Sampling| {
        let mut sampler = Sampler::new(sampling);
        let mut counts = [0.0; 5];
        (0..20_000).for_each(|_| counts[sampler.choose(&logits()) as usize] += 1.0 / 20_000.0);
        counts
    };
    let all = Sampling { temperature: 1.0, ..Sampling::default() };
    for (id, share) in share(all).into_iter().enumerate() {
        let p = logits().log_probability(id as u32).exp();
        assert!((share - p).abs() < 0.02, "token {id}: {share} for {p}");
    }
    let two = share(Sampling { top_k: 2, ..all });
    assert!((two[1] - 0.5).abs() < 0.02 && two[1] + two[4] > 0.999_999);
    // The two likeliest reach 0.79 together, so a third is never drawn.
    let nucleus = share(Sampling { top_p: 0.79, ..all });
    assert!(nucleus[1] + nucleus[4] > 0.999_999, "{nucleus:?}");
    assert!(share(Sampling { temperature: 0.05, ..all })[0] == 0.0);
    assert!(share(Sampling { top_p: 0.0, ..all })[1] > 0.999_999);
}

#[test]
fn log_odds_are_those_of_the_sums() {
    let logits = logits();
    let p = |ids: &[u32]| ids.iter().map(|&id| f64::from(logits.values()[id as usize]).exp()).sum::<f64>();
    assert!((logits.log_odds(&[1, 2], &[0]) - (p(&[1, 2]) / p(&[0])).ln()).abs() < 1e-12);
    assert!((logits.log_probability(1) - (p(&[1]) / p(&[0, 1, 2, 3, 4])).ln()).abs() < 1e-6);
    assert_eq!(logits.log_sum_exp(&[]), f64::NEG_INFINITY);
    assert_eq!(logits.log_sum_exp(&[99]), f64::NEG_INFINITY);
}
