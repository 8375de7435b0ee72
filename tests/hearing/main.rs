//! From audio to utterances with the bundled Whisper model: recordings, broken files, broken models, a microphone without hardware.
#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

mod bench;
mod ggml;
mod live;
mod microphone;
mod models;
mod recordings;
mod sound;
mod words;
mod wyoming;

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use hearth::asr::whisper::Whisper;
use hearth::asr_pipeline::{AsrPipeline, PipelineEvent};
use hearth::audio::{self, SourceControl};
use hearth::config::{AsrConfig, FileConfig, PlaybackPace, SourceConfig};
use hearth::event::{AudioEvent, Frame, RoomAudio, Utterance};
use hearth::metrics::Metrics;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The bundled model with one thread, since the tests run in parallel.
fn whisper() -> Whisper {
    let settings = AsrConfig { threads: 1, ..AsrConfig::default() };
    Whisper::load(&root("models/whisper-tiny.en-q5_1.bin"), &settings).unwrap()
}

/// Plays a file as fast as possible, and returns what it delivers before its end.
fn play(path: &Path) -> Result<Vec<AudioEvent>, audio::AudioError> {
    let (sender, receiver) = sync_channel(100_000);
    audio::run(
        &[playing(path, PlaybackPace::Fast)],
        Path::new(""),
        sender,
        &SourceControl::default(),
        &Metrics::default(),
    )?;
    Ok(receiver.into_iter().map(|sound| sound.event).filter(|audio| *audio != AudioEvent::End).collect())
}

fn playing(path: &Path, pace: PlaybackPace) -> (String, SourceConfig) {
    ("kitchen".into(), SourceConfig::File(FileConfig { path: path.into(), pace, room: None }))
}

fn in_the_kitchen(event: AudioEvent) -> RoomAudio {
    RoomAudio { room: "kitchen".into(), event }
}

fn frames(path: &Path) -> Vec<Frame> {
    let only_frames = |audio| match audio {
        AudioEvent::Frame(frame) => *frame,
        other => panic!("a file has frames alone: {other:?}"),
    };
    play(path).unwrap().into_iter().map(only_frames).collect()
}

/// Everything that the pipeline makes of a stream.
fn hear(
    pipeline: &mut AsrPipeline,
    stream: impl IntoIterator<Item = AudioEvent>,
    metrics: &Metrics,
) -> Vec<PipelineEvent> {
    let mut heard: Vec<PipelineEvent> =
        stream.into_iter().flat_map(|audio| pipeline.push(in_the_kitchen(audio), metrics).unwrap()).collect();
    heard.extend(pipeline.finish(metrics).unwrap());
    heard
}

fn utterances(heard: Vec<PipelineEvent>) -> Vec<Utterance> {
    let only_utterances = |heard| match heard {
        PipelineEvent::Utterance(utterance, _) => Some(utterance),
        _ => None,
    };
    heard.into_iter().filter_map(only_utterances).collect()
}
