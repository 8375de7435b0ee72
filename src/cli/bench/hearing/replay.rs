//! Recordings through the real pipeline, at the pace of the room, without waiting for it.
//!
//! Owns the simulated clock: a frame arrives when its last sample would have been heard; a piece of work begins when it
//! can and takes as long as it took here, or what a pass is said to cost. Only idle time is left out. Refuses to know what the
//! figures are for. Invariant: no work begins before the sound that it hears has arrived.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};

use crate::asr_pipeline::{AsrPipeline, PipelineEvent};
use crate::audio::{self, SourceControl};
use crate::clock::{self, SampleClock, seconds};
use crate::config::{FileConfig, PlaybackPace, SourceConfig};
use crate::event::{AudioEvent, FRAME_SAMPLES, Frame, RoomAudio};
use crate::metrics::Metrics;
use crate::process::cpu_seconds;

/// Where recordings are heard.
const ROOM: &str = "bench";

/// Silence heard behind a recording: longer than any policy waits for the next word.
const BEHIND_S: usize = 3;

/// What a pass encodes at most.
const WHOLE_S: f64 = 30.0;

/// Frames between reading a file and hearing it: a second of sound.
const QUEUE: usize = 64;

/// Seconds that a pass of the recogniser over 30 s takes on the clock, and each token it writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeCost {
    pub pass_s: f64,
    pub token_s: f64,
}

/// How time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplayPace {
    /// At the pace of the room; work takes as long as it takes here, or as long as is said.
    RealTime(Option<DecodeCost>),
    /// There is none: everything is done as soon as it can be.
    Fast,
}

/// What came of a recording.
#[derive(Debug, Default)]
pub struct ReplayResult {
    /// Committed words with the second of the recording at which each was.
    pub words: Vec<(f64, String)>,
    /// When each of them was in an utterance, ready to be stored.
    pub stored: Vec<f64>,
    /// Words that were committed and then read otherwise.
    pub revisions: usize,
    pub audio_s: f64,
    /// Of the processor.
    pub cpu_s: f64,
    /// During which something was decoded, on the clock.
    pub busy_s: f64,
    pub dropped_s: f64,
}

/// Reads a recording whole.
pub fn frames(path: &Path) -> anyhow::Result<Vec<Frame>> {
    let source =
        [(ROOM.into(), SourceConfig::File(FileConfig { path: path.into(), pace: PlaybackPace::Fast, room: None }))];
    let (control, metrics) = (SourceControl::default(), Metrics::default());
    let (sender, receiver) = sync_channel(QUEUE);
    std::thread::scope(|threads| {
        let reading = std::thread::Builder::new()
            .name("capture".into())
            .spawn_scoped(threads, || audio::run(&source, Path::new(""), sender, &control, &metrics))
            .context("cannot start a thread to read the file")?;
        let frame = |sound: RoomAudio| match sound.event {
            AudioEvent::Frame(frame) => Some(*frame),
            AudioEvent::Gap(_) | AudioEvent::End => None,
        };
        let frames = receiver.into_iter().filter_map(frame).collect();
        reading.join().map_err(|_| anyhow!("reading {} broke off", path.display()))??;
        Ok(frames)
    })
}

/// Hears frames that follow on each other.
pub fn replay(pipeline: &mut AsrPipeline, frames: &[Frame], time: ReplayPace) -> anyhow::Result<ReplayResult> {
    let metrics = Metrics::default();
    let cpu = cpu_seconds();
    let mut replayed =
        ReplayResult { audio_s: seconds((frames.len() * FRAME_SAMPLES) as i64), ..ReplayResult::default() };
    match time {
        ReplayPace::RealTime(cost) => at_the_rooms_pace(pipeline, frames, cost, &metrics, &mut replayed)?,
        ReplayPace::Fast => {
            for frame in frames.iter().cloned().chain(silence_behind(frames)) {
                let heard = pipeline.push(sound(frame), &metrics)?;
                replayed.take(heard, 0.0);
            }
        }
    }
    let rest = pipeline.finish(&metrics)?;
    replayed.take(rest, replayed.audio_s + BEHIND_S as f64);
    // What was committed and never came out was changed to nothing.
    replayed.revisions += replayed.words.len() - replayed.stored.len();
    replayed.cpu_s = cpu_seconds() - cpu;
    Ok(replayed)
}

fn at_the_rooms_pace(
    pipeline: &mut AsrPipeline,
    frames: &[Frame],
    cost: Option<DecodeCost>,
    metrics: &Metrics,
    replayed: &mut ReplayResult,
) -> anyhow::Result<()> {
    let start = frames.first().map_or(0, |frame| frame.at);
    let origin = frames.first().map_or(Timestamp::UNIX_EPOCH, |frame| frame.time);
    let arrival = |frame: &Frame| seconds(frame.at + FRAME_SAMPLES as i64 - start);
    let mut arriving = frames.iter().cloned().chain(silence_behind(frames)).peekable();
    let mut now = 0.0;
    loop {
        while let Some(frame) = arriving.next_if(|frame| arrival(frame) <= now) {
            pipeline.accept(sound(frame), metrics);
        }
        if pipeline.has_work() {
            let (began, passes) = (Instant::now(), metrics.passes.get());
            let (encoded, tokens) = (metrics.encoded_samples.get(), metrics.written_tokens.get());
            let heard = pipeline.step(clock::after(origin, SignedDuration::from_secs_f64(now)), metrics)?;
            let took = match cost {
                Some(cost) => {
                    let whole = seconds((metrics.encoded_samples.get() - encoded) as i64) / WHOLE_S;
                    cost.pass_s * whole + cost.token_s * (metrics.written_tokens.get() - tokens) as f64
                }
                None => began.elapsed().as_secs_f64(),
            };
            now += took;
            if metrics.passes.get() > passes {
                pipeline.record_pass(took);
                replayed.busy_s += took;
            }
            replayed.take(heard, now);
        } else if let Some(frame) = arriving.peek() {
            now = arrival(frame);
        } else {
            return Ok(());
        }
    }
}

fn sound(frame: Frame) -> RoomAudio {
    RoomAudio { room: ROOM.into(), event: AudioEvent::Frame(Box::new(frame)) }
}

fn silence_behind(frames: &[Frame]) -> impl Iterator<Item = Frame> {
    let next = frames.last().map_or(0, |frame| frame.at + FRAME_SAMPLES as i64);
    let zero =
        frames.first().map_or(Timestamp::UNIX_EPOCH, |frame| clock::after(frame.time, -clock::duration(frame.at)));
    let clock = SampleClock::starting_at(zero);
    let count = BEHIND_S * clock::SAMPLE_RATE as usize / FRAME_SAMPLES;
    let at = (0..count).map(move |n| next + (n * FRAME_SAMPLES) as i64);
    at.map(move |at| Frame { at, time: clock.time(at), samples: [0.0; FRAME_SAMPLES] })
}

impl ReplayResult {
    fn take(&mut self, heard: Vec<PipelineEvent>, now: f64) {
        for heard in heard {
            match heard {
                PipelineEvent::Utterance(utterance) => {
                    utterance.text.split_whitespace().for_each(|word| self.store(word, now));
                }
                PipelineEvent::Gap(gap) => self.dropped_s += gap.to.duration_since(gap.from).as_secs_f64(),
                PipelineEvent::Hypothesis(said) => {
                    let known = self.words.len() - self.stored.len();
                    self.words.extend(said.committed.into_iter().skip(known).map(|word| (now, word)));
                }
                PipelineEvent::Progress(_) => {}
            }
        }
    }

    fn store(&mut self, word: &str, now: f64) {
        match self.words.get(self.stored.len()) {
            Some((_, committed)) => self.revisions += usize::from(committed != word),
            None => self.words.push((now, word.to_owned())),
        }
        self.stored.push(now);
    }
}
