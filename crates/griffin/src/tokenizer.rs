//! Text to tokens and back.
//!
//! Text never becomes a special token, whatever it says. A stream of tokens becomes text without ever half a character.

use std::path::Path;

use tokenizers::{
    DecodeStream, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use crate::Error;
use crate::formats::{Sidecar, required_sidecar};

/// The tokens which frame a text and the turns of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<bos>`: begins every stream.
    pub bos: u32,
    /// `<eos>`: ends a text.
    pub eos: u32,
    /// `<start_of_turn>`: begins a turn.
    pub start_of_turn: u32,
    /// `<end_of_turn>`: ends a turn.
    pub end_of_turn: u32,
}

impl SpecialTokens {
    /// Whether a token is one of these, which have no text. Some of Gemma's files do not mark them as special.
    pub fn contains(&self, token: u32) -> bool {
        [self.bos, self.eos, self.start_of_turn, self.end_of_turn].contains(&token)
    }
}

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special_tokens: SpecialTokens,
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a model: in its directory, or in its GGUF file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Gguf`], [`Error::Tokenizer`], [`Error::MissingToken`].
    pub fn load(model: &Path) -> Result<Self, Error> {
        let Sidecar { path, text } = required_sidecar(model, "tokenizer.json")?;
        let reason = |error: tokenizers::Error| Error::Tokenizer { path: path.clone(), reason: error.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(text).map_err(reason)?;
        // A text which spells out a special token must not be able to end a turn.
        inner.set_encode_special_tokens(true);
        let id = |token: &'static str| {
            inner.token_to_id(token).ok_or_else(|| Error::MissingToken { path: path.clone(), token })
        };
        let special_tokens = SpecialTokens {
            bos: id("<bos>")?,
            eos: id("<eos>")?,
            start_of_turn: id("<start_of_turn>")?,
            end_of_turn: id("<end_of_turn>")?,
        };
        Ok(Self { inner, special_tokens })
    }

    /// Text → tokens; nothing is put before or after them.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.inner.encode_fast(text, false).map_err(text_error)?.get_ids().to_vec())
    }

    /// Tokens → text; special tokens have none.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        let text: Vec<u32> = tokens.iter().copied().filter(|token| !self.special_tokens.contains(*token)).collect();
        self.inner.decode(&text, true).map_err(text_error)
    }

    /// Tokens → text as they come.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder { stream: self.inner.decode_stream(true), special_tokens: self.special_tokens }
    }

    /// Which tokens are special.
    pub fn special_tokens(&self) -> SpecialTokens {
        self.special_tokens
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
    special_tokens: SpecialTokens,
}

impl Decoder<'_> {
    /// The text that `token` completes, if any: a character made of several tokens comes with its last.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn push(&mut self, token: u32) -> Result<Option<String>, Error> {
        if self.special_tokens.contains(token) {
            return Ok(None);
        }
        self.stream.step(token).map_err(text_error)
    }
}
