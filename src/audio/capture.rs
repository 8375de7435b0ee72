//! Microphones.
//!
//! Owns the sound devices (cpal): their list, capture at a device's own rate and format, and bringing back one that went
//! away. Refuses to let anything wait for the receiver, or for a driver that hangs. Invariant: the audio callback neither locks nor
//! allocates; whatever it or the receiver could not take is counted and told as a gap.

mod decode;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cpal::ErrorKind;
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use jiff::Timestamp;

use self::decode::decoder;
use super::resample::Framer;
use super::sink::DroppingSink;
use super::{AudioError, SourceControl};
use crate::clock::{SAMPLE_RATE, SampleClock, SamplePos};
use crate::event::GapReason;
use crate::metrics::Metrics;

/// A device that delivered nothing for this long is gone, whatever its driver says.
const SILENT_LIMIT: Duration = Duration::from_secs(2);

/// How often the ring is emptied.
const TICK: Duration = Duration::from_millis(20);

/// Seconds of sound the ring between the callback and this thread holds.
const RING_S: usize = 2;

/// A driver that takes longer to close its device hangs.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// Waits between attempts to open a lost device: 1, 2, 4 … 30 s.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The name that means the system's own choice.
const DEFAULT: &str = "default";

/// A microphone, as `hearth devices` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct InputDevice {
    /// What `[source.microphone] device` calls it.
    pub name: String,
    pub description: String,
    pub default: bool,
    /// What it delivers, or why it cannot be opened now.
    pub format: Result<DeviceFormat, String>,
}

/// What a device delivers.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceFormat {
    /// Hz.
    pub rate: u32,
    pub channels: u16,
    pub samples: String,
}

/// Every microphone of this machine.
pub fn devices() -> Result<Vec<InputDevice>, AudioError> {
    let inputs = host()?.input_devices().map_err(|source| AudioError::NoHost { source: source.into() })?;
    let mut devices: Vec<InputDevice> = inputs.filter_map(|device| describe(&device)).collect();
    devices.sort_by_key(|device| !device.default);
    Ok(devices)
}

/// ALSA tells standard error whatever it tried, eight lines for each opening of a microphone that is away: on this thread it tells
/// a buffer that nobody reads.
fn host() -> Result<cpal::Host, AudioError> {
    let _ = alsa::Output::local_error_handler();
    cpal::host_from_id(cpal::default_host().id()).map_err(|source| AudioError::NoHost { source: source.into() })
}

/// None for what is no microphone: playback devices that call themselves both, and ALSA's own sink of nothing.
fn describe(device: &cpal::Device) -> Option<InputDevice> {
    let name = device.id().ok()?.id().to_owned();
    let format = match device.default_input_config() {
        Ok(config) => Ok(DeviceFormat {
            rate: config.sample_rate(),
            channels: config.channels(),
            samples: config.sample_format().to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::DeviceBusy => Err("in use by another program".into()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err("this user may not open it".into()),
        Err(_) => return None,
    };
    let description = device.description().map(|description| description.name().to_owned()).unwrap_or_default();
    (name != "null").then(|| InputDevice { default: name == DEFAULT, name, description, format })
}

fn find(name: &str) -> Result<cpal::Device, AudioError> {
    let host = host()?;
    let missing = |known| AudioError::NoDevice { name: name.into(), known };
    if name == DEFAULT {
        return host.default_input_device().ok_or_else(|| missing(Vec::new()));
    }
    let inputs = host.input_devices().map_err(|source| AudioError::NoHost { source: source.into() })?;
    let is_it = |device: &cpal::Device| device.id().is_ok_and(|id| id.id() == name);
    let found = inputs.into_iter().find(is_it);
    found.ok_or_else(|| missing(devices().unwrap_or_default().into_iter().map(|device| device.name).collect()))
}

pub(super) fn run(
    name: &str,
    mut sink: DroppingSink,
    control: &SourceControl,
    metrics: &Metrics,
) -> Result<(), AudioError> {
    // Where the stream goes on: nothing before the first opening.
    let mut stream: Option<(SampleClock, SamplePos)> = None;
    let mut wait = BACKOFF[0];
    let mut closing = ClosingStream::default();
    while !control.stopped() {
        sink.moved();
        metrics.listening.set(control.listening());
        if !control.listening() {
            sink.begin_gap(GapReason::Muted);
        }
        // A device that its driver still holds cannot be opened again, and one closing at a time is enough to hang in.
        let closed = closing.is_over(name);
        if !control.listening() || !closed {
            if control.listening() {
                sink.lose(heard_to(stream));
            }
            let _ = control.wait_until(Instant::now() + TICK);
            continue;
        }
        let opened = CaptureStream::open(name, stream);
        let mut microphone = match opened {
            Ok(microphone) => microphone,
            Err(error) if stream.is_none() && !sink.has_gap() => return Err(error),
            Err(error) => {
                tracing::warn!(device = name, error = %error, again_s = wait.as_secs(), "the microphone is still away");
                sink.lose(heard_to(stream));
                let _ = control.wait_until(Instant::now() + wait);
                wait = (wait * 2).min(BACKOFF[1]);
                continue;
            }
        };
        tracing::info!(device = name, rate = microphone.rate, "listening to the microphone");
        let ended = microphone.listen(&mut sink, control);
        if microphone.delivered {
            wait = BACKOFF[0];
        }
        stream = Some((microphone.framer.clock(), microphone.framer.position()));
        closing = microphone.close();
        match ended {
            ListenEnd::Stopped => break,
            ListenEnd::Muted => tracing::info!(device = name, "the microphone is closed: listening was switched off"),
            ListenEnd::Lost => {
                tracing::warn!(device = name, "the microphone delivers nothing any more; opening it again");
                sink.lose(heard_to(stream));
            }
        }
    }
    while !closing.is_over(name) && closing.since.elapsed() < CLOSING_LIMIT {
        std::thread::sleep(TICK);
    }
    sink.close();
    Ok(())
}

/// Why listening ended.
enum ListenEnd {
    /// Stopped, or nobody receives any more.
    Stopped,
    Muted,
    Lost,
}

/// What the callback and this thread share beside the ring.
#[derive(Default)]
struct CallbackState {
    /// Calls of the data callback: its pulse.
    beats: AtomicU64,
    /// Samples at the device's rate that the ring had no room for.
    overflow: AtomicU64,
    /// The driver said that the device is gone.
    gone: AtomicBool,
}

/// An open device.
struct CaptureStream {
    rate: u32,
    framer: Framer,
    ring: rtrb::Consumer<f32>,
    shared: Arc<CallbackState>,
    delivered: bool,
    stream: cpal::Stream,
}

/// A device on its way to being closed: that waits for the driver, and whoever waits with it hears no mute and no end.
struct ClosingStream {
    /// None when it is over.
    thread: Option<JoinHandle<()>>,
    since: Instant,
    told: bool,
}

impl CaptureStream {
    fn open(name: &str, stream: Option<(SampleClock, SamplePos)>) -> Result<Self, AudioError> {
        let device = find(name)?;
        let refused = |source: cpal::Error| AudioError::OpenDevice { name: name.into(), source: source.into() };
        let config = device.default_input_config().map_err(refused)?;
        let (rate, channels, format) = (config.sample_rate(), config.channels(), config.sample_format());
        let (width, decode) = decoder(format)
            .ok_or_else(|| AudioError::DeviceFormat { name: name.into(), format: format.to_string() })?;
        let (clock, position) = resume(stream, Timestamp::now());
        let framer = Framer::new(rate, 1, clock, position)?;

        let (mut producer, ring) = rtrb::RingBuffer::new(rate as usize * RING_S);
        let shared = Arc::new(CallbackState::default());
        let (beat, fault) = (shared.clone(), shared.clone());
        let frame_bytes = width * usize::from(channels);
        let scale = 1.0 / f32::from(channels);
        let on_data = move |data: &cpal::Data, _: &cpal::InputCallbackInfo| {
            beat.beats.fetch_add(1, Relaxed);
            for frame in data.bytes().chunks_exact(frame_bytes) {
                let mixed = frame.chunks_exact(width).map(decode).sum::<f32>() * scale;
                if producer.push(mixed).is_err() {
                    beat.overflow.fetch_add(1, Relaxed);
                }
            }
        };
        let on_error = move |error: cpal::Error| {
            if matches!(error.kind(), ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated) {
                fault.gone.store(true, Relaxed);
            }
            tracing::debug!(%error, "sound device");
        };
        let stream =
            device.build_input_stream_raw(config.config(), format, on_data, on_error, None).map_err(refused)?;
        stream.play().map_err(refused)?;
        Ok(Self { rate, framer, ring, shared, delivered: false, stream })
    }

    fn close(self) -> ClosingStream {
        let Self { stream, .. } = self;
        // Where there is no thread the stream is closed here, with what was to be the thread.
        let thread = std::thread::Builder::new().name("closing".into()).spawn(move || drop(stream)).ok();
        ClosingStream { thread, since: Instant::now(), told: false }
    }

    fn listen(&mut self, sink: &mut DroppingSink, control: &SourceControl) -> ListenEnd {
        let mut samples = Vec::new();
        let (mut beats, mut beat_at) = (0, Instant::now());
        loop {
            if control.stopped() {
                return ListenEnd::Stopped;
            }
            sink.moved();
            if !control.listening() {
                sink.begin_gap(GapReason::Muted);
                return ListenEnd::Muted;
            }
            let seen = self.shared.beats.load(Relaxed);
            if seen != beats {
                (beats, beat_at, self.delivered) = (seen, Instant::now(), true);
                sink.delivers();
            } else if beat_at.elapsed() > SILENT_LIMIT || self.shared.gone.load(Relaxed) {
                return ListenEnd::Lost;
            }
            samples.clear();
            while let Ok(sample) = self.ring.pop() {
                samples.push(sample);
            }
            let mut open = true;
            self.framer.push(&samples, |frame| open &= sink.pass(frame));
            if !open {
                return ListenEnd::Stopped;
            }
            self.skip_overflow(sink);
            if !samples.is_empty()
                && let Some(moved) = self.framer.observe(Timestamp::now())
            {
                tracing::debug!(by_s = moved.as_secs_f64(), "the wall clock and the sample clock parted");
            }
            let _ = control.wait_until(Instant::now() + TICK);
        }
    }

    fn skip_overflow(&mut self, sink: &mut DroppingSink) {
        let lost = self.shared.overflow.swap(0, Relaxed) * u64::from(SAMPLE_RATE) / u64::from(self.rate);
        if lost > 0 {
            let from = self.framer.clock().time(self.framer.position());
            self.framer.skip(lost as i64);
            sink.drop_samples(lost, from);
        }
    }
}

impl Default for ClosingStream {
    fn default() -> Self {
        Self { thread: None, since: Instant::now(), told: false }
    }
}

impl ClosingStream {
    fn is_over(&mut self, name: &str) -> bool {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            self.thread = None;
            return true;
        }
        if !self.told && self.since.elapsed() > CLOSING_LIMIT {
            self.told = true;
            tracing::warn!(
                device = name,
                "the driver hangs and keeps the microphone; pull it out and plug it in again"
            );
        }
        false
    }
}

/// When what a stream delivered ends.
fn heard_to(stream: Option<(SampleClock, SamplePos)>) -> Timestamp {
    stream.map_or_else(Timestamp::now, |(clock, position)| clock.time(position))
}

/// Where the stream goes on after it was away: as much later as the wall clock says, never earlier.
fn resume(stream: Option<(SampleClock, SamplePos)>, now: Timestamp) -> (SampleClock, SamplePos) {
    let Some((mut clock, position)) = stream else { return (SampleClock::starting_at(now), 0) };
    let away = now.duration_since(heard_to(stream)).as_secs_f64().max(0.0);
    let position = position + (away * f64::from(SAMPLE_RATE)) as i64;
    clock.observe(position, now);
    (clock, position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_as_much_later_as_it_was_away() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |seconds| start + jiff::SignedDuration::from_secs(seconds);
        let clock = SampleClock::starting_at(start);
        let (clock_after, position) = resume(Some((clock, 16_000)), at(11));
        assert_eq!((clock_after.time(position), position), (at(11), 11 * 16_000));
        // The wall clock was set back: positions still count up.
        let (clock_after, position) = resume(Some((clock, 16_000)), at(-100));
        assert_eq!((clock_after.time(position), position), (at(-100), 16_000));
    }
}
