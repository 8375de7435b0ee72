//! Raw samples on standard input as a source.
//!
//! Owns reading signed 16-bit little-endian samples from a pipe. Refuses to block where a request to stop would go unheard.
//! Invariant: wall times never run backwards: a stream faster than time keeps its own.

use std::os::fd::AsFd;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::outlet::Gate;
use super::resample::Framer;
use super::{Control, Error};
use crate::clock::SampleClock;
use crate::config;

/// Bytes read at a time: what a pipe holds.
const BLOCK: usize = 1 << 16;

/// How long a request to stop may go unnoticed while nothing arrives.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

pub(super) fn run(input: impl AsFd, settings: &config::Stdin, mut gate: Gate, control: &Control) -> Result<(), Error> {
    let channels = usize::from(settings.channels);
    let mut framer = Framer::new(settings.rate, channels, SampleClock::starting_at(Timestamp::now()), 0)?;
    let mut block = vec![0; BLOCK];
    let mut kept = 0;
    let (mut samples, mut frames) = (Vec::new(), Vec::new());
    loop {
        let (read, waited) = match read(&input, &mut block[kept..], control) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(()),
            Err(source) => return Err(Error::Stdin { source: source.into() }),
        };
        if read == 0 {
            break;
        }
        let filled = kept + read;
        let whole = filled - filled % (2 * channels);
        samples.clear();
        let (pairs, _) = block[..whole].as_chunks::<2>();
        samples.extend(pairs.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32_768.0));
        framer.push(&samples, |frame| frames.push(frame));
        block.copy_within(whole..filled, 0);
        kept = filled - whole;
        // Only what was waited for is fresh. A stream that is ahead of the wall is a recording being played fast.
        let now = Timestamp::now();
        if waited && framer.clock().time(framer.position()) < now {
            framer.observe(now);
        }
        if frames.drain(..).try_for_each(|frame| gate.pass(frame)).is_break() {
            return Ok(());
        }
    }
    if kept > 0 {
        tracing::warn!(bytes = kept, "standard input ended within a sample; the rest was left out");
    }
    framer.finish(|frame| frames.push(frame));
    if frames.drain(..).try_for_each(|frame| gate.pass(frame)).is_continue() {
        let _ = gate.end();
    }
    Ok(())
}

/// Reads what is there, and tells whether it had to wait for it; 0 bytes at the end, None when told to stop.
fn read(input: &impl AsFd, block: &mut [u8], control: &Control) -> Result<Option<(usize, bool)>, Errno> {
    let mut timeout = Timespec::default();
    while !control.stopped() {
        match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => timeout = GLANCE,
            Ok(_) => match rustix::io::read(input, &mut *block) {
                Ok(read) => return Ok(Some((read, timeout == GLANCE))),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            },
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Audio;
    use crate::vitals::Vitals;
    use std::io::Write;
    use std::sync::mpsc::sync_channel;

    /// Runs a source on a pipe that `write` fills; returns what came out.
    fn hear(settings: config::Stdin, control: &Control, write: impl FnOnce(std::io::PipeWriter)) -> Vec<Audio> {
        let vitals = Vitals::default();
        let (reader, writer) = std::io::pipe().unwrap();
        let (out, received) = sync_channel(1_000);
        std::thread::scope(|threads| {
            let gate = Gate::new(out, "home", control, &vitals);
            let source = threads.spawn(|| run(reader, &settings, gate, control));
            write(writer);
            source.join().unwrap().unwrap();
        });
        received.try_iter().map(|sound| sound.audio).collect()
    }

    fn stdin(rate: u32, channels: u16) -> config::Stdin {
        config::Stdin { rate, channels, room: None }
    }

    #[test]
    fn samples_are_read_across_odd_writes_and_the_rest_is_filled_up() {
        let bytes: Vec<u8> = (0..300i16).flat_map(|n| (n * 100).to_le_bytes()).collect();
        let heard = hear(stdin(16_000, 1), &Control::default(), |mut writer| {
            bytes.chunks(7).for_each(|part| writer.write_all(part).unwrap());
            // Half a sample more.
            writer.write_all(&[1]).unwrap();
        });
        let [Audio::Frame(first), Audio::Frame(second), Audio::End] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((first.at, second.at), (0, 256));
        assert_eq!(first.samples[255], 25_500.0 / 32_768.0);
        assert_eq!(second.samples[43], 29_900.0 / 32_768.0);
        assert_eq!(second.samples[44..], [0.0; 212]);
    }

    #[test]
    fn stereo_is_mixed() {
        let bytes: Vec<u8> = [16_384i16, 0].iter().cycle().take(512).flat_map(|n| n.to_le_bytes()).collect();
        let heard = hear(stdin(16_000, 2), &Control::default(), |mut writer| writer.write_all(&bytes).unwrap());
        assert!(matches!(&heard[..], [Audio::Frame(frame), Audio::End] if frame.samples == [0.25; 256]));
    }

    #[test]
    fn a_request_to_stop_is_noticed_although_nothing_arrives() {
        let control = Control::default();
        let heard = hear(stdin(16_000, 1), &control, |writer| {
            control.stop();
            // The pipe stays open until the source has ended.
            std::mem::forget(writer);
        });
        assert_eq!(heard, []);
    }
}
