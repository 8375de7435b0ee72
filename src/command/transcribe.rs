//! `hearth transcribe`: files to text.

use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::sentence;
use crate::asr::whisper::Whisper;
use crate::audio::{self, Control};
use crate::config::{Asr, File, Pace, Source};
use crate::daemon::hearing::{Heard, Hearing};
use crate::event::{Audio, Utterance};
use crate::models;
use crate::vitals::Vitals;

/// Frames between decoding and hearing: a second of sound.
const QUEUE: usize = 64;

/// Turns recordings into text.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// WAV or FLAC files, any rate and number of channels.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// One JSON object a line: file, start and end in seconds, text, confidence.
    #[arg(long)]
    pub json: bool,
    /// A bundled model's name, or the path of a Whisper model in ggml form.
    #[arg(long, default_value_os_t = Asr::default().model)]
    pub model: PathBuf,
    /// ISO 639-1, or "auto".
    #[arg(long, default_value_t = Asr::default().language)]
    pub language: String,
    /// 0: as many as the machine has cores, at most 4.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a Path,
    start: f64,
    end: f64,
    text: &'a str,
    confidence: f32,
}

/// Runs the command. A file that fails is told of, and the others are done.
///
/// # Errors
/// The model cannot be loaded, or some of the files could not be transcribed.
pub fn run(args: Args) -> anyhow::Result<()> {
    let asr = Asr { model: args.model, language: args.language, threads: args.threads, ..Asr::default() };
    let path = models::find(&asr.model, Path::new(""))?;
    let mut hearing = Hearing::new(Whisper::load(&path, &asr)?, "file");
    let mut failed = 0;
    for file in &args.files {
        if args.files.len() > 1 && !args.json {
            writeln!(stdout(), "{}", file.display())?;
        }
        if let Err(error) = transcribe(file, &mut hearing, args.json) {
            tracing::error!("{}", sentence(&error));
            failed += 1;
        }
    }
    ensure!(failed == 0, "{failed} of {} files could not be transcribed", args.files.len());
    Ok(())
}

fn transcribe(file: &Path, hearing: &mut Hearing, json: bool) -> anyhow::Result<()> {
    let bar = bar(file)?;
    let vitals = Vitals::default();
    let source = Source::File(File { path: file.into(), pace: Pace::Fast });
    let (sender, receiver) = sync_channel(QUEUE);
    let control = Control::default();
    std::thread::scope(|threads| {
        let reading = std::thread::Builder::new()
            .name("capture".into())
            .spawn_scoped(threads, || audio::run(&source, Path::new(""), sender, &control, &vitals))
            .context("cannot start a thread to read the file")?;
        let mut origin = None;
        for audio in receiver {
            if let Audio::Frame(frame) = &audio {
                let origin = *origin.get_or_insert(frame.time);
                bar.set_position(frame.time.duration_since(origin).as_millis() as u64);
            }
            let heard = hearing.push(audio, &vitals)?;
            print(file, origin, heard, json, &bar)?;
        }
        print(file, origin, hearing.finish(&vitals)?, json, &bar)?;
        bar.finish_and_clear();
        reading.join().map_err(|_| anyhow::anyhow!("reading {} broke off", file.display()))??;
        Ok(())
    })
}

fn print(
    file: &Path,
    origin: Option<Timestamp>,
    heard: Vec<Heard>,
    json: bool,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let origin = origin.unwrap_or_default();
    for heard in heard {
        let Heard::Utterance(Utterance { start, end, text, confidence, .. }) = heard else { continue };
        let seconds = |time: Timestamp| (time.duration_since(origin).as_secs_f64() * 1e3).round() / 1e3;
        let (start, end) = (seconds(start), seconds(end));
        let line = if json {
            serde_json::to_string(&Line { file, start, end, text: &text, confidence })?
        } else {
            format!("[{} – {}] {text}", minutes(start), minutes(end))
        };
        bar.suspend(|| writeln!(stdout(), "{line}"))?;
    }
    Ok(())
}

/// `mm:ss.s`
fn minutes(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    format!("{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

fn bar(file: &Path) -> anyhow::Result<ProgressBar> {
    let length = audio::seconds(file)?.map(|seconds| (seconds * 1e3) as u64);
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(length, target);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {percent}% {elapsed}")?);
    Ok(bar)
}
