//! Token sequences for measurements of speed, the same in every run.

use griffin::Model;

/// Tokens that are the same at every run.
pub(crate) struct Tokens {
    vocab: u64,
}

impl Tokens {
    pub(crate) fn new(model: &Model) -> Self {
        Self { vocab: model.config().vocab_size as u64 }
    }

    pub(crate) fn take(&self, from: u64, count: usize) -> Vec<u32> {
        (from..from + count as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.vocab) as u32).collect()
    }
}
