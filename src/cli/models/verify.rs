//! `hearth models verify`: checks that a model is complete and intact.

use crate::cli::output::stdout;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::ModelKind;
use crate::asr;
use crate::cli::progress;
use crate::listener::prompt::Prompt;
use crate::models;
use crate::watcher::Watcher;
use griffin::{self, Tokenizer};

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A model's name or path
    #[arg(value_name = "MODEL")]
    model: PathBuf,
}

/// Checks the hashes of a model if a SHA256SUMS lists them, its structure, and every weight.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn run(args: VerifyArgs) -> anyhow::Result<()> {
    let path = models::resolve(&args.model, Path::new(""))?;
    models::verify(&path)?;
    let listed = models::is_listed(&path)?;
    let kind = ModelKind::of(&path)?;
    match kind {
        ModelKind::Whisper => asr::check_model_file(&path)?,
        ModelKind::Watcher => drop(Watcher::load(&path)?),
        ModelKind::Checkpoint | ModelKind::Gguf => {
            progress::show("verifying", "parameters", |tell| griffin::verify(&path, tell))?;
            Prompt::load(&path)?;
            if griffin::sidecar(&path, "tokenizer.json")?.is_some() {
                Tokenizer::load(&path)?;
            } else {
                writeln!(stdout(), "{} has no tokenizer: it can be measured, but not talked to", path.display())?;
            }
        }
    }
    let hash = if listed { "as SHA256SUMS lists it" } else { "not listed in a SHA256SUMS" };
    writeln!(stdout(), "{} is a whole {}, {hash}", path.display(), kind.name())?;
    Ok(())
}
