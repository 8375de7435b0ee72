//! The recurrent block: a gated branch beside convolution and RG-LRU.

use super::conv1d::Conv1d;
use super::rg_lru::{RgLru, RgLruInput};
use super::{Linear, STATE_WAS_CHECKED, gelu_gated, multiply};
use crate::formats::{TensorGroup, TensorSource};
use crate::scratch::{Scratch, StreamSpan};
use crate::state::LayerState;
use crate::{Config, Error};

/// linear_out(gelu(linear_y x) · rg_lru(conv_1d(linear_x x))). Figure 2(c).
pub(crate) struct RecurrentBlock {
    pub(crate) linear_y: Linear,
    pub(crate) linear_x: Linear,
    conv_1d: Conv1d,
    pub(crate) rg_lru: RgLru,
    pub(crate) linear_out: Linear,
    hidden_size: usize,
    lru_width: usize,
}

impl RecurrentBlock {
    pub(crate) fn load(source: &mut dyn TensorSource, config: &Config, name: &str) -> Result<Self, Error> {
        let d = config.hidden_size;
        let r = config.lru_width;
        let group = TensorGroup::Recurrent;
        Ok(Self {
            linear_y: Linear::load(source, &format!("{name}.linear_y"), group, [r, d], true)?,
            linear_x: Linear::load(source, &format!("{name}.linear_x"), group, [r, d], true)?,
            conv_1d: Conv1d::load(source, &format!("{name}.conv_1d"), r, config.conv1d_width)?,
            rg_lru: RgLru::load(source, &format!("{name}.rg_lru"), r, config.num_attention_heads)?,
            linear_out: Linear::load(source, &format!("{name}.linear_out"), group, [d, r], true)?,
            hidden_size: d,
            lru_width: r,
        })
    }

    /// `normed` [t, d] → `out` [t, d]; the states of the streams move on.
    pub(crate) fn forward(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>], layer: usize) {
        let Scratch { kernel, activations, normed, projections: [y, x, _], .. } = scratch;
        let t = normed.len() / self.hidden_size;
        let mut matmuls = [self.linear_y.matmul(t, y), self.linear_x.matmul(t, x)];
        multiply(*kernel, activations, normed, self.hidden_size, &mut matmuls);
        self.recur(scratch, spans, layer);
        let Scratch { kernel, activations, projections: [y, ..], mixed, out, .. } = scratch;
        gelu_gated(*kernel, y, mixed, self.lru_width);
        multiply(*kernel, activations, y, self.lru_width, &mut [self.linear_out.matmul(t, out)]);
    }

    /// What [`RecurrentBlock::forward`] does to the states, without an output.
    pub(crate) fn update_state(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>], layer: usize) {
        let Scratch { kernel, activations, normed, projections: [_, x, _], .. } = scratch;
        let t = normed.len() / self.hidden_size;
        multiply(*kernel, activations, normed, self.hidden_size, &mut [self.linear_x.matmul(t, x)]);
        self.recur(scratch, spans, layer);
    }

    /// What follows linear_x: its output [t, r] → `mixed` [t, r].
    fn recur(&self, scratch: &mut Scratch, spans: &mut [StreamSpan<'_>], layer: usize) {
        let Scratch { kernel, activations, projections: [_, x, recurrent_gate], convolved, mixed, .. } = scratch;
        let kernel = *kernel;
        let r = self.lru_width;
        let t = x.len() / r;
        convolved.resize(t * r, 0.0);
        mixed.resize(t * r, 0.0);
        for StreamSpan { state, rows } in spans.iter_mut() {
            let values = rows.start * r..rows.end * r;
            let LayerState::Recurrent { conv1d, .. } = &mut state.layers[layer] else {
                unreachable!("{STATE_WAS_CHECKED}")
            };
            self.conv_1d.forward(kernel, &x[values.clone()], conv1d, &mut convolved[values]);
        }
        // The convolution's input is not needed any more: the input gate takes its buffer.
        let input_gate = x;
        let gates = &self.rg_lru;
        let mut matmuls = [gates.input_gate.matmul(t, input_gate), gates.recurrent_gate.matmul(t, recurrent_gate)];
        multiply(kernel, activations, convolved, r, &mut matmuls);
        for StreamSpan { state, rows } in spans.iter_mut() {
            let values = rows.start * r..rows.end * r;
            let starts_stream = !state.begun;
            let LayerState::Recurrent { rg_lru, .. } = &mut state.layers[layer] else {
                unreachable!("{STATE_WAS_CHECKED}")
            };
            let input = RgLruInput {
                input_gate: &mut input_gate[values.clone()],
                recurrent_gate: &mut recurrent_gate[values.clone()],
                u: &convolved[values.clone()],
                starts_stream,
            };
            self.rg_lru.forward(kernel, input, rg_lru, &mut mixed[values]);
        }
    }
}
