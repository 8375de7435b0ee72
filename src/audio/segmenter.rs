//! Where speech starts and ends.
//!
//! Owns the policy that cuts a stream of frames into segments, from the detector's probabilities alone. Refuses to know the
//! detector, the recogniser or the time of day. Invariant: segments come in order, never overlap, are exact to the sample,
//! and never exceed [`HARD_MAX`].

use std::collections::VecDeque;

use crate::clock::SamplePos;
use crate::event::{FRAME_SAMPLES, Frame, Segment};

/// Frames that hold at least `ms` milliseconds.
const fn frames(ms: usize) -> usize {
    (ms * 16).div_ceil(FRAME_SAMPLES)
}

/// Speech starts when this many of the last `WINDOW` frames are at least `START` likely to be speech …
const ONSET: usize = 5;
const WINDOW: usize = 8;
const START: f32 = 0.5;
/// … and goes on while frames are at least this likely.
const GO_ON: f32 = 0.35;
/// Less speech than this is a click or a cough.
pub const MIN_SPEECH: usize = frames(250);
/// Heard before the onset: quiet consonants come before what the detector is sure of.
const PRE_ROLL: usize = frames(350);
/// Silence that ends a segment, and how much of it stays in.
const HANG_OVER: usize = frames(600);
const TAIL: usize = frames(200);
/// From here on a segment is cut at a pause within the last `LOOK_BACK` frames …
const SOFT_MAX: usize = frames(12_000);
const LOOK_BACK: usize = frames(3_000);
/// … and here at the quietest place, pause or not.
pub const HARD_MAX: usize = frames(20_000);
/// Frames on each side over which the detector's probability is averaged when the best place for a cut is sought.
const DIP: usize = 3;
/// Root mean square below which nothing is speech: −66 dB of full scale, about the noise of a good microphone's amplifier.
const FLOOR: f32 = 0.000_5;

/// Cuts one stream. See the module.
#[derive(Default)]
pub struct Segmenter {
    /// While nobody speaks: as much as a segment may begin with. Within a segment: all of it.
    heard: VecDeque<ScoredFrame>,
    speaking: bool,
    /// The segment goes on where another was cut, so that however little speech is left in it counts.
    continued: bool,
    /// Frames at the end of the segment that are no speech.
    silence: usize,
}

struct ScoredFrame {
    frame: Frame,
    probability: f32,
}

impl ScoredFrame {
    fn is_speech(&self) -> bool {
        self.probability >= GO_ON
    }
}

impl Segmenter {
    /// Nobody speaks: whatever was said up to the last frame has come out.
    pub fn is_idle(&self) -> bool {
        !self.speaking
    }

    /// Samples at the end of what was heard that are no speech.
    pub fn silence(&self) -> usize {
        self.silence * FRAME_SAMPLES
    }

    /// What is being said, as far as it was heard.
    pub fn so_far(&self) -> Option<Segment> {
        self.speaking.then(|| segment(self.heard.iter()))
    }

    /// Takes the next frame. A segment comes out when it ended with or before this frame.
    pub fn push(&mut self, frame: &Frame, probability: f32) -> Option<Segment> {
        let jumped = self.next().is_some_and(|next| next != frame.at);
        let before = if jumped { self.flush() } else { None };
        let probability = if level(&frame.samples) < FLOOR { 0.0 } else { probability };
        self.heard.push_back(ScoredFrame { frame: frame.clone(), probability });
        // The frame after a jump is the first of its stream: it ends nothing.
        if self.speaking {
            before.or_else(|| self.go_on())
        } else {
            self.wait();
            before
        }
    }

    /// The end of the stream, or of what follows on: the segment that was going on.
    pub fn flush(&mut self) -> Option<Segment> {
        let segment = if self.speaking { self.end() } else { None };
        self.heard.clear();
        segment
    }

    fn next(&self) -> Option<SamplePos> {
        self.heard.back().map(|heard| heard.frame.at + FRAME_SAMPLES as SamplePos)
    }

    fn wait(&mut self) {
        let window = self.heard.len().saturating_sub(WINDOW);
        let sure = |heard: &ScoredFrame| heard.probability >= START;
        if self.heard.range(window..).filter(|heard| sure(heard)).count() >= ONSET {
            let first = self.heard.iter().skip(window).position(sure).expect("five of them are sure");
            self.heard.drain(..(window + first).saturating_sub(PRE_ROLL));
            self.speaking = true;
            self.silence = self.heard.iter().rev().take_while(|heard| !heard.is_speech()).count();
        } else if self.heard.len() >= PRE_ROLL + WINDOW {
            self.heard.pop_front();
        }
    }

    fn go_on(&mut self) -> Option<Segment> {
        let speech = self.heard.back().is_some_and(ScoredFrame::is_speech);
        self.silence = if speech { 0 } else { self.silence + 1 };
        if self.silence >= HANG_OVER {
            return self.end();
        }
        if self.heard.len() < SOFT_MAX {
            return None;
        }
        let (cut, depth) = self.deepest_dip();
        (depth < GO_ON || self.heard.len() >= HARD_MAX).then(|| {
            self.continued = true;
            self.silence = self.silence.min(self.heard.len() - cut);
            self.take(cut)
        })
    }

    /// Where the detector is least sure within the last `LOOK_BACK` frames: the frames before it, and how sure it is there.
    fn deepest_dip(&self) -> (usize, f32) {
        let end = self.heard.len() - DIP;
        let around = |at: usize| {
            self.heard.range(at - DIP..=at + DIP).map(|heard| heard.probability).sum::<f32>() / (2 * DIP + 1) as f32
        };
        let places = (end - LOOK_BACK..end).map(|at| (at, around(at)));
        places.min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are frames to look back on")
    }

    /// Ends the segment; what follows its tail may begin the next.
    fn end(&mut self) -> Option<Segment> {
        let kept = self.heard.len() - self.silence.saturating_sub(TAIL);
        let least = if std::mem::take(&mut self.continued) { 1 } else { MIN_SPEECH };
        self.speaking = false;
        let speech = self.heard.range(..kept).filter(|heard| heard.is_speech()).count();
        let segment = self.take(kept);
        (speech >= least).then_some(segment)
    }

    /// Takes the first `count` frames out as a segment.
    fn take(&mut self, count: usize) -> Segment {
        let taken: Vec<ScoredFrame> = self.heard.drain(..count).collect();
        segment(taken.iter())
    }
}

fn segment<'a>(heard: impl Iterator<Item = &'a ScoredFrame> + Clone) -> Segment {
    let first = &heard.clone().next().expect("a segment has a frame").frame;
    Segment {
        start: first.at,
        time: first.time,
        samples: heard.clone().flat_map(|heard| heard.frame.samples).collect(),
        speech_samples: heard.filter(|heard| heard.is_speech()).count() * FRAME_SAMPLES,
    }
}

/// Root mean square about the mean: a microphone's constant offset is no sound.
fn level(samples: &[f32]) -> f32 {
    let count = samples.len() as f32;
    let mean = samples.iter().sum::<f32>() / count;
    (samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f32>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// A frame that is loud enough, whose samples tell its position.
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

    /// Frames of a segment: the first, and the one behind the last.
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
    fn what_is_less_sure_goes_on_but_does_not_start() {
        assert_eq!(cut(&runs(&[(100, 0.4)])), []);
        let segments = cut(&runs(&[(20, 0.9), (100, 0.4)]));
        assert_eq!(span(&segments[0]), (0, 120));
        assert_eq!(cut(&runs(&[(4, 0.9), (4, 0.1), (4, 0.9), (100, 0.1)])), [], "4 of 8 do not start either");
    }

    #[test]
    fn a_click_is_no_speech() {
        assert_eq!(cut(&runs(&[(50, 0.1), (MIN_SPEECH - 1, 0.9), (100, 0.1)])), []);
        assert_eq!(cut(&runs(&[(50, 0.1), (MIN_SPEECH, 0.9), (100, 0.1)])).len(), 1);
    }

    #[test]
    fn what_is_too_quiet_is_no_speech_and_an_offset_is_no_sound() {
        let mut segmenter = Segmenter::default();
        for n in 0..200 {
            let quiet = Frame { samples: [0.2; FRAME_SAMPLES], ..frame(n, (n * FRAME_SAMPLES) as SamplePos) };
            assert_eq!(segmenter.push(&quiet, 0.99), None);
        }
        assert_eq!(segmenter.flush(), None);
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
    fn without_a_pause_it_is_cut_at_the_weakest_place_after_twenty_seconds() {
        let mut probabilities = vec![0.9; 1_500];
        probabilities[1_195..1_205].fill(0.6);
        let segments = cut(&probabilities);
        let (_, end) = span(&segments[0]);
        assert!((1_195..1_205).contains(&end), "cut at {end}");
        assert_eq!(span(segments.last().unwrap()).1, 1_500);
    }

    #[test]
    fn however_little_follows_a_cut_comes_out() {
        let segments = cut(&runs(&[(SOFT_MAX - 20, 0.9), (10, 0.1), (12, 0.9)]));
        assert_eq!(segments.len(), 2);
        assert_eq!(span(&segments[1]).1, SOFT_MAX + 2);
    }

    #[test]
    fn a_jump_ends_the_segment_before_it() {
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
                let speech = probabilities[start..end].iter().filter(|p| **p >= GO_ON).count();
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
                let run = probabilities[n..].iter().take_while(|p| **p >= START).count();
                if run >= MIN_SPEECH {
                    prop_assert!((n..n + run).all(covered), "{n}..{} is not in {spans:?}", n + run);
                }
                n += run.max(1);
            }
        }

        #[test]
        fn silence_never_comes_out_alone(probabilities in speech()) {
            for segment in cut(&probabilities) {
                prop_assert!(segment.speech_samples > 0);
            }
        }
    }
}
