//! All that a model remembers of what it read.
//!
//! The size of a state depends on the model alone, never on the stream. A fork is a copy, so neither can alter the other.

use half::f16;

pub(crate) mod kv_cache;

use crate::config::{BlockType, Config};
use crate::error::Error;
use crate::options::KvCacheType;
use kv_cache::{AnyKvCache, KeysAndValues, KvCache, KvElement};

/// Positions up to here are exact in f64.
const POSITION_MAX: u64 = 1 << 53;

/// What a model remembers of one stream of tokens.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) layers: Vec<LayerState>,
    /// Tokens read; a position is one of these. Only counts up.
    pub(crate) tokens_read: u64,
    /// A token was read: until then nothing is carried over (the recurrence starts with a = 0). A flag of its own, so that it
    /// stays right should positions ever be counted from elsewhere.
    pub(crate) begun: bool,
}

/// The part of a state that belongs to one layer.
#[derive(Clone, Debug)]
pub(crate) enum LayerState {
    Recurrent {
        /// h_{t−1} [r].
        rg_lru: Vec<f32>,
        /// The last inputs of the convolution, oldest first [c−1, r].
        conv1d: Vec<f32>,
    },
    /// The last w keys, rotated, and their values.
    Attention(AnyKvCache),
}

/// One tensor of a state, by name, for saving it.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// `l{layer}.{h, conv, k, v}`. Keys and values stand oldest first at the end; zeros stand before them.
    pub name: String,
    /// The values are f16 rather than f32.
    pub half: bool,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Little-endian values.
    pub bytes: Vec<u8>,
}

/// The shapes of a model's tensors.
#[derive(Clone, Debug)]
pub(crate) struct StateShapes {
    lru_width: usize,
    taps: usize,
    kv_cache: [usize; 3],
}

impl StateShapes {
    pub(crate) fn of(config: &Config) -> Self {
        let kv_cache = [config.num_key_value_heads, config.attention_window_size, config.head_dim];
        Self { lru_width: config.lru_width, taps: config.conv1d_width - 1, kv_cache }
    }
}

impl State {
    /// A state that has read nothing.
    pub(crate) fn fresh(config: &Config, kv_cache: KvCacheType) -> Self {
        let layer = |block_type: &BlockType| match block_type {
            BlockType::Recurrent => LayerState::Recurrent {
                rg_lru: vec![0.0; config.lru_width],
                conv1d: vec![0.0; (config.conv1d_width - 1) * config.lru_width],
            },
            BlockType::Attention => LayerState::Attention(AnyKvCache::new(
                kv_cache,
                config.num_key_value_heads,
                config.head_dim,
                config.attention_window_size,
            )),
        };
        Self { layers: config.block_types.iter().map(layer).collect(), tokens_read: 0, begun: false }
    }

    /// A copy, which can go on with other tokens. Neither can alter the other.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Number of tokens which were read into this state.
    pub fn tokens_read(&self) -> u64 {
        self.tokens_read
    }

    /// Bytes of all tensors. They do not depend on how many tokens were read.
    pub fn bytes(&self) -> u64 {
        let cache = |keys: usize, size: usize| (2 * keys * size) as u64;
        let layer = |state: &LayerState| match state {
            LayerState::Recurrent { rg_lru, conv1d } => 4 * (rg_lru.len() + conv1d.len()) as u64,
            LayerState::Attention(AnyKvCache::F32(r)) => cache(r.len(), 4),
            LayerState::Attention(AnyKvCache::I16(r)) => cache(r.len(), 2),
        };
        self.layers.iter().map(layer).sum()
    }

    /// All tensors, layer by layer, from which [`crate::Model::restore`] makes the same state again.
    pub fn tensors(&self) -> Vec<StateTensor> {
        let mut tensors = Vec::with_capacity(2 * self.layers.len());
        for (index, state) in self.layers.iter().enumerate() {
            match state {
                LayerState::Recurrent { rg_lru, conv1d } => {
                    let rows = conv1d.len() / rg_lru.len();
                    tensors.push(StateTensor::plain(index, "h", vec![rg_lru.len()], rg_lru));
                    tensors.push(StateTensor::plain(index, "conv", vec![rows, rg_lru.len()], conv1d));
                }
                LayerState::Attention(AnyKvCache::F32(cache)) => {
                    tensors.extend(self.cache_tensors(index, cache, false, f32::to_le_bytes));
                }
                LayerState::Attention(AnyKvCache::I16(cache)) => {
                    tensors.extend(self.cache_tensors(index, cache, true, |x| f16::from_f32(x).to_le_bytes()));
                }
            }
        }
        tensors
    }

    fn cache_tensors<T: KvElement, const N: usize>(
        &self,
        layer: usize,
        cache: &KvCache<T>,
        half: bool,
        bytes: impl Fn(f32) -> [u8; N],
    ) -> [StateTensor; 2] {
        let KeysAndValues { keys, values } = cache.in_order(self.tokens_read);
        let tensor = |name: &str, all: Vec<f32>| StateTensor {
            name: format!("l{layer}.{name}"),
            half,
            shape: cache.shape().to_vec(),
            bytes: all.into_iter().flat_map(&bytes).collect(),
        };
        [tensor("k", keys), tensor("v", values)]
    }

    /// Puts tensors back into a fresh state: each exactly once, with its own shape; f16 and f32 are turned into what this model
    /// keeps.
    ///
    /// # Errors
    /// [`Error::State`] when a tensor is missing, unknown or of another shape.
    pub(crate) fn restore(
        mut self,
        tokens_read: u64,
        tensors: &[StateTensor],
        shapes: &StateShapes,
    ) -> Result<Self, Error> {
        let wrong = |reason: String| Error::State { reason };
        if tokens_read > POSITION_MAX {
            return Err(wrong(format!("it claims to have read {tokens_read} tokens")));
        }
        let expected = 2 * self.layers.len();
        if tensors.len() != expected {
            return Err(wrong(format!("it has {} tensors instead of {expected}", tensors.len())));
        }
        let find = |layer: usize, name: &str, shape: &[usize]| -> Result<Vec<f32>, Error> {
            let name = format!("l{layer}.{name}");
            let tensor = tensors.iter().find(|tensor| tensor.name == name);
            tensor.ok_or_else(|| wrong(format!("it has no {name}")))?.floats(shape)
        };
        for (index, state) in self.layers.iter_mut().enumerate() {
            match state {
                LayerState::Recurrent { rg_lru, conv1d } => {
                    *rg_lru = find(index, "h", &[shapes.lru_width])?;
                    *conv1d = find(index, "conv", &[shapes.taps, shapes.lru_width])?;
                }
                LayerState::Attention(caches) => {
                    let keys = find(index, "k", &shapes.kv_cache)?;
                    let values = find(index, "v", &shapes.kv_cache)?;
                    match caches {
                        AnyKvCache::F32(cache) => cache.fill_in_order(tokens_read, &keys, &values),
                        AnyKvCache::I16(cache) => cache.fill_in_order(tokens_read, &keys, &values),
                    }
                }
            }
        }
        self.tokens_read = tokens_read;
        self.begun = tokens_read > 0;
        Ok(self)
    }

    /// Compares the state's layers with a model's.
    pub(crate) fn check(&self, config: &Config) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::State { reason });
        let found = self.layers.len();
        let expected = config.block_types.len();
        if found != expected {
            return wrong(format!("it has {found} layers instead of {expected}"));
        }
        let kv_cache = [config.num_key_value_heads, config.attention_window_size, config.head_dim];
        let fits = |(state, block_type): (&LayerState, &BlockType)| match (state, block_type) {
            (LayerState::Recurrent { rg_lru, .. }, BlockType::Recurrent) => rg_lru.len() == config.lru_width,
            (LayerState::Attention(AnyKvCache::F32(r)), BlockType::Attention) => r.shape() == kv_cache,
            (LayerState::Attention(AnyKvCache::I16(r)), BlockType::Attention) => r.shape() == kv_cache,
            _ => false,
        };
        if !self.layers.iter().zip(&config.block_types).all(fits) {
            return wrong("its layers are of other kinds or widths".into());
        }
        Ok(())
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens_read += tokens as u64;
        self.begun |= tokens > 0;
    }
}

impl StateTensor {
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
