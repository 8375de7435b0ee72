//! A weight matrix in memory: packed here, or mapped from a GGUF file.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;

use super::RowChunks;
use crate::kernels::{PackedMatrix, WeightFormat};

/// Where packed bytes begin in memory: at a cache line.
const ALIGNMENT: usize = 64;

/// Packed bytes.
pub(crate) enum Bytes {
    /// From `start` on, which is at a cache line.
    Owned {
        data: Vec<u8>,
        start: usize,
    },
    Mapped {
        map: Arc<Mmap>,
        range: Range<usize>,
    },
}

impl Bytes {
    fn zeroed(length: usize) -> Self {
        let data = vec![0u8; length + ALIGNMENT];
        let start = data.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self::Owned { data, start }
    }

    fn get(&self) -> &[u8] {
        match self {
            Self::Owned { data, start } => &data[*start..][..data.len() - ALIGNMENT],
            Self::Mapped { map, range } => &map[range.clone()],
        }
    }
}

/// A packed weight matrix, dense or block-diagonal.
pub(crate) struct WeightMatrix {
    format: WeightFormat,
    blocks: usize,
    rows: usize,
    columns: usize,
    bytes: Bytes,
}

impl WeightMatrix {
    pub(crate) fn new(chunks: &RowChunks, bytes: Bytes) -> Self {
        let RowChunks { format, blocks, rows, columns, .. } = *chunks;
        Self { format, blocks, rows, columns, bytes }
    }

    /// A matrix without weights, for listing the tensors of a model: it cannot be multiplied with.
    pub(crate) fn unloaded() -> Self {
        Self { format: WeightFormat::F32, blocks: 0, rows: 0, columns: 0, bytes: Bytes::zeroed(0) }
    }

    /// Packs in memory: `fill` gets the number and the bytes of each chunk, in parallel.
    pub(crate) fn fill(chunks: &RowChunks, fill: impl Fn(usize, &mut [u8]) + Sync) -> Self {
        let mut bytes = Bytes::zeroed(chunks.total_bytes());
        if let Bytes::Owned { data, start } = &mut bytes {
            let end = data.len() - ALIGNMENT + *start;
            let out = data[*start..end].par_chunks_mut(chunks.bytes());
            out.enumerate().for_each(|(chunk, out)| fill(chunk, out));
        }
        Self::new(chunks, bytes)
    }

    pub(crate) fn packed(&self) -> PackedMatrix<'_> {
        let packed = PackedMatrix::new(self.format, self.blocks, self.rows, self.columns, self.bytes.get());
        packed.expect("a loaded matrix has the length which its format and shape make")
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get().len() as u64
    }

    pub(crate) fn is_quantized(&self) -> bool {
        self.format != WeightFormat::F32
    }
}
