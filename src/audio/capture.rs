//! Microphones: listing devices, capture at a device's own rate and format (cpal), and reopening one that went away.
//!
//! The audio callback neither locks nor allocates: it mixes down to one channel and writes into a ring buffer, which a thread
//! empties every [`TICK`]. What the buffer or the receiver has no space for is counted and reported as a gap. Nothing waits for a
//! driver that hangs: devices are closed on a thread of their own.

mod device;
mod sample_format;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cpal::ErrorKind;
use cpal::traits::{DeviceTrait, StreamTrait};
use jiff::Timestamp;

use self::device::find;
use self::sample_format::decoder;
use super::resample::Framer;
use super::sink::DroppingSink;
use super::{AudioError, SourceControl};
use crate::clock::{SAMPLE_RATE, SampleClock, SamplePos};
use crate::metrics::Metrics;

pub(crate) use self::device::InputDevice;
pub use self::device::{DeviceFormat, devices};

/// A device that delivers nothing for this long counts as lost, whatever its driver says.
const SILENT_LIMIT: Duration = Duration::from_secs(2);

/// How often the ring buffer is emptied.
const TICK: Duration = Duration::from_millis(20);

/// Seconds of audio that the ring buffer holds.
const RING_S: usize = 2;

/// A driver that takes longer than this to close its device is reported as hanging.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// The wait between attempts to open a lost device doubles from the first to the second.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Captures from the microphone until the sources are stopped or the receiver is gone. One that cannot be opened, also at the start, is
/// tried again for as long as it takes.
pub(super) fn run(name: &str, sink: DroppingSink, control: &SourceControl, metrics: &Metrics) {
    let mut capture =
        Capture { name, sink, control, reached: None, backoff: MIN_BACKOFF, closing: ClosingStream::default() };
    while !control.stopped() {
        capture.sink.keep_alive();
        metrics.listening.set(control.listening());
        if capture.may_open()
            && let Some(stream) = capture.open()
            && capture.listen(stream).is_break()
        {
            break;
        }
    }
    capture.close();
}

/// One microphone, open or not.
struct Capture<'a> {
    name: &'a str,
    sink: DroppingSink<'a>,
    control: &'a SourceControl,
    /// Where the stream goes on after it was interrupted. None before the device was opened for the first time.
    reached: Option<(SampleClock, SamplePos)>,
    /// How long to wait after the next failed attempt to open the device.
    backoff: Duration,
    closing: ClosingStream,
}

impl Capture<'_> {
    /// Waits a tick and returns false while the device must not be opened: listening is off, or its driver still holds it. A
    /// device that its driver holds cannot be opened, and one thread that hangs in closing is enough.
    fn may_open(&mut self) -> bool {
        let listening = self.control.listening();
        if !listening {
            self.sink.mute();
        }
        let closed = self.closing.is_over(self.name);
        if listening && closed {
            return true;
        }
        if listening {
            self.sink.device_lost(delivered_until(self.reached));
        }
        self.pause(TICK);
        false
    }

    /// Opens the device. None where that failed and is to be tried again; it has waited already.
    fn open(&mut self) -> Option<CaptureStream> {
        match CaptureStream::open(self.name, self.reached) {
            Ok(stream) => {
                tracing::info!(device = self.name, rate = stream.rate, "listening to the microphone");
                Some(stream)
            }
            Err(error) => {
                let again_s = self.backoff.as_secs();
                tracing::warn!(device = self.name, %error, again_s, "the microphone cannot be opened; hearth waits for it");
                self.sink.device_lost(delivered_until(self.reached));
                self.pause(self.backoff);
                self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
                None
            }
        }
    }

    /// Captures until the device is lost, muted or stopped. Breaks when it was stopped.
    fn listen(&mut self, mut stream: CaptureStream) -> ControlFlow<()> {
        let ended = stream.listen(&mut self.sink, self.control);
        if stream.delivered {
            self.backoff = MIN_BACKOFF;
        }
        self.reached = Some((stream.framer.clock(), stream.framer.position()));
        self.closing = stream.close();
        match ended {
            ListenEnd::Stopped => return ControlFlow::Break(()),
            ListenEnd::Muted => {
                tracing::info!(device = self.name, "the microphone is closed: listening was switched off");
            }
            ListenEnd::Lost => {
                tracing::warn!(device = self.name, "the microphone delivers nothing any more; opening it again");
                self.sink.device_lost(delivered_until(self.reached));
            }
        }
        ControlFlow::Continue(())
    }

    /// Gives the driver a moment to close the device, and ends the stream.
    fn close(mut self) {
        while !self.closing.is_over(self.name) && self.closing.since.elapsed() < CLOSING_LIMIT {
            std::thread::sleep(TICK);
        }
        self.sink.close();
    }

    fn pause(&self, time: Duration) {
        let _ = self.control.wait_until(Instant::now() + time);
    }
}

/// Why capturing from an open device ended.
enum ListenEnd {
    /// The sources are stopped, or the receiver is gone.
    Stopped,
    Muted,
    Lost,
}

/// What the callback and the capturing thread share besides the ring buffer.
#[derive(Default)]
struct CallbackState {
    /// Calls of the data callback. While it does not change, the device delivers nothing.
    calls: AtomicU64,
    /// Samples at the device's rate that the ring buffer had no space for.
    overflow: AtomicU64,
    /// The driver reported that the device is gone.
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

/// A device that is being closed. Closing waits for the driver, so it happens on a thread of its own: a request to mute or stop is
/// noticed meanwhile.
struct ClosingStream {
    /// None when the device is closed.
    thread: Option<JoinHandle<()>>,
    since: Instant,
    /// It was logged that the driver hangs.
    reported: bool,
}

impl CaptureStream {
    fn open(name: &str, stream: Option<(SampleClock, SamplePos)>) -> Result<Self, AudioError> {
        let device = find(name)?;
        let refused = |source: cpal::Error| AudioError::OpenDevice { name: name.into(), source: source.into() };
        let config = device.default_input_config().map_err(refused)?;
        let rate = config.sample_rate();
        let channels = config.channels();
        let format = config.sample_format();
        let (width, decode) = decoder(format)
            .ok_or_else(|| AudioError::DeviceFormat { name: name.into(), format: format.to_string() })?;
        let (clock, position) = resume(stream, Timestamp::now());
        let framer = Framer::new(rate, 1, clock, position)?;

        let (mut producer, ring) = rtrb::RingBuffer::new(rate as usize * RING_S);
        let shared = Arc::new(CallbackState::default());
        let data_state = shared.clone();
        let error_state = shared.clone();
        let frame_bytes = width * usize::from(channels);
        let scale = 1.0 / f32::from(channels);
        let on_data = move |data: &cpal::Data, _: &cpal::InputCallbackInfo| {
            data_state.calls.fetch_add(1, Relaxed);
            for frame in data.bytes().chunks_exact(frame_bytes) {
                let mixed = frame.chunks_exact(width).map(decode).sum::<f32>() * scale;
                if producer.push(mixed).is_err() {
                    data_state.overflow.fetch_add(1, Relaxed);
                }
            }
        };
        let on_error = move |error: cpal::Error| {
            if matches!(error.kind(), ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated) {
                error_state.gone.store(true, Relaxed);
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
        // If no thread can be started, dropping its closure closes the device here.
        let thread = std::thread::Builder::new().name("closing".into()).spawn(move || drop(stream)).ok();
        ClosingStream { thread, since: Instant::now(), reported: false }
    }

    fn listen(&mut self, sink: &mut DroppingSink, control: &SourceControl) -> ListenEnd {
        let mut samples = Vec::new();
        let mut calls = 0;
        let mut last_call = Instant::now();
        loop {
            if control.stopped() {
                return ListenEnd::Stopped;
            }
            sink.keep_alive();
            if !control.listening() {
                sink.mute();
                return ListenEnd::Muted;
            }
            let calls_now = self.shared.calls.load(Relaxed);
            if calls_now != calls {
                calls = calls_now;
                last_call = Instant::now();
                self.delivered = true;
                sink.set_delivers();
            } else if last_call.elapsed() > SILENT_LIMIT || self.shared.gone.load(Relaxed) {
                return ListenEnd::Lost;
            }
            samples.clear();
            while let Ok(sample) = self.ring.pop() {
                samples.push(sample);
            }
            let mut receiving = true;
            self.framer.push(&samples, |frame| receiving &= sink.send_frame(frame));
            if !receiving {
                return ListenEnd::Stopped;
            }
            self.skip_overflow(sink);
            if !samples.is_empty()
                && let Some(moved) = self.framer.observe(Timestamp::now())
            {
                tracing::debug!(
                    by_s = moved.as_secs_f64(),
                    "the wall clock and the sample clock differ; the stream follows the wall clock"
                );
            }
            let _ = control.wait_until(Instant::now() + TICK);
        }
    }

    fn skip_overflow(&mut self, sink: &mut DroppingSink) {
        let lost = self.shared.overflow.swap(0, Relaxed) * u64::from(SAMPLE_RATE) / u64::from(self.rate);
        if lost > 0 {
            let from = self.framer.clock().time(self.framer.position());
            self.framer.skip(lost as i64);
            sink.count_dropped(lost, from);
        }
    }
}

impl Default for ClosingStream {
    fn default() -> Self {
        Self { thread: None, since: Instant::now(), reported: false }
    }
}

impl ClosingStream {
    fn is_over(&mut self, name: &str) -> bool {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            self.thread = None;
            return true;
        }
        if !self.reported && self.since.elapsed() > CLOSING_LIMIT {
            self.reported = true;
            tracing::warn!(
                device = name,
                "the driver hangs and keeps the microphone; pull it out and plug it in again"
            );
        }
        false
    }
}

/// The wall time up to which a stream has delivered; now for one that has not begun.
fn delivered_until(stream: Option<(SampleClock, SamplePos)>) -> Timestamp {
    stream.map_or_else(Timestamp::now, |(clock, position)| clock.time(position))
}

/// Where a stream goes on after an interruption: as much later as the wall clock says, but never at an earlier position.
fn resume(stream: Option<(SampleClock, SamplePos)>, now: Timestamp) -> (SampleClock, SamplePos) {
    let Some((mut clock, position)) = stream else { return (SampleClock::starting_at(now), 0) };
    let away = now.duration_since(delivered_until(stream)).as_secs_f64().max(0.0);
    let position = position + (away * f64::from(SAMPLE_RATE)) as i64;
    clock.observe(position, now);
    (clock, position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reopened_stream_continues_at_the_wall_clocks_time_and_a_later_position() {
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
