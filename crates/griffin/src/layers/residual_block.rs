//! The residual block: temporal mixing, then the MLP, each behind a norm.
//!
//! `forward` and `update_state` leave the same state. Tokens of different streams in one batch share nothing but the weights.

use super::attention_block::LocalAttentionBlock;
use super::mlp_block::MlpBlock;
use super::recurrent_block::RecurrentBlock;
use super::{Linear, RmsNorm, add};
use crate::config::{BlockType, Config};
use crate::error::Error;
use crate::formats::{TensorSource, WeightMatrix};
use crate::scratch::{Scratch, StreamSpan};

/// x → r = x + temporal_block(temporal_pre_norm x); r + mlp_block(channel_pre_norm r). Figure 2(a).
pub(crate) struct ResidualBlock {
    layer: usize,
    temporal_pre_norm: RmsNorm,
    temporal_block: TemporalBlock,
    channel_pre_norm: RmsNorm,
    mlp_block: MlpBlock,
    hidden_size: usize,
}

/// Moves those `rows`, in ascending order, of `values` [t, width] to its beginning.
fn keep_rows(values: &mut [f32], rows: &[usize], width: usize) {
    for (to, from) in rows.iter().enumerate() {
        values.copy_within(from * width..(from + 1) * width, to * width);
    }
}

enum TemporalBlock {
    Recurrent(RecurrentBlock),
    Attention(LocalAttentionBlock),
}

impl TemporalBlock {
    fn load(source: &mut dyn TensorSource, config: &Config, kind: BlockType, name: &str) -> Result<Self, Error> {
        Ok(match kind {
            BlockType::Recurrent => Self::Recurrent(RecurrentBlock::load(source, config, name)?),
            BlockType::Attention => Self::Attention(LocalAttentionBlock::load(source, config, name)?),
        })
    }
}

impl ResidualBlock {
    pub(crate) fn load(source: &mut dyn TensorSource, config: &Config, layer: usize) -> Result<Self, Error> {
        let name = format!("model.layers.{layer}");
        let d = config.hidden_size;
        let eps = config.rms_norm_eps;
        let block_type = config.block_types[layer];
        Ok(Self {
            layer,
            temporal_pre_norm: RmsNorm::load(source, &format!("{name}.temporal_pre_norm"), d, eps)?,
            temporal_block: TemporalBlock::load(source, config, block_type, &format!("{name}.temporal_block"))?,
            channel_pre_norm: RmsNorm::load(source, &format!("{name}.channel_pre_norm"), d, eps)?,
            mlp_block: MlpBlock::load(source, config, &format!("{name}.mlp_block"))?,
            hidden_size: d,
        })
    }

    /// Takes a batch through the block; the layer's state of each stream moves on.
    pub(crate) fn forward(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>]) {
        self.mix(scratch, spans);
        self.add_mlp(scratch);
    }

    /// `x` → the output of temporal mixing in `out`.
    fn mix(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>]) {
        self.temporal_pre_norm.forward(scratch.kernel, &scratch.x, &mut scratch.normed);
        match &self.temporal_block {
            TemporalBlock::Recurrent(block) => block.forward(scratch, spans, self.layer),
            TemporalBlock::Attention(block) => block.forward(scratch, spans, self.layer),
        }
    }

    /// `x` and `out` → the output of the block in `x`.
    fn add_mlp(&self, scratch: &mut Scratch) {
        let kernel = scratch.kernel;
        self.channel_pre_norm.add_and_forward(kernel, &mut scratch.x, &scratch.out, &mut scratch.normed);
        self.mlp_block.forward(scratch);
        add(kernel, &mut scratch.x, &scratch.out, self.hidden_size);
    }

    /// The same, but of the output there are only those `rows`, in their order: the MLP is computed for no other.
    pub(crate) fn forward_rows(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>], rows: &[usize]) {
        self.mix(scratch, spans);
        keep_rows(&mut scratch.x, rows, self.hidden_size);
        keep_rows(&mut scratch.out, rows, self.hidden_size);
        scratch.x.truncate(rows.len() * self.hidden_size);
        scratch.out.truncate(rows.len() * self.hidden_size);
        self.add_mlp(scratch);
    }

    /// What [`ResidualBlock::forward`] does to the states, without an output: all that ingesting needs of the last layer.
    pub(crate) fn update_state(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>]) {
        self.temporal_pre_norm.forward(scratch.kernel, &scratch.x, &mut scratch.normed);
        match &self.temporal_block {
            TemporalBlock::Recurrent(block) => block.update_state(scratch, spans, self.layer),
            TemporalBlock::Attention(block) => block.update_state(scratch, spans, self.layer),
        }
    }

    /// All matrices.
    pub(crate) fn matrices(&self) -> Vec<&WeightMatrix> {
        let mut layers = match &self.temporal_block {
            TemporalBlock::Recurrent(block) => vec![&block.linear_y, &block.linear_out],
            TemporalBlock::Attention(block) => vec![&block.q_proj, &block.o_proj],
        };
        layers.extend([&self.mlp_block.gate_proj, &self.mlp_block.up_proj, &self.mlp_block.down_proj]);
        layers.into_iter().map(Linear::weight).chain(self.state_matrices()).collect()
    }

    /// Those which [`ResidualBlock::update_state`] reads.
    pub(crate) fn state_matrices(&self) -> Vec<&WeightMatrix> {
        let layers = match &self.temporal_block {
            TemporalBlock::Recurrent(block) => {
                vec![&block.linear_x, &block.rg_lru.input_gate, &block.rg_lru.recurrent_gate]
            }
            TemporalBlock::Attention(block) => vec![&block.k_proj, &block.v_proj],
        };
        layers.into_iter().map(Linear::weight).collect()
    }
}
