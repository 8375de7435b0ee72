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

/// Tokens that are written in a turn, after the chunk that was read in it.
const WRITTEN: usize = 4;

/// What would take longer to read is not read: the state, its window full, is moved to that age.
const READ_SECONDS: f64 = 300.0;

/// A look at a stream of some age.
#[derive(Debug, Serialize)]
pub struct Age {
    pub tokens: u64,
    /// Read in chunks of [`CHUNK`].
    pub us_per_token: f64,
    pub us_per_token_written: f64,
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
        let us_per_token = us(next(model, tokens, &state).read_s, CHUNK);
        let kept: usize = states.iter().flatten().map(|leaf| leaf.bytes.len()).sum();
        let rss_bytes = resident_bytes().saturating_sub(kept as u64);
        states.push(state.leaves());
        seen.push(Age { tokens: age, us_per_token, us_per_token_written: 0.0, rss_bytes, read });
    }
    bar.finish_and_clear();

    let mut turns: Vec<Vec<Turn>> = seen.iter().map(|_| Vec::new()).collect();
    let begun = Instant::now();
    while turns[0].len() < ROUNDS || begun.elapsed().as_secs_f64() < SECONDS {
        for ((age, leaves), turns) in seen.iter().zip(&states).zip(&mut turns) {
            let state = model.restore(age.tokens, leaves)?;
            turns.push(next(model, tokens, &state));
        }
    }
    println!("{:>12} {:>16} {:>16} {:>14}", "tokens read", "µs a token read", "a token written", "memory, MB");
    for (age, turns) in seen.iter_mut().zip(turns) {
        age.us_per_token = us(median(turns.iter().map(|turn| turn.read_s).collect()), CHUNK);
        age.us_per_token_written = us(median(turns.iter().map(|turn| turn.written_s).collect()), WRITTEN);
        let Age { tokens, us_per_token, us_per_token_written, rss_bytes, read } = *age;
        let how = if read { "" } else { "  restored at this age, not read" };
        let memory = rss_bytes as f64 / 1e6;
        println!("{tokens:>12} {us_per_token:>16.1} {us_per_token_written:>16.1} {memory:>14.1}{how}");
    }
    Ok(seen)
}

fn us(seconds: f64, tokens: usize) -> f64 {
    1e6 * seconds / tokens as f64
}

/// How long the next tokens took.
struct Turn {
    /// A chunk of them, read.
    read_s: f64,
    /// [`WRITTEN`] of them.
    written_s: f64,
}

/// Reads a chunk and writes some tokens, in a fork.
fn next(model: &Model, tokens: &Tokens, state: &State) -> Turn {
    let mut fork = state.fork();
    let chunk = tokens.take(fork.tokens_read(), CHUNK);
    let known = "the tokens are the model's, and so is the state";
    let read_s = seconds_of(|| model.ingest(&chunk, &mut fork).expect(known));
    let mut logits = model.step(chunk[0], &mut fork).expect(known);
    let written_s = seconds_of(|| {
        for _ in 0..WRITTEN {
            model.step_into(logits.argmax(), &mut fork, &mut logits).expect(known);
        }
    });
    Turn { read_s, written_s }
}
