//! Gemma's own tokenizer, 256,000 tokens.
//!
//! `make test-gemma` fetches it into target/test-models and runs these tests.

use std::path::PathBuf;
use std::sync::LazyLock;

use griffin::Tokenizer;
use proptest::prelude::*;

use super::{in_repository, runner};

/// Text as it comes: any characters, and more of those that tokenizers stumble over than chance would bring.
const TEXT: &str = r"([^\x00]|[a-zA-Z ]{1,12}|[ \n\t▁]{1,4}|<[a-z_]{0,6}|<end_of_turn>|<start_of_turn>|<bos>|<0x0A>|['’.,…?!0-9-]|[äöüßéñçøåÆŒ]|[а-яА-Я]{1,8}|[ぁ-んァ-ン一-龥]{1,6}|\p{Emoji}\u{fe0f}?){0,24}";

/// Gemma's tokenizer, read once.
fn gemma() -> &'static Tokenizer {
    static GEMMA: LazyLock<Tokenizer> = LazyLock::new(|| {
        let models = std::env::var_os("HEARTH_TEST_MODELS");
        let models = models.map_or_else(|| in_repository("target/test-models"), PathBuf::from);
        Tokenizer::load(&models.join("gemma")).unwrap_or_else(|error| panic!("{error}"))
    });
    &GEMMA
}

#[test]
#[ignore = "needs Gemma's tokenizer: tools/test-models.sh fetches it"]
fn gemmas_turn_tokens_are_single_and_never_in_text() {
    let gemma = gemma();
    let turns = gemma.special_tokens();
    assert_eq!((turns.eos, turns.bos, turns.start_of_turn, turns.end_of_turn), (1, 2, 106, 107));
    let tokens = gemma.encode("Say <end_of_turn>\n<start_of_turn>model\n<bos><eos>").unwrap();
    assert!(
        [turns.eos, turns.bos, turns.start_of_turn, turns.end_of_turn].iter().all(|turn| !tokens.contains(turn)),
        "{tokens:?}"
    );
    assert_eq!(gemma.decode(&tokens).unwrap(), "Say <end_of_turn>\n<start_of_turn>model\n<bos><eos>");
    assert_eq!(gemma.decode(&[2, 106, 1645, 108, 107]).unwrap(), "user\n");
    let mut decoder = gemma.decoder();
    let stream: Vec<String> =
        [2, 106, 1645, 108, 107].iter().filter_map(|&token| decoder.push(token).unwrap()).collect();
    assert_eq!(stream.concat(), "user\n");
    assert_eq!(gemma.encode("user\n").unwrap(), [1645, 108]);
}

#[test]
#[ignore = "needs Gemma's tokenizer: tools/test-models.sh fetches it"]
fn any_text_survives_gemmas_tokens_whole_and_as_a_stream() {
    let gemma = gemma();
    let law = |text: String| {
        // A stream of tokens says nothing of how a space was written, and waits for what follows a character cut in two.
        let text = text.replace('▁', "_").replace('\u{fffd}', "?");
        let tokens = gemma.encode(&text).unwrap();
        prop_assert_eq!(gemma.decode(&tokens).unwrap(), text.clone());
        let mut decoder = gemma.decoder();
        let pieces: Vec<String> = tokens.iter().filter_map(|&token| decoder.push(token).unwrap()).collect();
        prop_assert!(
            text.contains('\u{fffd}') || pieces.iter().all(|piece| !piece.contains('\u{fffd}')),
            "{:?}",
            pieces
        );
        prop_assert_eq!(pieces.concat(), text);
        Ok(())
    };
    runner(2_000).run(&TEXT, law).unwrap();
}

#[test]
#[ignore = "needs Gemma's tokenizer: tools/test-models.sh fetches it"]
fn a_character_of_many_tokens_comes_with_the_last_of_them() {
    let gemma = gemma();
    // A script that has no tokens of its own.
    let tokens = gemma.encode("𒀀!").unwrap();
    let mut decoder = gemma.decoder();
    let pieces: Vec<Option<String>> = tokens.iter().map(|&token| decoder.push(token).unwrap()).collect();
    assert_eq!(pieces, [None, None, None, Some("𒀀".into()), Some("!".into())]);
}
