//! `hearth rules list`: the rules of the config, with the number of false alarms that people reported for each.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::models::table;
use crate::cli::output::stdout;
use crate::cli::run::{existing_state_dir, read_config};
use crate::event::AlertVerdict;
use crate::store::Store;

/// Arguments of `hearth rules list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListRulesArgs {
    /// One line of JSON for each rule
    #[arg(long)]
    json: bool,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints a row for each rule. Where no daemon has run yet, no false alarm is known.
///
/// # Errors
/// The config or the database cannot be read.
pub(crate) fn run(args: ListRulesArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let dir = existing_state_dir(&config)?;
    // The probabilities at which each rule's false alarms began; none for a rule that is only a pattern.
    let mut false_alarms: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    if Store::exists_in(&dir) {
        let feedback = Store::open_read_only(&dir, (&config.store).into())?.feedback()?;
        for said in feedback.into_iter().filter(|said| said.verdict == AlertVerdict::FalseAlarm) {
            false_alarms.entry(said.rule).or_default().push(said.probability);
        }
    }
    let mut rows = vec![["rule", "severity", "enter", "false alarms", "asks or searches"].map(String::from)];
    for rule in &config.rules {
        let of_rule = false_alarms.remove(rule.name.as_str()).unwrap_or_default();
        let severity = serde_json::to_value(rule.severity)?;
        if args.json {
            let line = json!({
                "rule": rule.name, "severity": severity, "enter": rule.enter.get(), "question": rule.question,
                "pattern": rule.pattern, "false_alarms": of_rule.len(), "false_alarm_probabilities": of_rule,
            });
            writeln!(stdout(), "{line}")?;
        } else {
            let asks = rule.question.iter().cloned().chain(rule.pattern.iter().map(|pattern| format!("/{pattern}/")));
            rows.push([
                rule.name.to_string(),
                severity.as_str().unwrap_or_default().into(),
                rule.enter.get().to_string(),
                of_rule.len().to_string(),
                asks.collect::<Vec<_>>().join(" "),
            ]);
        }
    }
    if !args.json {
        write!(stdout(), "{}", table(&rows))?;
    }
    Ok(())
}
