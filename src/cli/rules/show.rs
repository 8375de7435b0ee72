//! `hearth rules show`: the threshold of each rule as it is configured and as it is in force, and what that rests on.
//!
//! It is derived from the answers in the database, as the daemon does it (`listener::feedback`). Nothing is changed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::models::table;
use crate::cli::output::stdout;
use crate::cli::run::{existing_state_dir, read_config};
use crate::config::{Config, Rule};
use crate::event::AlertFeedback;
use crate::listener::feedback::{self, LearnedShift};
use crate::store::Store;

/// Arguments of `hearth rules show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowRulesArgs {
    /// Only this rule
    #[arg(value_name = "NAME")]
    rule: Option<String>,
    /// One line of JSON for each rule
    #[arg(long)]
    json: bool,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints a row for each rule, and what moved the thresholds that are not as configured.
///
/// # Errors
/// The config or the database cannot be read, or there is no such rule.
pub(crate) fn run(args: ShowRulesArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let rules = rules(&config, args.rule.as_deref())?;
    let dir = existing_state_dir(&config)?;
    let feedback = match Store::exists_in(&dir) {
        true => Store::open_read_only(&dir, (&config.store).into())?.feedback()?,
        // No daemon has run yet.
        false => Vec::new(),
    };
    let shown: Vec<_> = rules.into_iter().map(|rule| ShownRule::new(rule, &config, &feedback)).collect();
    if args.json {
        shown.iter().try_for_each(|rule| writeln!(stdout(), "{}", rule.json()))?;
        return Ok(());
    }
    let head = ["rule", "severity", "enter", "in force", "false alarms", "acknowledged"].map(String::from);
    let rows: Vec<_> = std::iter::once(head).chain(shown.iter().map(ShownRule::row)).collect();
    write!(stdout(), "{}", table(&rows))?;
    if !config.listener.learn_from_feedback {
        writeln!(stdout(), "\n[listener] learn_from_feedback is false: false alarms move no threshold")?;
    }
    for why in shown.iter().filter_map(ShownRule::why) {
        writeln!(stdout(), "\n{why}")?;
    }
    Ok(())
}

/// The rule of this name, or all.
///
/// # Errors
/// There is none.
pub(super) fn rules<'a>(config: &'a Config, named: Option<&str>) -> anyhow::Result<Vec<&'a Rule>> {
    let all = || config.rules.iter();
    let Some(name) = named else { return Ok(all().collect()) };
    match all().find(|rule| rule.name.as_str() == name) {
        Some(rule) => Ok(vec![rule]),
        None => {
            ensure!(!config.rules.is_empty(), "the config has no rules");
            let names: Vec<_> = all().map(|rule| rule.name.as_str()).collect();
            bail!("there is no rule \"{name}\"; there are: {}", names.join(", "))
        }
    }
}

struct ShownRule<'a> {
    rule: &'a Rule,
    learned: LearnedShift,
}

impl<'a> ShownRule<'a> {
    fn new(rule: &'a Rule, config: &Config, feedback: &[AlertFeedback]) -> Self {
        Self { rule, learned: LearnedShift::of(rule, &config.listener, feedback, Timestamp::now()) }
    }

    fn severity(&self) -> Value {
        serde_json::to_value(self.rule.severity).expect("a severity is JSON")
    }

    fn row(&self) -> [String; 6] {
        let Self { rule, learned } = self;
        let (enter, in_force) = match rule.question {
            Some(_) => (rule.enter.get().to_string(), format!("{:.3}", learned.threshold(rule))),
            None => ("-".into(), "-".into()),
        };
        let severity = self.severity().as_str().unwrap_or_default().into();
        let (wrong, right) = (learned.false_alarms.to_string(), learned.acknowledged.to_string());
        [rule.name.to_string(), severity, enter, in_force, wrong, right]
    }

    fn undo(&self) -> Option<String> {
        (self.learned.shift > 0.0).then(|| format!("hearth rules reset {}", self.rule.name))
    }

    /// What raised the threshold, if anything did.
    fn why(&self) -> Option<String> {
        let Self { rule, learned: LearnedShift { shift, false_alarms, acknowledged } } = self;
        let undo = self.undo()?;
        let most = feedback::limit(rule.severity);
        Some(format!(
            "{}: an alert begins at {:.3} instead of {}: {false_alarms} false and {acknowledged} acknowledged alerts raised the \
             log-odds of its threshold by {shift:.2}, of {most} at most. Undo: {undo}",
            rule.name,
            self.learned.threshold(rule),
            rule.enter.get(),
        ))
    }

    fn json(&self) -> Value {
        let Self { rule, learned } = self;
        let asks = rule.question.is_some();
        json!({
            "rule": rule.name, "severity": self.severity(), "enter": asks.then(|| rule.enter.get()),
            "threshold": asks.then(|| learned.threshold(rule)), "shift": learned.shift,
            "shift_limit": feedback::limit(rule.severity), "false_alarms": learned.false_alarms,
            "acknowledged": learned.acknowledged, "undo": self.undo(),
        })
    }
}
