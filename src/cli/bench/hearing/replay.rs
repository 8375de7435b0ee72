//! Plays recordings to the real pipeline on a simulated clock, in real time but without waiting.
//!
//! A frame arrives when its last sample would have been recorded. A step of the pipeline begins as soon as it can, and takes as long as
//! it took, or what a decode is said to cost. Only idle time is skipped. No step begins before its audio has arrived.

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

/// The room of the recordings.
const ROOM: &str = "bench";

/// Seconds of silence after a recording: longer than any policy waits for the next word.
const SILENCE_AFTER_S: usize = 3;

/// Seconds of the full window of Whisper's encoder.
const FULL_WINDOW_S: f64 = 30.0;

/// Capacity of the channel between reading a file and transcribing it, in frames: a second.
const QUEUE: usize = 64;

/// Seconds that a decode takes on the simulated clock: for 30 s of encoded audio, and for each token it writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DecodeCost {
    pub(crate) pass_s: f64,
    pub(crate) token_s: f64,
}

/// How time passes during a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReplayPace {
    /// In real time. A decode takes this cost, or else the time it took.
    RealTime(Option<DecodeCost>),
    /// Without a clock: everything is done as soon as possible.
    Fast,
}

/// The result of a replay.
#[derive(Debug, Default)]
pub(crate) struct ReplayResult {
    /// Committed words, with the second of the recording at which each was committed.
    pub(crate) words: Vec<(f64, String)>,
    /// When each of them was in an utterance.
    pub(crate) stored: Vec<f64>,
    /// Committed words that were different in the utterance.
    pub(crate) revisions: usize,
    pub(crate) audio_s: f64,
    /// Processor time.
    pub(crate) cpu_s: f64,
    /// Time on the clock during which something was decoded.
    pub(crate) busy_s: f64,
    pub(crate) dropped_s: f64,
}

/// Reads a whole recording.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn frames(path: &Path) -> anyhow::Result<Vec<Frame>> {
    let source =
        [(ROOM.into(), SourceConfig::File(FileConfig { path: path.into(), pace: PlaybackPace::Fast, room: None }))];
    let control = SourceControl::default();
    let metrics = Metrics::default();
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

/// Transcribes consecutive frames.
///
/// # Errors
/// Whisper fails.
pub(crate) fn replay(pipeline: &mut AsrPipeline, frames: &[Frame], time: ReplayPace) -> anyhow::Result<ReplayResult> {
    let metrics = Metrics::default();
    let cpu = cpu_seconds();
    let mut replayed =
        ReplayResult { audio_s: seconds((frames.len() * FRAME_SAMPLES) as i64), ..ReplayResult::default() };
    match time {
        ReplayPace::RealTime(cost) => replay_in_real_time(pipeline, frames, cost, &metrics, &mut replayed)?,
        ReplayPace::Fast => {
            for frame in frames.iter().cloned().chain(silence_after(frames)) {
                let heard = pipeline.push(room_audio(frame), &metrics)?;
                replayed.take(heard, 0.0);
            }
        }
    }
    let rest = pipeline.finish(&metrics)?;
    replayed.take(rest, replayed.audio_s + SILENCE_AFTER_S as f64);
    // A committed word that is in no utterance was revised, too.
    replayed.revisions += replayed.words.len() - replayed.stored.len();
    replayed.cpu_s = cpu_seconds() - cpu;
    Ok(replayed)
}

fn replay_in_real_time(
    pipeline: &mut AsrPipeline,
    frames: &[Frame],
    cost: Option<DecodeCost>,
    metrics: &Metrics,
    replayed: &mut ReplayResult,
) -> anyhow::Result<()> {
    let start = frames.first().map_or(0, |frame| frame.at);
    let origin = frames.first().map_or(Timestamp::UNIX_EPOCH, |frame| frame.time);
    let arrival = |frame: &Frame| seconds(frame.at + FRAME_SAMPLES as i64 - start);
    let mut arriving = frames.iter().cloned().chain(silence_after(frames)).peekable();
    let mut now = 0.0;
    loop {
        while let Some(frame) = arriving.next_if(|frame| arrival(frame) <= now) {
            pipeline.accept(room_audio(frame), metrics);
        }
        if pipeline.has_work() {
            let began = Instant::now();
            let passes = metrics.passes.get();
            let encoded = metrics.encoded_samples.get();
            let tokens = metrics.written_tokens.get();
            let heard = pipeline.step(clock::after(origin, SignedDuration::from_secs_f64(now)), metrics)?;
            let took = match cost {
                Some(cost) => {
                    let whole = seconds((metrics.encoded_samples.get() - encoded) as i64) / FULL_WINDOW_S;
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

fn room_audio(frame: Frame) -> RoomAudio {
    RoomAudio { room: ROOM.into(), event: AudioEvent::Frame(Box::new(frame)) }
}

fn silence_after(frames: &[Frame]) -> impl Iterator<Item = Frame> {
    let next = frames.last().map_or(0, |frame| frame.at + FRAME_SAMPLES as i64);
    let zero =
        frames.first().map_or(Timestamp::UNIX_EPOCH, |frame| clock::after(frame.time, -clock::duration(frame.at)));
    let clock = SampleClock::starting_at(zero);
    let count = SILENCE_AFTER_S * clock::SAMPLE_RATE as usize / FRAME_SAMPLES;
    let at = (0..count).map(move |n| next + (n * FRAME_SAMPLES) as i64);
    at.map(move |at| Frame { at, time: clock.time(at), samples: [0.0; FRAME_SAMPLES] })
}

impl ReplayResult {
    fn take(&mut self, heard: Vec<PipelineEvent>, now: f64) {
        for heard in heard {
            match heard {
                PipelineEvent::Utterance(utterance, _) => {
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
