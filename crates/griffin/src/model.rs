//! The model: embedding, blocks, head; immutable once loaded.
//!
//! Owns the weights and the threads that compute with them. Refuses to remember anything: all memory is in the [`State`] that
//! a call is given. Invariants: any way of cutting the same tokens into calls leaves the same state and gives the same logits,
//! to rounding (with quantised weights, to the rounding of their inputs); a call that fails leaves the state as it was.

use std::path::Path;
use std::sync::Mutex;

use rayon::prelude::*;
use smallvec::SmallVec;

use super::batch::{Batch, Span};
use super::blocks::Block;
use super::cost::{Cost, Work};
use super::kernel::{Kernel, Product, multiply};
use super::layers::{RmsNorm, Rotary, SPREAD};
use super::options::{Options, RingType, awake};
use super::state::Shapes;
use super::weights::{Checkpoint, Group, Matrix, Progress};
use super::{Config, Error, Leaf, Logits, State, vector};

/// Tokens that go through the layers together: each weight is read once for all of them, and memory stays bounded however
/// long a prompt is.
pub const CHUNK: usize = 64;

/// A RecurrentGemma.
pub struct Model {
    config: Config,
    /// [v, d]; also the head.
    embedding: Matrix,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
    fingerprint: [u8; 32],
    rotary: Rotary,
    ring: RingType,
    kernel: Kernel,
    threads: rayon::ThreadPool,
    /// Room for what is computed on the way, kept from call to call so that none allocates.
    room: Mutex<Room>,
}

struct Room {
    batch: Batch,
    /// The last row of each stream [b, d], and normed.
    last: Vec<f32>,
    normed: Vec<f32>,
}

impl Model {
    /// Loads a GGUF file that `hearth models quantize` wrote, or a checkpoint in Hugging Face layout: `config.json` and one or
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
        Self::build(|| Checkpoint::open(path, options.weights, progress), options)
    }

    /// A model of random weights, for measuring.
    ///
    /// # Errors
    /// [`Error::Threads`].
    pub fn random(config: Config, options: &Options, seed: u64) -> Result<Self, Error> {
        Self::build(|| Ok(Checkpoint::random(config, options.weights, seed)), options)
    }

    fn build<'p>(open: impl FnOnce() -> Result<Checkpoint<'p>, Error>, options: &Options) -> Result<Self, Error> {
        let mut from = open()?;
        let config = from.config().clone();
        let kernel = options.kernel.unwrap_or_else(Kernel::best);
        if !kernel.is_available() {
            return Err(Error::Kernel { kernel });
        }
        let threads = options.start_threads(config.parameters())?;
        let (v, d) = (config.vocab, config.width);
        let (embedding, blocks, final_norm) = threads.install(|| -> Result<_, Error> {
            let embedding = from.matrix("model.embed_tokens.weight", Group::Embedding, v, d)?; // [v, d]
            let layers = 0..config.layers.len();
            let blocks: Vec<_> =
                layers.map(|layer| Block::load(&mut from, &config, layer)).collect::<Result<_, _>>()?;
            let final_norm = RmsNorm::load(&mut from, "model.final_norm", d, config.norm_eps)?;
            Ok((embedding, blocks, final_norm))
        })?;
        let ring = if embedding.is_quantised() { RingType::I16 } else { RingType::F32 };
        let room = Room { batch: Batch::new(kernel, &config, CHUNK), last: Vec::new(), normed: Vec::new() };
        Ok(Self {
            embedding,
            blocks,
            final_norm,
            fingerprint: from.fingerprint(),
            rotary: Rotary::new(config.rope_base, config.rotary_dim),
            ring: options.ring.unwrap_or(ring),
            kernel,
            threads,
            room: Mutex::new(room),
            config,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The instructions that the products are made of.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// SHA-256 over every weight of the checkpoint and every setting that matters to the arithmetic: two models with the same
    /// fingerprint understand each other's states. Neither sharding nor quantising nor [`Options`] change it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Bytes of the matrices.
    pub fn bytes(&self) -> u64 {
        self.cost().generate.bytes
    }

    /// What a token costs at the least.
    pub fn cost(&self) -> Cost {
        let (last, blocks) = self.blocks.split_last().expect("a config has at least one layer");
        let mut ingest = Work::default();
        blocks.iter().flat_map(Block::matrices).for_each(|matrix| ingest.add(matrix));
        let mut generate = ingest.clone();
        last.remembering().into_iter().for_each(|matrix| ingest.add(matrix));
        last.matrices().into_iter().for_each(|matrix| generate.add(matrix));
        generate.add(&self.embedding);
        Cost { ingest, generate }
    }

    /// A state that has read nothing.
    pub fn state(&self) -> State {
        State::fresh(&self.config, self.ring)
    }

    /// A state made of leaves that [`State::leaves`] gave.
    ///
    /// # Errors
    /// [`Error::State`] when they are not this model's.
    pub fn restore(&self, tokens_read: u64, leaves: &[Leaf]) -> Result<State, Error> {
        self.state().restore(tokens_read, leaves, &Shapes::of(&self.config))
    }

    /// Reads tokens without predicting anything: neither the final norm nor the head is computed, and of the last layer only
    /// what the state needs.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::State`]; the state is then as it was.
    pub fn ingest(&self, tokens: &[u32], state: &mut State) -> Result<(), Error> {
        self.check(tokens, state)?;
        self.compute(tokens.len(), |room| {
            for chunk in tokens.chunks(CHUNK) {
                self.pass(room, &mut [(&mut *state, chunk)], Depth::Remember);
            }
        });
        Ok(())
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
        self.compute(1, |room| {
            self.pass(room, &mut [(&mut *state, &[token])], Depth::Full);
            let rows = std::mem::take(&mut room.batch.x);
            self.head(room, &rows, logits.buffer());
            room.batch.x = rows;
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

    /// Reads tokens of several streams at once and predicts what follows the last of each: the questions that are asked of
    /// forks of one state. The weights are read once for all.
    ///
    /// # Errors
    /// As [`Model::read`]; the states are then as they were.
    pub fn read_all(&self, streams: &mut [(&mut State, &[u32])]) -> Result<Vec<Logits>, Error> {
        for (state, tokens) in &*streams {
            self.check(tokens, state)?;
            if tokens.is_empty() {
                return Err(Error::NoTokens);
            }
        }
        if streams.is_empty() {
            return Ok(Vec::new());
        }
        let (d, v) = (self.config.width, self.config.vocab);
        let mut all = Vec::new();
        self.compute(streams.iter().map(|(_, tokens)| tokens.len()).sum(), |room| {
            let mut last = std::mem::take(&mut room.last);
            last.resize(streams.len() * d, 0.0);
            let longest = streams.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
            let share = (CHUNK / streams.len().max(1)).max(1);
            for start in (0..longest).step_by(share) {
                let mut ended = Vec::new();
                let mut round = Vec::new();
                let mut row = 0;
                for (index, (state, tokens)) in streams.iter_mut().enumerate() {
                    let Some(part) = tokens.get(start..tokens.len().min(start + share)).filter(|part| !part.is_empty())
                    else {
                        continue;
                    };
                    row += part.len();
                    if start + part.len() == tokens.len() {
                        ended.push((index, row - 1));
                    }
                    round.push((&mut **state, part));
                }
                self.pass(room, &mut round, if ended.is_empty() { Depth::Remember } else { Depth::Full });
                for (index, row) in ended {
                    last[index * d..][..d].copy_from_slice(&room.batch.x[row * d..][..d]);
                }
            }
            let mut logits = Vec::new();
            self.head(room, &last, &mut logits);
            room.last = last;
            all = logits.chunks_exact(v).map(|row| Logits::new(row.to_vec())).collect();
        });
        Ok(all)
    }

    /// Reads tokens and predicts what follows each of them: t predictions of v values, so give it a few at a time.
    ///
    /// # Errors
    /// As [`Model::ingest`].
    pub fn logits(&self, tokens: &[u32], state: &mut State) -> Result<Vec<Logits>, Error> {
        self.check(tokens, state)?;
        let mut all = Vec::with_capacity(tokens.len());
        self.compute(tokens.len(), |room| {
            let mut logits = Vec::new();
            for chunk in tokens.chunks(CHUNK) {
                self.pass(room, &mut [(&mut *state, chunk)], Depth::Full);
                let rows = std::mem::take(&mut room.batch.x);
                self.head(room, &rows, &mut logits);
                room.batch.x = rows;
                all.extend(logits.chunks_exact(self.config.vocab).map(|row| Logits::new(row.to_vec())));
            }
        });
        Ok(all)
    }

    fn check(&self, tokens: &[u32], state: &State) -> Result<(), Error> {
        let vocab = self.config.vocab;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(Error::Token { token, vocab });
        }
        state.check(&self.config)
    }

    /// Does work on so many tokens, on the model's threads.
    fn compute(&self, tokens: usize, work: impl FnOnce(&mut Room) + Send) {
        // A panic while the room was in use leaves nothing in it that the next call would read.
        let mut room = self.room.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let room = &mut *room;
        match tokens {
            // Of a single one, every product waits for memory longer than a thread takes to wake.
            0..=1 => self.threads.install(|| work(room)),
            _ => self.threads.install(|| awake(|| work(room))),
        }
    }

    /// Takes the next tokens of some streams through the layers; their states move on. At [`Depth::Full`] the batch then holds
    /// what the final norm and the head go on from.
    fn pass(&self, room: &mut Room, streams: &mut [(&mut State, &[u32])], depth: Depth) {
        let batch = &mut room.batch;
        let d = self.config.width;
        batch.x.clear();
        batch.angles.clear();
        // In place for a single stream, so that generating allocates nothing.
        let mut spans = SmallVec::<[Span<'_>; 1]>::with_capacity(streams.len());
        let mut row = 0;
        for (state, tokens) in streams {
            self.rotary.angles(state.tokens_read, tokens.len(), &mut batch.angles);
            for &token in *tokens {
                batch.x.resize((row + 1) * d, 0.0);
                self.embedding.packed().row(token as usize, &mut batch.x[row * d..]);
                row += 1;
            }
            spans.push(Span { state, rows: row - tokens.len()..row });
        }
        let scale = self.config.embedding_scale();
        batch.x.iter_mut().for_each(|x| *x *= scale);

        let (last, blocks) = self.blocks.split_last().expect("a config has at least one layer");
        for block in blocks {
            block.forward(batch, &mut spans);
        }
        match depth {
            Depth::Full => last.forward(batch, &mut spans),
            Depth::Remember => last.remember(batch, &mut spans),
        }
        for Span { state, rows } in spans {
            state.advance(rows.len());
        }
    }

    /// x [b, d] → logits [b, v], bent into ±cap.
    fn head(&self, room: &mut Room, x: &[f32], logits: &mut Vec<f32>) {
        let Room { batch, normed, .. } = room;
        let (d, v) = (self.config.width, self.config.vocab);
        self.final_norm.forward(self.kernel, x, normed);
        logits.resize(x.len() / d * v, 0.0);
        let weights = self.embedding.packed();
        batch.input.load(self.kernel, normed, d, &[weights.form()]);
        multiply(self.kernel, &batch.input, &mut [Product { weights, bias: None, out: logits }]);
        let (kernel, cap) = (self.kernel, self.config.soft_cap);
        logits.par_chunks_mut(SPREAD).for_each(|logits| vector::soft_cap(kernel, logits, cap));
    }
}

/// How far tokens go.
#[derive(Clone, Copy)]
enum Depth {
    /// Only as far as the state needs.
    Remember,
    Full,
}
