//! `hearth bench day`: how late alerts come in a day of talk, on this machine or on a share of it.
//!
//! The daemon's own listen service does the work, on a simulated clock: see [`simulation`].

mod log;
mod report;
mod simulation;
mod talk;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use tokio::sync::watch;

use self::report::{DayFacts, DayReport};
use self::simulation::{DayEvents, SimulatedDay, SimulatedMachine, TokenSeconds};
use crate::cli::output::stdout;
use crate::cli::progress;
use crate::config::{self, Config, Keep, SourcesConfig};
use crate::listener::Listener;
use crate::listener::asking_steps::{AskingStep, AskingSteps};
use crate::listener::event_model::EventModel;
use crate::metrics::Metrics;
use crate::models;
use crate::process::peak_resident_bytes;
use crate::services::listen::{self, ListenInputs};
use crate::services::{Context, ServiceError};
use crate::watcher::Watcher;

/// How often the progress is shown.
const SHOWN: Duration = Duration::from_millis(200);

/// Measure a day of talk.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchDayArgs {
    /// A bundled model's name, a GGUF file, or a directory in Hugging Face layout; by default that of the config
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// A config whose rules, digests and model are taken; by default the built-in one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The share of the day in which people talk, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    talk: f64,
    /// How many cores hearth gets, or which share of one
    #[arg(long, value_name = "CORES", default_value_t = 1.0)]
    cpu: f64,
    /// How long the day is
    #[arg(long, value_name = "HOURS", default_value_t = 24.0)]
    hours: f64,
    /// Seconds of a core that recognizing a second of speech takes (`hearth bench hearing` measures it)
    #[arg(long, value_name = "SECONDS", default_value_t = 0.06)]
    whisper: f64,
    /// A file of talk with one utterance in each line, instead of the bundled talk
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Ask every rule, as if none had `watch`
    #[arg(long)]
    no_watch: bool,
    /// Leave out a way to ask less or earlier, to see what it brings: shared-starts, last-token, fillers, gate, words-first or priority
    #[arg(long, value_name = "STEP", value_delimiter = ',', value_parser = asking_step)]
    without: Vec<AskingStep>,
    /// Milliseconds of a core that a token takes which is read with others, and one that is written: for figures that do not depend on
    /// the machine. Everything but the model then takes no time
    #[arg(long, value_name = "READ,WRITE", value_parser = token_seconds)]
    cost: Option<TokenSeconds>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

fn asking_step(text: &str) -> Result<AskingStep, String> {
    Ok(match text {
        "shared-starts" => AskingStep::SharedStarts,
        "last-token" => AskingStep::LastToken,
        "fillers" => AskingStep::Fillers,
        "gate" => AskingStep::Gate,
        "words-first" => AskingStep::WordsFirst,
        "priority" => AskingStep::Priority,
        _ => return Err(format!("there is no step \"{text}\": see --help")),
    })
}

fn token_seconds(text: &str) -> Result<TokenSeconds, String> {
    let parts: Option<(f64, f64)> =
        text.split_once(',').and_then(|(read, write)| Some((read.parse().ok()?, write.parse().ok()?)));
    match parts {
        Some((read, write)) if (0.0..1e6).contains(&read) && (0.0..1e6).contains(&write) => {
            Ok(TokenSeconds { read: 1e-3 * read, write: 1e-3 * write })
        }
        _ => Err(format!("\"{text}\" is not two numbers of milliseconds such as 10,50")),
    }
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// A figure cannot be, the config, the talk or the model cannot be read, or a temporary database not be written.
pub(crate) fn run(args: BenchDayArgs) -> anyhow::Result<()> {
    let BenchDayArgs { talk: share, cpu, hours, whisper, .. } = args;
    ensure!(share > 0.0 && share <= 1.0, "--talk {share} is no share of a day: it lies above 0, up to 1");
    ensure!((0.001..=1024.0).contains(&cpu), "--cpu {cpu} is no number of cores from 0.001 to 1024");
    ensure!(hours > 0.0 && hours <= 24.0 * 366.0, "--hours {hours} is no time above 0, up to a year");
    ensure!((0.0..=100.0).contains(&whisper), "--whisper {whisper} is no number of seconds from 0 to 100");
    let texts = match &args.text {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            text.lines().map(String::from).collect()
        }
        None => talk::bundled()?,
    };
    let said = talk::talk_of_day(&texts, hours, share)?;
    ensure!(!said.is_empty(), "in {hours} h of which {share} is talk nothing is said: raise --hours or --talk");
    let machine = SimulatedMachine { cpu, whisper, cost: args.cost };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(cpu.ceil() as usize);
    let config = bench_config(&args, threads)?;
    let model = models::find(&config.listener.model, if args.model.is_some() { Path::new("") } else { &config.base })?;
    let words = said.iter().map(|said| said.text.split_whitespace().count()).sum();
    let spoken_s = said.iter().map(|said| said.end - said.start).sum();

    let metrics = Arc::new(Metrics::default());
    let steps = AskingSteps::without(&args.without);
    let (log, done_s) = simulate(machine, said, hours, &model, config, steps, metrics.clone())?;
    let facts = DayFacts {
        model: model.display().to_string(),
        machine,
        threads,
        hours,
        done_s,
        words,
        spoken_s,
        asked: metrics.asked.get(),
        digests_given_up: metrics.digests_given_up.get(),
        peak_memory_bytes: peak_resident_bytes(),
    };
    let report = DayReport::new(&log, facts);
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(stdout(), "{report}")?;
    }
    Ok(())
}

/// The config of a daemon that hears live and keeps all text.
fn bench_config(args: &BenchDayArgs, threads: usize) -> anyhow::Result<Config> {
    let mut config = args.config.as_deref().map(config::load).transpose()?.unwrap_or_default();
    if let Some(model) = &args.model {
        config.listener.model.clone_from(model);
    }
    config.listener.threads = threads;
    config.source = SourcesConfig::default();
    config.store.keep = Keep::Forever;
    if args.no_watch {
        config.rules.iter_mut().for_each(|rule| rule.watch = None);
    }
    Ok(config)
}

/// Lets the daemon's listener live through the day.
fn simulate(
    machine: SimulatedMachine,
    said: Vec<talk::DayUtterance>,
    hours: f64,
    model: &Path,
    config: Config,
    steps: AskingSteps,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(log::DayLog, f64)> {
    let dir = tempfile::tempdir().context("there is no place for a database; set TMPDIR")?;
    let watcher = Watcher::of(&config.rules, &config.base)?;
    let events = EventModel::of(watcher.as_ref(), &config);
    let listener = Listener::open(model, &config.listener, &config.digest, &config.rules)?
        .asking_with(steps)
        .with_watcher(watcher, events);
    let rules = watch::Sender::new(config.rules.clone());
    let context = Context::open(config, dir.path(), metrics)?;
    let total = said.len() as u64;
    let day = Arc::new(SimulatedDay::new(machine, said, hours, &context)?);
    let inputs = ListenInputs { listener, rules, clock: day.clone() };
    let events = DayEvents(day.clone());
    let listening = thread::Builder::new().name(listen::NAME.into());
    let listening = listening.spawn(move || listen::run(context, inputs, events)).context("cannot start a thread")?;
    let done: Result<(), ServiceError> = progress::show("a day", "utterances", |tell| {
        while !listening.is_finished() {
            tell(day.asked_about() as u64, total);
            thread::sleep(SHOWN);
        }
        listening.join().map_err(|_| anyhow!("the listener broke off"))
    })?;
    done?;
    Ok(day.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_name() {
        let names = ["shared-starts", "last-token", "fillers", "gate", "words-first", "priority"];
        assert_eq!(names.map(|name| asking_step(name).unwrap()), AskingStep::ALL);
        assert!(asking_step("gates").unwrap_err().contains("\"gates\""));
    }

    #[test]
    fn a_cost_is_two_numbers_of_milliseconds() {
        assert_eq!(token_seconds("10,50"), Ok(TokenSeconds { read: 0.01, write: 0.05 }));
        for wrong in ["", "1", "a,b", "-1,0", "NaN,0", "1,inf"] {
            assert!(token_seconds(wrong).unwrap_err().contains("10,50"), "{wrong}");
        }
    }
}
