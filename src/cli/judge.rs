//! `hearth judge FOLDER`: scores a model on exchanges, questions and households whose content is known.
//!
//! Everything goes through the daemon's own listener with the config's rules. A daemon that runs is not disturbed.

mod material;
mod play;
mod report;
mod scores;
mod tables;
mod truth;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

use self::material::Material;
use self::play::{HarmlessTalk, Judge, JudgeReading, JudgeStopped};
use self::report::{JudgeReport, JudgeSeconds, OwnQuestionScores};
use super::output::stdout;
use super::progress;
use super::run::{read_config, runtime, terminated};
use crate::config::{Config, DigestConfig, Rule, WatchKind};
use crate::listener::Listener;
use crate::listener::ask::Question;
use crate::listener::event_model::EventModel;
use crate::models;
use crate::watcher::Watcher;
use griffin::Quantization;

/// The question about deliveries, for which there is no default rule.
const DELIVERY: &str = "Was something delivered?";

/// Arguments of `hearth judge`.
#[derive(Debug, clap::Args)]
pub(crate) struct JudgeArgs {
    /// A folder of *.jsonl and *.txt, or one such file; examples/judge has a small one
    folder: PathBuf,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A bundled model's name, a directory in Hugging Face layout, or a GGUF file; by default that of the config
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// How the weights are held in memory: auto, f32, q8_0 or q4_k; by default as the config says
    #[arg(long, value_name = "FORM", value_parser = super::ask::weights)]
    weights: Option<Quantization>,
    /// Judge at most N exchanges, questions and households, evenly spread, and N utterances of each text file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    most: Option<u64>,
    /// Let the talk be heard in several rooms, which the model reads before each utterance
    #[arg(long)]
    rooms: bool,
    /// Write what watcher and model say of each kind after each utterance to this file, one line of JSON each
    #[arg(long, value_name = "FILE.jsonl")]
    readings: Option<PathBuf>,
    /// The scores as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The folder, the config or the model cannot be read, the readings cannot be written, or somebody stopped it; what was judged until then
/// is printed.
pub(crate) fn run(args: JudgeArgs) -> anyhow::Result<()> {
    let mut material = Material::read(&args.folder)?;
    if let Some(most) = args.most {
        material.thin(most as usize);
    }
    let mut config = read_config(args.config.as_deref())?;
    let base = if let Some(model) = &args.model {
        config.listener.model.clone_from(model);
        PathBuf::new()
    } else {
        config.base.clone()
    };
    config.listener.weights = args.weights.unwrap_or(config.listener.weights);
    let model = models::find(&config.listener.model, &base)?;
    let listener = listener(&model, &config)?.in_several_rooms(args.rooms);
    let readings = args.readings.as_deref().map(create).transpose()?;
    let runtime = runtime()?;
    let stop = stop_at_signals(&runtime)?;
    let report = progress::show("judging", "words", |tell| {
        let total = material.words();
        let mut tell = |done| tell(done, total);
        judge(&material, &listener, &config.rules, args.rooms, &stop, &mut tell, readings)
    });
    let mut report = report?;
    report.model = model.display().to_string();
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(stdout(), "{report}")?;
    }
    if report.stopped {
        bail!(JudgeStopped);
    }
    Ok(())
}

/// The daemon's listener; no digest becomes due.
fn listener(model: &Path, config: &Config) -> anyhow::Result<Listener> {
    let silent = DigestConfig { every_min: 0.0, quiet_min: 0.0, ..config.digest.clone() };
    let listener = Listener::open(model, &config.listener, &silent, &config.rules)?;
    let watcher = Watcher::of(&config.rules, &config.base).unwrap_or_else(|error| {
        eprintln!("hearth: {error}; the model is judged without a watcher, as the daemon would run");
        None
    });
    let events = EventModel::of(watcher.as_ref(), config);
    Ok(listener.with_watcher(watcher, events))
}

fn create(path: &Path) -> anyhow::Result<(BufWriter<File>, PathBuf)> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((BufWriter::new(file), path.into()))
}

/// Is set at SIGINT or SIGTERM: the utterance, answer or summary at hand is the last one.
fn stop_at_signals(runtime: &tokio::runtime::Runtime) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let _inside = runtime.enter();
    let ended = terminated()?;
    let stopped = stop.clone();
    runtime.spawn(async move {
        ended.await;
        stopped.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

/// The question about each kind: that of the config's rule, or of the default one.
fn questions(listener: &Listener, rules: &[Rule]) -> anyhow::Result<Vec<Question>> {
    let defaults = Config::default().rules;
    let question = |kind: WatchKind| {
        let of = |rules: &[Rule]| rules.iter().find(|rule| play::kind_of(rule) == Some(kind))?.question.clone();
        of(rules).or_else(|| of(&defaults)).unwrap_or_else(|| DELIVERY.into())
    };
    Ok(WatchKind::ALL.into_iter().map(|kind| listener.prepare(&question(kind))).collect::<Result<_, _>>()?)
}

fn judge(
    material: &Material,
    listener: &Listener,
    rules: &[Rule],
    rooms: bool,
    stop: &AtomicBool,
    tell: &mut (dyn FnMut(u64) + Send),
    readings: Option<(BufWriter<File>, PathBuf)>,
) -> anyhow::Result<JudgeReport> {
    let questions = questions(listener, rules)?;
    let mut judge =
        Judge { listener, rules, questions, rooms, stop, tell, done: 0, reading_s: Vec::new(), asking_s: Vec::new() };
    let mut report = JudgeReport::default();
    let mut found = Vec::new();
    let mut own = Vec::new();
    match play_all(&mut judge, material, &mut report, &mut found, &mut own) {
        Err(error) if error.is::<JudgeStopped>() => report.stopped = true,
        played => played?,
    }
    report.add_readings(&found);
    report.own_questions = OwnQuestionScores::of(&own);
    report.seconds = JudgeSeconds::of(judge.reading_s, &judge.asking_s);
    if let Some((mut file, path)) = readings {
        write_readings(&mut file, &found).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}

fn play_all<'m>(
    judge: &mut Judge<'_>,
    material: &'m Material,
    report: &mut JudgeReport,
    found: &mut Vec<JudgeReading<'m>>,
    own: &mut Vec<scores::Scored>,
) -> anyhow::Result<()> {
    let named = |name: &str| HarmlessTalk { name: name.into(), ..HarmlessTalk::default() };
    report.harmless = vec![named("talk before the exchanges"), named("exchanges without an event")];
    for (index, exchange) in material.exchanges.iter().enumerate() {
        let (readings, calm, stretch) = judge.exchange(index, exchange, &mut report.answers)?;
        found.extend(readings);
        report.harmless[0].add(calm);
        if exchange.k.is_empty() {
            report.harmless[1].add(stretch);
        }
        report.exchanges += 1;
    }
    for question in &material.questions {
        own.extend(judge.own_question(question)?);
    }
    for household in &material.households {
        judge.household(household, &mut report.households)?;
    }
    for (name, said) in &material.harmless {
        report.harmless.push(judge.harmless(name, said)?);
    }
    Ok(())
}

fn write_readings(file: &mut BufWriter<File>, found: &[JudgeReading<'_>]) -> anyhow::Result<()> {
    for reading in found {
        serde_json::to_writer(&mut *file, reading)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
