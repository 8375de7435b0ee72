//! Time and memory over a stream's age.
//!
//! Owns the ages that are looked at and how they are reached. Refuses to call a stream read that was not. Invariant: an age beyond
//! the window is only ever measured with a window that is full.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::model::{Tokens, median_s};
use crate::griffin::{CHUNK, Model, State};
use crate::process::resident_bytes;

/// Ages of the stream at which time and memory are looked at.
const AGES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

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
    println!("{:>12} {:>14} {:>14}", "tokens read", "µs per token", "memory, MB");
    for age in ages {
        let seconds = |last: &Age| 1e-6 * last.us_per_token * (age - last.tokens) as f64;
        let read = age <= full || seen.last().is_none_or(|last| last.read && seconds(last) <= READ_SECONDS);
        if read {
            read_to(&mut state, age)?;
        } else {
            read_to(&mut state, full)?;
            state = model.restore(age, &state.leaves())?;
        }
        let mut fork = state.fork();
        let mut step = || {
            let chunk = tokens.take(fork.tokens_read(), CHUNK);
            model.ingest(&chunk, &mut fork).expect("the tokens are the model's, and so is the state");
        };
        let us_per_token = 1e6 * median_s(&mut step) / CHUNK as f64;
        let age = Age { tokens: age, us_per_token, rss_bytes: resident_bytes(), read };
        bar.suspend(|| {
            let how = if read { "" } else { "  restored at this age, not read" };
            println!("{:>12} {:>14.1} {:>14.1}{how}", age.tokens, age.us_per_token, age.rss_bytes as f64 / 1e6);
        });
        seen.push(age);
    }
    bar.finish_and_clear();
    Ok(seen)
}
