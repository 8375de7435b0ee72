//! `hearth search WORDS`: finds utterances in the stored transcript.
//!
//! Only reads the database, so a daemon that runs is not disturbed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::ensure;
use jiff::{Timestamp, ZonedDateTime};

use super::output::stdout;
use super::run::{existing_state_dir, read_config};
use crate::clock::human_time;
use crate::event::Utterance;
use crate::store::{Store, TranscriptQuery};

/// Arguments of `hearth search`.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Words that must all be in an utterance; case and accents do not matter
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    /// Only what was said after this time: "7d", "2h" (ago), "yesterday 18:00", "2026-03-01", or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was said before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what was said in this room
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,
    /// At most so many utterances, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// One line of JSON for each utterance
    #[arg(long)]
    json: bool,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints the utterances that match, oldest first.
///
/// # Errors
/// A time cannot be understood, no word was given, or there is no database that can be read.
pub(crate) fn run(args: SearchArgs) -> anyhow::Result<()> {
    let now = ZonedDateTime::now();
    let time = |text: &Option<String>| text.as_deref().map(|text| human_time::parse(text, &now)).transpose();
    let since = time(&args.since)?;
    let until = time(&args.until)?;
    let words = args.words.join(" ");
    ensure!(!words.trim().is_empty(), "there is no word to search for");
    let config = read_config(args.config.as_deref())?;
    let store = Store::open_read_only(&existing_state_dir(&config)?, (&config.store).into())?;
    let query = TranscriptQuery { words: &words, since, until, room: args.room.as_deref(), limit: args.limit };
    let mut found = store.search(&query)?;
    found.reverse();
    let mut out = stdout();
    for utterance in &found {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(utterance)?)?;
        } else {
            let local = |time: Timestamp| time.to_zoned_datetime(now.time_zone().clone()).strftime("%F %T");
            let Utterance { start, room, text, .. } = utterance;
            writeln!(out, "{}  {room}  {text}", local(*start))?;
        }
    }
    if found.is_empty() {
        eprintln!("nothing that is stored matches; [store] keep says how long text is kept");
    } else if found.len() == args.limit {
        eprintln!("these are the newest {}; --limit shows more", args.limit);
    }
    Ok(())
}
