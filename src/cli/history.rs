//! `hearth history`: what was said and what came of it, in the order of time.
//!
//! Only reads the database, so a daemon that runs is not disturbed.

use std::io::Write;

use super::output::stdout;
use super::range::RangeArgs;
use super::terminal::{BOLD_RED, CYAN, DIM, YELLOW, colored, colors, hint, local};
use crate::event::{Alert, AlertPhase, Gap, GapReason, Utterance, in_room, said_by};
use crate::store::HistoryEntry;

/// Arguments of `hearth history`.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// At most so many entries, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// One line of JSON for each entry, and for each phase of an alert
    #[arg(long)]
    json: bool,
}

/// Prints utterances, gaps, summaries and alerts, oldest first.
///
/// # Errors
/// A time cannot be understood, or there is no database that can be read.
pub(crate) fn run(args: HistoryArgs) -> anyhow::Result<()> {
    let opened = args.range.open()?;
    let found = opened.store.history(&opened.range(&args.range), args.limit)?;
    let mut out = stdout();
    let colors = colors();
    for entry in &found {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(entry)?)?;
        } else if let Some(line) = line(entry, colors) {
            writeln!(out, "{line}")?;
        }
    }
    if found.is_empty() {
        hint(&opened.nothing());
    } else if found.len() == args.limit {
        hint(&format!("these are the newest {}; --limit shows more", args.limit));
    }
    Ok(())
}

/// An entry as a line. None for the update of an alert, which repeats its beginning.
fn line(entry: &HistoryEntry, colors: bool) -> Option<String> {
    let (color, label, text) = match entry {
        HistoryEntry::Utterance(Utterance { start, room, text, speaker, .. }) => {
            let text = said_by(speaker.as_ref(), text);
            return Some(format!("{}  {text}", colored(colors, DIM, &format!("{}  {room}", local(*start)))));
        }
        HistoryEntry::Gap(gap) => (YELLOW, "gap", not_heard(gap)),
        HistoryEntry::Digest(digest) => (CYAN, "summary", digest.line()),
        HistoryEntry::Alert(alert) => match alert.phase {
            AlertPhase::New => (BOLD_RED, "ALERT", new_alert(alert)),
            AlertPhase::Update => return None,
            AlertPhase::End => (DIM, "over", in_room(alert.room.as_deref(), &alert.rule)),
        },
    };
    let time = colored(colors, DIM, &local(entry.time()));
    Some(format!("{time}  {}", colored(colors, color, &format!("{label:7}  {text}"))))
}

/// The rule of an alert, its probability, and the words that raised it.
pub(super) fn new_alert(alert: &Alert) -> String {
    let percent = alert.probability.map_or_else(String::new, |p| format!(" {:.0} %", p * 100.0));
    let quotes: Vec<_> = alert.evidence.iter().map(|quote| quote.text.as_str()).collect();
    let quoted = if quotes.is_empty() { String::new() } else { format!("  “{}”", quotes.join(" … ")) };
    in_room(alert.room.as_deref(), &format!("{}{percent}{quoted}", alert.rule))
}

/// What a gap was, and until when.
pub(super) fn not_heard(gap: &Gap) -> String {
    let Gap { room, to, reason, .. } = gap;
    let why = match reason {
        GapReason::Muted => "muted",
        GapReason::DeviceLost => "the microphone was gone",
        GapReason::Overload => "the machine was too slow",
        GapReason::Restart => "hearth did not run",
        GapReason::StoreRefused => "the disk took nothing",
    };
    in_room(
        Some(room).filter(|room| !room.is_empty()).map(String::as_str),
        &format!("not heard until {}: {why}", local(*to)),
    )
}
