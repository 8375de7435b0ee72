//! The running daemon, asked over its socket.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::api::control_socket;
use crate::api::status::Status;
use crate::app::bootstrap;
use crate::config::Config;

/// The daemon that runs with a config.
pub(crate) struct DaemonClient {
    dir: Option<PathBuf>,
    /// The config says which state directory, so a daemon with another one is not meant.
    chosen: bool,
}

impl DaemonClient {
    pub(crate) fn of(config: &Config) -> Self {
        Self { dir: bootstrap::state_dir(config).ok(), chosen: config.store.dir.is_some() }
    }

    /// What it hears, reads and tells now.
    ///
    /// # Errors
    /// None runs, it may not be asked, it has another state directory, or it is of another version.
    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        let answer = control_socket::ask(self.dir.as_deref(), &json!({ "command": "status" }))?;
        let status: Status =
            serde_json::from_value(answer).context("the daemon is of another version than this command")?;
        self.check(&status)?;
        Ok(status)
    }

    /// Whether it is the one that is meant: there may be one of the system beside it.
    ///
    /// # Errors
    /// It has another state directory than the config says.
    pub(crate) fn check(&self, status: &Status) -> anyhow::Result<()> {
        let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        match &self.dir {
            Some(dir) if self.chosen && real(dir) != real(&status.holds.state) => {
                bail!("no hearth runs with {}; the one that runs uses {}", dir.display(), status.holds.state.display())
            }
            _ => Ok(()),
        }
    }

    /// Has a command carried out; returns the answer.
    ///
    /// # Errors
    /// As [`Self::status`], or it says why it does not do that.
    pub(crate) fn command(&self, request: &Value) -> anyhow::Result<Value> {
        let answer = control_socket::ask(self.dir.as_deref(), request)?;
        if answer["status"] != "ok" {
            bail!("{}", answer["error"].as_str().unwrap_or("the daemon gave no answer that is understood here"));
        }
        Ok(answer)
    }

    /// Follows what happens from now on.
    ///
    /// # Errors
    /// None runs, or it may not be asked.
    pub(crate) async fn watch(&self) -> Result<control_socket::WatchedLines, control_socket::ControlSocketError> {
        control_socket::watch(self.dir.as_deref()).await
    }
}
