//! A linear layer, dense or block-diagonal.

use crate::Error;
use crate::formats::{TensorGroup, TensorKind, TensorSource, WeightMatrix};
use crate::kernels::{self, Kernel, Matmul, QuantizedActivations, WeightFormat};
use crate::scratch::AlignedVec;

/// x·Wᵀ + b.
pub(crate) struct Linear {
    weight: WeightMatrix,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// `{name}.weight` [outputs, inputs] and, if it has one, `{name}.bias` [outputs].
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        group: TensorGroup,
        [outputs, inputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Self, Error> {
        let kind = TensorKind::Matrix { group, rows: outputs, columns: inputs };
        let weight = source.matrix(&format!("{name}.weight"), kind)?;
        let bias = if has_bias { Some(source.vector(&format!("{name}.bias"), &[outputs])?) } else { None };
        Ok(Self { weight, bias })
    }

    /// A gate of the RG-LRU: `{name}_weight` [n, r/n, r/n] and `{name}_bias` [n, r/n]. Each head has a block of its own.
    pub(crate) fn load_block_diagonal(
        source: &mut dyn TensorSource,
        name: &str,
        heads: usize,
        block: usize,
    ) -> Result<Self, Error> {
        let weight = source.matrix(&format!("{name}_weight"), TensorKind::BlockDiagonal { heads, block })?;
        let bias = source.vector(&format!("{name}_bias"), &[heads, block])?;
        Ok(Self { weight, bias: Some(bias) })
    }

    /// This layer's product for t tokens, into `out` [t, outputs].
    pub(crate) fn matmul<'a>(&'a self, t: usize, out: &'a mut AlignedVec) -> Matmul<'a> {
        let weights = self.weight.packed();
        out.resize(t * weights.outputs(), 0.0);
        Matmul { weights, bias: self.bias.as_deref(), out }
    }

    pub(crate) fn weight(&self) -> &WeightMatrix {
        &self.weight
    }
}

/// Multiplies x [t, inputs] by the weights of several layers which read the same input.
pub(crate) fn multiply(
    kernel: Kernel,
    activations: &mut QuantizedActivations,
    x: &[f32],
    inputs: usize,
    matmuls: &mut [Matmul<'_>],
) {
    let is_used = |format: WeightFormat| matmuls.iter().any(|matmul| matmul.weights.format() == format);
    activations.load(kernel, x, inputs, is_used);
    kernels::multiply(kernel, activations, matmuls);
}
