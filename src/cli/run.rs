//! `hearth run`: the daemon, from reading the config to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustix::process::geteuid;
use tokio::signal::unix::{SignalKind, signal};

use super::terminal::Verbosity;
use crate::app::bootstrap;
use crate::commands::microphone::MicrophoneState;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::{app, journal};

/// Where the package installs the config.
pub(super) const SYSTEM_CONFIG: &str = "/etc/hearth/hearth.toml";
/// Where the package, `make install` or an administrator installs the service.
const SYSTEM_UNITS: [&str; 4] = [
    "/usr/local/lib/systemd/system/hearth.service",
    "/usr/lib/systemd/system/hearth.service",
    "/lib/systemd/system/hearth.service",
    "/etc/systemd/system/hearth.service",
];
/// Where systemd keeps the service's state, as its unit says.
const SYSTEM_STATE: &str = "/var/lib/hearth";

#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// The config file; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another config file, whose settings hold where the one of --config has none
    #[arg(long, value_name = "FILE", requires = "config")]
    defaults: Option<PathBuf>,
    /// Keep the microphone closed at the very first start, until somebody opens it; a later start does as the last run ended
    #[arg(long)]
    first_start_muted: bool,
}

pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    let mut config = match (&args.config, &args.defaults) {
        (Some(path), Some(defaults)) => config::load_over(path, defaults)?,
        (path, _) => read_config(path.as_deref())?,
    };
    match Verbosity::get() {
        Verbosity::Quiet => config.log.level = "warn".into(),
        Verbosity::Normal => {}
        Verbosity::Verbose => config.log.level = "debug".into(),
        Verbosity::Debug => config.log.level = "trace".into(),
    }
    journal::init(&config.log)?;
    let first = if args.first_start_muted { MicrophoneState::Muted } else { MicrophoneState::Open };
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let shutdown = terminated()?;
        app::run(config, first, shutdown, Arc::new(Metrics::default())).await.map_err(anyhow::Error::from)
    });
    // A thread that did not stop was logged; it must not keep the process alive.
    runtime.shutdown_background();
    ended
}

/// Reads the named config, else the one in /etc, else returns the defaults.
///
/// # Errors
/// The file cannot be read or is no valid config.
pub(crate) fn read_config(path: Option<&Path>) -> Result<Config, config::ConfigError> {
    match path {
        Some(path) => config::load(path),
        None if Path::new(SYSTEM_CONFIG).exists() => config::load(Path::new(SYSTEM_CONFIG)),
        None => Ok(Config::default()),
    }
}

/// The state directory that a command is about: the configured one; if none is configured, that of the systemd service, if there is
/// a database that this user can see, else that of a daemon started by hand, if there is one. Where there is none yet, root means the
/// service, if it is installed.
///
/// # Errors
/// No directory is configured and the user has no home directory.
pub(crate) fn existing_state_dir(config: &Config) -> anyhow::Result<PathBuf> {
    let own = bootstrap::state_dir(config)?;
    let chosen = config.store.dir.is_some() || std::env::var_os("STATE_DIRECTORY").is_some();
    if chosen || !is_of_the_service(config) {
        return Ok(own);
    }
    let installed = SYSTEM_UNITS.iter().any(|unit| Path::new(unit).exists());
    Ok(prefer_service(own, Path::new(SYSTEM_STATE), installed && geteuid().is_root()))
}

/// Whether the service runs with this config.
pub(crate) fn is_of_the_service(config: &Config) -> bool {
    config.file.as_deref().is_none_or(|file| file == Path::new(SYSTEM_CONFIG))
}

fn prefer_service(own: PathBuf, service: &Path, also_new: bool) -> PathBuf {
    if Store::exists_in(service) || (also_new && !Store::exists_in(&own)) { service.into() } else { own }
}

/// The runtime of publishing and commands. Two workers are enough, because nothing on it computes.
///
/// # Errors
/// The threads cannot be started.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// A future that ends at SIGTERM or SIGINT.
///
/// # Errors
/// The signals cannot be received.
pub(crate) fn terminated() -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_directory_is_preferred_if_it_has_a_database() {
        let (own, service) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let asked = || prefer_service(own.path().into(), service.path(), false);
        let asked_by_root = || prefer_service(own.path().into(), service.path(), true);
        assert_eq!(asked(), own.path());
        assert_eq!(asked_by_root(), service.path(), "there is none yet, and the service will make one");
        std::fs::write(own.path().join("hearth.db"), "").unwrap();
        assert_eq!(asked_by_root(), own.path());
        std::fs::write(service.path().join("hearth.db"), "").unwrap();
        assert_eq!(asked(), service.path());
        let dir = Some("state".into());
        let store = config::StoreConfig { dir, ..config::StoreConfig::default() };
        let config = Config { store, base: own.path().into(), ..Config::default() };
        assert_eq!(existing_state_dir(&config).unwrap(), own.path().join("state"), "its config says where");
    }
}
