//! `hearth export`: the stored transcript as a text, a document, subtitles or a table.
//!
//! Only reads the database, a piece at a time, so a daemon that runs is not disturbed by a long export.

mod writers;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use self::writers::ExportWriter;
use super::output::stdout;
use super::range::RangeArgs;
use super::terminal::hint;

/// Utterances that are read at a time.
const PIECE: usize = 1_000;

/// Arguments of `hearth export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// How it is written; by default as the name of --output ends, else as text
    #[arg(long, value_enum)]
    format: Option<ExportFormat>,
    /// Write to this file, which only this user can read, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there already
    #[arg(long, requires = "output")]
    force: bool,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// A line for each utterance: time, room, text
    Txt,
    /// Markdown with a heading for each day, and with summaries, alerts and gaps
    Md,
    /// SubRip subtitles; they begin at --since, or with the first utterance
    Srt,
    /// WebVTT subtitles; they begin at --since, or with the first utterance
    Vtt,
    /// A table with a row for each utterance
    Csv,
    /// A line of JSON for each utterance
    Jsonl,
}

impl ExportFormat {
    fn of_name(path: &Path) -> Option<Self> {
        clap::ValueEnum::from_str(path.extension()?.to_str()?, true).ok()
    }
}

/// Writes the utterances of a stretch of time, oldest first.
///
/// # Errors
/// A time cannot be understood, there is no database that can be read, or the file is there already or cannot be written.
pub(crate) fn run(args: ExportArgs) -> anyhow::Result<()> {
    let format = match (args.format, &args.output) {
        (Some(format), _) => format,
        (None, None) => ExportFormat::Txt,
        (None, Some(path)) => ExportFormat::of_name(path).with_context(|| {
            format!("the name {} does not say how to write it: name a --format, or end it in .txt, .md, .srt, .vtt, .csv or .jsonl", path.display())
        })?,
    };
    let opened = args.range.open()?;
    let out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(create(path, args.force)?)),
        None => Box::new(stdout()),
    };
    let range = opened.range(&args.range);
    let mut writer = ExportWriter::new(out, format, &opened.store, &range)?;
    let (mut seq, mut written) = (0, 0_u64);
    loop {
        let piece = opened.store.utterances_in(&range, seq, PIECE)?;
        let Some((last, _)) = piece.last() else { break };
        seq = *last;
        written += piece.len() as u64;
        piece.iter().try_for_each(|(_, said)| writer.utterance(said))?;
    }
    writer.finish()?;
    match &args.output {
        _ if written == 0 => hint(&opened.nothing()),
        Some(path) => hint(&format!("{written} utterances are in {}", path.display())),
        None => {}
    }
    Ok(())
}

/// What people said is for nobody else on this machine.
fn create(path: &Path, force: bool) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} is there already: --force replaces it", path.display())
        }
        opened => opened.with_context(|| format!("{} cannot be written", path.display())),
    }
}
