//! Voice activity detection: how probably a frame is speech.
//!
//! One probability per frame, in order. The detector is recurrent, so each stream needs one of its own. Where speech begins and ends
//! is decided by the segmenter.
//!
//! The detector takes quiet speech for none, so it hears an amplified copy of quiet sound. Whisper does not need that and gets the
//! sound as it is. The figures behind the constants are in `docs/performance.md`.
//!
//! A constant offset of the microphone is not removed: up to 0.3 of full scale it changes no segment (`docs/performance.md`).

use crate::event::{FRAME_SAMPLES, Frame};

/// Sound is amplified up to this level, in decibels of full scale (root mean square of a frame) …
const TARGET_DB: f32 = -35.0;
/// … by at most this.
const MAX_GAIN_DB: f32 = 24.0;
/// After a loud frame the gain returns by so many decibels in a second. Faster, and it would follow the syllables; slower, and a quiet
/// voice that answers a loud one would be missed.
const RETURN_DB_PER_S: f32 = 10.0;
/// Below this level nothing is speech, in decibels of full scale: what a quiet microphone's amplifier makes of silence, and the rounding
/// of 16 bits.
const NOISE_FLOOR_DB: f32 = -84.0;

/// The voice activity detector of one stream: a small recurrent network on mel features (crate `earshot`).
#[derive(Default)]
pub(crate) struct Vad {
    detector: Box<earshot::Detector>,
    gain: AutomaticGain,
}

impl Vad {
    /// The probability that the frame is speech, 0 … 1.
    pub(crate) fn probability(&mut self, frame: &Frame) -> f32 {
        let level_db = level_db(&frame.samples);
        let gain = self.gain.factor(level_db);
        let amplified = frame.samples.map(|sample| (sample * gain).clamp(-1.0, 1.0));
        let probability = self.detector.predict_f32(&amplified);
        if level_db < NOISE_FLOOR_DB { 0.0 } else { probability }
    }

    /// Resets the recurrent state, as for a new stream. The gain stays.
    pub(crate) fn reset(&mut self) {
        self.detector.reset();
    }
}

/// An automatic gain that falls at once where sound is loud and returns slowly.
struct AutomaticGain {
    /// The level of the loudest of the last frames, which falls as time passes.
    loudest_db: f32,
}

impl Default for AutomaticGain {
    fn default() -> Self {
        Self { loudest_db: f32::NEG_INFINITY }
    }
}

impl AutomaticGain {
    /// What the samples of the next frame are to be multiplied with.
    fn factor(&mut self, level_db: f32) -> f32 {
        const FRAME_S: f32 = FRAME_SAMPLES as f32 / crate::clock::SAMPLE_RATE as f32;
        self.loudest_db = level_db.max(self.loudest_db - RETURN_DB_PER_S * FRAME_S);
        let gain_db = (TARGET_DB - self.loudest_db).clamp(0.0, MAX_GAIN_DB);
        10f32.powf(gain_db / 20.0)
    }
}

/// Root mean square around the mean, so that a constant offset of the microphone does not count. In decibels of full scale.
fn level_db(samples: &[f32; FRAME_SAMPLES]) -> f32 {
    let mean = samples.iter().sum::<f32>() / FRAME_SAMPLES as f32;
    let power = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f32>() / FRAME_SAMPLES as f32;
    10.0 * power.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gain in decibels after `frames` frames of a level.
    fn gain_db(gain: &mut AutomaticGain, level_db: f32, frames: usize) -> f32 {
        let factors = (0..frames).map(|_| gain.factor(level_db));
        20.0 * factors.last().expect("there is a frame").log10()
    }

    #[track_caller]
    fn assert_close(is: f32, wanted: f32) {
        assert!((is - wanted).abs() < 0.2, "{is} dB instead of {wanted}");
    }

    #[test]
    fn quiet_sound_is_amplified_and_loud_sound_is_not() {
        for (level_db, wanted) in [(-20.0, 0.0), (-35.0, 0.0), (-45.0, 10.0), (-55.0, 20.0), (-80.0, 24.0)] {
            assert_close(gain_db(&mut AutomaticGain::default(), level_db, 1), wanted);
        }
        assert_close(gain_db(&mut AutomaticGain::default(), f32::NEG_INFINITY, 1), MAX_GAIN_DB);
    }

    #[test]
    fn the_gain_falls_at_once_and_returns_in_seconds() {
        let mut gain = AutomaticGain::default();
        assert_close(gain_db(&mut gain, -80.0, 100), 24.0);
        assert_close(gain_db(&mut gain, -26.0, 1), 0.0);
        let second = crate::clock::SAMPLE_RATE as usize / FRAME_SAMPLES;
        assert_close(gain_db(&mut gain, -80.0, second), 1.0);
        assert_close(gain_db(&mut gain, -80.0, second), 11.0);
        assert_close(gain_db(&mut gain, -80.0, 2 * second), 24.0);
    }

    #[test]
    fn the_level_is_that_of_a_tone_whatever_its_offset() {
        let tone = std::array::from_fn(|n| 0.3 + 0.1 * (n as f32 * std::f32::consts::TAU / 16.0).sin());
        assert_close(level_db(&tone), -23.0);
        assert!(level_db(&[0.2; FRAME_SAMPLES]) < -100.0);
    }

    #[test]
    fn below_the_noise_floor_nothing_is_speech() {
        let mut vad = Vad::default();
        for n in 0..200 {
            let sample = |i: usize| 0.2 + if (n + i) % 7 < 3 { 2e-5 } else { -2e-5 };
            let frame =
                Frame { at: n as i64 * 256, time: jiff::Timestamp::UNIX_EPOCH, samples: std::array::from_fn(sample) };
            assert_eq!(vad.probability(&frame), 0.0);
        }
    }
}
