//! What the listener reads piece by piece is what it would read as a whole, with the bundled tokenizer and with Gemma's own.
//!
//! `make test` fetches Gemma's into target/test-models.

use std::path::PathBuf;
use std::sync::OnceLock;

use griffin::Tokenizer;
use hearth::listener::prompt::Prompt;
use proptest::prelude::*;

use super::{here, nano_dir, runner};

/// Text as it comes: any characters, and more of those that tokenizers stumble over than chance would bring.
const TEXT: &str = r"([^\x00]|[a-zA-Z ]{1,12}|[ \n\t▁]{1,4}|<[a-z_]{0,6}|<end_of_turn>|<start_of_turn>|<bos>|<0x0A>|['’.,…?!0-9-]|[äöüßéñçøåÆŒ]|[а-яА-Я]{1,8}|[ぁ-んァ-ン一-龥]{1,6}|\p{Emoji}\u{fe0f}?){0,24}";

fn gemma_dir() -> Option<PathBuf> {
    let models = std::env::var_os("HEARTH_TEST_MODELS").map_or_else(|| here("target/test-models"), PathBuf::from);
    Some(models.join("gemma")).filter(|dir| dir.join("tokenizer.json").is_file())
}

/// Gemma's tokenizer, read once; nothing if it is not here.
fn gemma() -> Option<&'static Tokenizer> {
    static GEMMA: OnceLock<Option<Tokenizer>> = OnceLock::new();
    let gemma = GEMMA.get_or_init(|| gemma_dir().map(|dir| Tokenizer::load(&dir).unwrap()));
    if gemma.is_none() {
        println!("skipped: Gemma's tokenizer is not in target/test-models; tools/test-models.sh fetches it");
    }
    gemma.as_ref()
}

#[test]
fn what_is_said_piece_by_piece_is_read_as_the_whole() {
    let prompt = Prompt::default();
    let law = |tokenizer: &Tokenizer, said: &[String], question: &str| {
        // As the listener does it: the opening, each utterance and the question by themselves.
        let mut pieces = vec![format!("user\n{}", prompt.preamble)];
        pieces.extend(said.iter().filter_map(|text| prompt.utterance(text, None)));
        pieces.extend(prompt.gap(7.0, None));
        pieces.push(prompt.question(question));
        let apart: Vec<u32> = pieces.iter().flat_map(|piece| tokenizer.encode(piece).unwrap()).collect();
        let whole = tokenizer.encode(&pieces.concat()).unwrap();
        prop_assert_eq!(apart, whole, "{:?}", pieces);
        Ok(())
    };
    let spoken = proptest::collection::vec(TEXT, 0..6);
    let nano = Tokenizer::load(&nano_dir()).unwrap();
    runner(500).run(&(spoken.clone(), TEXT), |(said, question)| law(&nano, &said, &question)).unwrap();
    if let Some(gemma) = gemma() {
        runner(500).run(&(spoken, TEXT), |(said, question)| law(gemma, &said, &question)).unwrap();
    }
}
