//! `hearth status`: the state of the running daemon, asked over its socket.

use crate::cli::output::stdout;
use std::io::Write;
use std::path::PathBuf;

use super::daemon_client::DaemonClient;
use super::run::read_config;

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
    let status = DaemonClient::of(&config).status()?;
    if args.json {
        writeln!(stdout(), "{:#}", serde_json::to_value(&status)?)?;
    } else {
        write!(stdout(), "{status}")?;
    }
    Ok(())
}
