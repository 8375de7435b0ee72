//! The least that a token costs: bytes of weights to read and operations to make, against which a speed is held.

use crate::formats::WeightMatrix;
use crate::kernels::WeightFormat;

/// What one token costs at the least, without the attention over its window and the loops over vectors.
#[derive(Clone, Debug)]
pub struct TokenCost {
    /// Reading it.
    pub ingest: Work,
    /// Reading it and predicting the next.
    pub generate: Work,
}

impl TokenCost {
    /// The format that most products are made of.
    pub fn main_format(&self) -> WeightFormat {
        let most = self.ingest.formats.iter().max_by_key(|(_, operations)| *operations);
        most.map_or(WeightFormat::F32, |(format, _)| *format)
    }
}

/// Weights to be read and products to be made.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Bytes of the weights.
    pub bytes: u64,
    /// Operations with weights of each format: a multiplication and an addition for each weight.
    pub formats: Vec<(WeightFormat, u64)>,
}

impl Work {
    /// Of all formats.
    pub fn operations(&self) -> u64 {
        self.formats.iter().map(|(_, operations)| operations).sum()
    }

    pub(crate) fn add(&mut self, matrix: &WeightMatrix) {
        let weights = matrix.packed();
        let operations = 2 * (weights.outputs() * weights.columns()) as u64;
        self.bytes += matrix.bytes();
        match self.formats.iter_mut().find(|(format, _)| *format == weights.format()) {
            Some((_, all)) => *all += operations,
            None => self.formats.push((weights.format(), operations)),
        }
    }
}
