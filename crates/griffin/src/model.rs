//! The model: embedding, residual blocks, head; immutable once loaded.
//!
//! All that a model remembers is in the [`State`] which a call is given. Any way of splitting the same tokens into calls leaves
//! the same state and gives the same logits, up to rounding (with quantized weights, up to the rounding of their inputs). A call
//! that fails leaves the state as it was.

mod predictions;
mod surprise;

use std::path::Path;
use std::sync::Mutex;

use smallvec::SmallVec;

use crate::cost::{TokenCost, Work};
use crate::formats::{Progress, TensorGroup, TensorKind, TensorSource, WeightLoader, WeightMatrix};
use crate::kernels::Kernel;
use crate::layers::{ResidualBlock, RmsNorm, RotaryEmbedding};
use crate::options::{KvCacheType, Options, with_threads_awake};
use crate::rounds::{Round, rounds};
use crate::scratch::{Scratch, StreamSpan};
use crate::state::StateShapes;
use crate::{Config, Error, Logits, State, StateTensor};

/// Tokens that go through the layers together: each weight is read once for all of them, and memory stays bounded however
/// long a prompt is.
pub const CHUNK: usize = 64;

/// A RecurrentGemma: weights, and the threads which compute with them. It remembers nothing: see [`State`].
pub struct Model {
    config: Config,
    weights: ModelWeights,
    fingerprint: [u8; 32],
    rotary: RotaryEmbedding,
    kv_cache: KvCacheType,
    kernel: Kernel,
    threads: rayon::ThreadPool,
    scratch: Mutex<Scratch>,
}

/// The weights of a model.
pub(crate) struct ModelWeights {
    /// [v, d]; also the head.
    embed_tokens: WeightMatrix,
    layers: Vec<ResidualBlock>,
    final_norm: RmsNorm,
}

impl ModelWeights {
    pub(crate) fn load(source: &mut dyn TensorSource, config: &Config) -> Result<Self, Error> {
        let rows = config.vocab_size;
        let columns = config.hidden_size;
        let embedding = TensorKind::Matrix { group: TensorGroup::Embedding, rows, columns };
        let embed_tokens = source.matrix("model.embed_tokens.weight", embedding)?;
        let layers = 0..config.block_types.len();
        let layers = layers.map(|layer| ResidualBlock::load(source, config, layer)).collect::<Result<_, _>>()?;
        let final_norm = RmsNorm::load(source, "model.final_norm", columns, config.rms_norm_eps)?;
        Ok(Self { embed_tokens, layers, final_norm })
    }
}

impl Model {
    /// Loads a GGUF file which [`crate::quantize`] wrote, or a checkpoint in Hugging Face layout: `config.json` and one or
    /// several safetensors files in f32, f16 or bf16.
    ///
    /// # Errors
    /// Any of [`Error`] that concerns files; each names the file, and the tensor or key.
    pub fn load(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::load_with(path, options, &mut |_, _| ())
    }

    /// The same, telling `progress` how many parameters of how many are ready.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_with(path: &Path, options: &Options, progress: Progress<'_>) -> Result<Self, Error> {
        Self::build(|| WeightLoader::open(path, options.weights, progress), options)
    }

    /// A model of random weights, for measuring speed.
    ///
    /// # Errors
    /// [`Error::Threads`].
    pub fn random(config: Config, options: &Options, seed: u64) -> Result<Self, Error> {
        Self::build(|| Ok(WeightLoader::random(config, options.weights, seed)), options)
    }

    fn build<'p>(open: impl FnOnce() -> Result<WeightLoader<'p>, Error>, options: &Options) -> Result<Self, Error> {
        let mut loader = open()?;
        let config = loader.config().clone();
        let kernel = options.kernel.unwrap_or_else(Kernel::detect);
        let threads = options.start_threads(config.parameters())?;
        let weights = threads.install(|| ModelWeights::load(&mut loader, &config))?;
        let kv_cache = if weights.embed_tokens.is_quantized() { KvCacheType::I16 } else { KvCacheType::F32 };
        Ok(Self {
            weights,
            fingerprint: loader.fingerprint(),
            rotary: RotaryEmbedding::new(config.rope_theta, config.rotary_dim),
            kv_cache: options.kv_cache.unwrap_or(kv_cache),
            kernel,
            threads,
            scratch: Mutex::new(Scratch::new(kernel, &config, CHUNK)),
            config,
        })
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The instructions which this model computes with.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Number of threads which compute.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// SHA-256 over every weight of the checkpoint and every setting that matters to the arithmetic: two models with the same
    /// fingerprint understand each other's states. Neither sharding nor quantizing nor [`Options`] change it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Bytes of the matrices in memory.
    pub fn bytes(&self) -> u64 {
        self.cost().generate.bytes
    }

    /// What a token costs at the least.
    pub fn cost(&self) -> TokenCost {
        let (last, layers) = self.weights.layers.split_last().expect("a config has at least one layer");
        let mut ingest = Work::default();
        layers.iter().flat_map(ResidualBlock::matrices).for_each(|matrix| ingest.add(matrix));
        let mut generate = ingest.clone();
        last.state_matrices().into_iter().for_each(|matrix| ingest.add(matrix));
        last.matrices().into_iter().for_each(|matrix| generate.add(matrix));
        generate.add(&self.weights.embed_tokens);
        TokenCost { ingest, generate }
    }

    /// A state that has read nothing.
    pub fn state(&self) -> State {
        State::fresh(&self.config, self.kv_cache)
    }

    /// The state whose tensors [`State::tensors`] gave.
    ///
    /// # Errors
    /// [`Error::State`] when they are not this model's.
    pub fn restore(&self, tokens_read: u64, tensors: &[StateTensor]) -> Result<State, Error> {
        self.state().restore(tokens_read, tensors, &StateShapes::of(&self.config))
    }

    /// Reads tokens without predicting anything: neither the final norm nor the head is computed, and of the last layer only
    /// what the state needs.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::State`]; the state is then as it was.
    pub fn ingest(&self, tokens: &[u32], state: &mut State) -> Result<(), Error> {
        self.ingest_all(&mut [(state, tokens)])
    }

    /// Reads one token and predicts the next.
    ///
    /// # Errors
    /// As [`Model::ingest`].
    pub fn step(&self, token: u32, state: &mut State) -> Result<Logits, Error> {
        self.read(&[token], state)
    }

    /// The same into predictions that exist already, so that nothing is allocated.
    ///
    /// # Errors
    /// As [`Model::ingest`].
    pub fn step_into(&self, token: u32, state: &mut State, logits: &mut Logits) -> Result<(), Error> {
        self.check(&[token], state)?;
        self.compute(1, |scratch| {
            self.pass(scratch, &mut [(&mut *state, &[token])], Output::Rows(&[0]));
            let rows = std::mem::take(&mut scratch.x);
            self.head(scratch, &rows, logits.buffer());
            scratch.x = rows;
        });
        Ok(())
    }

    /// Reads tokens and predicts what follows the last.
    ///
    /// # Errors
    /// As [`Model::ingest`], and [`Error::NoTokens`].
    pub fn read(&self, tokens: &[u32], state: &mut State) -> Result<Logits, Error> {
        Ok(self.read_all(&mut [(state, tokens)])?.remove(0))
    }

    /// Reads tokens of several streams at once without predicting anything: see [`Model::ingest`] and [`Model::read_all`].
    ///
    /// # Errors
    /// As [`Model::ingest`]; the states are then as they were.
    pub fn ingest_all(&self, streams: &mut [(&mut State, &[u32])]) -> Result<(), Error> {
        streams.iter().try_for_each(|(state, tokens)| self.check(tokens, state))?;
        self.compute(streams.iter().map(|(_, tokens)| tokens.len()).sum(), |scratch| {
            for start in rounds(streams) {
                let mut round: Vec<_> = Round::of(streams, start).map(|part| (part.state, part.tokens)).collect();
                self.pass(scratch, &mut round, Output::StateOnly);
            }
        });
        Ok(())
    }

    /// Reads tokens and predicts what follows each of them: t predictions of v values, so give it a few at a time.
    ///
    /// # Errors
    /// As [`Model::ingest`].
    pub fn logits(&self, tokens: &[u32], state: &mut State) -> Result<Vec<Logits>, Error> {
        self.check(tokens, state)?;
        let mut all = Vec::with_capacity(tokens.len());
        self.compute(tokens.len(), |scratch| {
            let mut logits = Vec::new();
            for chunk in tokens.chunks(CHUNK) {
                self.pass(scratch, &mut [(&mut *state, chunk)], Output::All);
                let rows = std::mem::take(&mut scratch.x);
                self.head(scratch, &rows, &mut logits);
                scratch.x = rows;
                all.extend(logits.chunks_exact(self.config.vocab_size).map(|row| Logits::new(row.to_vec())));
            }
        });
        Ok(all)
    }

    fn check_all(&self, streams: &[(&mut State, &[u32])]) -> Result<(), Error> {
        for (state, tokens) in streams {
            self.check(tokens, state)?;
            if tokens.is_empty() {
                return Err(Error::NoTokens);
            }
        }
        Ok(())
    }

    fn check(&self, tokens: &[u32], state: &State) -> Result<(), Error> {
        self.check_tokens(tokens)?;
        state.check(&self.config)
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab = self.config.vocab_size;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(Error::Token { token, vocab });
        }
        Ok(())
    }

    /// Does work on so many tokens, on the model's threads.
    fn compute(&self, tokens: usize, work: impl FnOnce(&mut Scratch) + Send) {
        // Nothing that a panic left in it is read by the next call.
        let mut scratch = self.scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let scratch = &mut *scratch;
        match tokens {
            // With a single one, every product waits for memory longer than a thread takes to wake.
            0..=1 => self.threads.install(|| work(scratch)),
            _ => self.threads.install(|| with_threads_awake(|| work(scratch))),
        }
    }

    /// Takes the next tokens of some streams through the layers; their states move on. `scratch.x` then holds what the final
    /// norm and the head go on from, of the tokens that `output` names.
    fn pass(&self, scratch: &mut Scratch, streams: &mut [(&mut State, &[u32])], output: Output<'_>) {
        let d = self.config.hidden_size;
        scratch.x.clear();
        scratch.angles.clear();
        // In place for a single stream, so that generating allocates nothing.
        let mut spans = SmallVec::<[StreamSpan<'_>; 1]>::with_capacity(streams.len());
        let mut row = 0;
        for (state, tokens) in streams {
            self.rotary.angles(state.tokens_read, tokens.len(), &mut scratch.angles);
            for &token in *tokens {
                scratch.x.resize((row + 1) * d, 0.0);
                self.weights.embed_tokens.packed().row(token as usize, &mut scratch.x[row * d..]);
                row += 1;
            }
            spans.push(StreamSpan { state, rows: row - tokens.len()..row });
        }
        let scale = self.config.embedding_scale();
        scratch.x.iter_mut().for_each(|x| *x *= scale);

        let (last, layers) = self.weights.layers.split_last().expect("a config has at least one layer");
        for layer in layers {
            layer.forward(scratch, &mut spans);
        }
        match output {
            Output::All => last.forward(scratch, &mut spans),
            Output::Rows(rows) => last.forward_rows(scratch, &mut spans, rows),
            Output::StateOnly => last.update_state(scratch, &mut spans),
        }
        for StreamSpan { state, rows } in spans {
            state.advance(rows.len());
        }
    }
}

/// How far tokens go through the layers.
#[derive(Clone, Copy)]
enum Output<'r> {
    /// Only as far as the state needs.
    StateOnly,
    /// These rows up to what the final norm and the head go on from.
    Rows(&'r [usize]),
    /// The same, all rows.
    All,
}
