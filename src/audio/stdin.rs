//! Raw samples on standard input as a source.
//!
//! Owns reading signed 16-bit little-endian samples from a pipe. Refuses to block where a request to stop would go unheard.
//! Invariants: wall times never run backwards: a stream faster than time keeps its own; of a pipe that stalls, what was being said
//! comes out, and how long nothing came is told.

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

/// Bytes read at a time: what a pipe holds.
const BLOCK: usize = 1 << 16;

/// How long a request to stop may go unnoticed while nothing arrives.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

pub(super) fn run(
    input: impl AsFd,
    settings: &config::StdinConfig,
    mut sink: BlockingSink,
    control: &SourceControl,
) -> Result<(), AudioError> {
    let channels = usize::from(settings.channels);
    let mut framer = Framer::new(settings.rate, channels, SampleClock::starting_at(Timestamp::now()), 0)?;
    let mut block = vec![0; BLOCK];
    let mut kept = 0;
    let (mut samples, mut frames) = (Vec::new(), Vec::new());
    let mut last = Instant::now();
    // Since when nothing comes any more.
    let mut lost = None;
    // Only what was waited for is fresh. A stream that is ahead of the wall is a recording being played fast.
    let mut waited = false;
    loop {
        if control.stopped() {
            return Ok(());
        }
        let read = match read(&input, &mut block[kept..], waited) {
            Ok(Some(read)) => read,
            Ok(None) => {
                waited = true;
                sink.waits();
                if lost.is_none() && framer.position() > 0 && control.listening() && last.elapsed() > PAUSE {
                    tracing::warn!("nothing comes on standard input any more; waiting for it");
                    lost = Some(framer.clock().time(framer.position()));
                    if sink.lose().is_break() {
                        return Ok(());
                    }
                }
                continue;
            }
            Err(source) => return Err(AudioError::Stdin { source: source.into() }),
        };
        if read == 0 {
            break;
        }
        last = Instant::now();
        if let Some(from) = lost.take().filter(|from| *from < Timestamp::now()) {
            // What comes now was not said before the stall.
            framer.observe(Timestamp::now());
            if sink.was_lost(from).is_break() {
                return Ok(());
            }
        }
        let filled = kept + read;
        let whole = filled - filled % (2 * channels);
        samples.clear();
        let (pairs, _) = block[..whole].as_chunks::<2>();
        samples.extend(pairs.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32_768.0));
        framer.push(&samples, |frame| frames.push(frame));
        block.copy_within(whole..filled, 0);
        kept = filled - whole;
        let now = Timestamp::now();
        if std::mem::take(&mut waited) && framer.clock().time(framer.position()) < now {
            framer.observe(now);
        }
        if frames.drain(..).try_for_each(|frame| sink.pass(frame)).is_break() {
            return Ok(());
        }
    }
    if kept > 0 {
        tracing::warn!(bytes = kept, "standard input ended within a sample; the rest was left out");
    }
    framer.finish(|frame| frames.push(frame));
    if frames.drain(..).try_for_each(|frame| sink.pass(frame)).is_continue() {
        let _ = sink.end();
    }
    Ok(())
}

/// Reads what is there, or what comes within a glance if it `waits`: 0 bytes at the end, None when there is nothing.
fn read(input: &impl AsFd, block: &mut [u8], waits: bool) -> Result<Option<usize>, Errno> {
    let timeout = if waits { GLANCE } else { Timespec::default() };
    let read = match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => return Ok(None),
        Ok(_) => rustix::io::read(input, block),
        Err(error) => Err(error),
    };
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Errno::INTR | Errno::AGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AudioEvent, GapReason};
    use crate::metrics::Metrics;
    use jiff::SignedDuration;
    use std::io::Write;
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

    fn stdin(rate: u32, channels: u16) -> config::StdinConfig {
        config::StdinConfig { rate, channels, room: None }
    }

    #[test]
    fn samples_are_read_across_odd_writes_and_the_rest_is_filled_up() {
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
    fn what_was_said_before_a_stall_is_whole_and_the_stall_is_told() {
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
    fn a_request_to_stop_is_noticed_although_nothing_arrives() {
        let control = SourceControl::default();
        let heard = hear(stdin(16_000, 1), &control, |writer| {
            control.stop();
            // The pipe stays open until the source has ended.
            std::mem::forget(writer);
        });
        assert_eq!(heard, []);
    }
}
