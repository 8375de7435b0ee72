//! The front end of the voice encoder: power in 40 mel bands, 25 ms windows, 10 ms steps.
//!
//! The same as librosa's `melspectrogram` with its defaults (Slaney's bands, each of the same area; frames centered, silence beyond the
//! ends): the encoder was trained on that, on power and not on its logarithm.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Bands.
pub(super) const BANDS: usize = 40;
/// Samples between two frames.
pub(super) const STEP: usize = 160;
/// Samples of a frame.
const WINDOW: usize = 400;
/// Frequencies of a frame.
const BINS: usize = WINDOW / 2 + 1;
const RATE: f64 = crate::clock::SAMPLE_RATE as f64;

pub(super) struct MelBands {
    transform: Arc<dyn RealToComplex<f32>>,
    hann: Vec<f32>,
    /// For each band the first frequency that counts, and the weights from there on.
    bands: Vec<(usize, Vec<f32>)>,
}

impl MelBands {
    pub(super) fn new() -> Self {
        let hann = |n: usize| (0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / WINDOW as f64).cos()) as f32;
        Self {
            transform: RealFftPlanner::new().plan_fft_forward(WINDOW),
            hann: (0..WINDOW).map(hann).collect(),
            bands: bands(),
        }
    }

    /// One row of [`BANDS`] values for each [`STEP`] samples, and one more.
    pub(super) fn frames(&self, samples: &[f32]) -> Vec<f32> {
        let mut input = self.transform.make_input_vec();
        let mut spectrum = self.transform.make_output_vec();
        let mut scratch = self.transform.make_scratch_vec();
        let count = samples.len() / STEP + 1;
        let mut rows = Vec::with_capacity(count * BANDS);
        for frame in 0..count {
            for (n, (value, hann)) in input.iter_mut().zip(&self.hann).enumerate() {
                let at = (frame * STEP + n).checked_sub(WINDOW / 2);
                *value = at.and_then(|at| samples.get(at)).map_or(0.0, |sample| sample * hann);
            }
            let transformed = self.transform.process_with_scratch(&mut input, &mut spectrum, &mut scratch);
            transformed.expect("the buffers are as long as the transform wants");
            rows.extend(self.bands.iter().map(|(first, weights)| {
                let power = spectrum[*first..].iter().map(Complex::norm_sqr);
                weights.iter().zip(power).map(|(weight, power)| weight * power).sum::<f32>()
            }));
        }
        rows
    }
}

/// Slaney's scale: linear up to 1000 Hz, logarithmic above.
fn to_hz(mel: f64) -> f64 {
    const LINEAR: f64 = 200.0 / 3.0;
    const BREAK: f64 = 1_000.0 / LINEAR;
    if mel < BREAK { LINEAR * mel } else { 1_000.0 * ((mel - BREAK) * 6.4f64.ln() / 27.0).exp() }
}

fn to_mel(hz: f64) -> f64 {
    if hz < 1_000.0 { hz * 3.0 / 200.0 } else { 15.0 + (hz / 1_000.0).ln() * 27.0 / 6.4f64.ln() }
}

/// Triangles between evenly spaced places on the scale, each of the same area.
fn bands() -> Vec<(usize, Vec<f32>)> {
    let highest = to_mel(RATE / 2.0);
    let edges: Vec<f64> = (0..BANDS + 2).map(|n| to_hz(highest * n as f64 / (BANDS + 1) as f64)).collect();
    let band = |edges: &[f64]| {
        let (low, middle, high) = (edges[0], edges[1], edges[2]);
        let weight = |bin: usize| {
            let hz = bin as f64 * RATE / WINDOW as f64;
            let height = ((hz - low) / (middle - low)).min((high - hz) / (high - middle)).max(0.0);
            (height * 2.0 / (high - low)) as f32
        };
        let inside: Vec<usize> = (0..BINS).filter(|bin| weight(*bin) > 0.0).collect();
        (inside.first().copied().unwrap_or_default(), inside.into_iter().map(weight).collect())
    };
    edges.windows(3).map(band).collect()
}
