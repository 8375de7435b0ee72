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
    heard: VecDeque<Heard>,
    speaking: bool,
    /// The segment goes on where another was cut, so that however little speech is left in it counts.
    continued: bool,
    /// Frames at the end of the segment that are no speech.
    silence: usize,
}

struct Heard {
    frame: Frame,
    probability: f32,
}

impl Heard {
    fn is_speech(&self) -> bool {
        self.probability >= GO_ON
    }
}

impl Segmenter {
    /// Nobody speaks: whatever was said up to the last frame has come out.
    pub fn is_idle(&self) -> bool {
        !self.speaking
    }

    /// Takes the next frame. A segment comes out when it ended with or before this frame.
    pub fn push(&mut self, frame: &Frame, probability: f32) -> Option<Segment> {
        let jumped = self.next().is_some_and(|next| next != frame.at);
        let before = if jumped { self.flush() } else { None };
        let probability = if level(&frame.samples) < FLOOR { 0.0 } else { probability };
        self.heard.push_back(Heard { frame: frame.clone(), probability });
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
        let sure = |heard: &Heard| heard.probability >= START;
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
        let speech = self.heard.back().is_some_and(Heard::is_speech);
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
        let taken: Vec<Heard> = self.heard.drain(..count).collect();
        let first = &taken[0].frame;
        Segment {
            start: first.at,
            time: first.time,
            samples: taken.iter().flat_map(|heard| heard.frame.samples).collect(),
            speech_samples: taken.iter().filter(|heard| heard.is_speech()).count() * FRAME_SAMPLES,
        }
    }
}

/// Root mean square about the mean: a microphone's constant offset is no sound.
fn level(samples: &[f32]) -> f32 {
    let count = samples.len() as f32;
    let mean = samples.iter().sum::<f32>() / count;
    (samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f32>() / count).sqrt()
}
