//! A matrix of a checkpoint on its way into a packed form, a slab at a time.
//!
//! Owns how a matrix is cut, so that packing takes little memory and goes in parallel. Invariant: the slabs' bytes one after the
//! other are the packed matrix.

use safetensors::tensor::TensorView;

use super::super::kernel::{self, Form, Packed};
use super::parts::Role;
use super::safetensors::widen;

/// Elements that are widened or quantised at a time: 4 MiB of f32.
const SLAB: usize = 1 << 20;

/// The rows of a group, which no slab may cut.
const ROWS: usize = 16;

/// How a matrix is packed and cut.
#[derive(Clone, Copy, Debug)]
pub struct Slabs {
    pub form: Form,
    pub blocks: usize,
    /// Of one block.
    pub rows: usize,
    pub columns: usize,
    /// Rows of a slab; the last of a block may have less.
    step: usize,
    /// Stored [block, column, row].
    turned: bool,
}

impl Slabs {
    /// None of a vector, which is not packed.
    pub fn new(role: &Role, form: Form) -> Option<Self> {
        let (blocks, rows, columns, turned) = match *role {
            Role::Vector(_) => return None,
            Role::Matrix { rows, columns, .. } => (1, rows, columns, false),
            Role::Gates { heads, block } => (heads, block, block, true),
        };
        // A block that must be turned is read whole.
        let step = if turned { rows } else { ROWS * (SLAB / columns / ROWS).max(1) };
        Some(Self { form, blocks, rows, columns, step, turned })
    }

    pub fn count(&self) -> usize {
        self.blocks * self.slabs_of_block()
    }

    fn slabs_of_block(&self) -> usize {
        self.rows.div_ceil(self.step)
    }

    /// Rows of a slab.
    pub fn rows_of(&self, slab: usize) -> usize {
        self.step.min(self.rows - slab % self.slabs_of_block() * self.step)
    }

    /// Packed bytes of all slabs but the last of a block.
    pub fn bytes(&self) -> usize {
        self.bytes_of(0)
    }

    pub fn bytes_of(&self, slab: usize) -> usize {
        let bytes = self.form.bytes(1, self.rows_of(slab), self.columns);
        bytes.expect("a form was chosen that fits a matrix that is in memory")
    }

    /// Packed bytes of the matrix.
    pub fn total(&self) -> usize {
        (0..self.count()).map(|slab| self.bytes_of(slab)).sum()
    }

    /// The weights of a slab as they are stored, row-major.
    pub fn read(&self, view: &TensorView<'_>, slab: usize) -> Vec<f32> {
        let (block, first) = (slab / self.slabs_of_block(), slab % self.slabs_of_block() * self.step);
        let mut values = vec![0f32; self.rows_of(slab) * self.columns];
        widen(view, (block * self.rows + first) * self.columns, &mut values);
        if !self.turned {
            return values;
        }
        let at = |i: usize| values[i % self.columns * self.rows + i / self.columns];
        (0..values.len()).map(at).collect()
    }

    pub fn pack(&self, values: &[f32], out: &mut [u8]) {
        kernel::pack(self.form, self.columns, values, out);
    }

    /// Σ (w − ŵ)² and Σ w² of a slab that was packed.
    pub fn error(&self, values: &[f32], packed: &[u8]) -> (f64, f64) {
        let rows = values.len() / self.columns;
        let packed = Packed::new(self.form, 1, rows, self.columns, packed).expect("a slab has the length of its form");
        let mut row = vec![0f32; self.columns];
        let (mut off, mut all) = (0.0, 0.0);
        for (index, values) in values.chunks_exact(self.columns).enumerate() {
            packed.row(index, &mut row);
            let square = |x: f32| f64::from(x) * f64::from(x);
            off += values.iter().zip(&row).map(|(w, packed)| square(w - packed)).sum::<f64>();
            all += values.iter().map(|w| square(*w)).sum::<f64>();
        }
        (off, all)
    }
}
