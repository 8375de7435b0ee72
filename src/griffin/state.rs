//! Everything a model remembers, and nothing it does not.
//!
//! Owns the mutable memory: its leaves, their names, how they leave for a snapshot and come back. Refuses to know how they are
//! computed. Invariants: its size depends on the model alone, never on the stream; a leaf is never written in place but
//! replaced by a new tensor, so a fork is a copy of handles and can never alter its parent.

use candle_core::{DType, Device, Tensor};

use super::config::{Config, Temporal};
use super::{Error, Ring};

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
        /// h_{t−1}, f32 [r].
        h: Tensor,
        /// The last inputs of the convolution, oldest first, f32 [c−1, r].
        conv: Tensor,
    },
    Attention {
        /// The last w keys, rotated, oldest first, f32 or f16 [g, w, h]; the tail is in use, zeros stand before it.
        k: Tensor,
        /// Their values [g, w, h].
        v: Tensor,
    },
}

/// One leaf of a state, for goldens and snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// `l{layer}.{h, conv, k, v}`.
    pub name: String,
    /// f16 rather than f32.
    pub half: bool,
    pub shape: Vec<usize>,
    /// Little-endian values.
    pub bytes: Vec<u8>,
}

impl State {
    /// A state that has read nothing.
    pub(super) fn fresh(config: &Config, ring: Ring) -> Result<Self, Error> {
        let layer = |temporal: &Temporal| {
            let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu);
            Ok(match temporal {
                Temporal::Recurrent => Memory::Recurrent {
                    h: zeros(&[config.lru_width], DType::F32)?,
                    conv: zeros(&[config.conv_width - 1, config.lru_width], DType::F32)?,
                },
                Temporal::Attention => {
                    let shape = [config.kv_heads, config.window, config.head_dim];
                    Memory::Attention { k: zeros(&shape, ring.dtype())?, v: zeros(&shape, ring.dtype())? }
                }
            })
        };
        let layers = config.layers.iter().map(layer).collect::<Result<_, Error>>()?;
        Ok(Self { layers, tokens_read: 0, begun: false })
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
        self.tensors().map(|(_, _, tensor)| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64).sum()
    }

    /// All leaves, layer by layer.
    ///
    /// # Errors
    /// [`Error::Compute`].
    pub fn leaves(&self) -> Result<Vec<Leaf>, Error> {
        let leaf = |(layer, name, tensor): (usize, &str, &Tensor)| {
            let half = tensor.dtype() == DType::F16;
            let flat = tensor.flatten_all()?;
            let bytes = if half {
                flat.to_vec1::<half::f16>()?.into_iter().flat_map(half::f16::to_le_bytes).collect()
            } else {
                flat.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect()
            };
            Ok(Leaf { name: format!("l{layer}.{name}"), half, shape: tensor.dims().to_vec(), bytes })
        };
        self.tensors().map(leaf).collect()
    }

    /// Puts leaves back into a fresh state: each exactly once, with its own shape; f16 and f32 are turned into what this model
    /// keeps.
    ///
    /// # Errors
    /// [`Error::State`] when a leaf is missing, unknown or of another shape.
    pub(super) fn restore(mut self, tokens_read: u64, leaves: &[Leaf]) -> Result<Self, Error> {
        let wrong = |reason: String| Error::State { reason };
        if tokens_read > POSITION_MAX {
            return Err(wrong(format!("it claims to have read {tokens_read} tokens")));
        }
        let expected = self.tensors().count();
        if leaves.len() != expected {
            return Err(wrong(format!("it has {} leaves instead of {expected}", leaves.len())));
        }
        for (index, memory) in self.layers.iter_mut().enumerate() {
            let pair = match memory {
                Memory::Recurrent { h, conv } => [("h", h), ("conv", conv)],
                Memory::Attention { k, v } => [("k", k), ("v", v)],
            };
            for (name, tensor) in pair {
                let name = format!("l{index}.{name}");
                let leaf = leaves.iter().find(|leaf| leaf.name == name);
                let leaf = leaf.ok_or_else(|| wrong(format!("it has no {name}")))?;
                if leaf.shape != tensor.dims() {
                    return Err(wrong(format!("{name} is {:?} instead of {:?}", leaf.shape, tensor.dims())));
                }
                let dtype = if leaf.half { DType::F16 } else { DType::F32 };
                if leaf.bytes.len() != tensor.elem_count() * dtype.size_in_bytes() {
                    return Err(wrong(format!("{name} has {} bytes", leaf.bytes.len())));
                }
                let read = Tensor::from_raw_buffer(&leaf.bytes, dtype, &leaf.shape, &Device::Cpu)?;
                *tensor = read.to_dtype(tensor.dtype())?;
            }
        }
        self.tokens_read = tokens_read;
        self.begun = tokens_read > 0;
        Ok(self)
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens_read += tokens as u64;
        self.begun |= tokens > 0;
    }

    fn tensors(&self) -> impl Iterator<Item = (usize, &'static str, &Tensor)> {
        self.layers.iter().enumerate().flat_map(|(index, memory)| {
            let pair = match memory {
                Memory::Recurrent { h, conv } => [("h", h), ("conv", conv)],
                Memory::Attention { k, v } => [("k", k), ("v", v)],
            };
            pair.map(|(name, tensor)| (index, name, tensor))
        })
    }
}
