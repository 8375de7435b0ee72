//! Microphones. Longer than most files: what the audio callback does and what the thread behind it does are one contract.
//!
//! Owns the sound devices (cpal): their list, capture at a device's own rate and format, and bringing back one that went
//! away. Refuses to let anything wait for the receiver. Invariant: the audio callback neither locks nor allocates; whatever
//! it or the receiver could not take is counted and told as a gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{ErrorKind, SampleFormat};
use jiff::Timestamp;

use super::outlet::Line;
use super::resample::Framer;
use super::{Control, Error};
use crate::clock::{SAMPLE_RATE, SampleClock, SamplePos};
use crate::event::GapReason;
use crate::vitals::Vitals;

/// A device that delivered nothing for this long is gone, whatever its driver says.
const SILENT_LIMIT: Duration = Duration::from_secs(2);

/// How often the ring is emptied.
const TICK: Duration = Duration::from_millis(20);

/// Seconds of sound the ring between the callback and this thread holds.
const RING_S: usize = 2;

/// Waits between attempts to open a lost device: 1, 2, 4 … 30 s.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The name that means the system's own choice.
const DEFAULT: &str = "default";

/// A microphone, as `hearth devices` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// What `[source.microphone] device` calls it.
    pub name: String,
    pub description: String,
    pub default: bool,
    /// What it delivers, or why it cannot be opened now.
    pub format: Result<Format, String>,
}

/// What a device delivers.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    /// Hz.
    pub rate: u32,
    pub channels: u16,
    pub samples: String,
}

/// Every microphone of this machine.
pub fn devices() -> Result<Vec<Device>, Error> {
    let inputs = host()?.input_devices().map_err(|source| Error::NoHost { source: source.into() })?;
    let mut devices: Vec<Device> = inputs.filter_map(|device| describe(&device)).collect();
    devices.sort_by_key(|device| !device.default);
    Ok(devices)
}

/// ALSA tells standard error whatever it tried, eight lines for each opening of a microphone that is away: on this thread it tells
/// a buffer that nobody reads.
fn host() -> Result<cpal::Host, Error> {
    let _ = alsa::Output::local_error_handler();
    cpal::host_from_id(cpal::default_host().id()).map_err(|source| Error::NoHost { source: source.into() })
}

/// None for what is no microphone: playback devices that call themselves both, and ALSA's own sink of nothing.
fn describe(device: &cpal::Device) -> Option<Device> {
    let name = device.id().ok()?.id().to_owned();
    let format = match device.default_input_config() {
        Ok(config) => Ok(Format {
            rate: config.sample_rate(),
            channels: config.channels(),
            samples: config.sample_format().to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::DeviceBusy => Err("in use by another program".into()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err("this user may not open it".into()),
        Err(_) => return None,
    };
    let description = device.description().map(|description| description.name().to_owned()).unwrap_or_default();
    (name != "null").then(|| Device { default: name == DEFAULT, name, description, format })
}

fn find(name: &str) -> Result<cpal::Device, Error> {
    let host = host()?;
    let missing = |known| Error::NoDevice { name: name.into(), known };
    if name == DEFAULT {
        return host.default_input_device().ok_or_else(|| missing(Vec::new()));
    }
    let inputs = host.input_devices().map_err(|source| Error::NoHost { source: source.into() })?;
    let is_it = |device: &cpal::Device| device.id().is_ok_and(|id| id.id() == name);
    let found = inputs.into_iter().find(is_it);
    found.ok_or_else(|| missing(devices().unwrap_or_default().into_iter().map(|device| device.name).collect()))
}

pub(super) fn run(name: &str, mut line: Line, control: &Control, vitals: &Vitals) -> Result<(), Error> {
    // Where the stream goes on: nothing before the first opening.
    let mut stream: Option<(SampleClock, SamplePos)> = None;
    let mut wait = BACKOFF[0];
    while !control.stopped() {
        line.moved();
        vitals.listening.set(control.listening());
        if !control.listening() {
            line.begin_gap(GapReason::Muted);
            let _ = control.wait_until(Instant::now() + TICK);
            continue;
        }
        let opened = Microphone::open(name, stream);
        let mut microphone = match opened {
            Ok(microphone) => microphone,
            Err(error) if stream.is_none() && !line.has_gap() => return Err(error),
            Err(error) => {
                tracing::warn!(device = name, error = %error, again_s = wait.as_secs(), "the microphone is still away");
                line.lose();
                let _ = control.wait_until(Instant::now() + wait);
                wait = (wait * 2).min(BACKOFF[1]);
                continue;
            }
        };
        tracing::info!(device = name, rate = microphone.rate, "listening to the microphone");
        match microphone.listen(&mut line, control) {
            Heard::Enough => break,
            Heard::Muted => tracing::info!(device = name, "the microphone is closed: listening was switched off"),
            Heard::Lost => {
                tracing::warn!(device = name, "the microphone delivers nothing any more; opening it again");
                line.lose();
            }
        }
        if microphone.delivered {
            wait = BACKOFF[0];
        }
        stream = Some((microphone.framer.clock(), microphone.framer.position()));
    }
    line.close();
    Ok(())
}

/// Why listening ended.
enum Heard {
    /// Stopped, or nobody receives any more.
    Enough,
    Muted,
    Lost,
}

/// What the callback and this thread share beside the ring.
#[derive(Default)]
struct Shared {
    /// Calls of the data callback: its pulse.
    beats: AtomicU64,
    /// Samples at the device's rate that the ring had no room for.
    overflow: AtomicU64,
    /// The driver said that the device is gone.
    gone: AtomicBool,
}

/// An open device.
struct Microphone {
    rate: u32,
    framer: Framer,
    ring: rtrb::Consumer<f32>,
    shared: Arc<Shared>,
    delivered: bool,
    /// Dropping it closes the device.
    _stream: cpal::Stream,
}

impl Microphone {
    fn open(name: &str, stream: Option<(SampleClock, SamplePos)>) -> Result<Self, Error> {
        let device = find(name)?;
        let refused = |source: cpal::Error| Error::OpenDevice { name: name.into(), source: source.into() };
        let config = device.default_input_config().map_err(refused)?;
        let (rate, channels, format) = (config.sample_rate(), config.channels(), config.sample_format());
        let (width, decode) =
            decoder(format).ok_or_else(|| Error::DeviceFormat { name: name.into(), format: format.to_string() })?;
        let (clock, position) = resume(stream, Timestamp::now());
        let framer = Framer::new(rate, 1, clock, position)?;

        let (mut producer, ring) = rtrb::RingBuffer::new(rate as usize * RING_S);
        let shared = Arc::new(Shared::default());
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
        Ok(Self { rate, framer, ring, shared, delivered: false, _stream: stream })
    }

    fn listen(&mut self, line: &mut Line, control: &Control) -> Heard {
        let mut samples = Vec::new();
        let (mut beats, mut beat_at) = (0, Instant::now());
        loop {
            if control.stopped() {
                return Heard::Enough;
            }
            line.moved();
            if !control.listening() {
                line.begin_gap(GapReason::Muted);
                return Heard::Muted;
            }
            let seen = self.shared.beats.load(Relaxed);
            if seen != beats {
                (beats, beat_at, self.delivered) = (seen, Instant::now(), true);
                line.delivers();
            } else if beat_at.elapsed() > SILENT_LIMIT || self.shared.gone.load(Relaxed) {
                return Heard::Lost;
            }
            samples.clear();
            while let Ok(sample) = self.ring.pop() {
                samples.push(sample);
            }
            let mut open = true;
            self.framer.push(&samples, |frame| open &= line.pass(frame));
            if !open {
                return Heard::Enough;
            }
            self.skip_overflow(line);
            if !samples.is_empty()
                && let Some(moved) = self.framer.observe(Timestamp::now())
            {
                tracing::debug!(by_s = moved.as_secs_f64(), "the wall clock and the sample clock parted");
            }
            let _ = control.wait_until(Instant::now() + TICK);
        }
    }

    fn skip_overflow(&mut self, line: &mut Line) {
        let lost = self.shared.overflow.swap(0, Relaxed) * u64::from(SAMPLE_RATE) / u64::from(self.rate);
        if lost > 0 {
            let from = self.framer.clock().time(self.framer.position());
            self.framer.skip(lost as i64);
            line.drop_samples(lost, from);
        }
    }
}

/// Where the stream goes on after it was away: as much later as the wall clock says, never earlier.
fn resume(stream: Option<(SampleClock, SamplePos)>, now: Timestamp) -> (SampleClock, SamplePos) {
    let Some((mut clock, position)) = stream else { return (SampleClock::starting_at(now), 0) };
    let away = now.duration_since(clock.time(position)).as_secs_f64().max(0.0);
    let position = position + (away * f64::from(SAMPLE_RATE)) as i64;
    clock.observe(position, now);
    (clock, position)
}

/// The value, in −1 … 1, of a sample as it lies in memory.
type Decode = fn(&[u8]) -> f32;

/// How many bytes a sample has (in native order, as cpal hands it over), and how to read it.
fn decoder(format: SampleFormat) -> Option<(usize, Decode)> {
    /// 24 bits lie in the low bytes of 32; what is above them is not defined.
    fn low24(bytes: &[u8]) -> u32 {
        u32::from_ne_bytes(array(bytes)) << 8
    }
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().expect("a sample has the width of its format")
    }
    const I31: f32 = (1u64 << 31) as f32;
    const I63: f32 = (1u64 << 63) as f32;
    Some(match format {
        SampleFormat::I8 => (1, |bytes| f32::from(bytes[0] as i8) / 128.0),
        SampleFormat::U8 => (1, |bytes| (f32::from(bytes[0]) - 128.0) / 128.0),
        SampleFormat::I16 => (2, |bytes| f32::from(i16::from_ne_bytes(array(bytes))) / 32_768.0),
        SampleFormat::U16 => (2, |bytes| (f32::from(u16::from_ne_bytes(array(bytes))) - 32_768.0) / 32_768.0),
        SampleFormat::I24 => (4, |bytes| low24(bytes) as i32 as f32 / I31),
        SampleFormat::U24 => (4, |bytes| (low24(bytes) ^ 1 << 31) as i32 as f32 / I31),
        SampleFormat::I32 => (4, |bytes| i32::from_ne_bytes(array(bytes)) as f32 / I31),
        SampleFormat::U32 => (4, |bytes| (u32::from_ne_bytes(array(bytes)) ^ 1 << 31) as i32 as f32 / I31),
        SampleFormat::I64 => (8, |bytes| i64::from_ne_bytes(array(bytes)) as f32 / I63),
        SampleFormat::U64 => (8, |bytes| (u64::from_ne_bytes(array(bytes)) ^ 1 << 63) as i64 as f32 / I63),
        SampleFormat::F32 => (4, |bytes| f32::from_ne_bytes(array(bytes))),
        SampleFormat::F64 => (8, |bytes| f64::from_ne_bytes(array(bytes)) as f32),
        // One-bit streams are for music players; no microphone offers nothing else.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [SampleFormat; 12] = [
        SampleFormat::I8,
        SampleFormat::U8,
        SampleFormat::I16,
        SampleFormat::U16,
        SampleFormat::I24,
        SampleFormat::U24,
        SampleFormat::I32,
        SampleFormat::U32,
        SampleFormat::I64,
        SampleFormat::U64,
        SampleFormat::F32,
        SampleFormat::F64,
    ];

    /// A value as a driver would lay it into memory.
    fn encode(format: SampleFormat, value: f64) -> Vec<u8> {
        let scaled = |bits: u32| (value * 2f64.powi(bits as i32 - 1)) as i128;
        let unsigned = |bits: u32| scaled(bits) + (1i128 << (bits - 1));
        match format {
            SampleFormat::F32 => (value as f32).to_ne_bytes().to_vec(),
            SampleFormat::F64 => value.to_ne_bytes().to_vec(),
            format => {
                let bits = format.bits_per_sample();
                let number = if format.is_int() { scaled(bits) } else { unsigned(bits) };
                let bytes = (number as u64).to_le_bytes()[..format.sample_size()].to_vec();
                if cfg!(target_endian = "big") { bytes.into_iter().rev().collect() } else { bytes }
            }
        }
    }

    #[test]
    fn every_format_is_read_for_what_it_says() {
        for format in ALL {
            let (width, decode) = decoder(format).unwrap();
            assert_eq!(width, format.sample_size());
            for value in [-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75] {
                assert_eq!(decode(&encode(format, value)), value as f32, "{format}");
            }
        }
        assert!(decoder(SampleFormat::DsdU8).is_none());
    }

    #[test]
    fn what_lies_above_24_bits_is_not_looked_at() {
        let (_, signed) = decoder(SampleFormat::I24).unwrap();
        let (_, unsigned) = decoder(SampleFormat::U24).unwrap();
        assert_eq!(signed(&0x5a40_0000u32.to_ne_bytes()), 0.5);
        assert_eq!(unsigned(&0xa5c0_0000u32.to_ne_bytes()), 0.5);
    }

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
