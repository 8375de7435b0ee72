//! A matrix in memory: packed by us, or a part of the file.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;

use super::super::kernel::{Form, Packed};
use super::slabs::Slabs;

/// Where packed bytes begin in memory: a cache line.
const ALIGNMENT: usize = 64;

/// Packed bytes.
pub enum Bytes {
    /// From `start` on, which is a cache line's.
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

/// A (block-diagonal) weight matrix, packed.
pub struct Matrix {
    form: Form,
    blocks: usize,
    rows: usize,
    columns: usize,
    bytes: Bytes,
}

impl Matrix {
    pub fn new(slabs: &Slabs, bytes: Bytes) -> Self {
        let Slabs { form, blocks, rows, columns, .. } = *slabs;
        Self { form, blocks, rows, columns, bytes }
    }

    /// Packs in memory: `fill` gets each slab's number and bytes, in parallel.
    pub fn fill(slabs: &Slabs, fill: impl Fn(usize, &mut [u8]) + Sync) -> Self {
        let mut bytes = Bytes::zeroed(slabs.total());
        if let Bytes::Owned { data, start } = &mut bytes {
            let end = data.len() - ALIGNMENT + *start;
            let out = data[*start..end].par_chunks_mut(slabs.bytes());
            out.enumerate().for_each(|(slab, out)| fill(slab, out));
        }
        Self::new(slabs, bytes)
    }

    pub fn packed(&self) -> Packed<'_> {
        let packed = Packed::new(self.form, self.blocks, self.rows, self.columns, self.bytes.get());
        packed.expect("a matrix has the length that its form and shape make")
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> u64 {
        self.bytes.get().len() as u64
    }

    pub fn is_quantised(&self) -> bool {
        self.form != Form::F32
    }
}
