//! `hearth bench model`: how fast a model reads and writes, beside the limits of the machine measured in turns with it.

use crate::cli::output::stdout;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::long::{self, Age};
use super::machine::{Machine, PASSES, SECONDS, Speed, median, seconds_of};
use super::plot;
use super::tokens::Tokens;
use crate::cli::generate;
use crate::listener::snapshot;
use crate::listener::surprise::measured_every;
use crate::models;
use crate::process::resident_bytes;
use griffin::Quantization;
use griffin::kernels::{Kernel, Roofline, WeightFormat};
use griffin::{self, CHUNK, Config, Logits, Model, Options, State, TokenCost};

/// Chunk sizes that are measured.
const CHUNKS: [usize; 4] = [1, 8, 16, 64];

const QUESTIONS: usize = 8;
const QUESTION_TOKENS: usize = 24;
/// Tokens of an utterance.
const UTTERANCE: usize = 16;

/// Measure a model.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchModelArgs {
    /// Random weights of a published shape, 2b or 9b, or the bundled nano
    #[arg(long, default_value = "nano", conflicts_with = "model", value_parser = ["2b", "9b", "nano"])]
    shape: String,
    /// A GGUF file or a directory in Hugging Face layout
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Keep the random weights in this GGUF file and map it from there, as a real model is; an existing file is taken as it is
    #[arg(long, value_name = "FILE.gguf", conflicts_with = "model")]
    file: Option<PathBuf>,
    /// The form of the weights: auto, f32, q8_0, q4_k
    #[arg(long = "type", default_value = "auto", value_parser = generate::weights)]
    weights: Quantization,
    /// Threads; 0: one per core, and one for a small model
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Instructions to compute with: portable, avx2, avx-vnni, avx512, neon, neon-dot; by default the best there are
    #[arg(long)]
    kernel: Option<Kernel>,
    /// Look at time and memory on the way to N tokens; what would take over five minutes to read is not read, but the state,
    /// its window full, is restored at that age
    #[arg(long, value_name = "N", default_value_t = 0)]
    long: u64,
    /// Draw time per token over the stream's age
    #[arg(long, value_name = "FILE.svg", requires = "long")]
    plot: Option<PathBuf>,
    /// The result as JSON on the last line
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct ModelBenchReport {
    kernel: String,
    threads: usize,
    read_gb_s: f64,
    peak_gop_s: f64,
    best_read_gb_s: f64,
    best_gop_s: f64,
    ingest_tok_s: BTreeMap<String, f64>,
    ingest_limit_tok_s: f64,
    ingest_share: f64,
    generate_tok_s: f64,
    generate_limit_tok_s: f64,
    generate_share: f64,
    ingest_bytes_per_token: u64,
    ingest_gop_per_token: f64,
    generate_bytes_per_token: u64,
    generate_gop_per_token: f64,
    fork_ms: f64,
    snapshot_ms: f64,
    restore_ms: f64,
    questions_ms: f64,
    /// The same with the last layer computed for every token, and with only the words for yes and no predicted.
    questions_whole_ms: f64,
    questions_words_ms: f64,
    /// By how much reading an utterance takes longer when its surprise is measured, as a share; and by the count of operations.
    surprise_cost: f64,
    computed_surprise_cost: f64,
    /// One utterance in so many is measured.
    surprise_every: u64,
    rss_bytes: u64,
    load_s: f64,
    long: Vec<Age>,
}

/// # Errors
/// When the model cannot be loaded or a file not be written.
pub(crate) fn run(args: BenchModelArgs) -> anyhow::Result<()> {
    let options = Options { weights: args.weights, threads: args.threads, kernel: args.kernel, ..Options::default() };
    let (model, load_s) = open(&args, &options)?;
    let (kernel, threads) = (model.kernel(), model.threads());
    writeln!(stdout(), "{} on {threads} thread{}", kernel.name(), if threads == 1 { "" } else { "s" })?;

    let cost = model.cost();
    let mut state = model.state();
    let tokens = Tokens::new(&model);
    let machine = Machine::new(kernel, threads)?;
    let ingest = CHUNKS.map(|size| (size, ingest(&machine, &model, &tokens, size)));
    let written = write(&machine, &model, &tokens, &mut state)?;
    // Its buffer must not count as the model's memory.
    drop(machine);
    let [.., (_, read)] = &ingest;
    let best = Roofline::highest(&[read.best(), written.best()]);
    model.ingest(&tokens.take(state.tokens_read(), model.config().attention_window_size.min(2 * CHUNK)), &mut state)?;
    let (snapshot_ms, restore_ms) = snapshots(&model, &state)?;
    let mut report = ModelBenchReport {
        kernel: kernel.name().into(),
        threads,
        read_gb_s: written.roofs().read_gb_s,
        peak_gop_s: read.roofs().gop_s(cost.main_format()),
        best_read_gb_s: best.read_gb_s,
        best_gop_s: best.gop_s(cost.main_format()),
        ingest_tok_s: ingest.iter().map(|(size, speed)| (size.to_string(), *size as f64 / speed.seconds)).collect(),
        ingest_limit_tok_s: limit(&read.roofs(), &cost.ingest, CHUNK),
        ingest_share: read.share(|roofs| CHUNK as f64 / limit(roofs, &cost.ingest, CHUNK)),
        generate_tok_s: 1.0 / written.seconds,
        generate_limit_tok_s: limit(&written.roofs(), &cost.generate, 1),
        generate_share: written.share(|roofs| 1.0 / limit(roofs, &cost.generate, 1)),
        ingest_bytes_per_token: cost.ingest.bytes,
        ingest_gop_per_token: cost.ingest.operations() as f64 / 1e9,
        generate_bytes_per_token: cost.generate.bytes,
        generate_gop_per_token: cost.generate.operations() as f64 / 1e9,
        fork_ms: median_ms(|| drop(std::hint::black_box(state.fork()))),
        snapshot_ms,
        restore_ms,
        questions_ms: questions(&tokens, &state, |streams| model.read_all(streams).map(drop)),
        questions_whole_ms: questions(&tokens, &state, |streams| model.read_all_rows(streams).map(drop)),
        questions_words_ms: questions(&tokens, &state, |streams| model.read_all_for(streams, &[1, 2]).map(drop)),
        surprise_cost: surprise_cost(&model, &tokens, &state),
        computed_surprise_cost: model.surprise_cost(),
        surprise_every: measured_every(model.surprise_cost()),
        rss_bytes: resident_bytes(),
        load_s,
        long: Vec::new(),
    };
    report.show(&cost)?;
    if args.long > 0 {
        report.long = long::measure(&model, &tokens, args.long)?;
        if let Some(path) = &args.plot {
            let points: Vec<_> = report.long.iter().map(|age| (age.tokens as f64, age.us_per_token)).collect();
            plot::line(path, "Time per token over the stream's age", ["tokens read", "µs per token"], &points)?;
            writeln!(stdout(), "drawn: {}", path.display())?;
        }
    }
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// Loads the model; also returns the seconds until it had read its first token.
fn open(args: &BenchModelArgs, options: &Options) -> anyhow::Result<(Model, f64)> {
    let path = match (&args.model, &args.file, args.shape.as_str()) {
        (Some(path), ..) => models::find(path, Path::new(""))?,
        (None, None, "nano") => models::find(Path::new("recurrentgemma-nano"), Path::new(""))?,
        (None, Some(file), shape) => {
            if !file.exists() {
                ensure!(shape != "nano", "nano has weights of its own; leave --file out");
                writeln!(stdout(), "writing random weights to {}", file.display())?;
                griffin::write_random(&shape_of(shape)?, options.weights, 0, file, false, &mut |_, _| ())?;
            }
            file.clone()
        }
        (None, None, shape) => {
            let started = Instant::now();
            let model = Model::random(shape_of(shape)?, options, 0)?;
            model.ingest(&[2], &mut model.state())?;
            return Ok((model, started.elapsed().as_secs_f64()));
        }
    };
    let started = Instant::now();
    let model = generate::load(&path, options).with_context(|| format!("cannot load {}", path.display()))?;
    model.ingest(&[2], &mut model.state())?;
    Ok((model, started.elapsed().as_secs_f64()))
}

fn shape_of(name: &str) -> anyhow::Result<Config> {
    Config::preset(name).with_context(|| format!("there is no shape {name}"))
}

/// The upper limit of tokens a second: the weights are read once for `chunk` tokens, and every product is computed.
fn limit(roofs: &Roofline, work: &griffin::Work, chunk: usize) -> f64 {
    let read = work.bytes as f64 / chunk as f64 / (roofs.read_gb_s * 1e9);
    let made: f64 = work.formats.iter().map(|(form, operations)| *operations as f64 / (roofs.gop_s(*form) * 1e9)).sum();
    1.0 / read.max(made)
}

/// Speed of reading `size` tokens at a time.
fn ingest(machine: &Machine, model: &Model, tokens: &Tokens, size: usize) -> Speed {
    let mut state = model.state();
    machine.measure(|| {
        let chunk = tokens.take(state.tokens_read(), size);
        model.ingest(&chunk, &mut state).expect("the tokens are the model's, and so is the state");
    })
}

/// Speed of writing tokens, each chosen from the predictions after the one before.
fn write(machine: &Machine, model: &Model, tokens: &Tokens, state: &mut State) -> anyhow::Result<Speed> {
    let mut logits: Logits = model.read(&tokens.take(0, CHUNK), state)?;
    Ok(machine.measure(|| {
        let token = logits.argmax();
        model.step_into(token, state, &mut logits).expect("the token is the model's, and so is the state");
    }))
}

/// Milliseconds until [`QUESTIONS`] questions, asked of forks of one state, have a probability each.
fn questions(
    tokens: &Tokens,
    state: &State,
    read: impl Fn(&mut [(&mut State, &[u32])]) -> Result<(), griffin::Error>,
) -> f64 {
    let asked: Vec<_> = (0..QUESTIONS).map(|i| tokens.take(1_000 * i as u64, QUESTION_TOKENS)).collect();
    let mut ask = || {
        let mut forks: Vec<_> = asked.iter().map(|_| state.fork()).collect();
        let mut streams: Vec<_> = forks.iter_mut().zip(asked.iter().map(Vec::as_slice)).collect();
        read(&mut streams).expect("the tokens are the model's, and so are the states");
    };
    1e3 * median_s(&mut ask)
}

/// By how much longer a state reads an utterance when the surprise of it is measured, as a share: the median of pairs in turns.
fn surprise_cost(model: &Model, tokens: &Tokens, state: &State) -> f64 {
    let said = tokens.take(0, UTTERANCE);
    let shares = (0..2 * PASSES).map(|_| {
        let plain = seconds_of(|| model.ingest(&said, &mut state.fork()).expect("the tokens are the model's"));
        let measured = seconds_of(|| {
            model.surprise(&said, None, &mut state.fork()).expect("the tokens are the model's");
        });
        measured / plain - 1.0
    });
    median(shares.collect())
}

/// Milliseconds to save a state, synced, and to load it.
fn snapshots(model: &Model, state: &State) -> anyhow::Result<(f64, f64)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("state.snapshot");
    let mark = snapshot::ReadPosition { read: 0, time: jiff::Timestamp::UNIX_EPOCH };
    let save = median_ms(|| {
        snapshot::save(&path, state, model.fingerprint(), &mark).expect("a temporary file can be written");
    });
    let load = median_ms(|| drop(snapshot::load(&path, model).expect("it was just written")));
    Ok((save, load))
}

/// The median of how long something takes, in seconds.
fn median_s(mut what: impl FnMut()) -> f64 {
    what();
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < PASSES || started.elapsed().as_secs_f64() < SECONDS && times.len() < 10_000 {
        times.push(seconds_of(&mut what));
    }
    median(times)
}

fn median_ms(what: impl FnMut()) -> f64 {
    1e3 * median_s(what)
}

impl ModelBenchReport {
    fn show(&self, cost: &TokenCost) -> anyhow::Result<()> {
        let form = |format: WeightFormat| format!("{format:?}");
        writeln!(
            stdout(),
            "this machine keeps reading {:.1} GB/s and making {:.0} Gop/s ({}); its best moments were {:.1} and {:.0}",
            self.read_gb_s,
            self.peak_gop_s,
            form(cost.main_format()),
            self.best_read_gb_s,
            self.best_gop_s,
        )?;
        writeln!(
            stdout(),
            "a token read:    {:.2} GB, {:.2} Gop; at most {:.1} a second in chunks of {CHUNK}",
            self.ingest_bytes_per_token as f64 / 1e9,
            self.ingest_gop_per_token,
            self.ingest_limit_tok_s
        )?;
        writeln!(
            stdout(),
            "a token written: {:.2} GB, {:.2} Gop; at most {:.1} a second\n",
            self.generate_bytes_per_token as f64 / 1e9,
            self.generate_gop_per_token,
            self.generate_limit_tok_s
        )?;
        for size in CHUNKS {
            let speed = self.ingest_tok_s[&size.to_string()];
            let share = if size == CHUNK { share(self.ingest_share) } else { String::new() };
            writeln!(stdout(), "reads {size:>3} at a time  {speed:>9.1} tokens a second{share}")?;
        }
        let share = share(self.generate_share);
        writeln!(stdout(), "writes              {:>9.1} tokens a second{share}\n", self.generate_tok_s)?;
        writeln!(stdout(), "fork                {:>9.2} ms", self.fork_ms)?;
        writeln!(stdout(), "snapshot, synced    {:>9.2} ms", self.snapshot_ms)?;
        writeln!(stdout(), "restore             {:>9.2} ms", self.restore_ms)?;
        writeln!(stdout(), "{QUESTIONS} questions of {QUESTION_TOKENS} {:>9.1} ms", self.questions_ms)?;
        writeln!(
            stdout(),
            "… every layer whole {:>9.1} ms, only yes and no {:.1} ms",
            self.questions_whole_ms,
            self.questions_words_ms
        )?;
        writeln!(
            stdout(),
            "surprise            {:>+9.1} % of reading {UTTERANCE} tokens (computed {:+.1} %); measured of one utterance in {}",
            100.0 * self.surprise_cost,
            100.0 * self.computed_surprise_cost,
            self.surprise_every
        )?;
        writeln!(stdout(), "memory              {:>9.1} MB", self.rss_bytes as f64 / 1e6)?;
        writeln!(stdout(), "load to first token {:>9.2} s\n", self.load_s)?;
        Ok(())
    }
}

fn share(share: f64) -> String {
    format!(", {:.0} % of the limit meanwhile", 100.0 * share)
}
