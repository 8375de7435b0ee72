//! A live state with its share of model and tokenizer: how a stream opens, how an utterance becomes tokens, how a fork is taken.
//!
//! Only [`Reader::read`], [`Reader::gap`] and [`Reader::restore`] change the live state. It always holds one open user turn: the
//! preamble and what was said. No text can open or close a turn, for the tokens that do are never made from text.

use std::path::Path;
use std::sync::Arc;

use super::ListenerError;
use super::asking_steps::AskingSteps;
use super::pace::{Pace, Work};
use super::prompt::Prompt;
use super::surprise::{self, Measured};
use crate::config;
use crate::event::Speaker;
use griffin::{Model, Options, State, Tokenizer};

/// Niceness of the threads that read, so that speech recognition goes first: a thread of this niceness gets a tenth of a core that
/// another thread wants, and all of an idle one. Figures are in `docs/performance.md`.
pub(crate) const NICE: u8 = 10;

/// See the module.
pub struct Reader {
    pub(super) model: Arc<Model>,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) prompt: Arc<Prompt>,
    /// The tokens every stream begins with: `<bos>`, the start of a turn, "user" and the preamble.
    opening: Arc<[u32]>,
    state: State,
    pub(super) pace: Arc<Pace>,
    /// The surprise of one utterance in so many is measured.
    measured_every: u64,
    pub(super) steps: AskingSteps,
}

impl Reader {
    /// Loads the model in `dir`. Nothing is read yet: the preamble is read with the first utterance, so that restoring a
    /// snapshot costs nothing extra.
    ///
    /// # Errors
    /// Model, tokenizer or prompt cannot be loaded.
    pub fn open(dir: &Path, settings: &config::ListenerConfig) -> Result<Self, ListenerError> {
        let prompt = Prompt::load(dir)?.with_preamble(settings.preamble.as_deref());
        let model = Model::load(
            dir,
            &Options { weights: settings.weights, threads: settings.threads, nice: NICE, ..Options::default() },
        )?;
        let (model, tokenizer, prompt) = (Arc::new(model), Arc::new(Tokenizer::load(dir)?), Arc::new(prompt));
        let (state, measured_every) = (model.state(), surprise::measured_every(model.surprise_cost()));
        let (opening, pace) = (Arc::default(), Arc::default());
        let steps = AskingSteps::default();
        let mut reader = Self { model, tokenizer, prompt, opening, state, pace, measured_every, steps };
        let turns = reader.tokenizer.special_tokens();
        let preamble = reader.encode(&format!("user\n{}", reader.prompt.preamble))?;
        reader.opening = [turns.bos, turns.start_of_turn].into_iter().chain(preamble).collect();
        Ok(reader)
    }

    /// A second stream on the same weights, which has read nothing yet.
    pub(crate) fn new_stream(&self) -> Self {
        let Self { model, tokenizer, prompt, opening, state: _, pace, measured_every, steps } = self;
        Self {
            model: model.clone(),
            tokenizer: tokenizer.clone(),
            prompt: prompt.clone(),
            opening: opening.clone(),
            state: model.state(),
            pace: pace.clone(),
            measured_every: *measured_every,
            steps: *steps,
        }
    }

    /// Replaces the live state by another one of the same model; returns the old one.
    pub fn restore(&mut self, state: State) -> State {
        std::mem::replace(&mut self.state, state)
    }

    /// Replaces the live state by one with these tensors.
    ///
    /// # Errors
    /// They are not of this model.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn restore_tensors(
        &mut self,
        tokens_read: u64,
        tensors: &[griffin::StateTensor],
    ) -> Result<(), ListenerError> {
        self.state = self.model.restore(tokens_read, tensors)?;
        Ok(())
    }

    /// Reads one utterance.
    ///
    /// # Errors
    /// The text cannot be tokenized or read.
    pub fn read(&mut self, text: &str) -> Result<(), ListenerError> {
        self.read_in(text, None).map(drop)
    }

    /// Reads one utterance and, if `room` is given, the room it was said in. Of one utterance in some the surprise is measured; of which
    /// depends on the state's age alone, so that whoever reads the same again measures the same.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) fn read_in(&mut self, text: &str, room: Option<&str>) -> Result<Option<Measured>, ListenerError> {
        let tokens = self.utterance(text, room)?;
        self.read_measured(&tokens)
    }

    /// Reads what somebody said, and the room and the speaker if they are given, as [`Reader::read_in`].
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) fn read_said(
        &mut self,
        text: &str,
        room: Option<&str>,
        speaker: Option<&Speaker>,
    ) -> Result<Option<Measured>, ListenerError> {
        let tokens = self.said(text, room, speaker)?;
        self.read_measured(&tokens)
    }

    fn read_measured(&mut self, tokens: &[u32]) -> Result<Option<Measured>, ListenerError> {
        let measures = surprise::is_measured(self.state.tokens_read(), self.measured_every) && tokens.len() > 1;
        let nats = self.take(tokens, Work::Reading, measures)?;
        Ok(measures.then_some(Measured { nats, tokens: tokens.len() - 1 }))
    }

    /// From now on the surprise of every utterance is measured, or of as few as are by default.
    pub(crate) fn measure_all(&mut self, all: bool) {
        self.measured_every = if all { 1 } else { surprise::measured_every(self.model.surprise_cost()) };
    }

    /// From now on none is measured.
    #[cfg(feature = "bench")]
    pub(crate) fn measure_none(&mut self) {
        self.measured_every = u64::MAX;
    }

    /// The tokens of an utterance; none for an empty text. Each utterance is encoded by itself, so the result does not depend on
    /// which utterances are read together.
    ///
    /// # Errors
    /// The text cannot be tokenized.
    pub fn utterance(&self, text: &str, room: Option<&str>) -> Result<Vec<u32>, ListenerError> {
        self.said(text, room, None)
    }

    /// The same with who said it.
    ///
    /// # Errors
    /// As [`Reader::utterance`].
    pub(super) fn said(
        &self,
        text: &str,
        room: Option<&str>,
        speaker: Option<&Speaker>,
    ) -> Result<Vec<u32>, ListenerError> {
        let speaker = speaker.map(|speaker| speaker.name.as_str());
        self.prompt.said(text, room, speaker).map_or(Ok(Vec::new()), |text| self.encode(&text))
    }

    /// Reads that `seconds` were not heard, if the model's prompt has words for that.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub(crate) fn gap(&mut self, seconds: f64, room: Option<&str>) -> Result<(), ListenerError> {
        let tokens = self.prompt.gap(seconds, room).map_or(Ok(Vec::new()), |text| self.encode(&text))?;
        self.ingest(&tokens, Work::Reading)
    }

    /// Reads a slice of a text, and returns its surprise if that is `measured`: see [`Model::surprise`].
    pub(super) fn read_slice(
        &mut self,
        slice: &[u32],
        next: Option<u32>,
        measures: bool,
    ) -> Result<f64, ListenerError> {
        let Self { model, state, pace, .. } = self;
        pace.slice(Work::Writing, slice.len(), || read_or_measure(model, slice, next, measures, state))
    }

    /// How many tokens the model knows.
    pub(crate) fn vocabulary(&self) -> usize {
        self.model.config().vocab_size
    }

    /// The tokens every stream begins with.
    pub(super) fn opening(&self) -> &[u32] {
        &self.opening
    }

    pub(super) fn into_state(self) -> State {
        self.state
    }

    /// Reads tokens. If it is stopped in their midst, the state is as it was.
    pub(super) fn ingest(&mut self, tokens: &[u32], work: Work) -> Result<(), ListenerError> {
        self.take(tokens, work, false).map(drop)
    }

    /// As [`Reader::ingest`]; returns the surprise of all tokens but the first, in nats, if it `measures` that.
    fn take(&mut self, tokens: &[u32], work: Work, measures: bool) -> Result<f64, ListenerError> {
        if tokens.is_empty() {
            return Ok(0.0);
        }
        let whole = tokens.len() <= self.pace.tokens(work) && self.state.tokens_read() > 0;
        if whole && !measures {
            return self.pace.slice(work, tokens.len(), || self.model.ingest(tokens, &mut self.state)).map(|()| 0.0);
        }
        let mut state = self.state.fork();
        self.read_opening(&mut state, work)?;
        let nats = self.read_slices(tokens, &mut state, work, measures)?;
        self.state = state;
        Ok(nats)
    }

    fn read_slices(
        &self,
        mut tokens: &[u32],
        state: &mut State,
        work: Work,
        measures: bool,
    ) -> Result<f64, ListenerError> {
        let mut nats = 0.0;
        while !tokens.is_empty() {
            let (slice, rest) = tokens.split_at(self.pace.tokens(work).min(tokens.len()));
            let next = rest.first().copied();
            let read = || read_or_measure(&self.model, slice, next, measures, state);
            nats += self.pace.slice(work, slice.len(), read)?;
            tokens = rest;
        }
        Ok(nats)
    }

    fn read_opening(&self, state: &mut State, work: Work) -> Result<(), ListenerError> {
        let unread = state.tokens_read() == 0;
        if unread { self.read_slices(&self.opening, state, work, false).map(drop) } else { Ok(()) }
    }

    /// Tokens of a text, none of which opens or closes a turn. The tokenizer already reads special tokens as plain text, but only
    /// those that `tokenizer.json` marks as special; for the others `<` is replaced.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, ListenerError> {
        let turns = self.tokenizer.special_tokens();
        let tokens = self.tokenizer.encode(text)?;
        if tokens.iter().any(|token| turns.contains(*token)) {
            return Ok(self.tokenizer.encode(&text.replace('<', "‹"))?);
        }
        Ok(tokens)
    }

    /// A copy of the state to ask questions of. If nothing was said yet, it has read the preamble.
    ///
    /// # Errors
    /// The preamble cannot be read.
    pub fn fork(&self) -> Result<State, ListenerError> {
        let mut fork = self.state.fork();
        self.read_opening(&mut fork, Work::Asking)?;
        Ok(fork)
    }

    /// The live state.
    pub fn state(&self) -> &State {
        &self.state
    }
}

/// Reads tokens, and returns their surprise if it `measures` that.
fn read_or_measure(
    model: &Model,
    tokens: &[u32],
    next: Option<u32>,
    measures: bool,
    state: &mut State,
) -> Result<f64, griffin::Error> {
    if measures { model.surprise(tokens, next, state) } else { model.ingest(tokens, state).map(|()| 0.0) }
}
