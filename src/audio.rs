//! Audio sources, from a device, file or network to frames of 16 kHz mono, and the segmenting of frames into speech.
//!
//! The frames of a source have positions that only count up. Whatever is missing between two of them is reported as a gap.

mod capture;
mod downmix;
mod file;
mod level_meter;
mod resample;
pub(crate) mod segmenter;
mod sink;
mod stdin;
pub(crate) mod vad;
mod wyoming;

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use thiserror::Error;

use self::sink::{BlockingSink, DroppingSink};
use crate::config::SourceConfig;
use crate::event::RoomAudio;
use crate::metrics::Metrics;

pub(crate) use capture::InputDevice;
pub use capture::{DeviceFormat, devices};
pub(crate) use file::STDIN;
pub use file::seconds;

/// What can be read, for messages.
const FORMATS: &str = "WAV, FLAC, MP3, Ogg Vorbis, or AAC or ALAC in an .m4a, .mp4 or .mkv file";

/// Why a source cannot deliver.
#[derive(Debug, Error)]
pub enum AudioError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is a folder; give the path of a recording")]
    Folder { path: PathBuf },
    #[error("{path} is empty; give a recording: {FORMATS}")]
    Empty { path: PathBuf },
    #[error("{path} is not audio that hearth can read; give a recording: {FORMATS}")]
    NotAudio { path: PathBuf },
    #[error("{path} cannot be read as audio; it may be damaged")]
    BadAudio { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path} is an MP4 that cannot be read as it comes: what it holds is told at its end; give the file itself")]
    IndexAtEnd { path: PathBuf },
    #[error("{path} holds no sound track")]
    NoTrack { path: PathBuf },
    #[error(
        "the sound of {path} is stored {codec}, which hearth cannot decode; convert it first, for example with `ffmpeg -i INPUT out.flac`"
    )]
    Codec { path: PathBuf, codec: &'static str },
    #[error("{path} holds no sound: it has a header and nothing after it")]
    NoSound { path: PathBuf },
    #[error("{rate} Hz is not a sample rate that hearth can read; give 4000 to 384000")]
    Rate { rate: u32 },
    #[error("audio must have at least 1 channel")]
    NoChannels,
    #[error(
        "cannot listen for network microphones on {address}; is another program there? See [source.wyoming] listen"
    )]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot start a thread for a source")]
    Thread { source: io::Error },
    #[error("cannot read standard input")]
    Stdin { source: io::Error },
    #[error("no sound system: ALSA does not answer. Install libasound2 and see that /dev/snd exists")]
    NoHost { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("there is no microphone named {name:?}; {}", known_devices(known))]
    NoDevice { name: String, known: Vec<String> },
    #[error(
        "cannot open the microphone {name:?}; see that it is plugged in, that no other program holds it, and that this user is in the group \"audio\" (`hearth devices` lists what can be used)"
    )]
    OpenDevice { name: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "the microphone {name:?} delivers {format} samples, which hearth cannot read; take another of its names in `hearth devices`"
    )]
    DeviceFormat { name: String, format: String },
}

fn known_devices(known: &[String]) -> String {
    match known {
        [] => "this machine has none".into(),
        known => format!("this machine has {}", known.join(", ")),
    }
}

/// Stops sources and switches listening on and off, from any thread.
#[derive(Debug)]
pub struct SourceControl {
    stop: AtomicBool,
    listening: AtomicBool,
}

impl Default for SourceControl {
    fn default() -> Self {
        Self { stop: AtomicBool::new(false), listening: AtomicBool::new(true) }
    }
}

impl SourceControl {
    /// Ends all sources for good.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// When off, a microphone is closed, and what other sources deliver is thrown away.
    pub fn set_listening(&self, on: bool) {
        self.listening.store(on, Relaxed);
    }

    pub(crate) fn listening(&self) -> bool {
        self.listening.load(Relaxed)
    }

    /// Sleeps until `deadline`. Breaks early when the sources are stopped.
    fn wait_until(&self, deadline: Instant) -> ControlFlow<()> {
        /// How long a request to stop may go unnoticed.
        const CHECK_EVERY: Duration = Duration::from_millis(40);
        while !self.stopped() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(left.min(CHECK_EVERY));
        }
        ControlFlow::Break(())
    }
}

/// Runs sources, each for the room it is named with, until all have ended, one has failed, or `control` stops them. The end of all
/// streams is the drop of `out`. Relative paths of files are looked up in `base`.
///
/// When the receiver is too slow, a microphone drops frames, counts them and reports a gap, and the other sources wait. A
/// microphone that is unplugged is opened again under the same name, for as long as it takes.
///
/// # Errors
/// A source other than a microphone cannot be opened at the start, or fails in a way that a change of the config can mend. All others are stopped then.
pub fn run(
    sources: &[(String, SourceConfig)],
    base: &Path,
    out: SyncSender<RoomAudio>,
    control: &SourceControl,
    metrics: &Metrics,
) -> Result<(), AudioError> {
    metrics.listening.set(control.listening());
    let Some(((last_room, last_source), others)) = sources.split_last() else { return Ok(()) };
    std::thread::scope(|threads| {
        let started: Vec<_> = others
            .iter()
            .map(|(room, source)| {
                let out = out.clone();
                std::thread::Builder::new()
                    .name(room.clone())
                    .spawn_scoped(threads, move || run_source(room, source, base, out, control, metrics))
                    .map_err(|source| AudioError::Thread { source })
            })
            .collect();
        // The last source runs on this thread.
        let mut result = run_source(last_room, last_source, base, out, control, metrics);
        for thread in started {
            let ended = thread.and_then(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            result = result.and(ended);
        }
        result
    })
}

/// Runs one source. If it fails or panics, all sources are stopped: with one of them missing, the rest is not what was configured.
fn run_source(
    room: &str,
    source: &SourceConfig,
    base: &Path,
    out: SyncSender<RoomAudio>,
    control: &SourceControl,
    metrics: &Metrics,
) -> Result<(), AudioError> {
    let mut guard = StopAllUnlessEnded { control, ended: false };
    let blocking_sink = |out| BlockingSink::new(out, room, control, metrics);
    match source {
        SourceConfig::Microphone(settings) => {
            let sink = DroppingSink::new(out, room, metrics);
            capture::run(&settings.device, sink, control, metrics);
            Ok(())
        }
        SourceConfig::File(settings) => {
            file::run(&base.join(&settings.path), settings.pace, blocking_sink(out), control)
        }
        SourceConfig::Stdin(settings) => stdin::run(std::io::stdin(), settings, blocking_sink(out), control),
        SourceConfig::Wyoming(settings) => wyoming::run(settings, room, out, control, metrics),
    }?;
    guard.ended = true;
    Ok(())
}

/// When dropped, stops all sources, unless this one ended well.
struct StopAllUnlessEnded<'a> {
    control: &'a SourceControl,
    ended: bool,
}

impl Drop for StopAllUnlessEnded<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.control.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_early_when_the_sources_are_stopped() {
        let control = SourceControl::default();
        assert!(control.wait_until(Instant::now()).is_continue());
        control.stop();
        assert!(control.wait_until(Instant::now() + Duration::from_secs(3_600)).is_break());
    }
}
