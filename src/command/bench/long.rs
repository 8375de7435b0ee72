//! Time and memory over a stream's age.
//!
//! Owns the ages that are looked at and how they are reached. Refuses to call a stream read that was not. Invariants: an age beyond
//! the window is only ever measured with a window that is full; all ages are measured in turns, for a machine that others use is
//! not the same minutes later.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::machine::{median, seconds_of};
use super::tokens::Tokens;
use crate::griffin::{CHUNK, Leaf, Model, State};
use crate::process::resident_bytes;

/// Ages of the stream at which time and memory are looked at.
const AGES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Every age is measured so often, or for so long in all, whichever takes longer.
const ROUNDS: usize = 15;
const SECONDS: f64 = 4.0;

/// What would take longer to read is not read: the state, its window full, is moved to that age.
const READ_SECONDS: f64 = 300.0;

/// A look at a stream of some age.
#[derive(Debug, Serialize)]
pub struct Age {
    pub tokens: u64,
    pub us_per_token: f64,
    pub rss_bytes: u64,
    /// All of them; else the state was restored at this age.
    pub read: bool,
}

/// Looks at the time for the next tokens and at memory at every age up to `count`. Ages that are too far off to be read are
/// reached as a restart reaches them, by restoring the state there: only its positions then tell it from one that has read.
pub fn look(model: &Model, tokens: &Tokens, count: u64) -> anyhow::Result<Vec<Age>> {
    let mut ages: Vec<u64> = AGES.into_iter().filter(|age| *age < count).collect();
    ages.push(count);
    let full = model.config().window as u64 + 1;
    let style = ProgressStyle::with_template("reading {bar:40} {human_pos} of {human_len} tokens, {eta} left")?;
    let bar = ProgressBar::new(count).with_style(style);
    let mut state = model.state();
    let read_to = |state: &mut State, age: u64| -> anyhow::Result<()> {
        bar.set_length(age);
        while state.tokens_read() < age {
            let size = CHUNK.min((age - state.tokens_read()) as usize);
            model.ingest(&tokens.take(state.tokens_read(), size), state)?;
            bar.set_position(state.tokens_read());
        }
        Ok(())
    };
    let mut seen: Vec<Age> = Vec::new();
    let mut states: Vec<Vec<Leaf>> = Vec::new();
    for age in ages {
        let seconds = |last: &Age| 1e-6 * last.us_per_token * (age - last.tokens) as f64;
        let read = age <= full || seen.last().is_none_or(|last| last.read && seconds(last) <= READ_SECONDS);
        if read {
            read_to(&mut state, age)?;
        } else {
            read_to(&mut state, full)?;
            state = model.restore(age, &state.leaves())?;
        }
        // How long the way took decides whether the next one is gone; what counts is measured below.
        let us_per_token = 1e6 * next(model, tokens, &state) / CHUNK as f64;
        let kept: usize = states.iter().flatten().map(|leaf| leaf.bytes.len()).sum();
        let rss_bytes = resident_bytes().saturating_sub(kept as u64);
        states.push(state.leaves());
        seen.push(Age { tokens: age, us_per_token, rss_bytes, read });
    }
    bar.finish_and_clear();

    let mut times = vec![Vec::new(); seen.len()];
    let begun = Instant::now();
    while times[0].len() < ROUNDS || begun.elapsed().as_secs_f64() < SECONDS {
        for ((age, leaves), times) in seen.iter().zip(&states).zip(&mut times) {
            let state = model.restore(age.tokens, leaves)?;
            times.push(next(model, tokens, &state));
        }
    }
    println!("{:>12} {:>14} {:>14}", "tokens read", "µs per token", "memory, MB");
    for (age, times) in seen.iter_mut().zip(times) {
        age.us_per_token = 1e6 * median(times) / CHUNK as f64;
        let how = if age.read { "" } else { "  restored at this age, not read" };
        println!("{:>12} {:>14.1} {:>14.1}{how}", age.tokens, age.us_per_token, age.rss_bytes as f64 / 1e6);
    }
    Ok(seen)
}

/// Seconds for the next chunk.
fn next(model: &Model, tokens: &Tokens, state: &State) -> f64 {
    let mut fork = state.fork();
    let chunk = tokens.take(fork.tokens_read(), CHUNK);
    seconds_of(|| model.ingest(&chunk, &mut fork).expect("the tokens are the model's, and so is the state"))
}
