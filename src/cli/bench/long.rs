//! Time and memory for states that have read different numbers of tokens ("ages").
//!
//! Every age beyond the attention window is measured with a full window. All ages are measured in turns and compared within a turn,
//! because the speed of a shared machine changes within minutes.

use crate::cli::output::stdout;
use std::io::Write;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::machine::{median, seconds_of};
use super::tokens::Tokens;
use crate::process::resident_bytes;
use griffin::{CHUNK, Model, State, StateTensor};

/// The ages that are measured, in tokens.
const AGES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Every age is measured at least so often, and all together for at least so many seconds.
const ROUNDS: usize = 15;
const SECONDS: f64 = 4.0;

/// Tokens written in a turn, after the chunk that is read.
const WRITTEN: usize = 4;

/// Ages that would take longer to read are not read: a state with a full window is given that age.
const READ_SECONDS: f64 = 300.0;

/// The measurement at one age.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Age {
    pub(crate) tokens: u64,
    /// Read in chunks of [`CHUNK`].
    pub(crate) us_per_token: f64,
    pub(crate) us_per_token_written: f64,
    /// How much longer than at the first age: the median of what it was in each turn.
    pub(crate) times_as_long: f64,
    pub(crate) times_as_long_written: f64,
    pub(crate) rss_bytes: u64,
    /// All tokens were read; otherwise the state was restored at this age.
    pub(crate) read: bool,
}

/// Measures the time for the next tokens, and memory, at every age up to `count`. Ages that would take too long to read are reached
/// by restoring a state there, as after a restart; it differs from a state that has read only in its values, not in its work.
///
/// # Errors
/// The model cannot read or restore, or standard output not be written.
pub(crate) fn measure(model: &Model, tokens: &Tokens, count: u64) -> anyhow::Result<Vec<Age>> {
    let mut ages: Vec<u64> = AGES.into_iter().filter(|age| *age < count).collect();
    ages.push(count);
    let full = model.config().attention_window_size as u64 + 1;
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
    let mut states: Vec<Vec<StateTensor>> = Vec::new();
    for age in ages {
        let seconds = |last: &Age| 1e-6 * last.us_per_token * (age - last.tokens) as f64;
        let read = age <= full || seen.last().is_none_or(|last| last.read && seconds(last) <= READ_SECONDS);
        if read {
            read_to(&mut state, age)?;
        } else {
            read_to(&mut state, full)?;
            state = model.restore(age, &state.tensors())?;
        }
        // Only decides whether the next age can be read in time; the figures are measured below.
        let us_per_token = us(next(model, tokens, &state).read_s, CHUNK);
        let kept: usize = states.iter().flatten().map(|leaf| leaf.bytes.len()).sum();
        let rss_bytes = resident_bytes().saturating_sub(kept as u64);
        states.push(state.tensors());
        seen.push(Age { tokens: age, us_per_token, rss_bytes, read, ..Age::default() });
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
    writeln!(
        stdout(),
        "{:>12} {:>16} {:>8} {:>16} {:>8} {:>12}",
        "tokens read",
        "µs a token read",
        "",
        "a token written",
        "",
        "memory, MB"
    )?;
    for (age, of_age) in seen.iter_mut().zip(&turns) {
        let median = |seconds: fn(&Turn) -> f64| median(of_age.iter().map(seconds).collect());
        age.us_per_token = us(median(|turn| turn.read_s), CHUNK);
        age.us_per_token_written = us(median(|turn| turn.written_s), WRITTEN);
        age.times_as_long = times_as_long(of_age, &turns[0], |turn| turn.read_s);
        age.times_as_long_written = times_as_long(of_age, &turns[0], |turn| turn.written_s);
        age.show()?;
    }
    Ok(seen)
}

impl Age {
    fn show(&self) -> anyhow::Result<()> {
        let Self { tokens, us_per_token: read, us_per_token_written: written, .. } = self;
        let Self { times_as_long: read_times, times_as_long_written: written_times, .. } = self;
        let memory = self.rss_bytes as f64 / 1e6;
        let how = if self.read { "" } else { "  restored at this age, not read" };
        writeln!(
            stdout(),
            "{tokens:>12} {read:>16.1}   ×{read_times:.3} {written:>16.1}   ×{written_times:.3} {memory:>12.1}{how}"
        )?;
        Ok(())
    }
}

/// The median of the ratios within a turn.
fn times_as_long(turns: &[Turn], first: &[Turn], seconds: fn(&Turn) -> f64) -> f64 {
    median(turns.iter().zip(first).map(|(turn, first)| seconds(turn) / seconds(first)).collect())
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
