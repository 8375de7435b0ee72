//! The subcommands, one file each: arguments, calls into the other modules, output.

pub(crate) mod ask;
#[cfg(feature = "bench")]
pub(crate) mod bench;
#[cfg(not(feature = "bench"))]
#[path = "cli/without_bench.rs"]
pub(crate) mod bench;
mod check;
pub(crate) mod command_line;
mod daemon_client;
pub(crate) mod demo;
pub(crate) mod devices;
mod event_screen;
mod export;
pub(crate) mod forget;
pub mod generate;
mod history;
mod judge;
mod level;
pub(crate) mod manpages;
mod microphone;
pub(crate) mod models;
pub(crate) mod mqtt;
pub(crate) mod output;
mod progress;
mod range;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod search;
mod setup;
mod speakers;
mod state;
pub(crate) mod status;
mod subtitles;
mod terminal;
pub(crate) mod transcribe;
mod watch;

use std::process::ExitCode;

use self::terminal::Verbosity;
use crate::config::{LogConfig, LogFormat};
use crate::{app, config, journal};

/// `EX_CONFIG` of sysexits.h; the unit does not restart on it.
const EX_CONFIG: u8 = 78;

/// Prints an error and its causes to standard error; returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("hearth: {}", sentence(error));
    let config = error.downcast_ref::<config::ConfigError>().is_some()
        || error.downcast_ref::<app::AppError>().is_some_and(app::AppError::is_config)
        || error.downcast_ref::<check::NotValid>().is_some();
    if config { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE }
}

/// Sets up the log of commands that answer on standard output: text on standard error, as much as `-q` and `-v` say.
pub(crate) fn warn_on_stderr() {
    if let Err(error) =
        journal::init(&LogConfig { level: Verbosity::get().log_level().into(), format: LogFormat::Text })
    {
        eprintln!("hearth: {error}");
    }
}

/// An error and its causes in one line. A cause that is already quoted is left out.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}
