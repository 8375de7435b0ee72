//! `hearth transcribe`: recordings to text.

mod recordings;
mod writers;

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use self::recordings::NamedRecording;
use self::writers::TranscriptOutput;
use super::output::stdout;
use super::sentence;
use super::terminal::{Verbosity, hint};
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
    /// Recordings, or folders of them: WAV, FLAC, MP3, Ogg Vorbis, AAC and ALAC (.m4a, .mp4, .mkv); not Opus. "-" reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the text is written; by default as the name of --output ends, else as text
    #[arg(long, value_enum)]
    format: Option<TranscriptFormat>,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write to this file; with several recordings to a folder, which is made, a file for each
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long, requires = "output")]
    force: bool,
    /// A bundled model's name, or the path of a Whisper model in ggml form
    #[arg(long, default_value_os_t = AsrConfig::default().model)]
    model: PathBuf,
    /// ISO 639-1, or "auto"
    #[arg(long, default_value_t = AsrConfig::default().language)]
    language: String,
    /// 0: one less than the machine has cores, at most 4
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Names and words that are likely to be said, divided by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    hot_words: Vec<String>,
}

/// How a transcript is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum TranscriptFormat {
    /// A line for each utterance, with its times in the recording
    #[default]
    Txt,
    /// SubRip subtitles
    Srt,
    /// WebVTT subtitles
    Vtt,
    /// A JSON object a line: file, start and end in seconds, text, confidence
    Json,
}

impl TranscribeArgs {
    /// # Errors
    /// The name of a single output does not say it.
    fn format(&self, several: bool) -> anyhow::Result<TranscriptFormat> {
        match (self.format, &self.output) {
            (Some(format), _) => Ok(format),
            (None, _) if self.json => Ok(TranscriptFormat::Json),
            (None, Some(path)) if !several && !path.is_dir() => {
                let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
                clap::ValueEnum::from_str(ending, true).ok().with_context(|| {
                    let path = path.display();
                    format!("the name {path} does not say how to write it: name a --format, or end it in .txt, .srt, .vtt or .json")
                })
            }
            _ => Ok(TranscriptFormat::default()),
        }
    }
}

/// Runs the command. If one of several files fails, that is told and the others are transcribed.
///
/// # Errors
/// The model cannot be loaded, or some of the files could not be transcribed.
pub(crate) fn run(args: &TranscribeArgs) -> anyhow::Result<()> {
    write(args, &mut stdout())
}

fn write(args: &TranscribeArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let recordings = NamedRecording::all(&args.files)?;
    let several = recordings.len() > 1 || args.files.iter().any(|file| file.is_dir());
    let format = args.format(several)?;
    let subtitles = matches!(format, TranscriptFormat::Srt | TranscriptFormat::Vtt);
    ensure!(
        !several || !subtitles || args.output.is_some(),
        "subtitles of several recordings need a file each: name a folder for them with --output"
    );
    let outputs = recordings::outputs(&recordings, args.output.as_deref(), several, format)?;
    let (model, language) = (args.model.clone(), args.language.clone());
    let hot_words = args.hot_words.clone();
    let asr = AsrConfig { model, language, threads: args.threads, hot_words, ..AsrConfig::default() };
    let path = models::find(&asr.model, Path::new(""))?;
    let mut pipeline = AsrPipeline::new(Whisper::load(&path, &asr)?);
    let mut failed = 0;
    for (recording, output) in recordings.iter().zip(&outputs) {
        let done = match output {
            Some(output) => to_file(recording, output, format, args.force, &mut pipeline),
            None => {
                if several && format == TranscriptFormat::Txt {
                    writeln!(out, "{}", recording.name)?;
                }
                transcribe(recording, &mut pipeline, &mut TranscriptOutput::new(&mut *out, format, &recording.name)?)
            }
        };
        if let Err(error) = done {
            if recordings.len() == 1 || super::output::reader_is_gone(&error) {
                return Err(error);
            }
            eprintln!("hearth: {}", sentence(&error));
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {} files could not be transcribed", recordings.len()),
    }
}

/// Transcribes into a file, which is there when all of it is written, and not before.
fn to_file(
    recording: &NamedRecording,
    output: &Path,
    format: TranscriptFormat,
    force: bool,
    pipeline: &mut AsrPipeline,
) -> anyhow::Result<()> {
    let taken = || format!("{} is there already: --force replaces it", output.display());
    ensure!(force || !output.exists(), taken());
    let wrong = || format!("{} cannot be written", output.display());
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(wrong)?;
    let mut part = tempfile::NamedTempFile::new_in(folder).with_context(wrong)?;
    let mut writer = TranscriptOutput::new(BufWriter::new(&mut part), format, &recording.name)?;
    transcribe(recording, pipeline, &mut writer)?;
    drop(writer);
    if force {
        part.persist(output).with_context(wrong)?;
    } else {
        part.persist_noclobber(output).with_context(taken)?;
    }
    hint(&format!("{} is in {}", recording.name, output.display()));
    Ok(())
}

fn transcribe(
    recording: &NamedRecording,
    pipeline: &mut AsrPipeline,
    writer: &mut TranscriptOutput<'_, impl Write>,
) -> anyhow::Result<()> {
    let bar = bar(recording)?;
    let metrics = Metrics::default();
    let file = FileConfig { path: recording.path.clone(), pace: PlaybackPace::Fast, room: None };
    let source = [("file".into(), SourceConfig::File(file))];
    let (sender, receiver) = sync_channel(QUEUE);
    let control = SourceControl::default();
    std::thread::scope(|threads| {
        let reading = std::thread::Builder::new()
            .name("capture".into())
            .spawn_scoped(threads, || audio::run(&source, Path::new(""), sender, &control, &metrics))
            .context("cannot start a thread to read the file")?;
        let mut origin = Timestamp::UNIX_EPOCH;
        let mut print = |origin, heard| bar.suspend(|| print(origin, heard, writer));
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
        reading.join().map_err(|_| anyhow::anyhow!("reading {} broke off", recording.name))??;
        Ok(())
    })
}

fn print(
    origin: Timestamp,
    heard: Vec<PipelineEvent>,
    writer: &mut TranscriptOutput<'_, impl Write>,
) -> anyhow::Result<()> {
    for heard in heard {
        let PipelineEvent::Utterance(Utterance { start, end, text, confidence, .. }, _) = heard else { continue };
        let seconds = |time: Timestamp| (time.duration_since(origin).as_secs_f64() * 1e3).round() / 1e3;
        writer.utterance(seconds(start), seconds(end), &text, confidence)?;
    }
    Ok(writer.flush()?)
}

fn bar(recording: &NamedRecording) -> anyhow::Result<ProgressBar> {
    // The beginning of a pipe can be read once only.
    let length = if recording.is_pipe() { None } else { audio::seconds(&recording.path)? };
    let length = length.map(|seconds| (seconds * 1e3) as u64);
    let shown = std::io::stderr().is_terminal() && Verbosity::get() > Verbosity::Quiet;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(length, target);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {percent}% {elapsed}")?);
    Ok(bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(files: &[&Path], json: bool) -> TranscribeArgs {
        let AsrConfig { model, language, .. } = AsrConfig::default();
        let files = files.iter().map(|file| file.to_path_buf()).collect();
        TranscribeArgs {
            files,
            format: None,
            json,
            output: None,
            force: false,
            model,
            language,
            threads: 1,
            hot_words: Vec::new(),
        }
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
        let nothing = folder.path().join("nothing.flac");

        let mut out = Vec::new();
        let error = write(&args(&[empty.path(), &morning, &nothing], true), &mut out).unwrap_err();
        assert_eq!(error.to_string(), "2 of 3 files could not be transcribed");
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["file"], morning.to_str().unwrap());
        assert_eq!(lines[0]["text"], "Good morning, Emma, how are you?");
        let start = lines[0]["start"].as_f64().unwrap();
        let end = lines[0]["end"].as_f64().unwrap();
        assert!((0.4..1.2).contains(&start) && (2.4..3.4).contains(&end), "{start} {end}");

        let mut out = Vec::new();
        write(&args(&[&morning], false), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("[00:0") && text.contains("] Good morning, Emma, how are you?\n"), "{text}");
    }
}
