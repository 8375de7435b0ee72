//! The model: embedding, blocks, head; immutable once loaded.
//!
//! Owns the weights and the threads that compute with them. Refuses to remember anything: all memory is in the [`State`] that
//! a call is given. Invariants: any way of cutting the same tokens into calls leaves the same state and gives the same logits,
//! to rounding; a call that fails leaves the state as it was.

use std::path::Path;

use candle_core::{DType, Tensor};

use super::blocks::{Block, Chunk};
use super::layers::{RmsNorm, Rotary};
use super::tensor::values;
use super::weights::{Checkpoint, Form, Matrix, Progress};
use super::{Config, Error, Leaf, Logits, State};
use crate::config::Weights;

/// Tokens that go through the layers together: each weight is read once for all of them, and memory stays bounded however
/// long a prompt is.
const CHUNK: usize = 64;

/// Parameters up to which a model computes faster on one thread than it could wake others.
const SMALL: u64 = 50_000_000;

/// Parameters from which weights are quantised unless the settings say otherwise.
const LARGE: u64 = 500_000_000;

/// How a model is held and run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub weights: Weights,
    /// By default f32 when the weights are, else f16.
    pub ring: Option<Ring>,
    /// Threads that compute; 0: one per core, and a single one for a small model, which gains nothing from more. Quantised
    /// products run on threads of candle's own, which are as many as `CANDLE_NUM_THREADS` says when the process starts.
    pub threads: usize,
}

/// The type that keys and values are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    F32,
    F16,
}

impl Ring {
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }
}

/// The forms of a model's matrices. Gates, norms, convolutions and biases are always f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forms {
    /// The embedding, which is also the head.
    pub embedding: Form,
    /// Attention and the linear layers around the recurrence.
    pub temporal: Form,
    pub mlp: Form,
}

impl Forms {
    fn choose(weights: Weights, parameters: u64) -> Self {
        let all = |form| Self { embedding: form, temporal: form, mlp: form };
        match weights {
            Weights::F32 => all(Form::F32),
            Weights::Auto if parameters < LARGE => all(Form::F32),
            Weights::Auto | Weights::Q8_0 => all(Form::Q8_0),
            // Three quarters of what is read for a token are MLPs; the rest stays at the finer form.
            Weights::Q4K => Self { mlp: Form::Q4K, ..all(Form::Q8_0) },
        }
    }
}

/// A RecurrentGemma.
pub struct Model {
    config: Config,
    parts: Parts,
    rotary: Rotary,
    ring: Ring,
    threads: rayon::ThreadPool,
}

impl Model {
    /// Loads a checkpoint in Hugging Face layout: `config.json` and one or several safetensors files in f32, f16 or bf16.
    ///
    /// # Errors
    /// Any of [`Error`] that concerns files; each names the file, and the tensor or key.
    pub fn load(dir: &Path, options: &Options) -> Result<Self, Error> {
        Self::load_with(dir, options, &mut |_, _| ())
    }

    /// The same, telling `progress` how many parameters of how many are in memory.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_with(dir: &Path, options: &Options, progress: Progress<'_>) -> Result<Self, Error> {
        let config = Config::load(dir)?;
        let count = if options.threads == 0 && config.parameters() < SMALL { 1 } else { options.threads };
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("griffin-{i}"))
            .build()
            .map_err(|source| Error::Threads { threads: count, source })?;
        let parts = threads.install(|| Parts::load(dir, &config, options.weights, progress))?;
        let ring = options.ring.unwrap_or(if parts.forms.mlp == Form::F32 { Ring::F32 } else { Ring::F16 });
        Ok(Self { rotary: Rotary::new(config.rope_base, config.rotary_dim), config, parts, ring, threads })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// SHA-256 over every weight as it is stored and every setting that matters to the arithmetic: two models with the same
    /// fingerprint understand each other's states. Neither sharding nor [`Options`] change it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.parts.fingerprint
    }

    /// Bytes of the matrices in memory.
    pub fn bytes(&self) -> u64 {
        self.parts.embedding.bytes() + self.parts.blocks.iter().map(Block::bytes).sum::<u64>()
    }

    /// A state that has read nothing.
    ///
    /// # Errors
    /// [`Error::Compute`].
    pub fn state(&self) -> Result<State, Error> {
        State::fresh(&self.config, self.ring)
    }

    /// A state made of leaves that [`State::leaves`] gave.
    ///
    /// # Errors
    /// [`Error::State`] when they are not this model's.
    pub fn restore(&self, tokens_read: u64, leaves: &[Leaf]) -> Result<State, Error> {
        self.state()?.restore(tokens_read, leaves)
    }

    /// Reads tokens without predicting anything: neither the final norm nor the head is computed, and of the last layer only
    /// what the state needs.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::State`], [`Error::Compute`]; the state is then as it was.
    pub fn ingest(&self, tokens: &[u32], state: &mut State) -> Result<(), Error> {
        self.compute(tokens, state, |state| self.remember(tokens, state))
    }

    /// Reads one token and predicts the next.
    ///
    /// # Errors
    /// As [`Model::ingest`].
    pub fn step(&self, token: u32, state: &mut State) -> Result<Logits, Error> {
        self.read(&[token], state)
    }

    /// Reads tokens and predicts what follows the last.
    ///
    /// # Errors
    /// As [`Model::ingest`], and [`Error::NoTokens`].
    pub fn read(&self, tokens: &[u32], state: &mut State) -> Result<Logits, Error> {
        let (&last, before) = tokens.split_last().ok_or(Error::NoTokens)?;
        self.compute(tokens, state, |state| {
            self.remember(before, state)?;
            let x = self.forward(&[last], state)?; // [1, d]
            Ok(self.head(&x)?.remove(0))
        })
    }

    /// Reads tokens and predicts what follows each of them: t predictions of v values, so give it a few at a time.
    ///
    /// # Errors
    /// As [`Model::ingest`].
    pub fn logits(&self, tokens: &[u32], state: &mut State) -> Result<Vec<Logits>, Error> {
        self.compute(tokens, state, |state| {
            let mut all = Vec::with_capacity(tokens.len());
            for chunk in tokens.chunks(CHUNK) {
                all.extend(self.head(&self.forward(chunk, state)?)?);
            }
            Ok(all)
        })
    }

    /// Runs `work` on the model's threads with a fork that becomes the state when all went well.
    fn compute<T: Send>(
        &self,
        tokens: &[u32],
        state: &mut State,
        work: impl FnOnce(&mut State) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let vocab = self.config.vocab;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(Error::Token { token, vocab });
        }
        if state.layers.len() != self.config.layers.len() {
            let reason = format!("it has {} layers instead of {}", state.layers.len(), self.config.layers.len());
            return Err(Error::State { reason });
        }
        let mut next = state.fork();
        let result = self.threads.install(|| work(&mut next))?;
        *state = next;
        Ok(result)
    }

    fn remember(&self, tokens: &[u32], state: &mut State) -> Result<(), Error> {
        let (last, blocks) = self.parts.blocks.split_last().expect("a config has at least one layer");
        for tokens in tokens.chunks(CHUNK) {
            let (mut x, chunk) = self.begin(tokens, state)?; // [t, d]
            let (last_memory, memories) = state.layers.split_last_mut().expect("compute() compared the layers");
            for (block, memory) in blocks.iter().zip(memories) {
                x = block.forward(&x, memory, &chunk)?; // [t, d]
            }
            last.remember(&x, last_memory, &chunk)?;
            state.advance(tokens.len());
        }
        Ok(())
    }

    /// Runs a chunk through all blocks: [t, d].
    fn forward(&self, tokens: &[u32], state: &mut State) -> Result<Tensor, Error> {
        let (mut x, chunk) = self.begin(tokens, state)?; // [t, d]
        for (block, memory) in self.parts.blocks.iter().zip(&mut state.layers) {
            x = block.forward(&x, memory, &chunk)?; // [t, d]
        }
        state.advance(tokens.len());
        Ok(x)
    }

    /// The embedded tokens [t, d], multiplied by √d.
    fn begin(&self, tokens: &[u32], state: &State) -> Result<(Tensor, Chunk), Error> {
        let x = (self.parts.embedding.rows(tokens)? * f64::from(self.config.embedding_scale()))?; // [t, d]
        let angles = self.rotary.angles(state.tokens_read, tokens.len());
        Ok((x, Chunk { tokens_read: state.tokens_read, begun: state.begun, angles }))
    }

    /// x [t, d] → t × [v], bent into ±cap.
    fn head(&self, x: &Tensor) -> Result<Vec<Logits>, Error> {
        let cap = self.config.soft_cap;
        let logits = self.parts.embedding.apply(&self.parts.final_norm.forward(x)?)?; // [t, v]
        let logits = values(&logits)?;
        let rows = logits.chunks_exact(self.config.vocab);
        Ok(rows.map(|row| Logits::new(row.iter().map(|l| cap * (l / cap).tanh()).collect())).collect())
    }
}

/// What a checkpoint holds.
struct Parts {
    forms: Forms,
    /// [v, d]; also the head.
    embedding: Matrix,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
    fingerprint: [u8; 32],
}

impl Parts {
    fn load(dir: &Path, config: &Config, weights: Weights, progress: Progress<'_>) -> Result<Self, Error> {
        let forms = Forms::choose(weights, config.parameters());
        if forms.embedding != Form::F32 && !can_multiply_quantised() {
            return Err(Error::Processor);
        }
        let mut from = Checkpoint::open(dir, config.parameters(), progress)?;
        let (v, d) = (config.vocab, config.width);
        let embedding = from.matrix("model.embed_tokens.weight", v, d, forms.embedding)?; // [v, d]
        let layers = 0..config.layers.len();
        let blocks = layers.map(|layer| Block::load(&mut from, config, layer, forms)).collect::<Result<_, _>>()?;
        let final_norm = RmsNorm::load(&mut from, "model.final_norm", d, config.norm_eps)?;
        Ok(Self { forms, embedding, blocks, final_norm, fingerprint: from.fingerprint(&config.identity()) })
    }
}

/// Candle's quantised products use `sdot` on every arm64, and a processor without it (a Pi 4's Cortex-A72) would end the
/// process.
fn can_multiply_quantised() -> bool {
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(target_arch = "aarch64"))]
    true
}
