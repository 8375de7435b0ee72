//! `hearth rules reset NAME`: a rule has its configured threshold again.
//!
//! A running daemon is asked over its socket to do it. Without one, it is noted in the database. The answers stay there, and no longer count.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::show;
use crate::api::control_socket;
use crate::cli::output::stdout;
use crate::cli::run::{existing_state_dir, read_config};
use crate::store::{self, Lock, Store};

/// Arguments of `hearth rules reset`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResetRulesArgs {
    /// The rule
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    rule: Option<String>,
    /// Every rule
    #[arg(long)]
    all: bool,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Resets a rule, or all, and prints which rules that changed.
///
/// # Errors
/// There is no such rule, the database cannot be written, or the daemon refuses.
pub(crate) fn run(args: ResetRulesArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let rule = args.rule.as_deref();
    show::rules(&config, rule)?;
    let dir = existing_state_dir(&config)?;
    // Makes nothing where no hearth ever ran.
    Store::open_read_only(&dir, (&config.store).into())?;
    let reset = match Lock::take(&dir) {
        Ok(_lock) => Store::open(&dir, (&config.store).into())?.reset_feedback(rule)?,
        Err(store::StoreError::InUse { .. }) => by_the_daemon(&dir, rule)?,
        Err(error) => return Err(error.into()),
    };
    match reset.is_empty() {
        true => writeln!(stdout(), "nothing was learned; the thresholds are as configured")?,
        false => {
            let rules: Vec<_> = reset.into_iter().collect();
            writeln!(stdout(), "as configured again: {}", rules.join(", "))?;
        }
    }
    Ok(())
}

/// Asks the hearth that runs.
fn by_the_daemon(dir: &Path, rule: Option<&str>) -> anyhow::Result<BTreeSet<String>> {
    let answer = control_socket::ask(Some(dir), &json!({ "command": "reset_rule", "value": rule }))
        .context("a hearth runs with this state directory, so it must be asked, or stopped first")?;
    match (answer["status"].as_str(), &answer["rules"]) {
        (Some("ok"), Value::Array(rules)) => Ok(rules.iter().filter_map(Value::as_str).map(String::from).collect()),
        _ => bail!(
            "the hearth that runs says: {}",
            answer["error"].as_str().unwrap_or("nothing that is understood here")
        ),
    }
}
