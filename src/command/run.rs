//! `hearth run`: the daemon, from a config to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Config};
use crate::vitals::Vitals;
use crate::{daemon, journal};

/// Where a package puts the config.
const SYSTEM_CONFIG: &str = "/etc/hearth/hearth.toml";

#[derive(clap::Args)]
pub struct Args {
    /// The config file; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    journal::init(&config.log)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let shutdown = terminated()?;
        daemon::run(config, shutdown, Arc::new(Vitals::default())).await.map_err(anyhow::Error::from)
    });
    // A thread that would not stop was named already; it must not keep the process.
    runtime.shutdown_background();
    ended
}

/// The config that is named, else the system's, else the defaults.
pub fn read_config(path: Option<&Path>) -> Result<Config, config::Error> {
    match path {
        Some(path) => config::load(path),
        None if Path::new(SYSTEM_CONFIG).exists() => config::load(Path::new(SYSTEM_CONFIG)),
        None => Ok(Config::default()),
    }
}

/// The runtime of publishing and commands. Two workers: nothing on it computes.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Ends at SIGTERM or SIGINT.
pub fn terminated() -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
