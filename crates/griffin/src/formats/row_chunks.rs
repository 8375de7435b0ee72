//! A matrix of a checkpoint on its way into its packed format, some rows at a time, so that packing takes little memory and
//! goes in parallel. The packed bytes of all chunks, one after the other, are the packed matrix.

use safetensors::tensor::TensorView;

use super::TensorKind;
use super::safetensors::widen;
use crate::kernels::{self, GROUP_ROWS, PackedMatrix, WeightFormat};

/// Weights of a chunk: 4 MiB of f32.
const CHUNK_WEIGHTS: usize = 1 << 20;

/// How a matrix is packed, and cut into chunks of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowChunks {
    pub(crate) format: WeightFormat,
    pub(crate) blocks: usize,
    /// Of one block.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Rows of a chunk; the last of a block may have less.
    step: usize,
    /// Stored as [block, column, row].
    is_transposed: bool,
}

/// What packing changed: Σ (w − ŵ)² and Σ w².
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SquaredError {
    pub(crate) error: f64,
    pub(crate) weights: f64,
}

impl RowChunks {
    /// None for a vector, which is not packed.
    pub(crate) fn new(kind: &TensorKind, format: WeightFormat) -> Option<Self> {
        let (blocks, rows, columns, is_transposed) = match *kind {
            TensorKind::Vector { .. } => return None,
            TensorKind::Matrix { rows, columns, .. } => (1, rows, columns, false),
            TensorKind::BlockDiagonal { heads, block } => (heads, block, block, true),
        };
        // A block that must be transposed is read whole. Otherwise no chunk may cut a group of rows.
        let step = if is_transposed { rows } else { GROUP_ROWS * (CHUNK_WEIGHTS / columns / GROUP_ROWS).max(1) };
        Some(Self { format, blocks, rows, columns, step, is_transposed })
    }

    pub(crate) fn count(&self) -> usize {
        self.blocks * self.chunks_per_block()
    }

    fn chunks_per_block(&self) -> usize {
        self.rows.div_ceil(self.step)
    }

    /// Rows of a chunk.
    pub(crate) fn rows_of(&self, chunk: usize) -> usize {
        self.step.min(self.rows - chunk % self.chunks_per_block() * self.step)
    }

    /// Packed bytes of every chunk that is not the last of its block.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes_of(0)
    }

    pub(crate) fn bytes_of(&self, chunk: usize) -> usize {
        let bytes = self.format.bytes(1, self.rows_of(chunk), self.columns);
        bytes.expect("the format was chosen to fit the matrix, which is in memory")
    }

    /// Packed bytes of the matrix.
    pub(crate) fn total_bytes(&self) -> usize {
        (0..self.count()).map(|chunk| self.bytes_of(chunk)).sum()
    }

    /// The weights of a chunk, row-major.
    pub(crate) fn read(&self, view: &TensorView<'_>, chunk: usize) -> Vec<f32> {
        let block = chunk / self.chunks_per_block();
        let first_row = chunk % self.chunks_per_block() * self.step;
        let mut values = vec![0f32; self.rows_of(chunk) * self.columns];
        widen(view, (block * self.rows + first_row) * self.columns, &mut values);
        if !self.is_transposed {
            return values;
        }
        let transposed = |i: usize| values[i % self.columns * self.rows + i / self.columns];
        (0..values.len()).map(transposed).collect()
    }

    pub(crate) fn pack(&self, values: &[f32], out: &mut [u8]) {
        kernels::pack(self.format, self.columns, values, out);
    }

    /// How far the packed weights of a chunk are from its weights.
    pub(crate) fn squared_error(&self, values: &[f32], packed: &[u8]) -> SquaredError {
        let rows = values.len() / self.columns;
        let packed = PackedMatrix::new(self.format, 1, rows, self.columns, packed);
        let packed = packed.expect("a chunk has the length which its format and shape make");
        let mut row = vec![0f32; self.columns];
        let mut sums = SquaredError::default();
        for (index, values) in values.chunks_exact(self.columns).enumerate() {
            packed.row(index, &mut row);
            let square = |x: f32| f64::from(x) * f64::from(x);
            sums.error += values.iter().zip(&row).map(|(w, packed)| square(w - packed)).sum::<f64>();
            sums.weights += values.iter().map(|w| square(*w)).sum::<f64>();
        }
        sums
    }
}
