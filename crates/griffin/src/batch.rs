//! Tokens on their way through the layers.
//!
//! Owns the buffers between one product and the next. Refuses to know what is computed. Invariant: nothing here outlives a call
//! but the room itself, so that no call allocates what the one before had.

use std::ops::Range;

use super::config::Config;
use super::kernel::{Input, Kernel};
use super::layers::Angles;
use super::ring::Ring;
use super::state::State;

/// Some tokens of one stream, and their place in a batch.
pub struct Span<'s> {
    pub state: &'s mut State,
    pub rows: Range<usize>,
}

/// What goes through the layers: tokens of one or several streams, and room for what is computed on the way. Nothing here
/// outlives a call but the room itself.
pub struct Batch {
    pub kernel: Kernel,
    /// The residual stream [t, d].
    pub x: Vec<f32>,
    pub angles: Angles,
    pub input: Input,
    pub normed: Vec<f32>,
    pub left: Vec<f32>,
    pub right: Vec<f32>,
    pub third: Vec<f32>,
    pub u: Vec<f32>,
    pub mixed: Vec<f32>,
    pub out: Vec<f32>,
    pub new: (Ring<f32>, Ring<i16>),
}

impl Batch {
    /// Room for as many as `chunk` tokens of one stream.
    pub fn new(kernel: Kernel, config: &Config, chunk: usize) -> Self {
        let none = Vec::new;
        let (g, h) = (config.kv_heads, config.head_dim);
        Self {
            kernel,
            x: none(),
            angles: Angles::default(),
            input: Input::default(),
            normed: none(),
            left: none(),
            right: none(),
            third: none(),
            u: none(),
            mixed: none(),
            out: none(),
            new: (Ring::new(g, h, chunk), Ring::new(g, h, chunk)),
        }
    }
}
