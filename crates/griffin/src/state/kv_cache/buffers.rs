//! The queries of some tokens, and the buffers in which attention packs them.

/// Where the queries that share a key head lie among those of some tokens [t, g, share, h]; what they mix lies there, too.
#[derive(Clone, Copy)]
pub(crate) struct QueryLayout {
    /// The key head.
    pub(crate) head: usize,
    /// g
    pub(crate) key_heads: usize,
    /// Queries of a token that share a key head.
    pub(crate) share: usize,
    /// h
    pub(crate) width: usize,
    /// t · share
    pub(crate) count: usize,
}

impl QueryLayout {
    fn at(self, row: usize) -> usize {
        let token = row / self.share;
        let query = row % self.share;
        ((token * self.key_heads + self.head) * self.share + query) * self.width
    }

    pub(crate) fn row(self, all: &[f32], row: usize) -> &[f32] {
        &all[self.at(row)..][..self.width]
    }

    pub(crate) fn row_mut(self, all: &mut [f32], row: usize) -> &mut [f32] {
        &mut all[self.at(row)..][..self.width]
    }
}

/// Buffers of one thread.
pub(crate) struct AttentionScratch {
    pub(crate) scores: Vec<f32>,
    pub(crate) f32: UnitBuffers<f32>,
    pub(crate) i16: UnitBuffers<[i16; 2]>,
}

/// Queries and probabilities in the units which they are multiplied in.
pub(crate) struct UnitBuffers<U> {
    pub(crate) queries: Vec<U>,
    pub(crate) query_scales: Vec<f32>,
    pub(crate) probabilities: Vec<U>,
    pub(crate) probability_scales: Vec<f32>,
}

impl AttentionScratch {
    pub(crate) const fn new() -> Self {
        Self { scores: Vec::new(), f32: UnitBuffers::new(), i16: UnitBuffers::new() }
    }
}

impl Default for AttentionScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl<U> UnitBuffers<U> {
    const fn new() -> Self {
        Self {
            queries: Vec::new(),
            query_scales: Vec::new(),
            probabilities: Vec::new(),
            probability_scales: Vec::new(),
        }
    }
}
