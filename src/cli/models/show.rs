//! `hearth models show`: prints a model's metadata, shape and sizes.

use crate::cli::output::stdout;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::bail;
use indicatif::{DecimalBytes, HumanCount};

use super::{ModelKind, table, watcher};
use crate::models;
use griffin::{self, GroupSummary, ModelSummary, TensorGroup};

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// A model's name or path
    #[arg(value_name = "MODEL")]
    model: PathBuf,
}

/// Prints a model's keys, shape and sizes.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn run(args: ShowArgs) -> anyhow::Result<()> {
    let path = models::resolve(&args.model, Path::new(""))?;
    let kind = ModelKind::of(&path)?;
    if kind == ModelKind::Whisper {
        bail!(
            "{} is a {}; `hearth models verify` checks it, and there is no more to show",
            path.display(),
            kind.name()
        );
    }
    if kind == ModelKind::Watcher {
        let size = DecimalBytes(path.metadata()?.len());
        write!(stdout(), "{}: {}, {size}\n{}", path.display(), kind.name(), watcher::describe(&path)?)?;
        return Ok(());
    }
    let summary = griffin::summary(&path)?;
    writeln!(stdout(), "{}: {}, {}", path.display(), kind.name(), DecimalBytes(summary.bytes))?;
    write!(stdout(), "{}", describe(&summary))?;
    Ok(())
}

fn describe(summary: &ModelSummary) -> String {
    let config = &summary.config;
    let attention = config.block_types.iter().filter(|layer| **layer == griffin::BlockType::Attention).count();
    let mut text = format!(
        "{} parameters; {} layers, {attention} of them attention; width {}, {} heads, window {}, vocabulary {}\n\n",
        HumanCount(config.parameters()),
        config.block_types.len(),
        config.hidden_size,
        config.num_attention_heads,
        config.attention_window_size,
        config.vocab_size
    );
    let mut rows = vec![["weights", "parameters", "bytes", "form"].map(String::from)];
    let row = |(group, content): (&Option<TensorGroup>, &GroupSummary)| {
        let forms = content.formats.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (parameters, bytes) = (HumanCount(content.parameters).to_string(), DecimalBytes(content.bytes).to_string());
        [group.map_or("small", TensorGroup::name).into(), parameters, bytes, forms]
    };
    rows.extend(summary.groups.iter().map(row));
    text += &table(&rows);
    if !summary.metadata.is_empty() {
        text += "\n";
        text += &table(&summary.metadata.iter().map(|(key, value)| [key.clone(), value.clone()]).collect::<Vec<_>>());
    }
    text
}
