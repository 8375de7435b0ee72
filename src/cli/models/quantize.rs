//! `hearth models quantize`: converts a checkpoint in Hugging Face layout into one GGUF file. The table goes to standard output,
//! everything else to standard error.

use crate::cli::output::stdout;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use indicatif::{DecimalBytes, HumanCount};

use super::table;
use crate::cli::{generate, progress};
use crate::listener::prompt::Prompt;
use crate::models;
use griffin::Quantization;
use griffin::{self, Model, Options, Perplexity, QuantizeReport, QuantizeStats, Tokenizer, perplexity, quantize};

/// Up to so many parameters, the perplexity of the checkpoint itself is measured too; in f32 it takes four bytes each.
const COMPARED: u64 = 500_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct QuantizeArgs {
    /// A model's name, or a directory in Hugging Face layout
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,
    /// f32; q8_0; or q4_k, with gates, keys and values in q8_0. Rows that do not divide into blocks take the next finer form
    #[arg(long = "type", value_name = "TYPE", default_value = "q4_k", value_parser = form)]
    form: Quantization,
    /// Tell how well the quantized model predicts this text; of a small model, how well the checkpoint does, too
    #[arg(long, value_name = "FILE.txt")]
    perplexity: Option<PathBuf>,
    /// Replace OUT.gguf if it exists
    #[arg(long)]
    force: bool,
}

fn form(text: &str) -> Result<Quantization, String> {
    match text {
        "f32" => Ok(Quantization::F32),
        "q8_0" => Ok(Quantization::Q8_0),
        "q4_k" => Ok(Quantization::Q4K),
        _ => Err("expected f32, q8_0 or q4_k".into()),
    }
}

/// Writes the file and prints sizes and errors.
///
/// # Errors
/// The checkpoint is not complete, the file cannot be written, or the text not be read. An existing file is then unchanged.
pub(crate) fn run(args: QuantizeArgs) -> anyhow::Result<()> {
    let dir = models::find(&args.dir, Path::new(""))?;
    ensure!(dir.is_dir(), "{} is no directory in Hugging Face layout; quantizing begins with one", dir.display());
    // Errors of these files are better reported now than after minutes of packing.
    Prompt::load(&dir)?;
    let has_tokenizer = dir.join("tokenizer.json").exists();
    let tokenizer = has_tokenizer.then(|| Tokenizer::load(&dir)).transpose()?;
    let text = args.perplexity.as_deref().map(|path| text(path).map(|text| (path, text))).transpose()?;
    ensure!(text.is_none() || tokenizer.is_some(), "{} has no tokenizer.json, and perplexity needs one", dir.display());

    let started = Instant::now();
    let made =
        progress::show("quantizing", "parameters", |tell| quantize(&dir, &args.out, args.form, args.force, tell));
    let made = made.map_err(|error| match error {
        griffin::Error::Exists { path } => {
            anyhow!("{} exists already; choose another name, or use --force to replace it", path.display())
        }
        error => error.into(),
    });
    let report = made.with_context(|| format!("{} was not quantized", dir.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    write!(stdout(), "{}", show(&report))?;
    writeln!(stdout(), "{}: {} in {seconds:.1} s", args.out.display(), DecimalBytes(report.bytes))?;

    if let (Some((path, text)), Some(tokenizer)) = (text, tokenizer) {
        let options = Options::default();
        let quantized = measure(&args.out, &options, &tokenizer, &text)?;
        let (tokens, value) = (HumanCount(quantized.tokens as u64), quantized.value);
        write!(stdout(), "perplexity on {} ({tokens} tokens): {value:.4}", path.display())?;
        if griffin::Config::load(&dir)?.parameters() <= COMPARED {
            let options = Options { weights: Quantization::F32, ..options };
            write!(stdout(), ", of the checkpoint in f32 {:.4}", measure(&dir, &options, &tokenizer, &text)?.value)?;
        }
        writeln!(stdout())?;
    }
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("{} cannot be read as text in UTF-8", path.display()))?;
    ensure!(!text.trim().is_empty(), "{} holds no text to predict", path.display());
    Ok(text)
}

fn measure(model: &Path, options: &Options, tokenizer: &Tokenizer, text: &str) -> anyhow::Result<Perplexity> {
    let model: Model = generate::load(model, options)?;
    Ok(progress::show("predicting", "tokens", |tell| perplexity(&model, tokenizer, text, tell))?)
}

/// Size and error of each group.
fn show(report: &QuantizeReport) -> String {
    let mut rows = vec![["weights", "parameters", "bytes", "bits a weight", "relative error"].map(String::from)];
    let row = |name: &str, share: &QuantizeStats| {
        let error = match share.relative_error() {
            0.0 => "0".into(),
            error => format!("{:.3} %", 100.0 * error),
        };
        let bits = format!("{:.2}", share.bits_per_weight());
        [name.into(), HumanCount(share.parameters).to_string(), DecimalBytes(share.bytes).to_string(), bits, error]
    };
    rows.extend(report.groups.iter().map(|(group, share)| row(group.name(), share)));
    rows.push(row("small", &report.small));
    rows.push(row("all", &report.total()));
    table(&rows)
}
