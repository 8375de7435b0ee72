//! What the listener reads piece by piece is what it would read as a whole, with the bundled tokenizer and with Gemma's own.
//!
//! `make test-gemma` fetches Gemma's into target/test-models and runs the test with it.

use std::path::PathBuf;

use griffin::Tokenizer;
use hearth::listener::prompt::Prompt;
use proptest::prelude::*;

use super::{here, nano_dir, runner};

/// Text as it comes: any characters, and more of those that tokenizers stumble over than chance would bring.
const TEXT: &str = r"([^\x00]|[a-zA-Z ]{1,12}|[ \n\t▁]{1,4}|<[a-z_]{0,6}|<end_of_turn>|<start_of_turn>|<bos>|<0x0A>|['’.,…?!0-9-]|[äöüßéñçøåÆŒ]|[а-яА-Я]{1,8}|[ぁ-んァ-ン一-龥]{1,6}|\p{Emoji}\u{fe0f}?){0,24}";

/// Each utterance and the question tokenized alone are the same tokens as the whole.
fn pieces_are_read_as_the_whole(tokenizer: &Tokenizer) {
    let prompt = Prompt::default();
    let law = |(said, question): (Vec<String>, String)| {
        // As the listener does it: the opening, each utterance and the question by themselves.
        let mut pieces = vec![format!("user\n{}", prompt.preamble)];
        pieces.extend(said.iter().filter_map(|text| prompt.utterance(text, None)));
        pieces.extend(prompt.gap(7.0, None));
        pieces.push(prompt.question(&question));
        let apart: Vec<u32> = pieces.iter().flat_map(|piece| tokenizer.encode(piece).unwrap()).collect();
        let whole = tokenizer.encode(&pieces.concat()).unwrap();
        prop_assert_eq!(apart, whole, "{:?}", pieces);
        Ok(())
    };
    runner(500).run(&(proptest::collection::vec(TEXT, 0..6), TEXT), law).unwrap();
}

#[test]
fn text_tokenized_in_pieces_is_the_same_as_the_whole() {
    pieces_are_read_as_the_whole(&Tokenizer::load(&nano_dir()).unwrap());
}

#[test]
#[ignore = "needs Gemma's tokenizer: tools/test-models.sh fetches it"]
fn text_tokenized_in_pieces_by_gemmas_tokenizer_is_the_same_as_the_whole() {
    let models = std::env::var_os("HEARTH_TEST_MODELS").map_or_else(|| here("target/test-models"), PathBuf::from);
    pieces_are_read_as_the_whole(&Tokenizer::load(&models.join("gemma")).unwrap());
}
