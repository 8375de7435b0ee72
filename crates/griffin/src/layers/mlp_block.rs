//! The gated MLP.

use super::{Linear, gelu_gated, multiply};
use crate::formats::{TensorGroup, TensorSource};
use crate::scratch::Scratch;
use crate::{Config, Error};

/// down_proj(gelu(gate_proj x) · up_proj x) (section 2.2).
pub(crate) struct MlpBlock {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
    hidden_size: usize,
    expanded_width: usize,
}

impl MlpBlock {
    pub(crate) fn load(source: &mut dyn TensorSource, config: &Config, name: &str) -> Result<Self, Error> {
        let d = config.hidden_size;
        let e = config.mlp_expanded_width;
        let mut linear = |projection: &str, shape| {
            Linear::load(source, &format!("{name}.{projection}"), TensorGroup::Mlp, shape, true)
        };
        Ok(Self {
            gate_proj: linear("gate_proj", [e, d])?,
            up_proj: linear("up_proj", [e, d])?,
            down_proj: linear("down_proj", [d, e])?,
            hidden_size: d,
            expanded_width: e,
        })
    }

    /// `normed` [t, d] → `out` [t, d].
    pub(crate) fn forward(&self, scratch: &mut Scratch) {
        let Scratch { kernel, activations, normed, projections: [gate, up, _], out, .. } = scratch;
        let kernel = *kernel;
        let t = normed.len() / self.hidden_size;
        let mut matmuls = [self.gate_proj.matmul(t, gate), self.up_proj.matmul(t, up)];
        multiply(kernel, activations, normed, self.hidden_size, &mut matmuls);
        gelu_gated(kernel, gate, up, self.expanded_width);
        multiply(kernel, activations, gate, self.expanded_width, &mut [self.down_proj.matmul(t, out)]);
    }
}
