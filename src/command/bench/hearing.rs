//! `hearth bench hearing`: how well, how soon and at what cost a folder of recordings is heard.
//!
//! Owns what is measured and how it is shown. Refuses to know how hearing works. Invariant: every figure that depends on the
//! machine stands beside the same model's own: one offline pass over each recording.

mod folder;
mod replay;
mod words;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use self::folder::Recording;
use self::replay::{PassCost, Replayed, Time};
use super::plot;
use crate::asr::whisper::Whisper;
use crate::clock::{SAMPLE_RATE, SampleClock};
use crate::command::progress;
use crate::config::Asr;
use crate::daemon::hearing::Hearing;
use crate::event::{FRAME_SAMPLES, Frame};
use crate::models;

/// Minutes of a silent room whose cost is measured.
const SILENCE_MIN: usize = 5;

/// Measure hearing over a folder of recordings with a manifest.tsv.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder that holds a manifest.tsv, or whose folders do
    folder: PathBuf,
    /// As fast as the machine can: words alone, no latency, and no decoding before a segment has ended
    #[arg(long, conflicts_with_all = ["cost", "plot"])]
    fast: bool,
    /// Decode each segment once, as on a machine without time for more
    #[arg(long)]
    no_looks: bool,
    /// Only recordings of this set; may be given more than once
    #[arg(long = "set", value_name = "SET")]
    sets: Vec<String>,
    /// What a pass takes on the clock, and each token, in seconds: for the same figures on a busy machine
    #[arg(long, value_name = "PASS,TOKEN", value_parser = pass_cost)]
    cost: Option<PassCost>,
    /// A bundled model's name, or the path of a Whisper model in ggml form
    #[arg(long, default_value_os_t = Asr::default().model)]
    model: PathBuf,
    /// ISO 639-1, or "auto"
    #[arg(long, default_value_t = Asr::default().language)]
    language: String,
    /// 0: one less than the machine has cores, at most 4
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Draw how the latency is distributed
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Write every word with its time to this file, one line of JSON for each recording
    #[arg(long, value_name = "FILE.jsonl")]
    words: Option<PathBuf>,
    /// The result as JSON on the last line
    #[arg(long)]
    json: bool,
}

fn pass_cost(text: &str) -> Result<PassCost, String> {
    let parts = text.split_once(',').and_then(|(pass, token)| Some((pass.parse().ok()?, token.parse().ok()?)));
    match parts {
        Some((pass_s, token_s)) if pass_s >= 0.0 && token_s >= 0.0 => Ok(PassCost { pass_s, token_s }),
        _ => Err(format!("\"{text}\" is not two numbers of seconds such as 0.75,0.008")),
    }
}

/// What was measured. Shares are of 1, like the error rates.
#[derive(Debug, Default, Serialize)]
struct Report {
    wer: f64,
    wer_offline: f64,
    by_set: BTreeMap<String, Set>,
    /// From the end of a word to its being committed.
    latency_p50_s: Option<f64>,
    latency_p95_s: Option<f64>,
    /// From the end of a word to its utterance, which is what is stored and read by the state.
    stored_p50_s: Option<f64>,
    stored_p95_s: Option<f64>,
    revisions: usize,
    noise_words_per_hour: Option<f64>,
    cpu_s_per_hour_speech: Option<f64>,
    cpu_s_per_hour_silence: f64,
    /// The share of the time of speech in which something was decoded.
    busy: f64,
    rss_bytes: u64,
    dropped_s: f64,
    speech_s: f64,
    noise_s: f64,
    words: usize,
}

/// Words and errors of a set.
#[derive(Debug, Default, Serialize)]
struct Set {
    wer: f64,
    wer_offline: f64,
    words: usize,
    #[serde(skip)]
    errors: usize,
    #[serde(skip)]
    errors_offline: usize,
}

impl Set {
    fn add(&mut self, other: &Self) {
        self.words += other.words;
        self.errors += other.errors;
        self.errors_offline += other.errors_offline;
        let rate = |errors| errors as f64 / self.words.max(1) as f64;
        (self.wer, self.wer_offline) = (rate(self.errors), rate(self.errors_offline));
    }
}

/// A word and a second of the recording: when it ended, or when it was committed.
type Timed = (f64, String);

/// One recording, heard.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a Path,
    set: &'a str,
    reference: &'a str,
    seconds: f64,
    busy_s: f64,
    /// Words of the offline pass, with their ends.
    offline: &'a [Timed],
    /// Committed words, with the moment at which each was.
    heard: &'a [Timed],
}

/// # Errors
/// The folder, a recording or the model cannot be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut recordings = folder::read(&args.folder)?;
    if !args.sets.is_empty() {
        recordings.retain(|recording| args.sets.contains(&recording.set));
        anyhow::ensure!(!recordings.is_empty(), "no recording in {} is of set {:?}", args.folder.display(), args.sets);
    }
    let asr =
        Asr { model: args.model.clone(), language: args.language.clone(), threads: args.threads, ..Asr::default() };
    let path = models::find(&asr.model, Path::new(""))?;
    let hearing = Hearing::new(Whisper::load(&path, &asr)?, "bench");
    let mut bench = Bench {
        hearing: if args.fast { hearing } else { hearing.live(!args.no_looks) },
        offline: Whisper::load(&path, &asr)?,
        time: if args.fast { Time::None } else { Time::Room(args.cost) },
        latencies: Vec::new(),
        stored: Vec::new(),
        report: Report::default(),
        out: args.words.as_deref().map(create).transpose()?,
    };
    progress::show("hearing", "recordings", |done| {
        for (n, recording) in recordings.iter().enumerate() {
            done(n as u64, recordings.len() as u64);
            bench.hear(recording)?;
        }
        anyhow::Ok(())
    })?;
    let report = bench.finish()?;
    report.show();
    if let Some(path) = &args.plot {
        let title = "Seconds from the end of a word to its being committed";
        plot::histogram(path, title, ["seconds", "words"], 0.25, &bench.latencies)?;
        println!("drawn: {}", path.display());
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<std::io::BufWriter<std::fs::File>> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(std::io::BufWriter::new(file))
}

struct Bench {
    hearing: Hearing,
    offline: Whisper,
    time: Time,
    latencies: Vec<f64>,
    /// Until each word was in an utterance.
    stored: Vec<f64>,
    report: Report,
    out: Option<std::io::BufWriter<std::fs::File>>,
}

impl Bench {
    fn hear(&mut self, recording: &Recording) -> anyhow::Result<()> {
        let frames = replay::frames(&recording.path)?;
        let replayed = replay::replay(&mut self.hearing, &frames, self.time)?;
        self.report.revisions += replayed.revisions;
        self.report.dropped_s += replayed.dropped_s;
        let said = words::fold(&recording.reference);
        let offline = if said.is_empty() { Vec::new() } else { self.offline(&frames)? };
        if said.is_empty() {
            self.noise(&replayed);
        } else {
            self.speech(recording, &said, &offline, &replayed);
        }
        let Some(out) = &mut self.out else { return Ok(()) };
        let line = Line {
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

    /// One pass of the model over the whole recording.
    fn offline(&mut self, frames: &[Frame]) -> anyhow::Result<Vec<Timed>> {
        let samples: Vec<f32> = frames.iter().flat_map(|frame| frame.samples).collect();
        let pieces = self.offline.decode(&samples, "")?;
        Ok(pieces.into_iter().flat_map(|piece| piece.words).map(|word| (word.end_s, word.text)).collect())
    }

    fn noise(&mut self, replayed: &Replayed) {
        let report = &mut self.report;
        let words = report.noise_words_per_hour.unwrap_or(0.0) * report.noise_s / 3600.0;
        report.noise_s += replayed.audio_s;
        let words = words + replayed.words.len() as f64;
        report.noise_words_per_hour = Some(words * 3600.0 / report.noise_s);
    }

    fn speech(&mut self, recording: &Recording, said: &[String], offline: &[Timed], replayed: &Replayed) {
        let (offline, heard) = (folded(offline), folded(&replayed.words));
        let texts = |timed: &[Timed]| timed.iter().map(|(_, word)| word.clone()).collect::<Vec<_>>();
        let set = Set {
            words: said.len(),
            errors: words::align(said, &texts(&heard)).errors,
            errors_offline: words::align(said, &texts(&offline)).errors,
            ..Set::default()
        };
        self.report.by_set.entry(recording.set.clone()).or_default().add(&set);
        if self.time != Time::None {
            let ends = match &recording.word_ends {
                Some(ends) => folded(
                    &ends
                        .iter()
                        .copied()
                        .zip(recording.reference.split_whitespace().map(str::to_owned))
                        .collect::<Vec<_>>(),
                ),
                None => offline,
            };
            let pairs = words::align(&texts(&ends), &texts(&heard)).same;
            self.latencies.extend(pairs.iter().map(|(said, at)| heard[*at].0 - ends[*said].0));
            let stored: Vec<Timed> = replayed.stored.iter().copied().zip(texts(&replayed.words)).collect();
            let stored = folded(&stored);
            self.stored.extend(pairs.iter().map(|(said, at)| stored[*at].0 - ends[*said].0));
        }
        let report = &mut self.report;
        let cpu = report.cpu_s_per_hour_speech.unwrap_or(0.0) * report.speech_s;
        let busy = report.busy * report.speech_s + replayed.busy_s;
        report.speech_s += replayed.audio_s;
        report.cpu_s_per_hour_speech = Some((cpu + replayed.cpu_s * 3600.0) / report.speech_s);
        report.busy = busy / report.speech_s;
    }

    fn finish(&mut self) -> anyhow::Result<Report> {
        if let Some(out) = &mut self.out {
            out.flush()?;
        }
        let silence = replay::replay(&mut self.hearing, &silent_room(), Time::None)?;
        let mut report = std::mem::take(&mut self.report);
        report.cpu_s_per_hour_silence = silence.cpu_s * 60.0 / SILENCE_MIN as f64;
        let mut all = Set::default();
        report.by_set.values().for_each(|set| all.add(set));
        (report.wer, report.wer_offline, report.words) = (all.wer, all.wer_offline, all.words);
        self.latencies.sort_by(f64::total_cmp);
        (report.latency_p50_s, report.latency_p95_s) =
            (quantile(&self.latencies, 0.5), quantile(&self.latencies, 0.95));
        self.stored.sort_by(f64::total_cmp);
        (report.stored_p50_s, report.stored_p95_s) = (quantile(&self.stored, 0.5), quantile(&self.stored, 0.95));
        report.rss_bytes = peak_rss();
        Ok(report)
    }
}

/// Each word as it is compared; one may be several.
fn folded(timed: &[Timed]) -> Vec<Timed> {
    timed.iter().flat_map(|(time, word)| words::fold(word).into_iter().map(move |word| (*time, word))).collect()
}

fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * q).round() as usize])
}

/// A room in which nothing happens: the faint noise of the microphone's own amplifier, the same at every run.
fn silent_room() -> Vec<Frame> {
    let clock = SampleClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let mut random = 1u32;
    let mut noise = || {
        // xorshift32
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        (random as i32 as f32 / i32::MAX as f32) * 3e-4
    };
    let count = SILENCE_MIN * 60 * SAMPLE_RATE as usize / FRAME_SAMPLES;
    let at = (0..count).map(|n| (n * FRAME_SAMPLES) as i64);
    at.map(|at| Frame { at, time: clock.time(at), samples: std::array::from_fn(|_| noise()) }).collect()
}

/// The most memory that this process ever held.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

impl Report {
    fn show(&self) {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        if self.words > 0 {
            println!("{:<28} {:>8} {:>9} {:>9}", "set", "words", "errors", "offline");
            for (name, set) in &self.by_set {
                println!("{name:<28} {:>8} {:>9} {:>9}", set.words, percent(set.wer), percent(set.wer_offline));
            }
            println!("{:<28} {:>8} {:>9} {:>9}\n", "all", self.words, percent(self.wer), percent(self.wer_offline));
        }
        let row = |what: &str, value: String| println!("{what:<52} {value}");
        if let (Some(p50), Some(p95)) = (self.latency_p50_s, self.latency_p95_s) {
            row("from a word's end to its being committed", format!("p50 {p50:.2} s, p95 {p95:.2} s"));
        }
        if let (Some(p50), Some(p95)) = (self.stored_p50_s, self.stored_p95_s) {
            row("and to the utterance that is stored", format!("p50 {p50:.2} s, p95 {p95:.2} s"));
        }
        row("committed words that changed", self.revisions.to_string());
        if let Some(words) = self.noise_words_per_hour {
            row("words an hour where nobody speaks", format!("{words:.1} ({:.0} s heard)", self.noise_s));
        }
        if let Some(cpu) = self.cpu_s_per_hour_speech {
            row("processor seconds an hour of speech", format!("{cpu:.0} ({:.0} s heard)", self.speech_s));
        }
        let core = percent(self.cpu_s_per_hour_silence / 3600.0);
        row("processor seconds an hour of silence", format!("{:.1} ({core} of a core)", self.cpu_s_per_hour_silence));
        if self.busy > 0.0 {
            row("share of the time decoding, where people speak", percent(self.busy));
        }
        row("memory at most", format!("{:.0} MB", self.rss_bytes as f64 / 1e6));
        row("sound dropped", format!("{:.1} s", self.dropped_s));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_two_numbers() {
        assert_eq!(pass_cost("0.75,0.008"), Ok(PassCost { pass_s: 0.75, token_s: 0.008 }));
        for wrong in ["", "1", "a,b", "-1,0", "NaN,0"] {
            assert!(pass_cost(wrong).unwrap_err().contains("0.75,0.008"), "{wrong}");
        }
    }

    #[test]
    fn rates_of_sets_add_up_by_their_words() {
        let mut all = Set::default();
        all.add(&Set { words: 10, errors: 5, errors_offline: 1, ..Set::default() });
        all.add(&Set { words: 30, errors: 5, errors_offline: 3, ..Set::default() });
        assert_eq!((all.wer, all.wer_offline), (0.25, 0.1));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
    }
}
