//! Is anybody speaking?
//!
//! Owns the voice detector. Refuses to decide where speech starts and ends: the segmenter does. Invariant: one probability
//! for each frame, in order; its memory is that of one stream.
//!
//! Sound comes to it as it is. A constant offset of the microphone need not be taken out: up to 0.3 of full scale it moved
//! no boundary of a segment in 31 minutes of recordings, since the detector's own filter and Whisper's are blind to it.

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
