//! Who speaks: the encoder against its reference, and voices from the sound to the store and back.
#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

mod keeping;
mod telling;

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use hearth::audio::{self, SourceControl};
use hearth::config::{FileConfig, PlaybackPace, SourceConfig};
use hearth::event::{AudioEvent, Frame, VoiceEmbedding};
use hearth::metrics::Metrics;
use hearth::speakers::VoiceEncoder;
use serde::Deserialize;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn encoder() -> VoiceEncoder {
    VoiceEncoder::load(&root("models/voice-encoder.safetensors")).unwrap()
}

/// The frames of a recording of the repository.
fn frames(path: &str) -> Vec<Frame> {
    let file = FileConfig { path: root(path), pace: PlaybackPace::Fast, room: None };
    let (sender, receiver) = sync_channel(100_000);
    let source = [("hall".into(), SourceConfig::File(file))];
    audio::run(&source, Path::new(""), sender, &SourceControl::default(), &Metrics::default()).unwrap();
    let frame = |event| if let AudioEvent::Frame(frame) = event { Some(*frame) } else { None };
    receiver.into_iter().filter_map(|sound| frame(sound.event)).collect()
}

/// Its samples.
fn samples(path: &str) -> Vec<f32> {
    frames(path).into_iter().flat_map(|frame| frame.samples).collect()
}

/// What `tools/voice_fixture.py` wrote: a piece of the recording, and its embeddings by the PyPI package resemblyzer.
#[derive(Deserialize)]
struct Reference {
    start: f64,
    end: f64,
    gain: f32,
    windows: Vec<Vec<f32>>,
    embedding: Vec<f32>,
}

#[test]
fn the_encoder_computes_what_its_reference_computes() {
    let sound = samples("examples/household.flac");
    let encoder = encoder();
    let near = |found: &VoiceEmbedding, wanted: &[f32]| {
        let worst = found.numbers().iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "off by {worst}");
    };
    let lines: Vec<Reference> = std::fs::read_to_string(root("tests/fixtures/voices.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() >= 4);
    for line in lines {
        let at = |seconds: f64| (seconds * 16_000.0) as usize;
        let piece: Vec<f32> = sound[at(line.start)..at(line.end)].iter().map(|x| x * line.gain).collect();
        let windows = encoder.windows(&piece).unwrap();
        assert_eq!(windows.len(), line.windows.len());
        windows.iter().zip(&line.windows).for_each(|(found, wanted)| near(found, wanted));
        near(&VoiceEmbedding::mean(&windows).unwrap(), &line.embedding);
    }
}

#[test]
fn a_file_that_is_no_encoder_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("voice-encoder.safetensors");
    let whole = std::fs::read(root("models/voice-encoder.safetensors")).unwrap();
    let watcher = std::fs::read(root("models/watcher.safetensors")).unwrap();
    for bytes in [&b""[..], b"nonsense", &whole[..whole.len() / 2], &watcher] {
        std::fs::write(&path, bytes).unwrap();
        let error = VoiceEncoder::load(&path).err().expect("it is no encoder").to_string();
        assert!(error.contains("voice-encoder.safetensors") && error.contains("install hearth again"), "{error}");
    }
    assert!(VoiceEncoder::load(&dir.path().join("none")).err().unwrap().to_string().contains("cannot be read"));
}

#[test]
fn sound_that_is_broken_has_a_voice_or_none_and_never_a_number_that_is_none() {
    let encoder = encoder();
    let speech: Vec<f32> = samples("examples/household.flac")[8_000..48_000].to_vec();
    let print = |samples: &[f32]| encoder.voiceprint(samples).unwrap();
    let whole = print(&speech).unwrap();
    for none in [vec![], vec![0.0; 32_000], vec![f32::NAN; 32_000], speech[..4_000].to_vec()] {
        assert_eq!(print(&none), None);
    }
    let clipped: Vec<f32> = speech.iter().map(|x| (x * 30.0).clamp(-1.0, 1.0)).collect();
    let with_gaps: Vec<f32> =
        speech.iter().enumerate().map(|(n, x)| if n % 4_000 == 0 { f32::NAN } else { *x }).collect();
    for broken in [clipped, with_gaps, speech.iter().map(|x| x * 1e30).collect()] {
        let found = print(&broken).unwrap();
        assert!(found.embedding.numbers().iter().all(|x| x.is_finite()) && found.unity.is_finite());
        assert!(found.embedding.similarity(&whole.embedding) > 0.3);
    }
}
