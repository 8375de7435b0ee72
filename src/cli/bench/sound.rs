//! `hearth bench sound`: whether a state stays sound over a long time, and whether one that does not is found and renewed.
//!
//! Talk is read as by the daemon, utterance by utterance; the policies of surprise and renewal are the daemon's own. There is no clock and no
//! quiet: a fresh state is read as soon as it is wanted.

mod answers;
mod cost;
mod house;
mod poison;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use self::answers::{Home, answers};
use self::house::{Happened, House};
use self::poison::Poison;
use crate::cli::output::stdout;
use crate::config::{ListenerConfig, RenewWhen};
use crate::listener::renewal::Verdict;
use crate::models;

/// The ages at which facts and alerts are asked.
const AGES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// After a poison the surprise is told of the tokens up to each of these.
const STRETCHES: [u64; 5] = [250, 1_000, 2_500, 5_000, 10_000];
/// A poisoned state may take so many tokens until it is found and replaced.
const PATIENCE: u64 = 60_000;

/// Measure how sound a state stays.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchSoundArgs {
    /// A bundled model's name, a GGUF file or a directory in Hugging Face layout
    #[arg(long, default_value = "recurrentgemma-nano")]
    model: PathBuf,
    /// Talk, an utterance a line (training/talk.py writes some); it is read from its beginning again where it is too short
    #[arg(long, value_name = "FILE")]
    talk: PathBuf,
    /// Households with questions and their answers (as tests/fixtures/households.jsonl), asked at each age
    #[arg(long, value_name = "FILE.jsonl", required_unless_present = "cost")]
    homes: Option<PathBuf>,
    /// Only measure what measuring the surprise costs: the talk is read with it and without it, in turns
    #[arg(long)]
    cost: bool,
    /// The age in tokens that a healthy state is read to
    #[arg(long, default_value_t = 1_000_000)]
    tokens: u64,
    /// The age at which a copy of the state is poisoned in each way; 0: not at all
    #[arg(long, default_value_t = 20_000)]
    poison_at: u64,
}

/// # Errors
/// A file cannot be read, or the model fails.
pub(crate) fn run(args: BenchSoundArgs) -> anyhow::Result<()> {
    let talk = std::fs::read_to_string(&args.talk).with_context(|| args.talk.display().to_string())?;
    let talk: Vec<&str> = talk.lines().filter(|line| !line.trim().is_empty()).collect();
    ensure!(!talk.is_empty(), "{} holds no talk", args.talk.display());
    let settings = ListenerConfig { model: args.model.clone(), ..ListenerConfig::default() };
    let model = models::find(&args.model, Path::new("."))?;
    let mut house = House::open(&model, &settings, RenewWhen::WhenWorse)?;
    let mut out = stdout();
    let Some(homes) = args.homes.filter(|_| !args.cost) else { return cost::run(house.reader, &talk, &mut out) };
    let homes = Home::read(&homes)?;
    let fresh = answers(&house.fresh(), &homes)?;
    writeln!(out, "answers of a state that has read nothing before a household: {fresh}")?;

    writeln!(out, "\na healthy state\n{:>10} {:>9} {:>9}  answers", "tokens", "surprise", "young")?;
    let mut lines = talk.iter().cycle();
    let mut compared = 0;
    let ages = AGES.into_iter().filter(|age| *age < args.tokens).chain([args.tokens]);
    for age in ages {
        let mut poisoned = args.poison_at > 0 && house.age() < args.poison_at;
        while house.age() < age {
            let line = lines.next().expect("it goes round");
            if let Some(Happened::Compared { verdict, difference, error }) = house.say(line)? {
                compared += 1;
                writeln!(
                    out,
                    "{:>10} compared: worse by {difference:.3} ± {error:.3} nats a token, {verdict:?}",
                    house.age()
                )?;
            }
            if poisoned && house.age() >= args.poison_at {
                poisoned = false;
                writeln!(out, "{:>10} not poisoned: {}", house.age(), stretches(&house, &talk)?)?;
                for poison in Poison::ALL {
                    try_poison(&house, poison, &talk, &homes, &mut out)?;
                }
            }
        }
        let nats = |nats: Option<f64>| nats.map_or("-".into(), |nats| format!("{nats:.2}"));
        let (now, young) = (nats(house.surprise.median()), nats(house.surprise.young()));
        writeln!(out, "{:>10} {now:>9} {young:>9}  {}", house.age(), answers(&house.reader, &homes)?)?;
    }
    writeln!(out, "compared {compared} times, renewed {} times", house.renewals.count)?;
    Ok(())
}

/// How much talk surprises a copy of a state, which is not renewed: nats a token in stretches of it.
fn stretches(house: &House, talk: &[&str]) -> anyhow::Result<String> {
    let mut house = house.copy();
    house.reader.measure_all(true);
    let (begun, mut told) = (house.age(), Vec::new());
    let (mut nats, mut tokens) = (0.0, 0);
    let mut lines = talk.iter().cycle().skip(talk.len() / 2);
    for end in STRETCHES {
        while house.age() < begun + end {
            let measured = house.reader.read_in(lines.next().expect("it goes round"), None)?;
            nats += measured.map_or(0.0, |measured| measured.mean() * measured.tokens as f64);
            tokens += measured.map_or(0, |measured| measured.tokens);
        }
        told.push(format!("{:.2} up to {end}", nats / f64::from(tokens.max(1) as u32)));
        (nats, tokens) = (0.0, 0);
    }
    Ok(format!("nats a token {}", told.join(", ")))
}

/// Poisons a copy of a state, lets it read on, and says what became of it.
fn try_poison(
    house: &House,
    poison: Poison,
    talk: &[&str],
    homes: &[Home],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut house = house.copy();
    poison.apply(&mut house)?;
    let (begun, sick) = (house.read, answers(&house.reader, homes)?);
    writeln!(out, "{:>10} poisoned, {}: {}", house.age(), poison.name(), stretches(&house, talk)?)?;
    let mut lines = talk.iter().cycle().skip(talk.len() / 2);
    let (mut suspected, mut ended) = (None, None);
    while house.read < begun + PATIENCE && ended.is_none() {
        match house.say(lines.next().expect("it goes round"))? {
            Some(Happened::Began) => suspected = suspected.or(Some(house.read - begun)),
            Some(Happened::Compared { verdict: Verdict::Worse, .. }) => ended = Some(house.read - begun),
            _ => {}
        }
    }
    let told = |tokens: Option<u64>| tokens.map_or("never".into(), |tokens| format!("after {tokens} tokens"));
    writeln!(
        out,
        "{:>10} suspected {}, renewed {}; answers before: {sick}; after: {}",
        "",
        told(suspected),
        told(ended),
        answers(&house.reader, homes)?
    )?;
    Ok(())
}
