//! Subtitles: SubRip (.srt) and WebVTT (.vtt).

use std::io::{self, Write};

/// The two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubtitleForm {
    Srt,
    Vtt,
}

/// A file of subtitles that is being written.
pub(crate) struct SubtitleWriter<W> {
    out: W,
    form: SubtitleForm,
    cues: u64,
}

impl<W: Write> SubtitleWriter<W> {
    /// Begins a file. A note for people goes into WebVTT only; SubRip has none.
    ///
    /// # Errors
    /// It cannot be written; so for every function here.
    pub(crate) fn new(mut out: W, form: SubtitleForm, note: Option<&str>) -> io::Result<Self> {
        if form == SubtitleForm::Vtt {
            writeln!(out, "WEBVTT")?;
            if let Some(note) = note {
                writeln!(out, "\nNOTE {}", escaped(note))?;
            }
        }
        Ok(Self { out, form, cues: 0 })
    }

    /// Writes what was said from `start` to `end`, in seconds from the beginning, by the room it was said in if there are several.
    pub(crate) fn cue(&mut self, start: f64, end: f64, room: Option<&str>, text: &str) -> io::Result<()> {
        self.cues += 1;
        // A player may refuse a cue that ends with its beginning.
        let end = end.max(start + 0.001);
        match self.form {
            SubtitleForm::Srt => {
                let gap = if self.cues > 1 { "\n" } else { "" };
                let room = room.map(|room| format!("{room}: ")).unwrap_or_default();
                write!(self.out, "{gap}{}\n{} --> {}\n{room}{text}\n", self.cues, clock(start, ','), clock(end, ','))
            }
            SubtitleForm::Vtt => {
                let room = room.map(|room| format!("<v {}>", escaped(room))).unwrap_or_default();
                write!(self.out, "\n{} --> {}\n{room}{}\n", clock(start, '.'), clock(end, '.'), escaped(text))
            }
        }
    }

    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `hh:mm:ss.mmm`
fn clock(seconds: f64, point: char) -> String {
    let ms = (seconds.max(0.0) * 1e3).round() as u64;
    format!("{:02}:{:02}:{:02}{point}{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

/// WebVTT has markup; this also takes the arrow out of texts.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: SubtitleForm) -> String {
        let mut out = Vec::new();
        let mut subtitles = SubtitleWriter::new(&mut out, form, Some("it began at --> 18:00")).unwrap();
        subtitles.cue(0.5, 2.0, None, "Fish & chips").unwrap();
        subtitles.cue(3_725.041, 3_725.0, Some("hall"), "a <b> --> c").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn subrip_numbers_its_cues() {
        let expected =
            "1\n00:00:00,500 --> 00:00:02,000\nFish & chips\n\n2\n01:02:05,041 --> 01:02:05,042\nhall: a <b> --> c\n";
        assert_eq!(written(SubtitleForm::Srt), expected);
    }

    #[test]
    fn webvtt_begins_with_its_name_and_escapes_markup() {
        let expected = "WEBVTT\n\nNOTE it began at --&gt; 18:00\n\n00:00:00.500 --> 00:00:02.000\nFish &amp; chips\n\n\
                        01:02:05.041 --> 01:02:05.042\n<v hall>a &lt;b&gt; --&gt; c\n";
        assert_eq!(written(SubtitleForm::Vtt), expected);
    }
}
