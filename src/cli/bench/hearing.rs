//! `hearth bench hearing`: word errors, latency and cost of transcribing a folder of recordings.
//!
//! Beside the errors of the live pipeline stand those of one offline decode of each recording by the same model.

mod args;
mod background_reader;
mod manifest;
pub(crate) mod replay;
mod report;
mod whisper_stream;
mod word_errors;

use crate::cli::output::stdout;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

pub(crate) use self::args::BenchHearingArgs;
use self::background_reader::BackgroundReader;
use self::manifest::Recording;
use self::replay::{ReplayPace, ReplayResult};
use self::report::{HearingReport, ReplayTotals, SetScores};
use super::plot;
use crate::asr::hot_words::HotWords;
use crate::asr::whisper::Whisper;
use crate::asr_pipeline::AsrPipeline;
use crate::cli::progress;
use crate::clock::{SAMPLE_RATE, SampleClock};
use crate::config::AsrConfig;
use crate::event::{FRAME_SAMPLES, Frame};
use crate::models;
use crate::process::peak_resident_bytes;

/// Minutes of silence whose cost is measured.
const SILENCE_MIN: usize = 5;

/// A word and a time in seconds from the beginning of the recording: when the word ended, or when it was committed.
type TimedWord = (f64, String);

/// The result for one recording, a line of `--words`.
#[derive(Serialize)]
struct RecordingLine<'a> {
    file: &'a Path,
    set: &'a str,
    reference: &'a str,
    seconds: f64,
    busy_s: f64,
    /// Words of the offline decode, with their ends.
    offline: &'a [TimedWord],
    /// Committed words, with the time at which each was committed.
    heard: &'a [TimedWord],
}

/// # Errors
/// The folder, a recording or the model cannot be read.
pub(crate) fn run(args: BenchHearingArgs) -> anyhow::Result<()> {
    let mut recordings = manifest::read(&args.folder)?;
    if !args.sets.is_empty() {
        recordings.retain(|recording| args.sets.contains(&recording.set));
        anyhow::ensure!(!recordings.is_empty(), "no recording in {} is of set {:?}", args.folder.display(), args.sets);
    }
    recordings = recordings.into_iter().step_by(args.every.into()).collect();
    let asr = AsrConfig {
        model: args.model.clone(),
        language: args.language.clone(),
        threads: args.threads,
        hot_words: args.hot_words.clone(),
        ..AsrConfig::default()
    };
    let path = models::find(&asr.model, Path::new(""))?;
    let whisper = Whisper::load(&path, &asr)?;
    let whisper = if args.agreement || args.stream || args.whole { whisper.with_full_window() } else { whisper };
    let whisper = if args.prompt_always { whisper.always_prompted() } else { whisper };
    let hot_words = HotWords::new(&args.hot_words);
    for recording in recordings.iter_mut().filter(|_| !args.hot_words.is_empty()) {
        let holds = hot_words.count(&recording.reference) > 0;
        recording.set = if holds { "with hot words" } else { "without hot words" }.into();
    }
    let mut bench = HearingBench {
        hot_words,
        policy: if args.stream {
            StreamingPolicy::Stream(Box::new(whisper))
        } else if args.fast {
            StreamingPolicy::Hearth(Box::new(AsrPipeline::new(whisper)))
        } else {
            StreamingPolicy::Hearth(Box::new(AsrPipeline::new(whisper).live(args.interim_mode())))
        },
        offline: Whisper::load(&path, &asr)?.with_full_window(),
        time: if args.fast { ReplayPace::Fast } else { ReplayPace::RealTime(args.cost) },
        stored_latencies: Vec::new(),
        report: HearingReport::default(),
        totals: ReplayTotals::default(),
        out: args.words.as_deref().map(create).transpose()?,
    };
    let background =
        args.beside.as_deref().map(|model| BackgroundReader::start(model, args.beside_threads)).transpose()?;
    progress::show("hearing", "recordings", |done| {
        for (n, recording) in recordings.iter().enumerate() {
            done(n as u64, recordings.len() as u64);
            bench.hear(recording)?;
        }
        anyhow::Ok(())
    })?;
    bench.report.read_beside_tok_s = background.map(BackgroundReader::stop);
    let mut report = bench.finish()?;
    if report.read_beside_tok_s.is_some() {
        // The processor time of the process includes the model that read meanwhile.
        report.cpu_s_per_hour_speech = None;
    }
    report.show()?;
    if let Some(path) = &args.plot {
        let title = "Seconds from the end of a word until it is committed";
        plot::histogram(path, title, ["seconds", "words"], 0.25, &report.latencies)?;
        writeln!(stdout(), "drawn: {}", path.display())?;
    }
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<std::io::BufWriter<std::fs::File>> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(std::io::BufWriter::new(file))
}

/// The policy that is measured.
enum StreamingPolicy {
    Hearth(Box<AsrPipeline>),
    Stream(Box<Whisper>),
}

impl StreamingPolicy {
    fn replay(&mut self, frames: &[Frame], time: ReplayPace) -> anyhow::Result<ReplayResult> {
        match (self, time) {
            (Self::Hearth(pipeline), _) => replay::replay(pipeline, frames, time),
            (Self::Stream(whisper), ReplayPace::RealTime(cost)) => whisper_stream::replay(whisper, frames, cost),
            (Self::Stream(whisper), ReplayPace::Fast) => whisper_stream::replay(whisper, frames, None),
        }
    }
}

struct HearingBench {
    hot_words: HotWords,
    policy: StreamingPolicy,
    offline: Whisper,
    time: ReplayPace,
    /// Seconds from the end of each word to its utterance.
    stored_latencies: Vec<f64>,
    report: HearingReport,
    totals: ReplayTotals,
    out: Option<std::io::BufWriter<std::fs::File>>,
}

impl HearingBench {
    fn hear(&mut self, recording: &Recording) -> anyhow::Result<()> {
        let frames = replay::frames(&recording.path)?;
        let replayed = self.policy.replay(&frames, self.time)?;
        self.report.revisions += replayed.revisions;
        self.report.dropped_s += replayed.dropped_s;
        let heard: Vec<&str> = replayed.words.iter().map(|(_, word)| word.as_str()).collect();
        let (said, written) = (self.hot_words.count(&recording.reference), self.hot_words.count(&heard.join(" ")));
        self.report.hot_words.add(said, written);
        let said = word_errors::normalize(&recording.reference);
        let offline = if said.is_empty() { Vec::new() } else { self.offline(&frames)? };
        if said.is_empty() {
            self.totals.noise_s += replayed.audio_s;
            self.totals.noise_words += replayed.words.len();
        } else {
            self.speech(recording, &said, &offline, &replayed);
        }
        let Some(out) = &mut self.out else { return Ok(()) };
        let line = RecordingLine {
            file: &recording.path,
            set: &recording.set,
            reference: &recording.reference,
            seconds: replayed.audio_s,
            busy_s: replayed.busy_s,
            offline: &offline,
            heard: &replayed.words,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
        Ok(())
    }

    /// Decodes the whole recording at once.
    fn offline(&mut self, frames: &[Frame]) -> anyhow::Result<Vec<TimedWord>> {
        let samples: Vec<f32> = frames.iter().flat_map(|frame| frame.samples).collect();
        let pieces = self.offline.decode(&samples)?;
        Ok(pieces.into_iter().flat_map(|piece| piece.words).map(|word| (word.end_s, word.text)).collect())
    }

    fn speech(&mut self, recording: &Recording, said: &[String], offline: &[TimedWord], replayed: &ReplayResult) {
        let offline = normalized(offline);
        let heard = normalized(&replayed.words);
        let texts = |timed: &[TimedWord]| timed.iter().map(|(_, word)| word.clone()).collect::<Vec<_>>();
        let mut set = SetScores {
            words: said.len(),
            errors: word_errors::align(said, &texts(&heard)).errors,
            errors_offline: word_errors::align(said, &texts(&offline)).errors,
            ..SetScores::default()
        };
        if self.time != ReplayPace::Fast {
            let ends = match &recording.word_ends {
                Some(ends) => normalized(
                    &ends
                        .iter()
                        .copied()
                        .zip(recording.reference.split_whitespace().map(str::to_owned))
                        .collect::<Vec<_>>(),
                ),
                None => offline,
            };
            let pairs = word_errors::align(&texts(&ends), &texts(&heard)).same;
            set.latencies.extend(pairs.iter().map(|(said, at)| heard[*at].0 - ends[*said].0));
            let stored: Vec<TimedWord> = replayed.stored.iter().copied().zip(texts(&replayed.words)).collect();
            let stored = normalized(&stored);
            self.stored_latencies.extend(pairs.iter().map(|(said, at)| stored[*at].0 - ends[*said].0));
        }
        self.report.by_set.entry(recording.set.clone()).or_default().add(&set);
        self.totals.speech_s += replayed.audio_s;
        self.totals.busy_s += replayed.busy_s;
        self.totals.speech_cpu_s += replayed.cpu_s;
    }

    fn finish(&mut self) -> anyhow::Result<HearingReport> {
        if let Some(out) = &mut self.out {
            out.flush()?;
        }
        let minutes = match self.policy {
            StreamingPolicy::Hearth(_) => SILENCE_MIN,
            // It decodes silence like speech, so a minute takes long enough.
            StreamingPolicy::Stream(_) => 1,
        };
        let silence = self.policy.replay(&silent_room(minutes), ReplayPace::Fast)?;
        let mut report = std::mem::take(&mut self.report);
        report.cpu_s_per_hour_silence = silence.cpu_s * 60.0 / minutes as f64;
        report.set_rates(&self.totals);
        report.set_stored_latencies(&mut self.stored_latencies);
        report.rss_bytes = peak_resident_bytes();
        Ok(report)
    }
}

/// The words in the form in which they are compared. One word may become several.
fn normalized(timed: &[TimedWord]) -> Vec<TimedWord> {
    timed
        .iter()
        .flat_map(|(time, word)| word_errors::normalize(word).into_iter().map(move |word| (*time, word)))
        .collect()
}

/// A silent room: only the faint noise of a microphone's amplifier, the same in every run.
fn silent_room(minutes: usize) -> Vec<Frame> {
    let clock = SampleClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let mut random = 1u32;
    let mut noise = || {
        // xorshift32
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        (random as i32 as f32 / i32::MAX as f32) * 3e-4
    };
    let count = minutes * 60 * SAMPLE_RATE as usize / FRAME_SAMPLES;
    let at = (0..count).map(|n| (n * FRAME_SAMPLES) as i64);
    at.map(|at| Frame { at, time: clock.time(at), samples: std::array::from_fn(|_| noise()) }).collect()
}
