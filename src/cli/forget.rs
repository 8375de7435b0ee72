//! `hearth forget 10m`: deletes what was said since then and restores the state from before.
//!
//! A running daemon is asked over its socket to do it. Without one, the files are changed here, and the state follows at the next start.
//! Success is only reported when everything was deleted.

use crate::cli::output::stdout;
use std::io::{IsTerminal, Write, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use parking_lot::Mutex;
use serde_json::json;

use super::run::{existing_state_dir, read_config};
use super::terminal::local;
use crate::api::control_socket;
use crate::clock::human_time;
use crate::commands::confirmation::FREE_MINUTES;
use crate::config::{Config, Keep};
use crate::listener::snapshot_store::SnapshotStore;
use crate::retention::{Retention, age};
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, Lock, Store};

#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    /// How long ago it begins: "10m", "2h"; or when: "18:00", "yesterday" (all of it), "yesterday 18:00", RFC 3339
    #[arg(value_name = "TIME")]
    since: String,
    /// The config file; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not ask first. Without a terminal to ask on, more than an hour is only deleted with this
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(args: ForgetArgs) -> anyhow::Result<()> {
    let now = ZonedDateTime::now();
    let since = human_time::since(&args.since, &now)?;
    let long = now.timestamp().duration_since(since).as_secs_f64() > 60.0 * FREE_MINUTES;
    if long && !args.yes && !stdin().is_terminal() {
        bail!("this deletes {} for good; repeat the command with --yes to do it", said_since(since));
    }
    let config = read_config(args.config.as_deref())?;
    let dir = existing_state_dir(&config)?;
    // Makes nothing where no hearth ever ran.
    let store = Store::open_read_only(&dir, (&config.store).into())?;
    if !args.yes && stdin().is_terminal() {
        // A database of an older hearth cannot tell before it is brought up to date.
        confirm(since, store.would_forget(since).ok().map(|(utterances, _)| utterances))?;
    }
    drop(store);
    let (utterances, who) = match Lock::take(&dir) {
        Ok(_lock) => (in_the_files(&config, &dir, since)?, "in the files; the state follows at the next start"),
        Err(store::StoreError::InUse { .. }) => {
            // The answer to the question took its time.
            let minutes = Timestamp::now().duration_since(since).as_secs_f64() / 60.0;
            (by_the_daemon(&dir, minutes)?, "by the hearth that runs")
        }
        Err(error) => return Err(error.into()),
    };
    writeln!(stdout(), "{utterances} utterances since {} are forgotten, {who}", local(since))?;
    Ok(())
}

fn said_since(since: Timestamp) -> String {
    format!("everything that was said since {}", local(since))
}

/// Asks whether that is meant.
fn confirm(since: Timestamp, utterances: Option<u64>) -> anyhow::Result<()> {
    let said = said_since(since);
    let count = utterances.map(|count| format!(", {count} utterances and what came of them")).unwrap_or_default();
    write!(stdout(), "this deletes {said} for good{count}. Go on? [y/N] ")?;
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was deleted"),
    }
}

fn in_the_files(config: &Config, dir: &Path, since: Timestamp) -> anyhow::Result<u64> {
    let mut store = Store::open(dir, (&config.store).into())?;
    let transcript = match config.store.keep {
        Keep::Nothing => None,
        _ => Some(Arc::new(Mutex::new(TranscriptJsonl::open(dir, TimeZone::system())?))),
    };
    let clock = Arc::new(age::trusted_clock(&store)?);
    let retention = Retention::new(config, clock, SnapshotStore::open(dir)?, transcript, None, Arc::default());
    // What is forgotten there also counts what earlier commands left to the next start.
    let (utterances, _) = store.would_forget(since)?;
    retention.forget_on_disk(&mut store, since)?;
    Ok(utterances)
}

/// Asks the hearth that runs, and waits for its answer.
fn by_the_daemon(dir: &Path, minutes: f64) -> anyhow::Result<u64> {
    let answer = control_socket::ask(Some(dir), &json!({ "command": "forget", "value": minutes }))
        .context("a hearth runs with this state directory, so it must be asked, or stopped first")?;
    match (answer["status"].as_str(), answer["utterances"].as_u64()) {
        (Some("ok"), Some(utterances)) => Ok(utterances),
        _ => bail!(
            "the hearth that runs says: {}",
            answer["error"].as_str().unwrap_or("nothing that is understood here")
        ),
    }
}
