//! Transcribes a recording with the library, like `hearth transcribe`.
//!
//! ```text
//! cargo run --release --example transcribe examples/household.flac
//! ```

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use hearth::asr::whisper::Whisper;
use hearth::asr_pipeline::{AsrPipeline, PipelineEvent};
use hearth::audio::{self, SourceControl};
use hearth::config::{AsrConfig, FileConfig, PlaybackPace, SourceConfig};
use hearth::metrics::Metrics;
use hearth::models;

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/household.flac"));
    let settings = AsrConfig::default();
    let whisper = Whisper::load(&models::find(&settings.model, Path::new(""))?, &settings)?;
    let mut pipeline = AsrPipeline::new(whisper);

    // Sources run on threads of their own and send frames of 16 ms over a bounded channel. When they end, the channel is closed.
    let (out, frames) = sync_channel(64);
    let sources = [("example".into(), SourceConfig::File(FileConfig { path, pace: PlaybackPace::Fast, room: None }))];
    let (control, metrics) = (SourceControl::default(), Metrics::default());
    std::thread::scope(|threads| {
        let playing = threads.spawn(|| audio::run(&sources, Path::new(""), out, &control, &metrics));
        for sound in frames {
            pipeline.push(sound, &metrics)?.iter().for_each(print);
        }
        pipeline.finish(&metrics)?.iter().for_each(print);
        playing.join().expect("a source does not panic")?;
        Ok(())
    })
}

fn print(heard: &PipelineEvent) {
    if let PipelineEvent::Utterance(utterance, _) = heard {
        println!("{:.1}  {}", utterance.start, utterance.text);
    }
}
