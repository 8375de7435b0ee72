//! `hearth generate`: continues a text with a model. The text goes to standard output as it is generated, everything else to standard
//! error.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::output::stdout;
use super::progress;
use crate::models;
use griffin::Quantization;
use griffin::{Model, Options, Sampler, Sampling, Tokenizer};

/// Continue a text with a RecurrentGemma.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// A bundled model's name; a directory in Hugging Face layout: config.json, model.safetensors or shards, tokenizer.json; or a
    /// GGUF file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// What to continue; "-" reads it from standard input
    pub(crate) prompt: String,
    /// Stop after so many tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_tokens: usize,
    /// 0: always the likeliest token; 1: as the model predicts
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub(crate) temperature: f32,
    /// Draw from the K likeliest tokens only; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) top_k: usize,
    /// Draw from the likeliest tokens that reach this probability together
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = probability)]
    pub(crate) top_p: f32,
    /// The same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Wrap the prompt in Gemma's turns, as a question to an instruct model
    #[arg(long)]
    pub(crate) chat: bool,
    /// The form of the weights in memory: auto, f32, q8_0, q4_k
    #[arg(long, default_value = "auto", value_parser = weights)]
    pub(crate) weights: Quantization,
    /// Threads; 0: one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

fn temperature(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|value| (0.0..=100.0).contains(value));
    value.ok_or_else(|| "expected a number from 0 to 100".into())
}

fn probability(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "expected a number from 0 to 1".into())
}

/// The names that `[listener] weights` knows.
pub(crate) fn weights(text: &str) -> Result<Quantization, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected auto, f32, q8_0 or q4_k".into())
}

/// Loads the model, reads the prompt, writes what follows to standard output and how long it took to standard error.
///
/// # Errors
/// The model cannot be loaded, or the prompt not be read.
pub(crate) fn run(args: GenerateArgs) -> anyhow::Result<()> {
    if let Some(times) = write(&args, &mut stdout())? {
        eprintln!("{times}");
    }
    Ok(())
}

/// The same, to any `out`. Returns how long it took, or nothing when `out` was closed by its reader.
///
/// # Errors
/// As [`run`].
pub fn write(args: &GenerateArgs, out: &mut impl Write) -> anyhow::Result<Option<String>> {
    let dir = &models::find(&args.model, Path::new(""))?;
    let options = Options { weights: args.weights, threads: args.threads, ..Options::default() };
    let model = load(dir, &options).with_context(|| format!("cannot load the model {}", dir.display()))?;
    let tokenizer = Tokenizer::load(dir)?;
    let prompt = prompt(args, &tokenizer)?;

    let started = Instant::now();
    let mut state = model.state();
    let mut logits = model.read(&prompt, &mut state)?;
    let read = started.elapsed();

    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let mut sampler = Sampler::new(sampling);
    let mut decoder = tokenizer.decoder();
    let turns = tokenizer.special_tokens();
    let started = Instant::now();
    let mut written = 0;
    for left in (0..args.max_tokens).rev() {
        let token = sampler.choose(&logits);
        if token == turns.eos || token == turns.end_of_turn {
            break;
        }
        written += 1;
        if let Some(text) = decoder.push(token)?
            && !shown(out, &text)?
        {
            return Ok(None);
        }
        if left > 0 {
            model.step_into(token, &mut state, &mut logits)?;
        }
    }
    if !shown(out, "\n")? {
        return Ok(None);
    }
    Ok(Some(format!("{}; {}", rate("read", prompt.len(), read), rate("wrote", written, started.elapsed()))))
}

/// Writes and flushes a piece of text; false when the reader has closed it.
fn shown(out: &mut impl Write, text: &str) -> anyhow::Result<bool> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

fn rate(did: &str, tokens: usize, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!("{did} {tokens} tokens in {seconds:.2} s, {:.1} a second", tokens as f64 / seconds.max(1e-9))
}

/// The prompt's tokens, from `<bos>` on.
fn prompt(args: &GenerateArgs, tokenizer: &Tokenizer) -> anyhow::Result<Vec<u32>> {
    let mut text = args.prompt.clone();
    if text == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).context("cannot read the prompt from standard input")?;
    }
    ensure!(!args.chat || !text.trim().is_empty(), "the prompt is empty; say something to the model");
    let turns = tokenizer.special_tokens();
    let mut tokens = vec![turns.bos];
    if args.chat {
        tokens.push(turns.start_of_turn);
        tokens.extend(tokenizer.encode(&format!("user\n{}", text.trim()))?);
        tokens.push(turns.end_of_turn);
        tokens.extend(tokenizer.encode("\n")?);
        tokens.push(turns.start_of_turn);
        tokens.extend(tokenizer.encode("model\n")?);
    } else {
        tokens.extend(tokenizer.encode(&text)?);
    }
    Ok(tokens)
}

/// Loads a model and shows progress.
///
/// # Errors
/// The model cannot be loaded.
pub(crate) fn load(dir: &Path, options: &Options) -> anyhow::Result<Model> {
    Ok(progress::show("loading", "parameters", |tell| Model::load_with(dir, options, tell))?)
}
