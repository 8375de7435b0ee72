//! How utterances are written, one after the other.

use std::collections::VecDeque;
use std::io::Write;

use anyhow::Context;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde_json::json;

use super::ExportFormat;
use crate::cli::history::{new_alert, not_heard};
use crate::cli::subtitles::{SubtitleForm, SubtitleWriter};
use crate::cli::terminal::{local, local_rfc3339};
use crate::event::{AlertPhase, Utterance, said_by};
use crate::store::{HistoryEntry, HistoryRange, Store};

/// A file that is being written.
pub(super) enum ExportWriter {
    Text(Box<dyn Write>),
    Document(DocumentWriter),
    Subtitles {
        writer: SubtitleWriter<Box<dyn Write>>,
        begins: Timestamp,
        rooms: bool,
    },
    /// With a column of speakers if any is known.
    Table {
        table: Box<csv::Writer<Box<dyn Write>>>,
        speakers: bool,
    },
    Lines(Box<dyn Write>),
}

impl ExportWriter {
    /// # Errors
    /// The database cannot be read, or the output cannot be written.
    pub(super) fn new(
        mut out: Box<dyn Write>,
        format: ExportFormat,
        store: &Store,
        range: &HistoryRange<'_>,
    ) -> anyhow::Result<Self> {
        Ok(match format {
            ExportFormat::Txt => Self::Text(out),
            ExportFormat::Md => {
                writeln!(out, "# What was said")?;
                Self::Document(DocumentWriter::new(out, store, range)?)
            }
            ExportFormat::Srt => Self::subtitles(out, SubtitleForm::Srt, store, range)?,
            ExportFormat::Vtt => Self::subtitles(out, SubtitleForm::Vtt, store, range)?,
            ExportFormat::Csv => {
                let mut table = csv::Writer::from_writer(out);
                let speakers = store.any_speaker_in(range)?;
                let columns = ["start", "end", "room", "text", "confidence", "id"];
                table.write_record(columns.into_iter().chain(speakers.then_some("speaker")))?;
                Self::Table { table: Box::new(table), speakers }
            }
            ExportFormat::Jsonl => Self::Lines(out),
        })
    }

    fn subtitles(
        out: Box<dyn Write>,
        form: SubtitleForm,
        store: &Store,
        range: &HistoryRange<'_>,
    ) -> anyhow::Result<Self> {
        let first = store.utterances_in(range, 0, 1)?.first().map(|(_, said)| said.start);
        let begins = range.since.or(first).unwrap_or(Timestamp::UNIX_EPOCH);
        let note = format!("00:00:00 is {}", local_rfc3339(begins));
        let writer = SubtitleWriter::new(out, form, Some(&note))?;
        Ok(Self::Subtitles { writer, begins, rooms: store.several_rooms_in(range)? })
    }

    pub(super) fn utterance(&mut self, said: &Utterance) -> anyhow::Result<()> {
        let Utterance { id, start, end, room, text, confidence, speaker, .. } = said;
        let by = said_by(speaker.as_ref(), text);
        let speaker = speaker.as_ref().map(|speaker| speaker.name.as_str());
        let confidence = (f64::from(*confidence) * 1e3).round() / 1e3;
        match self {
            Self::Text(out) => writeln!(out, "{}  {room}  {by}", local(*start))?,
            Self::Document(document) => document.utterance(said)?,
            Self::Subtitles { writer, begins, rooms } => {
                let seconds = |time: &Timestamp| time.duration_since(*begins).as_secs_f64();
                let who = match (speaker, *rooms) {
                    (Some(speaker), true) => Some(format!("{speaker} ({room})")),
                    (Some(speaker), false) => Some(speaker.into()),
                    (None, rooms) => rooms.then(|| room.clone()),
                };
                writer.cue(seconds(start), seconds(end), who.as_deref(), text)?;
            }
            Self::Table { table, speakers } => {
                let (start, end) = (local_rfc3339(*start), local_rfc3339(*end));
                let (confidence, id) = (confidence.to_string(), id.to_string());
                let columns = [&start, &end, room, text, &confidence, &id].into_iter().map(String::as_str);
                table.write_record(columns.chain(speakers.then(|| speaker.unwrap_or_default())))?;
            }
            Self::Lines(out) => {
                let (start, end) = (local_rfc3339(*start), local_rfc3339(*end));
                let mut line = json!({
                    "start": start, "end": end, "room": room, "text": text, "confidence": confidence, "id": id,
                });
                if let Some(speaker) = speaker {
                    line["speaker"] = speaker.into();
                }
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Text(mut out) | Self::Lines(mut out) => out.flush(),
            Self::Document(document) => return document.finish(),
            Self::Subtitles { mut writer, .. } => writer.flush(),
            Self::Table { mut table, .. } => table.flush(),
        }
        .context("the export could not be written to its end")
    }
}

/// Markdown, with a heading for each day.
pub(super) struct DocumentWriter {
    out: Box<dyn Write>,
    /// What is no utterance, in the order of time. It is little beside what was said.
    others: VecDeque<HistoryEntry>,
    day: Option<Date>,
}

impl DocumentWriter {
    fn new(out: Box<dyn Write>, store: &Store, range: &HistoryRange<'_>) -> anyhow::Result<Self> {
        let mut others: Vec<HistoryEntry> = Vec::new();
        others.extend(store.newest_gaps_in(range, usize::MAX)?.into_iter().map(HistoryEntry::Gap));
        others.extend(store.newest_digests_in(range, usize::MAX)?.into_iter().map(HistoryEntry::Digest));
        others.extend(store.newest_alerts_in(range, usize::MAX)?.into_iter().map(HistoryEntry::Alert));
        others.sort_by_key(HistoryEntry::time);
        Ok(Self { out, others: others.into(), day: None })
    }

    fn utterance(&mut self, said: &Utterance) -> anyhow::Result<()> {
        while self.others.front().is_some_and(|other| other.time() < said.start) {
            self.next_other()?;
        }
        let time = self.time(said.start)?;
        Ok(writeln!(
            self.out,
            "\n{time} **{}** {}",
            escaped(&said.room),
            escaped(&said_by(said.speaker.as_ref(), &said.text))
        )?)
    }

    fn next_other(&mut self) -> anyhow::Result<()> {
        let Some(other) = self.others.pop_front() else { return Ok(()) };
        let text = match &other {
            HistoryEntry::Alert(alert) if alert.phase == AlertPhase::New => format!("ALERT {}", new_alert(alert)),
            HistoryEntry::Digest(digest) => format!("Summary: {}", digest.line()),
            HistoryEntry::Gap(gap) => not_heard(gap),
            // The other phases of alerts, and utterances, which have a way of their own.
            HistoryEntry::Alert(_) | HistoryEntry::Utterance(_) => return Ok(()),
        };
        let time = self.time(other.time())?;
        Ok(writeln!(self.out, "\n> {time} {}", escaped(&text))?)
    }

    /// The local time of day, after the heading of its day if that is new.
    fn time(&mut self, time: Timestamp) -> std::io::Result<String> {
        let local: ZonedDateTime = time.to_zoned_datetime(TimeZone::system());
        if self.day != Some(local.date()) {
            self.day = Some(local.date());
            writeln!(self.out, "\n## {}", local.strftime("%A, %F"))?;
        }
        Ok(local.strftime("%T").to_string())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        while !self.others.is_empty() {
            self.next_other()?;
        }
        self.out.flush().context("the export could not be written to its end")
    }
}

/// A text in which Markdown finds no markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_shows_what_was_said_and_no_markup() {
        assert_eq!(escaped("a *b* <c> 5_6 \\d"), "a \\*b\\* \\<c\\> 5\\_6 \\\\d");
    }
}
