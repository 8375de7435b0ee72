//! The buffers in which a batch of tokens goes through the layers. They are kept from call to call, so that none allocates
//! what the one before had.

use std::ops::Range;

use aligned_vec::{AVec, ConstAlign};

use crate::config::Config;
use crate::kernels::{Kernel, QuantizedActivations};
use crate::layers::RotaryAngles;
use crate::state::State;
use crate::state::kv_cache::KvCache;

/// Values that begin at a cache line. The 16 outputs of a group of rows are one line then: were they on two, a thread would share each
/// with the thread that computes the next group, and both would wait for it (a sixth of the speed at 16 tokens at a time).
pub(crate) type AlignedVec = AVec<f32, ConstAlign<64>>;

/// Some tokens of one stream, and their place in a batch.
pub(crate) struct StreamSpan<'s> {
    pub(crate) state: &'s mut State,
    pub(crate) rows: Range<usize>,
}

/// Tokens of one or several streams, and what is computed from them.
pub(crate) struct Scratch {
    pub(crate) kernel: Kernel,
    /// The residual stream [t, d].
    pub(crate) x: Vec<f32>,
    pub(crate) angles: RotaryAngles,
    pub(crate) activations: QuantizedActivations,
    /// x behind a norm [t, d].
    pub(crate) normed: AlignedVec,
    /// The outputs of up to three layers which read the same input. Blocks share them, so that they stay in the cache.
    pub(crate) projections: [AlignedVec; 3],
    /// The output of the convolution [t, r].
    pub(crate) convolved: AlignedVec,
    /// What temporal mixing made [t, r] or [t, n·h].
    pub(crate) mixed: AlignedVec,
    /// What a block adds to the residual stream [t, d].
    pub(crate) out: AlignedVec,
    pub(crate) new_keys: NewKeys,
    /// The last row of each stream [streams, d], from which predictions are made.
    pub(crate) last_rows: Vec<f32>,
}

/// Keys and values of a chunk's own tokens, in the type of the cache which they will be appended to.
pub(crate) struct NewKeys {
    pub(crate) f32: KvCache<f32>,
    pub(crate) i16: KvCache<i16>,
}

impl Scratch {
    /// Buffers for up to `chunk` tokens of one stream.
    pub(crate) fn new(kernel: Kernel, config: &Config, chunk: usize) -> Self {
        let heads = config.num_key_value_heads;
        let width = config.head_dim;
        Self {
            kernel,
            x: Vec::new(),
            angles: RotaryAngles::default(),
            activations: QuantizedActivations::default(),
            normed: AlignedVec::new(64),
            projections: [AlignedVec::new(64), AlignedVec::new(64), AlignedVec::new(64)],
            convolved: AlignedVec::new(64),
            mixed: AlignedVec::new(64),
            out: AlignedVec::new(64),
            new_keys: NewKeys { f32: KvCache::new(heads, width, chunk), i16: KvCache::new(heads, width, chunk) },
            last_rows: Vec::new(),
        }
    }
}
