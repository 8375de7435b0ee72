//! `hearth status`: the state of the running daemon, asked over its socket.

use crate::cli::output::stdout;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::run::read_config;
use crate::api::control_socket;
use crate::api::status::Status;
use crate::app::bootstrap;

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The config file of the daemon; by default the system's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: StatusArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let answer = control_socket::ask(bootstrap::state_dir(&config).ok().as_deref(), &json!({ "command": "status" }))?;
    if args.json {
        writeln!(stdout(), "{answer:#}")?;
        return Ok(());
    }
    let status: Status =
        serde_json::from_value(answer).context("the daemon is of another version than this command")?;
    write!(stdout(), "{status}")?;
    Ok(())
}
