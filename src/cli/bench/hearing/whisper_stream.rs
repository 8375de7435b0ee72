//! What whisper.cpp's own `stream` makes of a recording, with its defaults: to compare with.
//!
//! Owns that policy. Refuses to know hearth's. Invariant: no pass begins before the sound that it hears has arrived.

use std::time::Instant;

use super::replay::{DecodeCost, ReplayResult};
use crate::asr::whisper::Whisper;
use crate::clock::{SAMPLE_RATE, seconds};
use crate::event::{FRAME_SAMPLES, Frame};

/// A pass this often, over what is new and so much before it.
const STEP: usize = 3 * SAMPLE_RATE as usize;
const LENGTH: usize = 10 * SAMPLE_RATE as usize;
/// So many passes go over a line, each writing all of it anew; of its sound this much is kept for the next.
const PASSES: usize = 2;
const KEEP: usize = SAMPLE_RATE as usize / 5;

/// Hears frames that follow on each other; a pass takes as long as it takes here, or as long as is said.
pub fn replay(whisper: &mut Whisper, frames: &[Frame], cost: Option<DecodeCost>) -> anyhow::Result<ReplayResult> {
    let sound: Vec<f32> = frames.iter().flat_map(|frame| frame.samples).collect();
    let mut replayed =
        ReplayResult { audio_s: seconds((frames.len() * FRAME_SAMPLES) as i64), ..ReplayResult::default() };
    let cpu = crate::process::cpu_seconds();
    let (mut heard, mut line_from, mut now) = (0, 0, 0.0_f64);
    for pass in 1.. {
        // What came while a pass took longer than a step is all new.
        let arrived = (now * f64::from(SAMPLE_RATE)) as usize;
        let until = (heard + STEP).max(arrived).min(sound.len());
        let from = line_from.max(until.saturating_sub((until - heard).max(LENGTH + KEEP)));
        heard = until;
        let began = Instant::now();
        let pieces = whisper.decode(&sound[from..until])?;
        let tokens: usize = pieces.iter().map(|piece| piece.tokens).sum();
        let took =
            cost.map_or_else(|| began.elapsed().as_secs_f64(), |cost| cost.pass_s + cost.token_s * tokens as f64);
        now = now.max(seconds(until as i64)) + took;
        replayed.busy_s += took;
        let over = until == sound.len();
        if over || pass % PASSES == 0 {
            let words = pieces.into_iter().flat_map(|piece| piece.words).map(|word| (now, word.text));
            replayed.words.extend(words);
            line_from = until.saturating_sub(KEEP);
        }
        if over {
            break;
        }
    }
    replayed.stored = replayed.words.iter().map(|(at, _)| *at).collect();
    replayed.cpu_s = crate::process::cpu_seconds() - cpu;
    Ok(replayed)
}
