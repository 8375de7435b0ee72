//! `hearth models list`: the models in the directories where models are looked for.

use crate::cli::output::stdout;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::DecimalBytes;

use super::{ModelKind, table, watcher};
use crate::asr;
use crate::cli::sentence;
use crate::models;

/// Where a package puts the config.
const SYSTEM: &str = "/etc/hearth";

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// A directory of models; by default every place that names are looked for in
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Lists models: name, kind, size, form, and whether they are what `SHA256SUMS` says.
///
/// # Errors
/// When the directory that was named cannot be read.
pub(crate) fn run(args: ListArgs) -> anyhow::Result<()> {
    let named = args.dir.is_some();
    let places = args.dir.map_or_else(|| models::places_of(Path::new(SYSTEM)), |dir| vec![dir]);
    for place in &places {
        let rows = rows(place).with_context(|| format!("cannot list {}", place.display()));
        match rows {
            Ok(rows) if rows.len() == 1 => {}
            Ok(rows) => write!(stdout(), "{}\n{}", place.display(), table(&rows))?,
            Err(error) if named => return Err(error),
            Err(error) => eprintln!("hearth: {}", sentence(&error)),
        }
    }
    Ok(())
}

/// A line for each model in a directory, below a line of titles.
fn rows(place: &Path) -> anyhow::Result<Vec<[String; 5]>> {
    let entries = std::fs::read_dir(place)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut rows = vec![["name", "kind", "size", "form", "hash"].map(String::from)];
    for path in paths {
        // Files that are no model are skipped.
        let Ok(kind) = ModelKind::of(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (size, form) = contents(&path, kind).unwrap_or_else(|error| ("".into(), sentence(&error)));
        rows.push([name, kind.name().into(), size, form, hash(&path)]);
    }
    Ok(rows)
}

fn contents(path: &Path, kind: ModelKind) -> anyhow::Result<(String, String)> {
    if kind == ModelKind::Whisper {
        asr::check_model_file(path)?;
        return Ok((DecimalBytes(path.metadata()?.len()).to_string(), "ggml".into()));
    }
    if kind == ModelKind::Watcher {
        return Ok((DecimalBytes(path.metadata()?.len()).to_string(), watcher::forms(path)?));
    }
    let summary = griffin::summary(path)?;
    let forms = summary.groups.iter().filter(|(group, _)| group.is_some()).flat_map(|(_, content)| &content.formats);
    let mut forms: Vec<_> = forms.map(String::as_str).collect();
    forms.sort_unstable();
    forms.dedup();
    Ok((DecimalBytes(summary.bytes).to_string(), forms.join(", ")))
}

fn hash(path: &Path) -> String {
    match models::is_listed(path).and_then(|listed| models::verify(path).map(|()| listed)) {
        Ok(true) => "ok".into(),
        Ok(false) => "not listed".into(),
        Err(models::ModelError::Mismatch { path, .. }) => {
            format!("{} is damaged", path.file_name().unwrap_or_default().display())
        }
        Err(error) => sentence(&error.into()),
    }
}
