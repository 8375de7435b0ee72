//! Sources of sound, and where speech lies in them.
//!
//! Owns everything between a device or file and a segment of speech: capture, decoding, resampling, the voice detector, the
//! segmenter. Refuses to know what is said. Invariant: what a source delivers is a stream of frames whose positions only
//! count up, and whatever is missing in it is told as a gap.

mod capture;
mod file;
mod level_meter;
mod resample;
pub mod segmenter;
mod sink;
mod stdin;
pub mod vad;
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

pub use capture::{DeviceFormat, InputDevice, devices};
pub use file::seconds;

#[derive(Debug, Error)]
pub enum AudioError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is a folder; give the path of a WAV or FLAC file")]
    Folder { path: PathBuf },
    #[error("{path} is empty; give a WAV or FLAC file")]
    Empty { path: PathBuf },
    #[error("{path} is no sound that hearth can read; give a WAV (PCM or float) or FLAC file")]
    NotAudio { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path} holds no sound: it has a header and nothing behind it")]
    NoSound { path: PathBuf },
    #[error("a rate of {rate} Hz is none that sound is recorded in; give 4000 to 384000")]
    Rate { rate: u32 },
    #[error("sound with no channels cannot be heard; give 1 or more")]
    NoChannels,
    #[error(
        "cannot listen for network microphones on {address}; is another program there? See [source.wyoming] listen"
    )]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the system gives no thread for a source")]
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

/// What the rest of the house tells a source.
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
    /// Ends the source for good.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// false: a microphone is closed, and what a file or standard input delivers is thrown away.
    pub fn set_listening(&self, on: bool) {
        self.listening.store(on, Relaxed);
    }

    pub fn listening(&self) -> bool {
        self.listening.load(Relaxed)
    }

    /// Waits for a moment of the monotonic clock; breaks off when the source is to stop.
    fn wait_until(&self, moment: Instant) -> ControlFlow<()> {
        /// How long a request to stop may go unnoticed.
        const GLANCE: Duration = Duration::from_millis(40);
        while !self.stopped() {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(left.min(GLANCE));
        }
        ControlFlow::Break(())
    }
}

/// Runs sources, each with its room, until all have ended, one has failed, or `control` stops them. The end of everything is the
/// drop of `out`. Paths are relative to `base`.
///
/// A microphone that is too fast for the receiver drops frames, counts them and tells the gap; files and standard input
/// wait. A microphone that goes away is opened again by the same name, for ever; one that is not there at the start is an
/// error, as is everything else that a change of the config can mend.
pub fn run(
    sources: &[(String, SourceConfig)],
    base: &Path,
    out: SyncSender<RoomAudio>,
    control: &SourceControl,
    metrics: &Metrics,
) -> Result<(), AudioError> {
    metrics.listening.set(control.listening());
    let one = |room: &str, source: &SourceConfig, out: SyncSender<RoomAudio>| {
        // Without one of its ears the house is not what it was set up to be: all stop, and whoever started it is told.
        let stopper = Stopper(control);
        let sink = |out| BlockingSink::new(out, room, control, metrics);
        match source {
            SourceConfig::Microphone(settings) => {
                capture::run(&settings.device, DroppingSink::new(out, room, metrics), control, metrics)
            }
            SourceConfig::File(settings) => file::run(&base.join(&settings.path), settings.pace, sink(out), control),
            SourceConfig::Stdin(settings) => stdin::run(std::io::stdin(), settings, sink(out), control),
            SourceConfig::Wyoming(settings) => wyoming::run(settings, room, out, control, metrics),
        }?;
        std::mem::forget(stopper);
        Ok(())
    };
    let Some(((room, source), others)) = sources.split_last() else { return Ok(()) };
    std::thread::scope(|threads| {
        let (one, out) = (&one, &out);
        let start = |(room, source): &'_ (String, SourceConfig)| {
            let (room, source, out) = (room.clone(), source.clone(), out.clone());
            let thread = std::thread::Builder::new().name(room.clone());
            thread
                .spawn_scoped(threads, move || one(&room, &source, out))
                .map_err(|source| AudioError::Thread { source })
        };
        let started: Vec<_> = others.iter().map(start).collect();
        let ended = one(room, source, out.clone());
        started
            .into_iter()
            .fold(ended, |ended, thread| ended.and(thread?.join().unwrap_or_else(|panic| resume_unwind(panic))))
    })
}

/// Ends all sources when one of them fails or panics.
struct Stopper<'a>(&'a SourceControl);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_broken_off_by_a_request_to_stop() {
        let control = SourceControl::default();
        assert!(control.wait_until(Instant::now()).is_continue());
        control.stop();
        assert!(control.wait_until(Instant::now() + Duration::from_secs(3_600)).is_break());
    }
}
