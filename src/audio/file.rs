//! WAV and FLAC files as a source.
//!
//! A file is decoded (symphonia) piece by piece, never held in memory. Sample `n` of the file is delivered as the one at
//! `n / rate` seconds: what is damaged before it becomes silence.

mod header;

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use self::header::RepairedFile;
use super::resample::Framer;
use super::sink::BlockingSink;
use super::{AudioError, SourceControl};
use crate::clock::{self, SampleClock};
use crate::config::PlaybackPace;
use crate::event::{FRAME_SAMPLES, Frame};

/// The length of a file in seconds, by its header. None where the header does not say it.
///
/// # Errors
/// The file cannot be read, or is not audio. The first samples are decoded, so a header with nothing after it is an error, too.
pub fn seconds(path: &Path) -> Result<Option<f64>, AudioError> {
    let mut file = AudioFile::open(path)?;
    file.read(&mut Vec::new())?;
    Ok(file.frames.map(|frames| frames as f64 / f64::from(file.rate)))
}

pub(super) fn run(
    path: &Path,
    pace: PlaybackPace,
    mut sink: BlockingSink,
    control: &SourceControl,
) -> Result<(), AudioError> {
    let mut file = AudioFile::open(path)?;
    let framer = Framer::new(file.rate, file.channels, SampleClock::starting_at(Timestamp::now()), 0);
    let mut framer =
        framer.map_err(|source| AudioError::NotAudio { path: file.path.clone(), source: source.into() })?;
    let started = Instant::now();
    let mut deliver = |frames: &mut Vec<Frame>| {
        for frame in frames.drain(..) {
            if pace == PlaybackPace::RealTime {
                // As a microphone does: a frame is delivered when its last sample has been played.
                let end = clock::seconds(frame.at + FRAME_SAMPLES as i64);
                control.wait_until(started + Duration::from_secs_f64(end))?;
            }
            if control.stopped() {
                return ControlFlow::Break(());
            }
            sink.send_frame(frame)?;
        }
        ControlFlow::Continue(())
    };
    let mut samples = Vec::new();
    let mut frames = Vec::new();
    while file.read(&mut samples)? {
        framer.push(&samples, |frame| frames.push(frame));
        if deliver(&mut frames).is_break() {
            return Ok(());
        }
    }
    framer.finish(|frame| frames.push(frame));
    if deliver(&mut frames).is_continue() {
        let _ = sink.end();
    }
    Ok(())
}

/// A file being decoded.
struct AudioFile {
    path: PathBuf,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: u32,
    channels: usize,
    /// Samples per channel, by the header.
    frames: Option<u64>,
    /// Samples per channel read so far.
    read: u64,
    /// A packet that waits until the silence for what is missing before it has been delivered.
    held: Option<Packet>,
    damaged: bool,
}

impl AudioFile {
    fn open(path: &Path) -> Result<Self, AudioError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|source| AudioError::Read { path: path.into(), source })?;
        if metadata.is_dir() {
            return Err(AudioError::Folder { path: path.into() });
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(AudioError::Empty { path: path.into() });
        }
        let not_audio = |source: Symphonia| AudioError::NotAudio { path: path.into(), source: source.into() };
        let mended = RepairedFile::new(file).map_err(|source| AudioError::Read { path: path.into(), source })?;
        let stream = MediaSourceStream::new(Box::new(mended), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(not_audio)?;
        let track = format.default_track(TrackType::Audio);
        let track = track.ok_or(Symphonia::Unsupported("no audio track")).map_err(not_audio)?;
        let params = track.codec_params.as_ref().and_then(|params| params.audio());
        let params = params.ok_or(Symphonia::Unsupported("an unknown codec")).map_err(not_audio)?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &AudioDecoderOptions::default())
            .map_err(not_audio)?;
        let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
        Ok(Self {
            path: path.into(),
            decoder,
            track: track.id,
            rate: params.sample_rate.unwrap_or(0),
            channels,
            frames: track.num_frames,
            format,
            read: 0,
            held: None,
            damaged: false,
        })
    }

    /// Reads the next samples, interleaved. False at the end. What is damaged becomes silence, so that what follows keeps its time.
    fn read(&mut self, samples: &mut Vec<f32>) -> Result<bool, AudioError> {
        samples.clear();
        loop {
            let packet = match self.held.take().map_or_else(|| self.format.next_packet(), |packet| Ok(Some(packet))) {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => continue,
                Ok(None) => return self.end(None),
                Err(error) => return self.end(Some(error)),
            };
            let missing = self.missing_before(&packet);
            if missing > 0 {
                self.warn_damaged();
                self.held = Some(packet);
                self.silence(missing.min(self.rate.into()), samples);
                return Ok(true);
            }
            match self.decoder.decode(&packet) {
                Ok(decoded) => decoded.copy_to_vec_interleaved(samples),
                // The next packet tells how much is missing.
                Err(Symphonia::DecodeError(_)) => self.warn_damaged(),
                Err(error) => return self.end(Some(error)),
            }
            if !samples.is_empty() {
                self.read += (samples.len() / self.channels.max(1)) as u64;
                return Ok(true);
            }
        }
    }

    /// Samples per channel that are missing between what was read and a packet: at most a minute where the length of the file is
    /// unknown.
    fn missing_before(&self, packet: &Packet) -> u64 {
        let bound = self.frames.unwrap_or(self.read + 60 * u64::from(self.rate));
        u64::try_from(packet.pts.get()).unwrap_or(0).min(bound).saturating_sub(self.read)
    }

    fn silence(&mut self, frames: u64, samples: &mut Vec<f32>) {
        samples.resize(frames as usize * self.channels, 0.0);
        self.read += frames;
    }

    fn end(&self, error: Option<Symphonia>) -> Result<bool, AudioError> {
        match error {
            // Both readers run into the end of a file that is shorter than its header says.
            Some(Symphonia::IoError(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(AudioError::Read { path: self.path.clone(), source: error });
            }
            _ if self.read == 0 => return Err(AudioError::NoSound { path: self.path.clone() }),
            _ => {}
        }
        let second = self.read as f64 / f64::from(self.rate);
        match self.frames {
            Some(frames) if self.read < frames => tracing::warn!(
                path = %self.path.display(),
                second = format!("{second:.1}"),
                "the file was cut short: its header says {:.1} s; what is there was read",
                frames as f64 / f64::from(self.rate)
            ),
            None if error.is_some() => tracing::warn!(
                path = %self.path.display(),
                second = format!("{second:.1}"),
                "the file breaks off; what is there was read"
            ),
            _ => {}
        }
        Ok(false)
    }

    fn warn_damaged(&mut self) {
        if !std::mem::replace(&mut self.damaged, true) {
            let second = self.read as f64 / f64::from(self.rate);
            tracing::warn!(
                path = %self.path.display(),
                second = format!("{second:.1}"),
                "the file is damaged; what cannot be decoded becomes silence"
            );
        }
    }
}
