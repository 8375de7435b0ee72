//! Voice activity detection: how probably a frame is speech.
//!
//! One probability per frame, in order. The detector is recurrent, so each stream needs one of its own. Where speech begins and ends
//! is decided by the segmenter.
//!
//! A constant offset of the microphone is not removed: up to 0.3 of full scale it changes no segment (`docs/performance.md`).

use crate::event::Frame;

/// The voice activity detector of one stream: a small recurrent network on mel features (crate `earshot`).
#[derive(Default)]
pub(crate) struct Vad {
    detector: Box<earshot::Detector>,
}

impl Vad {
    /// The probability that the frame is speech, 0 … 1.
    pub(crate) fn probability(&mut self, frame: &Frame) -> f32 {
        self.detector.predict_f32(&frame.samples)
    }

    /// Resets the recurrent state, as for a new stream.
    pub(crate) fn reset(&mut self) {
        self.detector.reset();
    }
}
