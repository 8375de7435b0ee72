//! `hearth rules dry-run RULE.toml --since 7d`: when rules would have fired on the stored transcript.
//!
//! The text goes through the same listener as in the daemon, starting from an older snapshot. A daemon that runs is not disturbed, and
//! nothing is written but standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde_json::{Value, json};

use crate::cli::output::stdout;
use crate::cli::progress;
use crate::cli::run::{existing_state_dir, read_config};
use crate::clock::human_time;
use crate::config::{self, Config, DigestConfig, Rule};
use crate::event::{Alert, AlertPhase};
use crate::listener::event_model::EventModel;
use crate::listener::snapshot_store::SnapshotStore;
use crate::listener::{Listener, ListenerOutcome, Listeners, alert};
use crate::models;
use crate::services::listen::state_at::BATCH;
use crate::store::Store;
use crate::watcher::Watcher;

/// An evaluation counts as near if its odds are at least this fraction of those of `enter`.
const NEARLY: f64 = 0.5;

#[derive(Debug, clap::Args)]
pub(crate) struct DryRunArgs {
    /// The rules, as `[[rule]]` stands in the config
    #[arg(value_name = "RULE.toml")]
    rules: PathBuf,
    /// From when on: "7d", "2h" (ago), "yesterday 18:00", "2026-03-01", or RFC 3339
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// One line of JSON for each alert, then one for each rule
    #[arg(long)]
    json: bool,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the rules of a file over what was said, and prints when they would have fired.
///
/// # Errors
/// The file, the config, the model or the database cannot be read, or no text is stored from that time on.
pub(crate) fn run(args: DryRunArgs) -> anyhow::Result<()> {
    let now = ZonedDateTime::now();
    let since = human_time::since(&args.since, &now)?;
    let rules = rules(&args.rules)?;
    let config = read_config(args.config.as_deref())?;
    let found = dry_run(&config, &rules, since)?;
    print(&args, &rules, &found, now.time_zone())
}

/// The rules of a file that holds nothing else.
fn rules(path: &Path) -> anyhow::Result<Vec<Rule>> {
    let config = config::load(path)?;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let named = text.lines().any(|line| line.trim_start().starts_with("[[rule]]"));
    ensure!(named, "{} has no [[rule]]: write one as it would stand in the config", path.display());
    Ok(config.rules)
}

/// The result of a dry run.
#[derive(Debug, Default, PartialEq)]
struct DryRunResult {
    alerts: Vec<Alert>,
    /// Totals of each rule, by its name.
    readings: BTreeMap<String, RuleTotals>,
    utterances: u64,
    days: f64,
}

/// Totals of the evaluations of a rule's question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct RuleTotals {
    taken: u64,
    /// With a probability of at least `enter`.
    hits: u64,
    /// Below that, but near ([`NEARLY`]).
    nearly: u64,
    highest: f64,
}

fn dry_run(config: &Config, rules: &[Rule], since: Timestamp) -> anyhow::Result<DryRunResult> {
    let dir = existing_state_dir(config)?;
    let store = Store::open_read_only(&dir, (&config.store).into())?;
    let model = models::find(&config.listener.model, &config.base)?;
    // No digest becomes due.
    let silent = DigestConfig { every_min: 0.0, quiet_min: 0.0, ..config.digest.clone() };
    let listener = Listener::open(&model, &config.listener, &silent, rules)?;
    let watcher = Watcher::of(rules, &config.base)?;
    let events = EventModel::of(watcher.as_ref(), config);
    let listener = listener.in_several_rooms(config.several_rooms()).with_watcher(watcher, events);
    let mut listeners = Listeners::new(listener, config.listener.states, SnapshotStore::read_only(&dir))?;
    let read = listeners.restore(|mark| mark.time <= since, 0)?;
    let total = store.count_after(read)?;
    ensure!(total > 0, "no text is stored from {since} on: [store] keep says how long it is kept");
    progress::show("dry run", "utterances", |tell| {
        replay(&mut listeners, &store, rules, read, since, |done| tell(done, total))
    })
}

/// Reads the utterances after number `read`. Rules are evaluated only on what was said after `since`.
fn replay(
    listeners: &mut Listeners,
    store: &Store,
    rules: &[Rule],
    mut read: i64,
    since: Timestamp,
    mut tell: impl FnMut(u64),
) -> anyhow::Result<DryRunResult> {
    let mut found = DryRunResult::default();
    let (mut first, mut last, mut done) = (None, since, 0);
    loop {
        let batch = store.utterances_after(read, BATCH)?;
        let Some(&(seq, _)) = batch.last() else { break };
        read = seq;
        let (before, news): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, said)| said.end <= since);
        listeners.replay(&before)?;
        done += before.len() as u64;
        for (seq, said) in news {
            found.add(listeners.tick(said.start)?, rules);
            listeners.hear(seq, &said)?;
            found.add(listeners.consider(said.end)?, rules);
            first.get_or_insert(said.start);
            last = said.end;
            found.utterances += 1;
            done += 1;
            tell(done);
        }
    }
    found.days = first.map_or(0.0, |first| last.duration_since(first).as_secs_f64() / 86_400.0);
    Ok(found)
}

impl DryRunResult {
    fn add(&mut self, outcome: ListenerOutcome, rules: &[Rule]) {
        self.alerts.extend(outcome.alerts);
        for reading in outcome.readings {
            let Some(rule) = rules.iter().find(|rule| rule.name == reading.rule) else { continue };
            let of_rule = self.readings.entry(reading.rule.to_string()).or_default();
            let short = alert::log_odds(rule.enter.get()) - alert::log_odds(reading.probability);
            of_rule.taken += 1;
            of_rule.hits += u64::from(short <= 0.0);
            of_rule.nearly += u64::from(short > 0.0 && short <= -NEARLY.ln());
            of_rule.highest = of_rule.highest.max(reading.probability);
        }
    }

    fn fired(&self, rule: &Rule) -> usize {
        self.alerts.iter().filter(|alert| alert.phase == AlertPhase::New && alert.rule == rule.name.as_str()).count()
    }
}

fn print(args: &DryRunArgs, rules: &[Rule], found: &DryRunResult, zone: &TimeZone) -> anyhow::Result<()> {
    let mut lines: Vec<String> = Vec::new();
    for alert in &found.alerts {
        lines.extend(if args.json { Some(serde_json::to_string(alert)?) } else { told(alert, zone) });
    }
    for rule in rules {
        let of_rule = found.readings.get(rule.name.as_str()).copied().unwrap_or_default();
        lines.push(if args.json {
            summary_json(rule, found, of_rule).to_string()
        } else {
            summary(rule, found, of_rule)
        });
    }
    for line in &lines {
        writeln!(stdout(), "{line}")?;
    }
    Ok(())
}

/// A line about an alert that begins or ends.
fn told(alert: &Alert, zone: &TimeZone) -> Option<String> {
    let time = alert.time.to_zoned_datetime(zone.clone()).strftime("%F %T");
    let rule = &alert.rule;
    match alert.phase {
        AlertPhase::New => {
            let percent = alert.probability.map(|p| format!(" {:.0} %", p * 100.0)).unwrap_or_default();
            let quoted: String = alert.evidence.iter().map(|evidence| format!(" “{}”", evidence.text)).collect();
            let answer = alert.answer.as_ref().map(|answer| format!(" — {answer}")).unwrap_or_default();
            Some(format!("{time}  {rule}{percent}{quoted}{answer}"))
        }
        AlertPhase::Update => None,
        AlertPhase::End => Some(format!("{time}  {rule} over")),
    }
}

fn summary(rule: &Rule, found: &DryRunResult, of_rule: RuleTotals) -> String {
    let (fired, days) = (found.fired(rule), found.days);
    let a_day = if days >= 1.0 { format!(", {:.1} a day", fired as f64 / days) } else { String::new() };
    let mut line =
        format!("{}: fired {fired} times in {:.1} days{a_day}, {} utterances", rule.name, days, found.utterances);
    if rule.question.is_some() {
        let RuleTotals { taken, hits, nearly, highest } = of_rule;
        let enter = rule.enter.get();
        line += &format!("; of {taken} readings {hits} reached {enter}, {nearly} nearly, the highest was {highest:.2}");
    }
    line
}

fn summary_json(rule: &Rule, found: &DryRunResult, of_rule: RuleTotals) -> Value {
    let fired = found.fired(rule);
    let RuleTotals { taken, hits, nearly, highest } = of_rule;
    let per_day = (found.days >= 1.0).then(|| fired as f64 / found.days);
    json!({
        "rule": rule.name, "fired": fired, "days": found.days, "fired_per_day": per_day, "utterances": found.utterances,
        "readings": taken, "reached": hits, "nearly": nearly, "highest": highest,
    })
}
