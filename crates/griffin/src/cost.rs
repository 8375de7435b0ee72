//! What a token costs at the least.
//!
//! Owns the sums of bytes and operations that a speed is held against. Refuses to know how fast anything is.

use super::kernel::Form;
use super::weights::Matrix;

/// What one token costs, but for attention's window and the sums of vectors.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Reading it.
    pub ingest: Work,
    /// Reading it and predicting the next.
    pub generate: Work,
}

impl Cost {
    /// The form that most products are made of.
    pub fn main_form(&self) -> Form {
        let most = self.ingest.forms.iter().max_by_key(|(_, operations)| *operations);
        most.map_or(Form::F32, |(form, _)| *form)
    }
}

/// Weights to be read and products to be made.
#[derive(Clone, Debug, Default)]
pub struct Work {
    pub bytes: u64,
    /// Operations with weights of each form, two to a product.
    pub forms: Vec<(Form, u64)>,
}

impl Work {
    pub fn operations(&self) -> u64 {
        self.forms.iter().map(|(_, operations)| operations).sum()
    }

    pub(super) fn add(&mut self, matrix: &Matrix) {
        let weights = matrix.packed();
        let operations = 2 * (weights.outputs() * weights.columns()) as u64;
        self.bytes += matrix.bytes();
        match self.forms.iter_mut().find(|(form, _)| *form == weights.form()) {
            Some((_, all)) => *all += operations,
            None => self.forms.push((weights.form(), operations)),
        }
    }
}
