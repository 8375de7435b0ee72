//! The audio stream of one room: voice detector, segmenter, and what is known so far of the segment in progress.

use std::sync::Arc;

use super::filter;
use crate::asr::decode_scheduler::SpeechProgress;
use crate::asr::hallucination_filter::Rejection;
use crate::asr::local_agreement::LocalAgreement;
use crate::asr::whisper::TextSegment;
use crate::audio::segmenter::Segmenter;
use crate::audio::vad::Vad;
use crate::clock;
use crate::event::{FRAME_SAMPLES, Frame, Segment};
use crate::metrics::Metrics;

pub(super) struct RoomStream {
    pub(super) room: Arc<str>,
    vad: Vad,
    pub(super) segmenter: Segmenter,
    pub(super) interim: InterimState,
}

/// What is known of a segment before its final decode. It is handed over together with the segment.
#[derive(Default)]
pub(super) struct InterimState {
    /// The words committed so far.
    pub(super) agreement: LocalAgreement,
    /// Samples since the last partial decode, and how many of them are speech.
    pub(super) new_samples: usize,
    pub(super) new_speech_samples: usize,
    /// The result of the last partial decode.
    pub(super) last_decode: Option<Vec<TextSegment>>,
    /// A hypothesis was published for it.
    pub(super) published: bool,
    /// It was cut while somebody was speaking, so committed words may belong to the next segment.
    pub(super) cut_mid_speech: bool,
}

impl RoomStream {
    pub(super) fn new(room: Arc<str>) -> Self {
        Self { room, vad: Vad::default(), segmenter: Segmenter::default(), interim: InterimState::default() }
    }

    /// Takes the next frame. Returns a segment that ended with it.
    pub(super) fn push(&mut self, frame: &Frame, metrics: &Metrics) -> Option<(Segment, InterimState)> {
        let probability = self.vad.probability(frame);
        let segment = self.segmenter.push(frame, probability);
        self.count_dropped(metrics);
        if !self.segmenter.is_idle() {
            self.interim.new_samples += FRAME_SAMPLES;
            if self.segmenter.silence() == 0 {
                self.interim.new_speech_samples += FRAME_SAMPLES;
            }
        }
        let Some(segment) = segment else {
            if self.segmenter.is_idle() {
                self.interim = InterimState::default();
            }
            return None;
        };
        // Loud noise can keep the detector's recurrent state at "speech" for minutes. After a reset it is judged correctly.
        self.vad.reset();
        let mut interim = std::mem::take(&mut self.interim);
        if !self.segmenter.is_idle() {
            // The last partial decode covered samples that are not part of this segment.
            interim.last_decode = None;
            interim.cut_mid_speech = true;
        }
        Some((segment, interim))
    }

    /// Ends the segment in progress, if there is one.
    pub(super) fn flush(&mut self, metrics: &Metrics) -> Option<(Segment, InterimState)> {
        let interim = std::mem::take(&mut self.interim);
        let segment = self.segmenter.flush();
        self.count_dropped(metrics);
        segment.map(|segment| (segment, interim))
    }

    /// Counts a segment that was dropped with the last frame because it had too little speech.
    fn count_dropped(&mut self, metrics: &Metrics) {
        if let Some(dropped) = self.segmenter.take_dropped() {
            filter::count_rejection(Rejection::TooShort, "", &dropped, metrics);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.segmenter.is_idle()
    }

    pub(super) fn progress(&self) -> SpeechProgress {
        let seconds = |samples: usize| clock::seconds(samples as i64);
        SpeechProgress {
            since_last_s: seconds(self.interim.new_samples),
            new_speech_s: seconds(self.interim.new_speech_samples),
            silence_s: seconds(self.segmenter.silence()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::MIN_SPEECH_SAMPLES;
    use jiff::Timestamp;

    #[test]
    fn a_segment_with_too_little_speech_is_counted() {
        let (mut stream, metrics) = (RoomStream::new("kitchen".into()), Metrics::default());
        let speech = 30..30 + MIN_SPEECH_SAMPLES / FRAME_SAMPLES - 1;
        for n in 0..100 {
            let at = (n * FRAME_SAMPLES) as i64;
            let frame = Frame { at, time: Timestamp::UNIX_EPOCH, samples: [0.0; FRAME_SAMPLES] };
            assert_eq!(stream.segmenter.push(&frame, if speech.contains(&n) { 0.9 } else { 0.1 }), None);
            stream.count_dropped(&metrics);
        }
        assert_eq!((metrics.rejected.get(), metrics.rejected_by.too_short.get()), (1, 1));
    }
}
