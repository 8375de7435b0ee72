//! One stream of sound, cut into segments.
//!
//! Owns the voice detector, the segmenter, and what is known of the segment that is being said. Refuses to know the recogniser.
//! Invariant: what is known of a segment comes out with it.

use std::sync::Arc;

use crate::asr::agreement::Agreement;
use crate::asr::pace::Said;
use crate::asr::whisper::Piece;
use crate::audio::segmenter::Segmenter;
use crate::audio::vad::Vad;
use crate::clock;
use crate::event::{FRAME_SAMPLES, Frame, Segment};

/// What belongs to one stream of sound.
pub(super) struct Ear {
    pub(super) room: Arc<str>,
    vad: Vad,
    pub(super) segmenter: Segmenter,
    pub(super) live: Live,
}

/// What is known of a segment that is being said.
#[derive(Default)]
pub(super) struct Live {
    pub(super) agreement: Agreement,
    /// Sound since the last look at it, and speech in that.
    pub(super) since_samples: usize,
    pub(super) news_samples: usize,
    /// What the last look saw.
    pub(super) seen: Option<Vec<Piece>>,
    /// Words of it were shown.
    pub(super) shown: bool,
    /// It was cut where it goes on, so that committed words may lie behind the cut.
    pub(super) goes_on: bool,
}

impl Ear {
    pub(super) fn new(room: Arc<str>) -> Self {
        Self { room, vad: Vad::default(), segmenter: Segmenter::default(), live: Live::default() }
    }

    /// Takes the next frame. Returns a segment that ended with it.
    pub(super) fn hear(&mut self, frame: &Frame) -> Option<(Segment, Live)> {
        let probability = self.vad.probability(frame);
        let segment = self.segmenter.push(frame, probability);
        if !self.segmenter.is_idle() {
            self.live.since_samples += FRAME_SAMPLES;
            self.live.news_samples += if self.segmenter.silence() == 0 { FRAME_SAMPLES } else { 0 };
        }
        let Some(segment) = segment else {
            if self.segmenter.is_idle() {
                self.live = Live::default();
            }
            return None;
        };
        // Loud noise can hold the detector's memory in speech for minutes; afresh, it is heard for what it is.
        self.vad.reset();
        let mut live = std::mem::take(&mut self.live);
        if !self.segmenter.is_idle() {
            // The last look saw more than what is in it.
            live.seen = None;
            live.goes_on = true;
        }
        Some((segment, live))
    }

    /// What was being said is whole.
    pub(super) fn flush(&mut self) -> Option<(Segment, Live)> {
        let live = std::mem::take(&mut self.live);
        self.segmenter.flush().map(|segment| (segment, live))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.segmenter.is_idle()
    }

    pub(super) fn said(&self) -> Said {
        let seconds = |samples: usize| clock::seconds(samples as i64);
        Said {
            since_s: seconds(self.live.since_samples),
            news_s: seconds(self.live.news_samples),
            silence_s: seconds(self.segmenter.silence()),
        }
    }
}
