//! The options of commands that look back: from when until when, in which room, by which config.

use std::path::PathBuf;

use anyhow::ensure;
use jiff::{Timestamp, ZonedDateTime};

use super::run::{existing_state_dir, read_config};
use crate::clock::human_time;
use crate::config::{Config, Keep};
use crate::store::{HistoryRange, Store};

/// See the module.
#[derive(Debug, clap::Args)]
pub(crate) struct RangeArgs {
    /// Only what was said after this time: "7d", "2h" (ago), "18:00", "yesterday", "2026-03-01", or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was said before this time; a day is meant to its end
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what was said in this room
    #[arg(long, value_name = "ROOM")]
    pub(crate) room: Option<String>,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What a command that looks back needs.
pub(crate) struct OpenedRange {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl RangeArgs {
    /// Opens the database for reading, beside a daemon that may write it.
    ///
    /// # Errors
    /// A time cannot be understood, nothing can be between the two, or there is no database that can be read.
    pub(crate) fn open(&self) -> anyhow::Result<OpenedRange> {
        let now = ZonedDateTime::now();
        let since = self.since.as_deref().map(|text| human_time::since(text, &now)).transpose()?;
        let until = self.until.as_deref().map(|text| human_time::parse(text, &now)).transpose()?;
        let in_order = since.zip(until).is_none_or(|(since, until)| since < until);
        ensure!(in_order, "--since is not before --until: nothing can be between them");
        let config = read_config(self.config.as_deref())?;
        let store = Store::open_read_only(&existing_state_dir(&config)?, (&config.store).into())?;
        Ok(OpenedRange { config, store, since, until })
    }
}

impl OpenedRange {
    pub(crate) fn range<'a>(&self, args: &'a RangeArgs) -> HistoryRange<'a> {
        HistoryRange { since: self.since, until: self.until, room: args.room.as_deref() }
    }

    /// Why there may be nothing.
    pub(crate) fn nothing(&self) -> String {
        match self.config.store.keep {
            Keep::Forever => "nothing that is stored matches".into(),
            Keep::Nothing => "nothing that is stored matches: [store] keep = \"nothing\"".into(),
            keep => format!("nothing that is stored matches; text is kept for {keep} ([store] keep)"),
        }
    }
}
