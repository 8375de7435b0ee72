//! The voice encoder: a network that turns 1.6 s of speech into a direction that depends on whose voice it is.
//!
//! GE2E (arXiv 1710.10467) as the PyPI package `resemblyzer` has it: three LSTM layers, of whose last step a linear layer and a ReLU make 256
//! numbers, which are then scaled to length 1. Longer speech is several windows; the direction of their mean stands for all of it.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::rnn::{LSTM, LSTMConfig, RNN, lstm};
use candle_nn::{Linear, Module, VarBuilder, linear};
use sha2::{Digest, Sha256};

use super::VoiceError;
use super::mel::{BANDS, MelBands, STEP};
use crate::event::{VOICE_DIMENSIONS, VoiceEmbedding};
use crate::models;

/// The bundled file, in a folder of models.
pub const FILE: &str = "voice-encoder.safetensors";
const LAYERS: usize = 3;
/// Frames of a window, and from one window to the next: 1.6 s and 0.77 s.
const WINDOW: usize = 160;
const WINDOW_STEP: usize = 77;
pub(super) const WINDOW_SAMPLES: usize = WINDOW * STEP;
/// A last window that is not full counts if so much of it is sound, in hundredths.
const MIN_COVERAGE: usize = 75;
/// Quiet speech is amplified to this level, in decibels of full scale (root mean square).
const TARGET_DB: f32 = -30.0;

/// See the module.
pub struct VoiceEncoder {
    mel: MelBands,
    layers: Vec<LSTM>,
    projection: Linear,
    model: String,
}

impl VoiceEncoder {
    /// The encoder where models are looked for.
    ///
    /// # Errors
    /// It cannot be found or read.
    pub(crate) fn find(config_dir: &Path) -> Result<Self, VoiceError> {
        Self::load(&models::find(Path::new(FILE), config_dir)?)
    }

    /// Loads a file of weights.
    ///
    /// # Errors
    /// It cannot be read, or is not such a file.
    pub fn load(path: &Path) -> Result<Self, VoiceError> {
        let bytes = std::fs::read(path).map_err(|source| VoiceError::Read { path: path.into(), source })?;
        let model = hex::encode(&Sha256::digest(&bytes)[..8]);
        let broken = |source| VoiceError::Broken { path: PathBuf::from(path), source };
        let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).map_err(broken)?;
        let layer = |layer_idx| {
            let inputs = if layer_idx == 0 { BANDS } else { VOICE_DIMENSIONS };
            lstm(inputs, VOICE_DIMENSIONS, LSTMConfig { layer_idx, ..LSTMConfig::default() }, weights.pp("lstm"))
        };
        let layers = (0..LAYERS).map(layer).collect::<Result<_, _>>().map_err(broken)?;
        let projection = linear(VOICE_DIMENSIONS, VOICE_DIMENSIONS, weights.pp("linear")).map_err(broken)?;
        Ok(Self { mel: MelBands::new(), layers, projection, model })
    }

    /// Which file it is: embeddings of different files cannot be compared.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The voice in each window of speech at 16 kHz; none in silence. What is no number counts as silence.
    ///
    /// # Errors
    /// The weights are damaged.
    pub fn windows(&self, samples: &[f32]) -> Result<Vec<VoiceEmbedding>, VoiceError> {
        let Some(samples) = leveled(samples) else { return Ok(Vec::new()) };
        self.embed(&samples).map_err(|source| VoiceError::Compute { source })
    }

    fn embed(&self, samples: &[f32]) -> Result<Vec<VoiceEmbedding>, candle_core::Error> {
        let count = windows(samples.len());
        let mut samples = samples.to_vec();
        samples.resize(samples.len().max(((count - 1) * WINDOW_STEP + WINDOW) * STEP), 0.0);
        let frames = self.mel.frames(&samples);
        let window = |n: usize| &frames[n * WINDOW_STEP * BANDS..][..WINDOW * BANDS];
        let input: Vec<f32> = (0..count).flat_map(window).copied().collect();
        let mut sequence = Tensor::from_vec(input, (count, WINDOW, BANDS), &Device::Cpu)?;
        for layer in &self.layers {
            sequence = layer.states_to_tensor(&layer.seq(&sequence)?)?;
        }
        let last = sequence.narrow(1, WINDOW - 1, 1)?.squeeze(1)?.contiguous()?;
        let rows = self.projection.forward(&last)?.relu()?.to_vec2::<f32>()?;
        Ok(rows.into_iter().filter_map(VoiceEmbedding::new).collect())
    }
}

/// How many windows there are in so many samples: the rule of `resemblyzer`.
fn windows(samples: usize) -> usize {
    let frames = (samples + 1).div_ceil(STEP);
    let count = (frames + WINDOW_STEP + 1).saturating_sub(WINDOW).max(1).div_ceil(WINDOW_STEP);
    let covered = samples.saturating_sub((count - 1) * WINDOW_STEP * STEP);
    if count > 1 && covered * 100 < MIN_COVERAGE * WINDOW * STEP { count - 1 } else { count }
}

/// The samples, amplified if they are quiet; none if there is nothing.
fn leveled(samples: &[f32]) -> Option<Vec<f32>> {
    let finite = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
    let mut samples: Vec<f32> = samples.iter().map(finite).collect();
    let power = samples.iter().map(|sample| f64::from(sample * sample)).sum::<f64>() / samples.len() as f64;
    let gain = 10f32.powf(TARGET_DB / 20.0) / power.sqrt() as f32;
    if gain > 1.0 {
        samples.iter_mut().for_each(|sample| *sample *= gain);
    }
    gain.is_finite().then_some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_sound() {
        let seconds = |seconds: f64| windows((seconds * 16_000.0) as usize);
        assert_eq!([0.0, 0.5, 1.6, 1.9].map(seconds), [1; 4]);
        assert_eq!([2.0, 2.4, 2.8, 10.0].map(seconds), [2, 2, 3, 12]);
    }

    #[test]
    fn silence_and_what_is_no_number_have_no_voice() {
        assert_eq!([leveled(&[]), leveled(&[0.0; 400]), leveled(&[f32::NAN; 400])], [None, None, None]);
        let loud = leveled(&[f32::INFINITY, 0.5, -7.0, f32::NAN]).unwrap();
        assert_eq!(loud, [0.0, 0.5, -1.0, 0.0]);
    }
}
