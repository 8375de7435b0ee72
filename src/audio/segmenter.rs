//! Cuts a stream of frames into segments of speech, by the probabilities of the voice detector.
//!
//! Segments come in order, never overlap, and are never longer than [`HARD_MAX`] frames. Every frame of a run that is surely speech
//! is in a segment.

use std::collections::VecDeque;

use crate::clock::SamplePos;
use crate::event::{FRAME_SAMPLES, Frame, MIN_SPEECH_SAMPLES, Segment};

/// The number of frames that is at least `ms` milliseconds long.
const fn frames(ms: usize) -> usize {
    (ms * 16).div_ceil(FRAME_SAMPLES)
}

/// Speech starts when `ONSET` of the last `WINDOW` frames have at least the probability `START_PROBABILITY`.
const ONSET: usize = 5;
const WINDOW: usize = 8;
const START_PROBABILITY: f32 = 0.5;
/// Within a segment, frames of at least this probability are speech.
const CONTINUE_PROBABILITY: f32 = 0.35;
/// A segment with less speech than this is dropped.
const MIN_SPEECH: usize = MIN_SPEECH_SAMPLES / FRAME_SAMPLES;
/// Frames before the onset that belong to the segment: quiet consonants come before what the detector is sure of.
const PRE_ROLL: usize = frames(350);
/// So much silence ends a segment, and so much of that silence stays in it.
const HANG_OVER: usize = frames(600);
const TAIL: usize = frames(200);
/// A segment of `SOFT_MAX` frames is cut at the next pause found within its last `SEARCH_BACK` frames.
const SOFT_MAX: usize = frames(12_000);
const SEARCH_BACK: usize = frames(3_000);
/// A segment of `HARD_MAX` frames is cut where the detector is least sure, pause or not.
const HARD_MAX: usize = frames(20_000);
/// To find the best place for a cut, the probability is averaged over so many frames on each side.
const AVERAGE_OVER: usize = 3;

/// Cuts one stream into segments.
#[derive(Default)]
pub(crate) struct Segmenter {
    /// While nobody speaks: the frames that the next segment may begin with. Within a segment: all of its frames.
    frames: VecDeque<ScoredFrame>,
    speaking: bool,
    /// The segment continues one that was cut, so it is kept however little speech is in it.
    continued: bool,
    /// Frames at the end of the segment that are not speech.
    silence: usize,
    /// The last segment that was dropped, until it is asked for.
    dropped: Option<Segment>,
}

struct ScoredFrame {
    frame: Frame,
    probability: f32,
}

impl ScoredFrame {
    fn is_speech(&self) -> bool {
        self.probability >= CONTINUE_PROBABILITY
    }
}

impl Segmenter {
    /// Nobody is speaking, and all segments up to the last frame have come out.
    pub(crate) fn is_idle(&self) -> bool {
        !self.speaking
    }

    /// A segment that was dropped since the last call because it had too little speech.
    pub(crate) fn take_dropped(&mut self) -> Option<Segment> {
        self.dropped.take()
    }

    /// Samples at the end of the segment in progress that are not speech.
    pub(crate) fn silence(&self) -> usize {
        self.silence * FRAME_SAMPLES
    }

    /// The segment in progress, up to the last frame.
    pub(crate) fn so_far(&self) -> Option<Segment> {
        self.speaking.then(|| segment(self.frames.iter()))
    }

    /// Takes the next frame. Returns a segment that ended with or before it.
    pub(crate) fn push(&mut self, frame: &Frame, probability: f32) -> Option<Segment> {
        let jumped = self.next().is_some_and(|next| next != frame.at);
        let before = if jumped { self.flush() } else { None };
        self.frames.push_back(ScoredFrame { frame: frame.clone(), probability });
        // After a jump in the positions nothing is in progress, so this frame cannot end a second segment.
        if self.speaking {
            before.or_else(|| self.continue_segment())
        } else {
            self.detect_onset();
            before
        }
    }

    /// The end of the stream. Returns the segment in progress.
    pub(crate) fn flush(&mut self) -> Option<Segment> {
        let segment = if self.speaking { self.end() } else { None };
        self.frames.clear();
        segment
    }

    fn next(&self) -> Option<SamplePos> {
        self.frames.back().map(|scored| scored.frame.at + FRAME_SAMPLES as SamplePos)
    }

    fn detect_onset(&mut self) {
        let window = self.frames.len().saturating_sub(WINDOW);
        let sure = |scored: &ScoredFrame| scored.probability >= START_PROBABILITY;
        if self.frames.range(window..).filter(|scored| sure(scored)).count() >= ONSET {
            let first = self.frames.iter().skip(window).position(sure).expect("five of them are sure");
            self.frames.drain(..(window + first).saturating_sub(PRE_ROLL));
            self.speaking = true;
            self.silence = self.frames.iter().rev().take_while(|scored| !scored.is_speech()).count();
        } else if self.frames.len() >= PRE_ROLL + WINDOW {
            self.frames.pop_front();
        }
    }

    fn continue_segment(&mut self) -> Option<Segment> {
        let speech = self.frames.back().is_some_and(ScoredFrame::is_speech);
        self.silence = if speech { 0 } else { self.silence + 1 };
        if self.silence >= HANG_OVER {
            return self.end();
        }
        if self.frames.len() < SOFT_MAX {
            return None;
        }
        let (cut, probability) = self.best_cut();
        if probability >= CONTINUE_PROBABILITY && self.frames.len() < HARD_MAX {
            return None;
        }
        self.continued = true;
        self.silence = self.silence.min(self.frames.len() - cut);
        Some(self.take(cut))
    }

    /// The place within the last `SEARCH_BACK` frames where the detector is least sure: the number of frames before it, and the
    /// average probability there.
    fn best_cut(&self) -> (usize, f32) {
        let end = self.frames.len() - AVERAGE_OVER;
        let around = |at: usize| {
            self.frames.range(at - AVERAGE_OVER..=at + AVERAGE_OVER).map(|scored| scored.probability).sum::<f32>()
                / (2 * AVERAGE_OVER + 1) as f32
        };
        let places = (end - SEARCH_BACK..end).map(|at| (at, around(at)));
        places.min_by(|a, b| a.1.total_cmp(&b.1)).expect("the segment is longer than the search")
    }

    /// Ends the segment. What follows its tail may begin the next one.
    fn end(&mut self) -> Option<Segment> {
        let kept = self.frames.len() - self.silence.saturating_sub(TAIL);
        let least = if std::mem::take(&mut self.continued) { 1 } else { MIN_SPEECH };
        self.speaking = false;
        let speech = self.frames.range(..kept).filter(|scored| scored.is_speech()).count();
        let segment = self.take(kept);
        if speech >= least {
            return Some(segment);
        }
        self.dropped = Some(segment);
        None
    }

    /// Takes the first `count` frames out as a segment.
    fn take(&mut self, count: usize) -> Segment {
        let taken: Vec<ScoredFrame> = self.frames.drain(..count).collect();
        segment(taken.iter())
    }
}

fn segment<'a>(frames: impl Iterator<Item = &'a ScoredFrame> + Clone) -> Segment {
    let first = &frames.clone().next().expect("a segment has a frame").frame;
    Segment {
        start: first.at,
        time: first.time,
        samples: frames.clone().flat_map(|scored| scored.frame.samples).collect(),
        speech_samples: frames.filter(|scored| scored.is_speech()).count() * FRAME_SAMPLES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// A frame whose samples contain `n`.
    fn frame(n: usize, at: SamplePos) -> Frame {
        let sign = |i: usize| if i.is_multiple_of(2) { 0.1 } else { -0.1 };
        let samples = std::array::from_fn(|i| sign(i) + n as f32 * 1e-6);
        Frame { at, time: Timestamp::from_millisecond(at / 16).unwrap(), samples }
    }

    fn cut(probabilities: &[f32]) -> Vec<Segment> {
        let mut segmenter = Segmenter::default();
        let at = |n: usize| (n * FRAME_SAMPLES) as SamplePos;
        let pushed = probabilities.iter().enumerate().map(|(n, p)| (frame(n, at(n)), p));
        let mut segments: Vec<Segment> = pushed.filter_map(|(frame, p)| segmenter.push(&frame, *p)).collect();
        segments.extend(segmenter.flush());
        segments
    }

    /// The first frame of a segment, and the one after its last.
    fn span(segment: &Segment) -> (usize, usize) {
        let frames = |position: SamplePos| position as usize / FRAME_SAMPLES;
        (frames(segment.start), frames(segment.end()))
    }

    fn runs(parts: &[(usize, f32)]) -> Vec<f32> {
        parts.iter().flat_map(|(count, p)| std::iter::repeat_n(*p, *count)).collect()
    }

    #[test]
    fn a_sentence_is_cut_with_its_pre_roll_and_tail() {
        let segments = cut(&runs(&[(100, 0.1), (50, 0.9), (100, 0.1)]));
        assert_eq!(segments.len(), 1);
        assert_eq!(span(&segments[0]), (100 - PRE_ROLL, 150 + TAIL));
        assert_eq!(segments[0].speech_samples, 50 * FRAME_SAMPLES);
        assert_eq!(segments[0].time, frame(0, segments[0].start).time);
    }

    #[test]
    fn a_short_pause_is_part_of_a_sentence_and_a_long_one_ends_it() {
        assert_eq!(cut(&runs(&[(50, 0.9), (HANG_OVER - 1, 0.1), (50, 0.9)])).len(), 1);
        assert_eq!(cut(&runs(&[(50, 0.9), (HANG_OVER, 0.1), (50, 0.9)])).len(), 2);
    }

    #[test]
    fn a_lower_probability_continues_a_segment_but_does_not_start_one() {
        assert_eq!(cut(&runs(&[(100, 0.4)])), []);
        let segments = cut(&runs(&[(20, 0.9), (100, 0.4)]));
        assert_eq!(span(&segments[0]), (0, 120));
        assert_eq!(cut(&runs(&[(4, 0.9), (4, 0.1), (4, 0.9), (100, 0.1)])), [], "4 of 8 do not start either");
    }

    #[test]
    fn a_click_is_dropped() {
        assert_eq!(cut(&runs(&[(50, 0.1), (MIN_SPEECH - 1, 0.9), (100, 0.1)])), []);
        assert_eq!(cut(&runs(&[(50, 0.1), (MIN_SPEECH, 0.9), (100, 0.1)])).len(), 1);
    }

    #[test]
    fn a_dropped_segment_can_be_asked_for_once() {
        let mut segmenter = Segmenter::default();
        for (n, probability) in runs(&[(50, 0.1), (MIN_SPEECH - 1, 0.9), (100, 0.1)]).into_iter().enumerate() {
            assert_eq!(segmenter.push(&frame(n, (n * FRAME_SAMPLES) as SamplePos), probability), None);
        }
        let dropped = segmenter.take_dropped().unwrap();
        assert_eq!(span(&dropped), (50 - PRE_ROLL, 50 + MIN_SPEECH - 1 + TAIL));
        assert_eq!(segmenter.take_dropped(), None);
    }

    #[test]
    fn a_long_speech_is_cut_at_a_pause_after_twelve_seconds() {
        let segments = cut(&runs(&[(700, 0.9), (10, 0.1), (300, 0.9)]));
        assert_eq!(segments.len(), 2);
        let (_, end) = span(&segments[0]);
        assert!((700..710).contains(&end), "cut at {end}");
        assert_eq!(segments[1].start, segments[0].end());
    }

    #[test]
    fn speech_without_a_pause_is_cut_where_the_detector_is_least_sure() {
        let mut probabilities = vec![0.9; 1_500];
        probabilities[1_195..1_205].fill(0.6);
        let segments = cut(&probabilities);
        let (_, end) = span(&segments[0]);
        assert!((1_195..1_205).contains(&end), "cut at {end}");
        assert_eq!(span(segments.last().unwrap()).1, 1_500);
    }

    #[test]
    fn the_continuation_of_a_cut_segment_is_kept_however_short() {
        let segments = cut(&runs(&[(SOFT_MAX - 20, 0.9), (10, 0.1), (12, 0.9)]));
        assert_eq!(segments.len(), 2);
        assert_eq!(span(&segments[1]).1, SOFT_MAX + 2);
    }

    #[test]
    fn a_jump_in_the_positions_ends_the_segment() {
        let mut segmenter = Segmenter::default();
        for n in 0..50 {
            assert_eq!(segmenter.push(&frame(n, (n * FRAME_SAMPLES) as SamplePos), 0.9), None);
        }
        let before = segmenter.push(&frame(50, 1_000_000), 0.9).unwrap();
        assert_eq!(span(&before), (0, 50));
        assert!(segmenter.is_idle());
        for n in 1..30 {
            segmenter.push(&frame(n, 1_000_000 + (n * FRAME_SAMPLES) as SamplePos), 0.9);
        }
        assert_eq!(segmenter.flush().unwrap().start, 1_000_000);
    }

    /// Speech and silence of many lengths, with hesitation inside, as a detector would have it.
    fn speech() -> impl Strategy<Value = Vec<f32>> {
        let part = (1usize..400, prop::sample::select(vec![0.0f32, 0.2, 0.34, 0.36, 0.49, 0.5, 0.7, 0.95, 1.0]));
        let steady = part.prop_map(|(count, p)| vec![p; count]);
        let restless = prop::collection::vec(0.0f32..1.0, 1..200);
        prop::collection::vec(prop_oneof![3 => steady, 1 => restless], 1..20).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn segments_are_ordered_exact_and_bounded(probabilities in speech()) {
            let mut last = 0;
            for segment in cut(&probabilities) {
                let (start, end) = span(&segment);
                prop_assert!(start >= last, "{start} overlaps what ended at {last}");
                prop_assert!(end - start <= HARD_MAX);
                prop_assert!(end <= probabilities.len());
                for (n, samples) in (start..end).zip(segment.samples.as_chunks::<FRAME_SAMPLES>().0) {
                    prop_assert_eq!(samples, &frame(n, 0).samples);
                }
                let speech = probabilities[start..end].iter().filter(|p| **p >= CONTINUE_PROBABILITY).count();
                prop_assert_eq!(segment.speech_samples, speech * FRAME_SAMPLES);
                last = end;
            }
        }

        #[test]
        fn every_run_of_speech_is_in_a_segment(probabilities in speech()) {
            let spans: Vec<_> = cut(&probabilities).iter().map(span).collect();
            let covered = |n: usize| spans.iter().any(|(start, end)| (*start..*end).contains(&n));
            // A run that surely starts and is long enough by itself must come out whole, over however many segments.
            let mut n = 0;
            while n < probabilities.len() {
                let run = probabilities[n..].iter().take_while(|p| **p >= START_PROBABILITY).count();
                if run >= MIN_SPEECH {
                    prop_assert!((n..n + run).all(covered), "{n}..{} is not in {spans:?}", n + run);
                }
                n += run.max(1);
            }
        }

        #[test]
        fn every_segment_contains_speech(probabilities in speech()) {
            for segment in cut(&probabilities) {
                prop_assert!(segment.speech_samples > 0);
            }
        }
    }
}
