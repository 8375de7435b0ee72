//! Is anybody speaking?
//!
//! Owns the voice detector. Refuses to decide where speech starts and ends: the segmenter does. Invariant: one probability
//! for each frame, in order; its memory is that of one stream.

use crate::event::Frame;

/// A voice activity detector for one stream: a small recurrent network on mel features (crate `earshot`).
#[derive(Default)]
pub struct Vad {
    detector: Box<earshot::Detector>,
}

impl Vad {
    /// The probability that the frame is speech, 0 … 1.
    pub fn probability(&mut self, frame: &Frame) -> f32 {
        self.detector.predict_f32(&frame.samples)
    }

    /// Forgets the stream, for one that does not follow on what was heard.
    pub fn reset(&mut self) {
        self.detector.reset();
    }
}
