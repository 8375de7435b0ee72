//! How packed weights lie in memory and in a file: layout `rows16.v1`. A packed matrix holds exactly the numbers which ggml's blocks
//! of the same format hold.
//!
//! The rows (outputs) of a matrix are taken in groups of 16, the last group of each block padded with zeros, and interleaved so
//! that 64 bytes in a row are 16 rows times 4 columns: one AVX-512 register, two of AVX2, four of NEON. All numbers are
//! little-endian. A group is, for
//!
//! - [`WeightFormat::F32`]: of each column, 16 f32: [column][row].
//! - [`WeightFormat::Q8_0`]: of each 32 columns, 512 bytes i8: [quad of columns][row][column in the quad]; after all of these, of each
//!   32 columns, 16 scales f16. A weight is scale · quant.
//! - [`WeightFormat::Q4K`]: of each 256 columns, [`SUPER_BLOCK_BYTES`]: 16 f16 d, 16 f16 dmin, then the eight 6-bit scales s and minima m of a
//!   row, then quants q of 4 bits. A weight is d · s · q − dmin · m. Let n be one of the 8 runs of 32 columns, i one of 4:
//!   - 64 bytes [i][row]: the low four bits of s of run i, above them those of run i + 4;
//!   - 64 bytes [p of 2][row][e of 2]: the low four bits of m of run 2p + e, above them those of run 2p + e + 4;
//!   - 64 bytes with the same two indices: the upper two bits of, from bit 0 on, s of run i, s of run i + 4, m of run 2p + e, m of
//!     run 2p + e + 4;
//!   - 32 · 64 bytes [i][quad of columns][row][column in the quad]: q of run 2i, above it that of run 2i + 1.

mod quantize_q4k;

use half::f16;

use super::GROUP_ROWS;
use quantize_q4k::QuantizedBlock;

/// Columns of a block of Q8_0, and of a run of Q4K.
pub(super) const SUB_BLOCK: usize = 32;

/// Columns of a super-block of Q4K.
pub(super) const SUPER_BLOCK: usize = 256;

/// Bytes of 16 rows of a run of Q8_0, without the scales.
pub(super) const SUB_BLOCK_BYTES: usize = GROUP_ROWS * SUB_BLOCK;

/// Bytes of 16 rows of a super-block of Q4K.
pub(super) const SUPER_BLOCK_BYTES: usize = GROUP_ROWS * Q4K_BLOCK_ROW_BYTES;
pub(crate) const Q4K_BLOCK_ROW_BYTES: usize = 144;

/// Where the parts of a super-block start.
pub(super) const D: usize = 0;
pub(super) const D_MIN: usize = 32;
pub(super) const SCALES: usize = 64;
pub(super) const MINS: usize = 128;
pub(super) const UPPER: usize = 192;
pub(super) const QUANTS: usize = 256;

/// How the weights of a matrix are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// 32 bits a weight.
    F32,
    /// 8 bits a weight and a scale for each 32.
    Q8_0,
    /// 4 bits a weight, a 6-bit scale and minimum for each 32, two f16 for each 256.
    Q4K,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::Q8_0, Self::Q4K];

    /// Whether rows of so many columns are whole blocks.
    pub fn fits(self, columns: usize) -> bool {
        columns > 0 && columns.is_multiple_of(self.block_columns())
    }

    /// The bytes of `blocks` matrices of [rows, columns]; None if the format does not fit or the number overflows.
    pub fn bytes(self, blocks: usize, rows: usize, columns: usize) -> Option<usize> {
        let group = columns.checked_mul(GROUP_ROWS)?.checked_mul(4)? / 4;
        let group = group / self.block_columns() * self.block_bytes();
        let groups = blocks.checked_mul(rows.div_ceil(GROUP_ROWS))?;
        if self.fits(columns) { groups.checked_mul(group) } else { None }
    }

    fn block_columns(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Q8_0 => SUB_BLOCK,
            Self::Q4K => SUPER_BLOCK,
        }
    }

    /// Of one row.
    fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Q8_0 => 2 + SUB_BLOCK,
            Self::Q4K => Q4K_BLOCK_ROW_BYTES,
        }
    }

    fn group_bytes(self, columns: usize) -> usize {
        GROUP_ROWS * (columns / self.block_columns() * self.block_bytes())
    }
}

/// A block-diagonal matrix: block j, of [rows, columns], maps inputs j·columns … to outputs j·rows …. With one block it is a dense
/// matrix.
#[derive(Clone, Copy, Debug)]
pub struct PackedMatrix<'a> {
    format: WeightFormat,
    blocks: usize,
    rows: usize,
    columns: usize,
    bytes: &'a [u8],
}

impl<'a> PackedMatrix<'a> {
    /// None if `bytes` is empty or does not have the length that [`WeightFormat::bytes`] gives.
    pub fn new(format: WeightFormat, blocks: usize, rows: usize, columns: usize, bytes: &'a [u8]) -> Option<Self> {
        let fits = format.bytes(blocks, rows, columns) == Some(bytes.len()) && !bytes.is_empty();
        if fits { Some(Self { format, blocks, rows, columns, bytes }) } else { None }
    }

    pub fn format(&self) -> WeightFormat {
        self.format
    }

    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Of one block.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Of one block.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Of all blocks.
    pub fn outputs(&self) -> usize {
        self.blocks * self.rows
    }

    /// The weights of one output, as many as there are columns.
    ///
    /// # Panics
    /// If there is no such output, or `out` does not have the length of a row.
    pub fn row(&self, output: usize, out: &mut [f32]) {
        assert!(output < self.outputs() && out.len() == self.columns, "row {output} of {self:?}");
        let block = output / self.rows;
        let row = output % self.rows;
        let group = self.group(block * self.block_groups() + row / GROUP_ROWS);
        unpack_row(self.format, group, row % GROUP_ROWS, out);
    }

    pub(super) fn groups(&self) -> usize {
        self.blocks * self.block_groups()
    }

    pub(super) fn block_groups(&self) -> usize {
        self.rows.div_ceil(GROUP_ROWS)
    }

    pub(super) fn group_bytes(&self) -> usize {
        self.format.group_bytes(self.columns)
    }

    pub(super) fn group(&self, index: usize) -> &'a [u8] {
        &self.bytes[index * self.group_bytes()..][..self.group_bytes()]
    }
}

/// Packs rows [rows, columns] of one block into whole groups, the last one padded. To pack in parallel, cut the rows at multiples
/// of 16.
///
/// # Panics
/// If the format does not fit, `values` are no whole rows, or `out` does not have the length that [`WeightFormat::bytes`] gives.
pub fn pack(format: WeightFormat, columns: usize, values: &[f32], out: &mut [u8]) {
    assert!(
        format.fits(columns) && values.len().is_multiple_of(columns),
        "whole rows of {columns} columns as {format:?}"
    );
    assert_eq!(Some(out.len()), format.bytes(1, values.len() / columns, columns), "the packed length");
    out.fill(0);
    let groups = values.chunks(GROUP_ROWS * columns).zip(out.chunks_exact_mut(format.group_bytes(columns)));
    for (values, out) in groups {
        for (row, values) in values.chunks_exact(columns).enumerate() {
            match format {
                WeightFormat::F32 => pack_f32(values, row, out),
                WeightFormat::Q8_0 => pack_q8_0(values, row, out),
                WeightFormat::Q4K => pack_q4k(values, row, out),
            }
        }
    }
}

fn pack_f32(values: &[f32], row: usize, out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.chunks_exact_mut(4 * GROUP_ROWS)) {
        out[4 * row..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

/// ggml's quantize_row_q8_0_ref.
fn pack_q8_0(values: &[f32], row: usize, out: &mut [u8]) {
    let (quants, scales) = out.split_at_mut(values.len() * GROUP_ROWS);
    let runs = quants.chunks_exact_mut(SUB_BLOCK_BYTES).zip(scales.chunks_exact_mut(2 * GROUP_ROWS));
    for (values, (quants, scales)) in values.chunks_exact(SUB_BLOCK).zip(runs) {
        let scale = values.iter().fold(0.0, |max: f32, value| max.max(value.abs())) / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        scales[2 * row..][..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        for (column, value) in values.iter().enumerate() {
            quants[quad(row, column)] = (value * inverse).round() as i8 as u8;
        }
    }
}

/// Where a column of a row lies among quads of columns.
fn quad(row: usize, column: usize) -> usize {
    column / 4 * 4 * GROUP_ROWS + 4 * row + column % 4
}

fn pack_q4k(values: &[f32], row: usize, out: &mut [u8]) {
    for (values, out) in values.as_chunks().0.iter().zip(out.chunks_exact_mut(SUPER_BLOCK_BYTES)) {
        pack_q4k_block(&QuantizedBlock::new(values), row, out);
    }
}

/// A block as one row of a group.
fn pack_q4k_block(block: &QuantizedBlock, row: usize, out: &mut [u8]) {
    out[D + 2 * row..][..2].copy_from_slice(&block.d.to_le_bytes());
    out[D_MIN + 2 * row..][..2].copy_from_slice(&block.d_min.to_le_bytes());
    for run in 0..8 {
        let at = run_places(run, row);
        let (scale, min) = (block.scales[run], block.mins[run]);
        out[SCALES + at.scale] |= (scale & 15) << at.low;
        out[UPPER + at.scale] |= (scale >> 4) << at.upper;
        out[MINS + at.min] |= (min & 15) << at.low;
        out[UPPER + at.min] |= (min >> 4) << (4 + at.upper);
        for (column, quant) in block.quants[run].iter().enumerate() {
            out[QUANTS + run / 2 * SUB_BLOCK_BYTES + quad(row, column)] |= quant << (run % 2 * 4);
        }
    }
}

/// Where the scale and the minimum of a run of a row lie: bytes, and bits in them.
struct Places {
    scale: usize,
    min: usize,
    low: usize,
    upper: usize,
}

fn run_places(run: usize, row: usize) -> Places {
    let i = run % 4;
    let half = run / 4;
    Places {
        scale: i * GROUP_ROWS + row,
        min: i / 2 * 2 * GROUP_ROWS + 2 * row + i % 2,
        low: 4 * half,
        upper: 2 * half,
    }
}

/// The scale and the minimum of a run of a row.
pub(super) fn scale_min(block: &[u8], run: usize, row: usize) -> (u8, u8) {
    let at = run_places(run, row);
    let scale = block[SCALES + at.scale] >> at.low & 15 | (block[UPPER + at.scale] >> at.upper & 3) << 4;
    let min = block[MINS + at.min] >> at.low & 15 | (block[UPPER + at.min] >> (4 + at.upper) & 3) << 4;
    (scale, min)
}

/// The f16 of one of 16 rows.
pub(super) fn half(bytes: &[u8], row: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * row], bytes[2 * row + 1]]).to_f32()
}

fn unpack_row(format: WeightFormat, group: &[u8], row: usize, out: &mut [f32]) {
    match format {
        WeightFormat::F32 => {
            for (out, column) in out.iter_mut().zip(group.as_chunks::<{ 4 * GROUP_ROWS }>().0) {
                *out = f32::from_le_bytes(std::array::from_fn(|i| column[4 * row + i]));
            }
        }
        WeightFormat::Q8_0 => {
            let (quants, scales) = group.split_at(out.len() * GROUP_ROWS);
            let runs = quants.chunks_exact(SUB_BLOCK_BYTES).zip(scales.chunks_exact(2 * GROUP_ROWS));
            for (out, (quants, scales)) in out.chunks_exact_mut(SUB_BLOCK).zip(runs) {
                let scale = half(scales, row);
                for (column, out) in out.iter_mut().enumerate() {
                    *out = f32::from(quants[quad(row, column)] as i8) * scale;
                }
            }
        }
        WeightFormat::Q4K => {
            for (out, block) in out.chunks_exact_mut(SUPER_BLOCK).zip(group.chunks_exact(SUPER_BLOCK_BYTES)) {
                let d = half(&block[D..], row);
                let d_min = half(&block[D_MIN..], row);
                for (run, out) in out.chunks_exact_mut(SUB_BLOCK).enumerate() {
                    let (scale, min) = scale_min(block, run, row);
                    let scale = d * f32::from(scale);
                    let min = d_min * f32::from(min);
                    let quants = &block[QUANTS + run / 2 * SUB_BLOCK_BYTES..];
                    for (column, out) in out.iter_mut().enumerate() {
                        let quant = quants[quad(row, column)] >> (run % 2 * 4) & 15;
                        *out = scale * f32::from(quant) - min;
                    }
                }
            }
        }
    }
}
