//! `hearth search WORDS`: finds utterances in the stored transcript.
//!
//! Only reads the database, so a daemon that runs is not disturbed.

use std::io::Write;

use anyhow::ensure;

use super::output::stdout;
use super::range::RangeArgs;
use super::terminal::{DIM, colored, colors, hint, local};
use crate::event::{Utterance, said_by};
use crate::store::TranscriptQuery;

/// Arguments of `hearth search`.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Words that must all be in an utterance; case and accents do not matter
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    range: RangeArgs,
    /// At most so many utterances, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// One line of JSON for each utterance
    #[arg(long)]
    json: bool,
}

/// Prints the utterances that match, oldest first.
///
/// # Errors
/// A time cannot be understood, no word was given, or there is no database that can be read.
pub(crate) fn run(args: SearchArgs) -> anyhow::Result<()> {
    let words = args.words.join(" ");
    ensure!(!words.trim().is_empty(), "there is no word to search for");
    let opened = args.range.open()?;
    let query = TranscriptQuery {
        words: &words,
        since: opened.since,
        until: opened.until,
        room: args.range.room.as_deref(),
        limit: args.limit,
    };
    let mut found = opened.store.search(&query)?;
    found.reverse();
    let mut out = stdout();
    let colors = colors();
    for utterance in &found {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(utterance)?)?;
        } else {
            let Utterance { start, room, text, speaker, .. } = utterance;
            let text = said_by(speaker.as_ref(), text);
            writeln!(out, "{}  {text}", colored(colors, DIM, &format!("{}  {room}", local(*start))))?;
        }
    }
    if found.is_empty() {
        hint(&opened.nothing());
    } else if found.len() == args.limit {
        hint(&format!("these are the newest {}; --limit shows more", args.limit));
    }
    Ok(())
}
