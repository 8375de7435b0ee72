//! How a transcript is written.

use std::io::{self, Write};

use serde::Serialize;

use super::TranscriptFormat;
use crate::cli::subtitles::{SubtitleForm, SubtitleWriter};

/// One line of JSON. Times are seconds from the beginning of the recording.
#[derive(Serialize)]
struct OutputLine<'a> {
    file: &'a str,
    start: f64,
    end: f64,
    text: &'a str,
    confidence: f32,
}

/// The transcript of one recording, while it is written.
pub(super) enum TranscriptOutput<'a, W> {
    Text(W),
    Subtitles(SubtitleWriter<W>),
    Lines(W, &'a str),
}

impl<'a, W: Write> TranscriptOutput<'a, W> {
    /// # Errors
    /// The output cannot be written; so for every function here.
    pub(super) fn new(out: W, format: TranscriptFormat, name: &'a str) -> io::Result<Self> {
        Ok(match format {
            TranscriptFormat::Txt => Self::Text(out),
            TranscriptFormat::Srt => Self::Subtitles(SubtitleWriter::new(out, SubtitleForm::Srt, None)?),
            TranscriptFormat::Vtt => Self::Subtitles(SubtitleWriter::new(out, SubtitleForm::Vtt, None)?),
            TranscriptFormat::Json => Self::Lines(out, name),
        })
    }

    /// Writes what was said between two times, in seconds from the beginning of the recording.
    pub(super) fn utterance(&mut self, start: f64, end: f64, text: &str, confidence: f32) -> io::Result<()> {
        match self {
            Self::Text(out) => writeln!(out, "[{} – {}] {text}", minutes(start), minutes(end)),
            Self::Subtitles(subtitles) => subtitles.cue(start, end, None, text),
            Self::Lines(out, file) => {
                let line = OutputLine { file, start, end, text, confidence };
                writeln!(out, "{}", serde_json::to_string(&line)?)
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Text(out) | Self::Lines(out, _) => out.flush(),
            Self::Subtitles(subtitles) => subtitles.flush(),
        }
    }
}

/// `mm:ss.s`
fn minutes(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    format!("{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_minutes_and_seconds() {
        assert_eq!(minutes(0.04), "00:00.0");
        assert_eq!(minutes(59.96), "01:00.0");
        assert_eq!(minutes(3_725.5), "62:05.5");
    }
}
