//! Recordings as a source: WAV, FLAC, MP3, Ogg Vorbis, and AAC and ALAC in MP4 (`.m4a`), Matroska or alone.
//!
//! A file is decoded (symphonia) piece by piece, never held in memory. Sample `n` of the file is delivered as the one at
//! `n / rate` seconds: what is damaged before it becomes silence.

mod header;

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AC3, CODEC_ID_EAC3, CODEC_ID_FLAC, CODEC_ID_MP3, CODEC_ID_OPUS, CODEC_ID_SPEEX, CODEC_ID_VORBIS,
    CODEC_ID_WMA,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

use self::header::RepairedFile;
use super::resample::Framer;
use super::sink::BlockingSink;
use super::{AudioError, SourceControl};
use crate::clock::{self, SampleClock};
use crate::config::PlaybackPace;
use crate::event::{FRAME_SAMPLES, Frame};

/// Stands for standard input in the place of a file's path.
pub(crate) const STDIN: &str = "/dev/stdin";

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
        framer.map_err(|source| AudioError::BadAudio { path: file.path.clone(), source: source.into() })?;
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
    /// What a tick of the packets' times is, and the first of them.
    ticks: Option<(TimeBase, i64)>,
    accuracy: HeaderAccuracy,
    /// Samples per channel read so far.
    read: u64,
    /// A packet that waits until the silence for what is missing before it has been delivered.
    held: Option<Packet>,
    /// The first samples, which told the rate and the channels.
    first: Vec<f32>,
    damaged: bool,
}

/// How far the times and the length that a file tells can be relied on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeaderAccuracy {
    /// To the sample.
    Exact,
    /// Encoders put some samples before the sound and behind it.
    Padded,
    /// The length may be an estimate.
    Estimated,
}

impl AudioFile {
    fn open(path: &Path) -> Result<Self, AudioError> {
        let opened = open(path).and_then(|file| Ok((file.metadata()?, file)));
        let path = if path == Path::new(STDIN) { Path::new("standard input") } else { path };
        let (metadata, file) = opened.map_err(|source| AudioError::Read { path: path.into(), source })?;
        if metadata.is_dir() {
            return Err(AudioError::Folder { path: path.into() });
        }
        let pipe = !metadata.is_file();
        let not_audio = |error: Symphonia| match error {
            Symphonia::Unsupported(told) if pipe && told.contains("moov") => {
                AudioError::IndexAtEnd { path: path.into() }
            }
            // It names parts of the library.
            Symphonia::Unsupported(_) => AudioError::NotAudio { path: path.into() },
            error => AudioError::BadAudio { path: path.into(), source: error.into() },
        };
        let mended = RepairedFile::new(file).map_err(|source| AudioError::Read { path: path.into(), source })?;
        if mended.is_empty() {
            return Err(AudioError::Empty { path: path.into() });
        }
        let stream = MediaSourceStream::new(Box::new(mended), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(not_audio)?;
        let Some(track) = format.default_track(TrackType::Audio) else {
            return Err(AudioError::NoTrack { path: path.into() });
        };
        let params = track.codec_params.as_ref().and_then(|params| params.audio());
        let unknown = |codec| AudioError::Codec { path: path.into(), codec };
        let params = params.ok_or_else(|| unknown("in a form unknown to it"))?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &AudioDecoderOptions::default())
            .map_err(|error| match error {
                Symphonia::Unsupported(_) => unknown(name(params.codec)),
                error => not_audio(error),
            })?;
        let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
        let mut file = Self {
            path: path.into(),
            decoder,
            track: track.id,
            rate: params.sample_rate.unwrap_or(0),
            channels,
            frames: track.num_frames,
            ticks: track.time_base.map(|base| (base, track.start_ts.get())),
            accuracy: HeaderAccuracy::of(params.codec, format.format_info().short_name),
            format,
            read: 0,
            held: None,
            first: Vec::new(),
            damaged: false,
        };
        file.learn_format()?;
        Ok(file)
    }

    /// Where the header does not tell the rate and the channels, or tells them wrongly (AAC), the first samples do.
    fn learn_format(&mut self) -> Result<(), AudioError> {
        if self.accuracy == HeaderAccuracy::Exact {
            return Ok(());
        }
        let told = self.rate;
        let mut first = Vec::new();
        self.decode(&mut first)?;
        let spec = self.decoder.last_decoded();
        (self.rate, self.channels) = (spec.spec().rate(), spec.spec().channels().count());
        self.frames = self.frames.filter(|_| told == self.rate);
        self.first = first;
        Ok(())
    }

    /// As [`Self::decode`], from the first samples on.
    fn read(&mut self, samples: &mut Vec<f32>) -> Result<bool, AudioError> {
        if !self.first.is_empty() {
            *samples = std::mem::take(&mut self.first);
            return Ok(true);
        }
        self.decode(samples)
    }

    /// Reads the next samples, interleaved. False at the end. What is damaged becomes silence, so that what follows keeps its time.
    fn decode(&mut self, samples: &mut Vec<f32>) -> Result<bool, AudioError> {
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
                Ok(decoded) => {
                    if self.channels == 0 {
                        self.channels = decoded.spec().channels().count();
                    }
                    decoded.copy_to_vec_interleaved(samples);
                }
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
        let missing = self.position(packet).min(bound).saturating_sub(self.read);
        if missing > self.accuracy.tolerance(self.rate) { missing } else { 0 }
    }

    /// At which sample a packet begins.
    fn position(&self, packet: &Packet) -> u64 {
        let pts = packet.pts.get();
        let position = match self.ticks {
            Some((base, start)) if self.accuracy != HeaderAccuracy::Exact => {
                let ticks = i128::from(pts.saturating_sub(start)) * i128::from(base.numer.get());
                ticks * i128::from(self.rate) / i128::from(base.denom.get())
            }
            _ => pts.into(),
        };
        u64::try_from(position).unwrap_or(0)
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
            Some(frames) if self.accuracy.is_cut_short(self.read, frames, self.rate) => tracing::warn!(
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

impl HeaderAccuracy {
    fn of(codec: AudioCodecId, container: &str) -> Self {
        match (codec, container) {
            (CODEC_ID_FLAC, _) | (_, "wave") => Self::Exact,
            (CODEC_ID_MP3 | CODEC_ID_VORBIS, _) => Self::Estimated,
            _ => Self::Padded,
        }
    }

    /// So many samples may be missing without anything being damaged.
    fn tolerance(self, rate: u32) -> u64 {
        if self == Self::Exact { 0 } else { u64::from(rate) / 5 }
    }

    fn is_cut_short(self, read: u64, frames: u64, rate: u32) -> bool {
        self != Self::Estimated && read + self.tolerance(rate) < frames
    }
}

/// Opens a file, or standard input. A pipe is not opened by its name: where it is a socket or its writer has ended, that fails.
fn open(path: &Path) -> io::Result<File> {
    let is_stdin = path == Path::new(STDIN);
    let stdin = is_stdin.then(|| io::stdin().as_fd().try_clone_to_owned().map(File::from)).transpose()?;
    match stdin {
        Some(stdin) if !stdin.metadata()?.is_file() => Ok(stdin),
        _ => File::open(path),
    }
}

/// What people call a codec that cannot be decoded here.
fn name(codec: AudioCodecId) -> &'static str {
    match codec {
        CODEC_ID_OPUS => "as Opus",
        CODEC_ID_AC3 | CODEC_ID_EAC3 => "as Dolby Digital",
        CODEC_ID_SPEEX => "as Speex",
        CODEC_ID_WMA => "as Windows Media Audio",
        _ => "in a form unknown to it",
    }
}
