//! Text to tokens and back.
//!
//! Owns `tokenizer.json` and the names of the turn tokens. Refuses to know how a prompt is built. Invariants: text never becomes
//! a turn token, whatever it says; a stream of tokens becomes text without ever half a character.

use std::path::Path;

use tokenizers::{
    DecodeStream, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::Error;
use super::attached::{Attached, required};

/// The tokens that frame a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// `<bos>`: the first token of every stream.
    pub bos: u32,
    /// `<eos>`: the end of a text.
    pub eos: u32,
    /// `<start_of_turn>`.
    pub start: u32,
    /// `<end_of_turn>`.
    pub end: u32,
}

impl Turns {
    /// Whether a token frames a turn and has no text. Some files of Gemma's do not call these tokens special.
    pub fn has(&self, token: u32) -> bool {
        [self.bos, self.eos, self.start, self.end].contains(&token)
    }
}

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    turns: Turns,
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a model: in its directory, or in its GGUF file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Gguf`], [`Error::Tokenizer`], [`Error::MissingToken`].
    pub fn load(model: &Path) -> Result<Self, Error> {
        let Attached { path, text } = required(model, "tokenizer.json")?;
        let reason = |error: tokenizers::Error| Error::Tokenizer { path: path.clone(), reason: error.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(text).map_err(reason)?;
        // What is heard in a room must not be able to end a turn by sounding like its token.
        inner.set_encode_special_tokens(true);
        let id = |token: &'static str| {
            inner.token_to_id(token).ok_or_else(|| Error::MissingToken { path: path.clone(), token })
        };
        let turns =
            Turns { bos: id("<bos>")?, eos: id("<eos>")?, start: id("<start_of_turn>")?, end: id("<end_of_turn>")? };
        Ok(Self { inner, turns })
    }

    /// Text → tokens; nothing is put before or after them.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.inner.encode_fast(text, false).map_err(text_error)?.get_ids().to_vec())
    }

    /// Tokens → text; turn tokens have none.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        let text: Vec<u32> = tokens.iter().copied().filter(|token| !self.turns.has(*token)).collect();
        self.inner.decode(&text, true).map_err(text_error)
    }

    /// Tokens → text as they come.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder { stream: self.inner.decode_stream(true), turns: self.turns }
    }

    pub fn turns(&self) -> Turns {
        self.turns
    }

    /// The token of exactly this name.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the highest token; not above the model's vocabulary when they belong together.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }
}

fn text_error(error: tokenizers::Error) -> Error {
    Error::Text { reason: error.to_string() }
}

/// Turns a stream of tokens into text; made by [`Tokenizer::decoder`].
pub struct Decoder<'t> {
    stream:
        DecodeStream<'t, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>,
    turns: Turns,
}

impl Decoder<'_> {
    /// The text that `token` completes, if any: a character made of several tokens comes with its last.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn push(&mut self, token: u32) -> Result<Option<String>, Error> {
        if self.turns.has(token) {
            return Ok(None);
        }
        self.stream.step(token).map_err(text_error)
    }
}
