//! The policy of whisper.cpp's own `stream` with its defaults, for comparison.
//!
//! On the simulated clock no decode begins before its audio has arrived.

use std::time::Instant;

use super::replay::{DecodeCost, ReplayResult};
use crate::asr::whisper::Whisper;
use crate::clock::{SAMPLE_RATE, seconds};
use crate::event::{FRAME_SAMPLES, Frame};

/// Samples between two decodes.
const STEP: usize = 3 * SAMPLE_RATE as usize;
/// Samples that one decode covers.
const LENGTH: usize = 10 * SAMPLE_RATE as usize;
/// A line of text is decoded so many times, and is final then.
const DECODES_PER_LINE: usize = 2;
/// Samples at the end of a line that are decoded again with the next.
const KEEP: usize = SAMPLE_RATE as usize / 5;

/// Transcribes consecutive frames. A decode takes `cost` on the simulated clock, or else the time it took.
///
/// # Errors
/// Whisper fails.
pub(crate) fn replay(
    whisper: &mut Whisper,
    frames: &[Frame],
    cost: Option<DecodeCost>,
) -> anyhow::Result<ReplayResult> {
    let sound: Vec<f32> = frames.iter().flat_map(|frame| frame.samples).collect();
    let mut replayed =
        ReplayResult { audio_s: seconds((frames.len() * FRAME_SAMPLES) as i64), ..ReplayResult::default() };
    let cpu = crate::process::cpu_seconds();
    let mut decoded_until = 0;
    let mut line_from = 0;
    let mut now = 0.0_f64;
    for pass in 1.. {
        // If a decode takes longer than a step, the next one covers everything that has arrived since.
        let arrived = (now * f64::from(SAMPLE_RATE)) as usize;
        let until = (decoded_until + STEP).max(arrived).min(sound.len());
        let from = line_from.max(until.saturating_sub((until - decoded_until).max(LENGTH + KEEP)));
        decoded_until = until;
        let began = Instant::now();
        let pieces = whisper.decode(&sound[from..until])?;
        let tokens: usize = pieces.iter().map(|piece| piece.tokens).sum();
        let took =
            cost.map_or_else(|| began.elapsed().as_secs_f64(), |cost| cost.pass_s + cost.token_s * tokens as f64);
        now = now.max(seconds(until as i64)) + took;
        replayed.busy_s += took;
        let last = until == sound.len();
        if last || pass % DECODES_PER_LINE == 0 {
            let words = pieces.into_iter().flat_map(|piece| piece.words).map(|word| (now, word.text));
            replayed.words.extend(words);
            line_from = until.saturating_sub(KEEP);
        }
        if last {
            break;
        }
    }
    replayed.stored = replayed.words.iter().map(|(at, _)| *at).collect();
    replayed.cpu_s = crate::process::cpu_seconds() - cpu;
    Ok(replayed)
}
