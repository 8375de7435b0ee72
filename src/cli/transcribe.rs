//! `hearth transcribe`: recordings to text.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::output::stdout;
use super::sentence;
use crate::asr::whisper::Whisper;
use crate::asr_pipeline::{AsrPipeline, PipelineEvent};
use crate::audio::{self, SourceControl};
use crate::config::{AsrConfig, FileConfig, PlaybackPace, SourceConfig};
use crate::event::{AudioEvent, Utterance};
use crate::metrics::Metrics;
use crate::models;

/// Capacity of the channel between reading a file and transcribing it, in frames: a second.
const QUEUE: usize = 64;

/// Turns recordings into text.
#[derive(Debug, clap::Args)]
pub(crate) struct TranscribeArgs {
    /// WAV or FLAC files, any rate and number of channels.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// One JSON object a line: file, start and end in seconds, text, confidence.
    #[arg(long)]
    pub(crate) json: bool,
    /// A bundled model's name, or the path of a Whisper model in ggml form.
    #[arg(long, default_value_os_t = AsrConfig::default().model)]
    pub(crate) model: PathBuf,
    /// ISO 639-1, or "auto".
    #[arg(long, default_value_t = AsrConfig::default().language)]
    pub(crate) language: String,
    /// 0: one less than the machine has cores, at most 4.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

#[derive(Serialize)]
struct OutputLine<'a> {
    file: &'a Path,
    start: f64,
    end: f64,
    text: &'a str,
    confidence: f32,
}

/// Runs the command. If one of several files fails, the error is logged and the others are transcribed.
///
/// # Errors
/// The model cannot be loaded, or some of the files could not be transcribed.
pub(crate) fn run(args: TranscribeArgs) -> anyhow::Result<()> {
    write(args, &mut stdout())
}

fn write(args: TranscribeArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let asr = AsrConfig { model: args.model, language: args.language, threads: args.threads, ..AsrConfig::default() };
    let path = models::find(&asr.model, Path::new(""))?;
    let mut pipeline = AsrPipeline::new(Whisper::load(&path, &asr)?);
    let mut failed = 0;
    for file in &args.files {
        if args.files.len() > 1 && !args.json {
            writeln!(out, "{}", file.display())?;
        }
        if let Err(error) = transcribe(file, &mut pipeline, args.json, out) {
            if args.files.len() == 1 {
                return Err(error);
            }
            tracing::error!("{}", sentence(&error));
            failed += 1;
        }
    }
    ensure!(failed == 0, "{failed} of {} files could not be transcribed", args.files.len());
    Ok(())
}

fn transcribe(file: &Path, pipeline: &mut AsrPipeline, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let bar = bar(file)?;
    let metrics = Metrics::default();
    let source =
        [("file".into(), SourceConfig::File(FileConfig { path: file.into(), pace: PlaybackPace::Fast, room: None }))];
    let (sender, receiver) = sync_channel(QUEUE);
    let control = SourceControl::default();
    std::thread::scope(|threads| {
        let reading = std::thread::Builder::new()
            .name("capture".into())
            .spawn_scoped(threads, || audio::run(&source, Path::new(""), sender, &control, &metrics))
            .context("cannot start a thread to read the file")?;
        let mut origin = Timestamp::UNIX_EPOCH;
        let mut print = |origin, heard| bar.suspend(|| print(file, origin, heard, json, out));
        for sound in receiver {
            if let AudioEvent::Frame(frame) = &sound.event {
                if frame.at == 0 {
                    origin = frame.time;
                }
                bar.set_position(frame.time.duration_since(origin).as_millis() as u64);
            }
            print(origin, pipeline.push(sound, &metrics)?)?;
        }
        print(origin, pipeline.finish(&metrics)?)?;
        bar.finish_and_clear();
        reading.join().map_err(|_| anyhow::anyhow!("reading {} broke off", file.display()))??;
        Ok(())
    })
}

fn print(
    file: &Path,
    origin: Timestamp,
    heard: Vec<PipelineEvent>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for heard in heard {
        let PipelineEvent::Utterance(Utterance { start, end, text, confidence, .. }) = heard else { continue };
        let seconds = |time: Timestamp| (time.duration_since(origin).as_secs_f64() * 1e3).round() / 1e3;
        let start = seconds(start);
        let end = seconds(end);
        if json {
            writeln!(out, "{}", serde_json::to_string(&OutputLine { file, start, end, text: &text, confidence })?)?;
        } else {
            writeln!(out, "[{} – {}] {text}", minutes(start), minutes(end))?;
        }
    }
    Ok(out.flush()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(files: &[&Path], json: bool) -> TranscribeArgs {
        let asr = AsrConfig::default();
        let files = files.iter().map(|file| file.to_path_buf()).collect();
        TranscribeArgs { files, json, model: asr.model, language: asr.language, threads: 1 }
    }

    #[test]
    fn a_file_that_fails_does_not_stop_the_others() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let empty = tempfile::NamedTempFile::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Eighteen seconds of the bundled recording are enough.
        let household = std::fs::read(root.join("examples/household.flac")).unwrap();
        let morning = folder.path().join("morning.flac");
        std::fs::write(&morning, &household[..household.len() / 8]).unwrap();

        let mut out = Vec::new();
        let error = write(args(&[empty.path(), &morning, folder.path()], true), &mut out).unwrap_err();
        assert_eq!(error.to_string(), "2 of 3 files could not be transcribed");
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["file"], morning.to_str().unwrap());
        assert_eq!(lines[0]["text"], "Good morning, Emma, how are you?");
        let start = lines[0]["start"].as_f64().unwrap();
        let end = lines[0]["end"].as_f64().unwrap();
        assert!((0.4..1.2).contains(&start) && (2.4..3.4).contains(&end), "{start} {end}");

        let mut out = Vec::new();
        write(args(&[&morning], false), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("[00:0") && text.contains("] Good morning, Emma, how are you?\n"), "{text}");
    }

    #[test]
    fn times_are_printed_as_minutes_and_seconds() {
        assert_eq!(minutes(0.04), "00:00.0");
        assert_eq!(minutes(59.96), "01:00.0");
        assert_eq!(minutes(3_725.5), "62:05.5");
    }
}
