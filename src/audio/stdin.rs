//! Raw audio on standard input: signed 16-bit little-endian samples from a pipe.
//!
//! Reading never blocks for longer than [`POLL_TIME`], so a request to stop is noticed while nothing arrives. A stream that comes
//! faster than real time keeps its own time. When a pipe stalls, the segment in progress is ended, and the stall is reported as a
//! gap.

mod format_hint;

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Instant;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::resample::Framer;
use super::sink::{BlockingSink, PAUSE};
use super::{AudioError, SourceControl};
use crate::clock::SampleClock;
use crate::config;
use crate::event::Frame;

/// Bytes read at a time: the usual capacity of a pipe.
const BLOCK: usize = 1 << 16;

/// The format is looked at until something was heard, but not beyond so many bytes: 33 s at 16 kHz.
const HINT_BYTES: usize = 1 << 20;

/// How long one read may wait for data: 40 ms.
const POLL_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

pub(super) fn run(
    input: impl AsFd,
    settings: &config::StdinConfig,
    sink: BlockingSink,
    control: &SourceControl,
) -> Result<(), AudioError> {
    let mut stream = PcmStream::new(settings, sink)?;
    while !control.stopped() {
        let wait = stream.waited;
        let flow = match read(&input, stream.free_space(), wait) {
            Ok(ReadOutcome::Data(bytes)) => stream.take(bytes),
            Ok(ReadOutcome::Nothing) => stream.wait(control),
            Ok(ReadOutcome::End) => {
                stream.finish();
                return Ok(());
            }
            Err(source) => return Err(AudioError::Stdin { source: source.into() }),
        };
        if flow.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// What has been read of standard input.
struct PcmStream<'a> {
    sink: BlockingSink<'a>,
    framer: Framer,
    channels: usize,
    block: Vec<u8>,
    /// Bytes at the beginning of `block` that are not a whole sample of all channels yet.
    kept: usize,
    samples: Vec<f32>,
    frames: Vec<Frame>,
    last_data: Instant,
    /// Bytes that are still looked at to see whether they are what the config says.
    unchecked: usize,
    /// Since when the pipe has stalled.
    stalled_from: Option<Timestamp>,
    /// The last read found nothing, so the next data is live. Data that did not have to be waited for may be a recording that is
    /// played fast, and then its own time holds.
    waited: bool,
}

impl<'a> PcmStream<'a> {
    fn new(settings: &config::StdinConfig, sink: BlockingSink<'a>) -> Result<Self, AudioError> {
        let channels = usize::from(settings.channels);
        Ok(Self {
            sink,
            framer: Framer::new(settings.rate, channels, SampleClock::starting_at(Timestamp::now()), 0)?,
            channels,
            block: vec![0; BLOCK],
            kept: 0,
            samples: Vec::new(),
            frames: Vec::new(),
            unchecked: HINT_BYTES,
            last_data: Instant::now(),
            stalled_from: None,
            waited: false,
        })
    }

    /// Where the next bytes go.
    fn free_space(&mut self) -> &mut [u8] {
        &mut self.block[self.kept..]
    }

    /// Takes so many bytes, which were read into the free space. Breaks when the receiver is gone.
    fn take(&mut self, bytes: usize) -> ControlFlow<()> {
        self.last_data = Instant::now();
        if let Some(from) = self.stalled_from.take().filter(|from| *from < Timestamp::now()) {
            // What comes now was not said before the stall.
            self.framer.observe(Timestamp::now());
            self.sink.source_back(from)?;
        }
        let filled = self.kept + bytes;
        let whole = filled - filled % (2 * self.channels);
        self.check_format(whole);
        let (pairs, _) = self.block[..whole].as_chunks::<2>();
        self.samples.clear();
        self.samples.extend(pairs.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32_768.0));
        self.framer.push(&self.samples, |frame| self.frames.push(frame));
        self.block.copy_within(whole..filled, 0);
        self.kept = filled - whole;
        let now = Timestamp::now();
        if self.waited && self.framer.clock().time(self.framer.position()) < now {
            self.framer.observe(now);
        }
        self.waited = false;
        self.frames.drain(..).try_for_each(|frame| self.sink.send_frame(frame))
    }

    /// Warns once if the first `whole` bytes of the block are not samples of the width that is expected.
    fn check_format(&mut self, whole: usize) {
        let bytes = &self.block[..whole];
        let begins = self.unchecked == HINT_BYTES;
        let file = if begins { format_hint::container(bytes) } else { None };
        if self.unchecked == 0 {
            return;
        }
        let other = format_hint::other_width(bytes, self.channels);
        self.unchecked = self.unchecked.saturating_sub(whole);
        if let Some(what) = file.or(other.map(str::to_owned)) {
            self.unchecked = 0;
            tracing::warn!(
                "standard input looks like {what}, and is played as raw signed 16-bit little-endian samples; make it so (`arecord -t raw -f S16_LE`, `ffmpeg … -f s16le -`, `sox … -t raw -e signed -b 16 -`) and see rate and channels in [source.stdin]"
            );
        }
    }

    /// Nothing has arrived. Breaks when the receiver is gone.
    fn wait(&mut self, control: &SourceControl) -> ControlFlow<()> {
        self.waited = true;
        self.sink.keep_alive();
        let streaming = self.stalled_from.is_none() && self.framer.position() > 0 && control.listening();
        if streaming && self.last_data.elapsed() > PAUSE {
            tracing::warn!("nothing comes on standard input any more; waiting for it");
            self.stalled_from = Some(self.framer.clock().time(self.framer.position()));
            self.sink.source_lost()?;
        }
        ControlFlow::Continue(())
    }

    /// The end of the input: what is left comes out, the last frame filled up with silence.
    fn finish(self) {
        let Self { mut sink, framer, kept, mut frames, .. } = self;
        if kept > 0 {
            tracing::warn!(bytes = kept, "standard input ended within a sample; the rest was left out");
        }
        framer.finish(|frame| frames.push(frame));
        if frames.drain(..).try_for_each(|frame| sink.send_frame(frame)).is_continue() {
            let _ = sink.end();
        }
    }
}

enum ReadOutcome {
    /// So many bytes were read.
    Data(usize),
    Nothing,
    End,
}

/// Reads what has arrived. With `wait`, waits up to [`POLL_TIME`] for it.
fn read(input: &impl AsFd, space: &mut [u8], wait: bool) -> Result<ReadOutcome, Errno> {
    let timeout = if wait { POLL_TIME } else { Timespec::default() };
    let read = match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => return Ok(ReadOutcome::Nothing),
        Ok(_) => rustix::io::read(input, space),
        Err(error) => Err(error),
    };
    match read {
        Ok(0) => Ok(ReadOutcome::End),
        Ok(bytes) => Ok(ReadOutcome::Data(bytes)),
        Err(Errno::INTR | Errno::AGAIN) => Ok(ReadOutcome::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AudioEvent, GapReason};
    use crate::metrics::Metrics;
    use jiff::SignedDuration;
    use parking_lot::Mutex;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    /// Runs a source on a pipe that `write` fills; returns what came out.
    fn hear(
        settings: config::StdinConfig,
        control: &SourceControl,
        write: impl FnOnce(std::io::PipeWriter),
    ) -> Vec<AudioEvent> {
        let metrics = Metrics::default();
        let (reader, writer) = std::io::pipe().unwrap();
        let (out, received) = sync_channel(1_000);
        std::thread::scope(|threads| {
            let sink = BlockingSink::new(out, "home", control, &metrics);
            let source = threads.spawn(|| run(reader, &settings, sink, control));
            write(writer);
            source.join().unwrap().unwrap();
        });
        received.try_iter().map(|sound| sound.event).collect()
    }

    /// What is logged while a source plays `bytes`.
    fn logged(bytes: &[u8]) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = lines.clone();
        let log = move || LogWriter(writer.clone());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log).finish();
        tracing::subscriber::with_default(subscriber, || {
            let (reader, mut pipe) = std::io::pipe().unwrap();
            let (out, received) = sync_channel(10_000);
            let (control, metrics) = (SourceControl::default(), Metrics::default());
            let sink = BlockingSink::new(out, "home", &control, &metrics);
            std::thread::scope(|threads| {
                threads.spawn(move || pipe.write_all(bytes).unwrap());
                run(reader, &stdin(16_000, 1), sink, &control).unwrap();
            });
            assert!(received.try_iter().count() > 1, "it is played as it is");
        });
        String::from_utf8(lines.lock().clone()).unwrap()
    }

    struct LogWriter(Arc<Mutex<Vec<u8>>>);

    impl Write for LogWriter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn input_that_is_a_wav_or_of_another_width_gets_a_hint() {
        let tone: Vec<i16> = (0..32_000).map(|n| (2_000.0 * (n as f64 / 9.0).sin()) as i16).collect();
        let raw: Vec<u8> = tone.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(logged(&raw), "");
        let header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\xbb\0\0\0\x77\x01\0\x02\0\x10\0data\0\0\0\0";
        let hint = logged(&[&header[..], &raw].concat());
        assert!(hint.contains("a WAV file of 48000 Hz, 1 channels and 16 bits") && hint.contains("-t raw"), "{hint}");
        let floats: Vec<u8> = tone.iter().flat_map(|sample| (f32::from(*sample) / 32_768.0).to_le_bytes()).collect();
        let hint = logged(&floats);
        assert!(hint.contains("32-bit floating-point") && hint.matches("WARN").count() == 1, "{hint}");
    }

    fn stdin(rate: u32, channels: u16) -> config::StdinConfig {
        config::StdinConfig { rate, channels, room: None }
    }

    #[test]
    fn samples_split_over_writes_are_joined_and_the_last_frame_is_padded() {
        let bytes: Vec<u8> = (0..300i16).flat_map(|n| (n * 100).to_le_bytes()).collect();
        let heard = hear(stdin(16_000, 1), &SourceControl::default(), |mut writer| {
            bytes.chunks(7).for_each(|part| writer.write_all(part).unwrap());
            // Half a sample more.
            writer.write_all(&[1]).unwrap();
        });
        let [AudioEvent::Frame(first), AudioEvent::Frame(second), AudioEvent::End] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert_eq!((first.at, second.at), (0, 256));
        assert_eq!(first.samples[255], 25_500.0 / 32_768.0);
        assert_eq!(second.samples[43], 29_900.0 / 32_768.0);
        assert_eq!(second.samples[44..], [0.0; 212]);
    }

    #[test]
    fn stereo_is_mixed() {
        let bytes: Vec<u8> = [16_384i16, 0].iter().cycle().take(512).flat_map(|n| n.to_le_bytes()).collect();
        let heard = hear(stdin(16_000, 2), &SourceControl::default(), |mut writer| writer.write_all(&bytes).unwrap());
        assert!(matches!(&heard[..], [AudioEvent::Frame(frame), AudioEvent::End] if frame.samples == [0.25; 256]));
    }

    #[test]
    fn a_stall_ends_the_segment_and_is_reported_as_a_gap() {
        let sound = [0; 32_000];
        let heard = hear(stdin(16_000, 1), &SourceControl::default(), |mut writer| {
            writer.write_all(&sound).unwrap();
            std::thread::sleep(PAUSE + PAUSE / 10);
            writer.write_all(&sound).unwrap();
        });
        let (before, after) = heard.split_at(heard.iter().position(|audio| *audio == AudioEvent::End).unwrap());
        let [AudioEvent::End, AudioEvent::Gap(gap), AudioEvent::Frame(next), ..] = after else { panic!("{after:?}") };
        assert_eq!((before.len(), gap.reason), (62, GapReason::DeviceLost));
        // The first second came at once.
        let second = SignedDuration::from_secs(1);
        assert!(gap.to.duration_since(gap.from) >= SignedDuration::from_secs(5) - second, "{gap:?}");
        assert!(next.time.duration_since(gap.to).abs() < second, "{:?} after {gap:?}", next.time);
    }

    #[test]
    fn stop_is_noticed_while_nothing_arrives() {
        let control = SourceControl::default();
        let heard = hear(stdin(16_000, 1), &control, |writer| {
            control.stop();
            // The pipe stays open until the source has ended.
            std::mem::forget(writer);
        });
        assert_eq!(heard, []);
    }
}
