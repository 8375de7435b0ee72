//! Voices from recordings and from a microphone.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::Context;

use crate::audio::segmenter::Segmenter;
use crate::audio::vad::Vad;
use crate::audio::{self, SourceControl};
use crate::cli::level;
use crate::config::{FileConfig, PlaybackPace, SourceConfig};
use crate::event::{AudioEvent, Segment, Voiceprint};
use crate::metrics::Metrics;
use crate::speakers::VoiceEncoder;

/// How long a microphone is listened to.
const LISTEN: Duration = Duration::from_secs(15);
/// Frames of a recording that wait.
const QUEUE: usize = 1_000;
/// Speech is taken in pieces of so many samples at most: six seconds.
const PIECE: usize = 6 * crate::clock::SAMPLE_RATE as usize;

/// The stretches of speech in a stream.
#[derive(Default)]
struct Speech {
    vad: Vad,
    segmenter: Segmenter,
    found: Vec<Segment>,
}

impl Speech {
    fn push(&mut self, event: &AudioEvent) {
        let ended = match event {
            AudioEvent::Frame(frame) => self.segmenter.push(frame, self.vad.probability(frame)),
            AudioEvent::Gap(_) | AudioEvent::End => self.segmenter.flush(),
        };
        self.found.extend(ended);
    }

    fn voices(mut self, encoder: &VoiceEncoder) -> anyhow::Result<Vec<Voiceprint>> {
        self.found.extend(self.segmenter.flush());
        let mut voices = Vec::new();
        for segment in &self.found {
            // A word between silences is little to know anybody by.
            for piece in segment.samples.chunks(PIECE) {
                voices.extend(encoder.voiceprint(piece)?);
            }
        }
        Ok(voices)
    }
}

/// The voices in recordings.
///
/// # Errors
/// A file cannot be read, or is no sound.
pub(super) fn of_files(files: &[PathBuf], encoder: &VoiceEncoder) -> anyhow::Result<Vec<Voiceprint>> {
    let mut voices = Vec::new();
    for path in files {
        voices.extend(of_file(path)?.voices(encoder)?);
    }
    Ok(voices)
}

fn of_file(path: &Path) -> anyhow::Result<Speech> {
    let file = FileConfig { path: path.into(), pace: PlaybackPace::Fast, room: None };
    let source = [("file".into(), SourceConfig::File(file))];
    let (sender, receiver) = sync_channel(QUEUE);
    let (control, metrics) = (SourceControl::default(), Metrics::default());
    let mut speech = Speech::default();
    std::thread::scope(|threads| {
        let reading = std::thread::Builder::new()
            .name("capture".into())
            .spawn_scoped(threads, || audio::run(&source, Path::new(""), sender, &control, &metrics))
            .context("cannot start a thread to read the file")?;
        receiver.into_iter().for_each(|sound| speech.push(&sound.event));
        reading.join().map_err(|_| anyhow::anyhow!("reading {} broke off", path.display()))??;
        Ok(speech)
    })
}

/// The voices that a microphone hears for some seconds, while its level is shown.
///
/// # Errors
/// The output cannot be written.
pub(super) fn of_microphone(device: &str, name: &str, encoder: &VoiceEncoder) -> anyhow::Result<Vec<Voiceprint>> {
    let request = format!(
        "{name}, please talk for {} seconds, as you do in this room. Nobody else should speak, and nothing play:",
        LISTEN.as_secs()
    );
    let mut speech = Speech::default();
    level::listen(device, LISTEN, &request, |sound| speech.push(&sound.event))?;
    speech.voices(encoder)
}
