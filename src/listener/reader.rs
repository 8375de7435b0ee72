//! A live state, and what it has read.
//!
//! Owns a state, and its share of model and tokenizer: how the stream opens, how an utterance becomes tokens, how a fork is taken. Refuses to
//! know rules, schedules and time. Invariants: the live state only ever holds one open user turn (the preamble and what was
//! said); nothing but [`Reader::read`] and [`Reader::restore`] touches it; nothing said can open or close a turn.

use std::path::Path;
use std::sync::Arc;

use super::ListenerError;
use super::prompt::Prompt;
use crate::config;
use griffin::{Model, Options, State, Tokenizer};

/// How much reading yields to hearing: a thread of this niceness gets a tenth of a core that another wants, and all of one that
/// nobody wants. Measured by `hearth bench hearing --beside MODEL` on two cores that others used, too: with a 2B model that never
/// stops reading, Whisper takes a tenth longer for the same speech (the share of the time in which it decodes was 193 and 200 %
/// alone, 215 % beside it), and the model reads 2.4 tokens a second of what is left.
pub const NICE: u8 = 10;

/// The owner of the live state.
pub struct Reader {
    pub(super) model: Arc<Model>,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) prompt: Arc<Prompt>,
    /// What every stream begins with.
    opening: Arc<[u32]>,
    state: State,
}

impl Reader {
    /// Loads the model in `dir`. Nothing is read yet: the preamble comes with the first word, so that a state from a
    /// snapshot can take the place of a fresh one at no cost.
    pub fn open(dir: &Path, settings: &config::ListenerConfig) -> Result<Self, ListenerError> {
        let prompt = Prompt::load(dir)?.with_preamble(settings.preamble.as_deref());
        let model = Model::load(
            dir,
            &Options { weights: settings.weights, threads: settings.threads, nice: NICE, ..Options::default() },
        )?;
        let (model, tokenizer, prompt) = (Arc::new(model), Arc::new(Tokenizer::load(dir)?), Arc::new(prompt));
        let state = model.state();
        let mut reader = Self { model, tokenizer, prompt, opening: Arc::default(), state };
        let turns = reader.tokenizer.special_tokens();
        let preamble = reader.encode(&format!("user\n{}", reader.prompt.preamble))?;
        reader.opening = [turns.bos, turns.start_of_turn].into_iter().chain(preamble).collect();
        Ok(reader)
    }

    /// Another stream on the same weights, of which nothing is read yet.
    pub fn another(&self) -> Self {
        let Self { model, tokenizer, prompt, opening, .. } = self;
        Self {
            model: model.clone(),
            tokenizer: tokenizer.clone(),
            prompt: prompt.clone(),
            opening: opening.clone(),
            state: model.state(),
        }
    }

    /// Goes on from another state of the same model; returns the one that was live.
    pub fn restore(&mut self, state: State) -> State {
        std::mem::replace(&mut self.state, state)
    }

    /// Reads one utterance.
    pub fn read(&mut self, text: &str) -> Result<(), ListenerError> {
        self.read_in(text, None)
    }

    /// Reads one utterance and, where that matters, in which room it was said.
    pub fn read_in(&mut self, text: &str, room: Option<&str>) -> Result<(), ListenerError> {
        let tokens = self.utterance(text, room)?;
        self.ingest(&tokens)
    }

    /// The tokens of an utterance: none of an empty one. Each is encoded by itself, so what was read does not depend on what
    /// was heard together.
    pub fn utterance(&self, text: &str, room: Option<&str>) -> Result<Vec<u32>, ListenerError> {
        self.prompt.utterance(text, room).map_or(Ok(Vec::new()), |text| self.encode(&text))
    }

    /// Reads that `seconds` were not heard, if the model is to be told.
    pub fn gap(&mut self, seconds: f64, room: Option<&str>) -> Result<(), ListenerError> {
        let tokens = self.prompt.gap(seconds, room).map_or(Ok(Vec::new()), |text| self.encode(&text))?;
        self.ingest(&tokens)
    }

    fn ingest(&mut self, tokens: &[u32]) -> Result<(), ListenerError> {
        if tokens.is_empty() {
            return Ok(());
        }
        Self::begin(&self.model, &self.opening, &mut self.state)?;
        Ok(self.model.ingest(tokens, &mut self.state)?)
    }

    /// Text to tokens, none of which frames a turn. The tokenizer reads special tokens as plain text already, but only where
    /// `tokenizer.json` calls them special.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, ListenerError> {
        let turns = self.tokenizer.special_tokens();
        let tokens = self.tokenizer.encode(text)?;
        if tokens.iter().any(|token| turns.contains(*token)) {
            return Ok(self.tokenizer.encode(&text.replace('<', "‹"))?);
        }
        Ok(tokens)
    }

    /// A copy to ask questions of. Of a stream in which nothing was said yet, it has read the preamble.
    pub fn fork(&self) -> Result<State, ListenerError> {
        let mut fork = self.state.fork();
        Self::begin(&self.model, &self.opening, &mut fork)?;
        Ok(fork)
    }

    fn begin(model: &Model, opening: &[u32], state: &mut State) -> Result<(), ListenerError> {
        if state.tokens_read() == 0 {
            model.ingest(opening, state)?;
        }
        Ok(())
    }

    /// The live state, to be looked at and kept.
    pub fn state(&self) -> &State {
        &self.state
    }
}
