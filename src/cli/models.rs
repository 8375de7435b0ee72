//! `hearth models`: fetches, quantizes, lists, shows and verifies models, one file for each subcommand.

pub(crate) mod fetch;
mod list;
mod quantize;
mod show;
mod verify;
mod watcher;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::bail;

#[derive(Debug, clap::Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ModelsCommand {
    /// Fetch a model from the Hugging Face hub; without a name, list what can be fetched
    Fetch(fetch::FetchArgs),
    /// Turn a checkpoint in Hugging Face layout into one GGUF file, packed as the kernels read it
    Quantize(quantize::QuantizeArgs),
    /// List the models that lie where they are looked for
    List(list::ListArgs),
    /// Tell what is in a model
    Show(show::ShowArgs),
    /// Check that a model is whole
    Verify(verify::VerifyArgs),
}

/// # Errors
/// Those of the subcommand.
pub(crate) fn run(args: ModelsArgs) -> anyhow::Result<()> {
    match args.command {
        ModelsCommand::Fetch(args) => fetch::run(args),
        ModelsCommand::Quantize(args) => quantize::run(args),
        ModelsCommand::List(args) => list::run(args),
        ModelsCommand::Show(args) => show::run(args),
        ModelsCommand::Verify(args) => verify::run(args),
    }
}

/// The kind of a model, recognized by its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ModelKind {
    /// A directory in Hugging Face layout.
    Checkpoint,
    Gguf,
    Whisper,
    /// The file that says which questions are worth asking ([`crate::watcher`]).
    Watcher,
}

impl ModelKind {
    fn of(path: &Path) -> anyhow::Result<Self> {
        if path.join("config.json").is_file() {
            return Ok(Self::Checkpoint);
        }
        let mut magic = [0; 4];
        let is_file = path.is_file() && File::open(path)?.read_exact(&mut magic).is_ok();
        match &magic {
            b"GGUF" if is_file => Ok(Self::Gguf),
            b"lmgg" if is_file => Ok(Self::Whisper),
            _ if path.extension().is_some_and(|extension| extension == "gguf") => Ok(Self::Gguf),
            _ if watcher::is_one(path) => Ok(Self::Watcher),
            _ => bail!(
                "{} is no model: neither a directory with a config.json, nor a GGUF file, a Whisper model or a watcher",
                path.display()
            ),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Gguf => "GGUF file",
            Self::Whisper => "Whisper model",
            Self::Watcher => "watcher",
        }
    }
}

/// Rows in columns that are as wide as their widest cell.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
