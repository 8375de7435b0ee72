//! RMSNorm.

use rayon::prelude::*;

use super::{PARALLEL_MIN_VALUES, each_token};
use crate::Error;
use crate::formats::TensorSource;
use crate::kernels::{Kernel, elementwise};
use crate::scratch::AlignedVec;

/// x·rsqrt(mean x² + ε)·(1 + w).
pub(crate) struct RmsNorm {
    /// 1 + w [d].
    weight: Vec<f32>,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn load(source: &mut dyn TensorSource, name: &str, width: usize, eps: f64) -> Result<Self, Error> {
        let mut weight = source.vector(&format!("{name}.weight"), &[width])?; // [d]
        weight.iter_mut().for_each(|w| *w += 1.0);
        Ok(Self { weight, eps: eps as f32 })
    }

    /// x [t, d] → out [t, d].
    pub(crate) fn forward(&self, kernel: Kernel, x: &[f32], out: &mut AlignedVec) {
        let d = self.weight.len();
        out.resize(x.len(), 0.0);
        each_token(out, d, |token, out| {
            elementwise::rms_norm(kernel, &x[token * d..][..d], &self.weight, self.eps, out);
        });
    }

    /// x ← x + y, both [t, d], and the norm of the sum → out. One pass, so that each row is in the cache for both.
    pub(crate) fn add_and_forward(&self, kernel: Kernel, x: &mut [f32], y: &[f32], out: &mut AlignedVec) {
        let d = self.weight.len();
        out.resize(x.len(), 0.0);
        let row = |((x, y), out): ((&mut [f32], &[f32]), &mut [f32])| {
            elementwise::add(kernel, x, y);
            elementwise::rms_norm(kernel, x, &self.weight, self.eps, out);
        };
        if x.len() < PARALLEL_MIN_VALUES {
            x.chunks_exact_mut(d).zip(y.chunks_exact(d)).zip(out.chunks_exact_mut(d)).for_each(row);
        } else {
            x.par_chunks_exact_mut(d).zip(y.par_chunks_exact(d)).zip(out.par_chunks_exact_mut(d)).for_each(row);
        }
    }
}
