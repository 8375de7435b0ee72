//! Everything a model remembers, and nothing it does not.
//!
//! Owns the mutable memory: its leaves, their names, how they leave for a snapshot and come back. Refuses to know how they are
//! computed. Invariants: its size depends on the model alone, never on the stream; a fork is a copy, so neither can alter the
//! other.

use half::f16;

use super::Error;
use super::config::{Config, Temporal};
use super::options::RingType;
use super::ring::{Element, Ring};

/// Positions up to here are exact in f64: ninety million years of talk.
const POSITION_MAX: u64 = 1 << 53;

/// The memory of one stream.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) layers: Vec<Memory>,
    /// Tokens read; a position is one of these. Only counts up.
    pub(super) tokens_read: u64,
    /// A token was read: until then nothing is carried over (the recurrence starts with a = 0). A flag of its own, so that it
    /// stays right should positions ever be counted from elsewhere.
    pub(super) begun: bool,
}

/// What one layer remembers.
#[derive(Clone, Debug)]
pub(super) enum Memory {
    Recurrent {
        /// h_{t−1} [r].
        h: Vec<f32>,
        /// The last inputs of the convolution, oldest first [c−1, r].
        conv: Vec<f32>,
    },
    /// The last w keys, rotated, and their values.
    Attention(Rings),
}

/// A ring of the type that the model keeps.
#[derive(Clone, Debug)]
pub(super) enum Rings {
    F32(Ring<f32>),
    /// Whose numbers are f16, too.
    I16(Ring<i16>),
}

impl Rings {
    pub fn new(kind: RingType, heads: usize, width: usize, slots: usize) -> Self {
        match kind {
            RingType::F32 => Self::F32(Ring::new(heads, width, slots)),
            RingType::I16 => Self::I16(Ring::new(heads, width, slots)),
        }
    }
}

/// One leaf of a state, for goldens and snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// `l{layer}.{h, conv, k, v}`. Keys and values stand oldest first at the end; zeros stand before them.
    pub name: String,
    /// f16 rather than f32.
    pub half: bool,
    pub shape: Vec<usize>,
    /// Little-endian values.
    pub bytes: Vec<u8>,
}

/// The shapes of a model's leaves.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    lru_width: usize,
    taps: usize,
    ring: [usize; 3],
}

impl Shapes {
    pub fn of(config: &Config) -> Self {
        let ring = [config.kv_heads, config.window, config.head_dim];
        Self { lru_width: config.lru_width, taps: config.conv_width - 1, ring }
    }
}

impl State {
    /// A state that has read nothing.
    pub(super) fn fresh(config: &Config, ring: RingType) -> Self {
        let layer = |temporal: &Temporal| match temporal {
            Temporal::Recurrent => Memory::Recurrent {
                h: vec![0.0; config.lru_width],
                conv: vec![0.0; (config.conv_width - 1) * config.lru_width],
            },
            Temporal::Attention => Memory::Attention(Rings::new(ring, config.kv_heads, config.head_dim, config.window)),
        };
        Self { layers: config.layers.iter().map(layer).collect(), tokens_read: 0, begun: false }
    }

    /// A second state with the same past. Neither can alter the other.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Tokens read since the state was fresh.
    pub fn tokens_read(&self) -> u64 {
        self.tokens_read
    }

    /// Bytes of all leaves: the same before the first token and after a year.
    pub fn bytes(&self) -> u64 {
        let ring = |keys: usize, size: usize| (2 * keys * size) as u64;
        let layer = |memory: &Memory| match memory {
            Memory::Recurrent { h, conv } => 4 * (h.len() + conv.len()) as u64,
            Memory::Attention(Rings::F32(r)) => ring(r.len(), 4),
            Memory::Attention(Rings::I16(r)) => ring(r.len(), 2),
        };
        self.layers.iter().map(layer).sum()
    }

    /// All leaves, layer by layer.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::with_capacity(2 * self.layers.len());
        for (index, memory) in self.layers.iter().enumerate() {
            match memory {
                Memory::Recurrent { h, conv } => {
                    let rows = conv.len() / h.len();
                    leaves.push(Leaf::plain(index, "h", vec![h.len()], h));
                    leaves.push(Leaf::plain(index, "conv", vec![rows, h.len()], conv));
                }
                Memory::Attention(Rings::F32(ring)) => {
                    leaves.extend(self.ring_leaves(index, ring, false, f32::to_le_bytes));
                }
                Memory::Attention(Rings::I16(ring)) => {
                    leaves.extend(self.ring_leaves(index, ring, true, |x| f16::from_f32(x).to_le_bytes()));
                }
            }
        }
        leaves
    }

    fn ring_leaves<E: Element, const N: usize>(
        &self,
        layer: usize,
        ring: &Ring<E>,
        half: bool,
        bytes: impl Fn(f32) -> [u8; N],
    ) -> [Leaf; 2] {
        let (keys, values) = ring.in_order(self.tokens_read);
        let leaf = |name: &str, all: Vec<f32>| Leaf {
            name: format!("l{layer}.{name}"),
            half,
            shape: ring.shape().to_vec(),
            bytes: all.into_iter().flat_map(&bytes).collect(),
        };
        [leaf("k", keys), leaf("v", values)]
    }

    /// Puts leaves back into a fresh state: each exactly once, with its own shape; f16 and f32 are turned into what this model
    /// keeps.
    ///
    /// # Errors
    /// [`Error::State`] when a leaf is missing, unknown or of another shape.
    pub(super) fn restore(mut self, tokens_read: u64, leaves: &[Leaf], shapes: &Shapes) -> Result<Self, Error> {
        let wrong = |reason: String| Error::State { reason };
        if tokens_read > POSITION_MAX {
            return Err(wrong(format!("it claims to have read {tokens_read} tokens")));
        }
        let expected = 2 * self.layers.len();
        if leaves.len() != expected {
            return Err(wrong(format!("it has {} leaves instead of {expected}", leaves.len())));
        }
        let find = |layer: usize, name: &str, shape: &[usize]| -> Result<Vec<f32>, Error> {
            let name = format!("l{layer}.{name}");
            let leaf = leaves.iter().find(|leaf| leaf.name == name);
            leaf.ok_or_else(|| wrong(format!("it has no {name}")))?.floats(shape)
        };
        for (index, memory) in self.layers.iter_mut().enumerate() {
            match memory {
                Memory::Recurrent { h, conv } => {
                    *h = find(index, "h", &[shapes.lru_width])?;
                    *conv = find(index, "conv", &[shapes.taps, shapes.lru_width])?;
                }
                Memory::Attention(rings) => {
                    let (keys, values) = (find(index, "k", &shapes.ring)?, find(index, "v", &shapes.ring)?);
                    match rings {
                        Rings::F32(ring) => ring.fill_in_order(tokens_read, &keys, &values),
                        Rings::I16(ring) => ring.fill_in_order(tokens_read, &keys, &values),
                    }
                }
            }
        }
        self.tokens_read = tokens_read;
        self.begun = tokens_read > 0;
        Ok(self)
    }

    /// Compares the state's layers with a model's.
    pub(super) fn check(&self, config: &Config) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::State { reason });
        let (found, expected) = (self.layers.len(), config.layers.len());
        if found != expected {
            return wrong(format!("it has {found} layers instead of {expected}"));
        }
        let ring = [config.kv_heads, config.window, config.head_dim];
        let fits = |(memory, temporal): (&Memory, &Temporal)| match (memory, temporal) {
            (Memory::Recurrent { h, .. }, Temporal::Recurrent) => h.len() == config.lru_width,
            (Memory::Attention(Rings::F32(r)), Temporal::Attention) => r.shape() == ring,
            (Memory::Attention(Rings::I16(r)), Temporal::Attention) => r.shape() == ring,
            _ => false,
        };
        if !self.layers.iter().zip(&config.layers).all(fits) {
            return wrong("its layers are of other kinds or widths".into());
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens_read += tokens as u64;
        self.begun |= tokens > 0;
    }
}

impl Leaf {
    fn plain(layer: usize, name: &str, shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().copied().flat_map(f32::to_le_bytes).collect();
        Self { name: format!("l{layer}.{name}"), half: false, shape, bytes }
    }

    fn floats(&self, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let wrong = |reason: String| Error::State { reason };
        if self.shape != shape {
            return Err(wrong(format!("{} is {:?} instead of {shape:?}", self.name, self.shape)));
        }
        let size = if self.half { 2 } else { 4 };
        if self.bytes.len() != size * shape.iter().product::<usize>() {
            return Err(wrong(format!("{} has {} bytes", self.name, self.bytes.len())));
        }
        Ok(if self.half {
            self.bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
        } else {
            self.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        })
    }
}
