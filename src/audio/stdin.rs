//! Raw samples on standard input as a source.
//!
//! Owns reading signed 16-bit little-endian samples from a pipe. Refuses to block where a request to stop would go unheard.
//! Invariant: wall times never run backwards: a stream faster than time keeps its own.

use std::ops::ControlFlow;
use std::os::fd::AsFd;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::resample::Framer;
use super::{Control, Error, Gate};
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
    let _: ControlFlow<()> = frames.drain(..).try_for_each(|frame| gate.pass(frame));
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
