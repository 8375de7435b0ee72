//! `hearth watch`: what the running daemon hears and tells, as it happens.
//!
//! The daemon is followed over its socket. When it ends, this waits until one runs again.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::daemon_client::DaemonClient;
use super::event_screen::EventScreen;
use super::history::{new_alert, not_heard};
use super::output::stdout;
use super::run::{read_config, runtime, terminated};
use super::terminal::{BOLD_RED, CYAN, DIM, YELLOW};
use crate::api::control_socket::WatchedLines;
use crate::api::status::Status;
use crate::event::{Alert, AlertPhase, Digest, Gap, Hypothesis, Utterance, in_room, said_by};

/// How much of the recent past is shown at the start.
const RECENT: usize = 10;
/// What was shown is remembered as far as this, so that it is not shown again after a restart of the daemon.
const REMEMBERED: usize = 1_000;
/// Between two looks whether a daemon runs again.
const RETRY: Duration = Duration::from_secs(1);

/// Arguments of `hearth watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// The config file of the daemon; by default the system's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's own lines of JSON
    #[arg(long)]
    json: bool,
}

/// Shows what happens until it is interrupted.
///
/// # Errors
/// No daemon runs at the start, it may not be asked, or standard output cannot be written.
pub(crate) fn run(args: &WatchArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let daemon = DaemonClient::of(&config);
    let status = daemon.status()?;
    let mut view = WatchView::new(args.json);
    if !args.json {
        view.screen.line(&format!("following hearth at {}; Ctrl-C ends this", status.node))?;
    }
    let runtime = runtime()?;
    let followed = runtime.block_on(async {
        let interrupted = terminated()?;
        tokio::select! {
            followed = follow(&daemon, &mut view) => followed,
            () = interrupted => Ok(()),
        }
    });
    view.screen.clear_interim()?;
    if std::io::stdout().is_terminal() && followed.is_ok() {
        // After the terminal's own "^C".
        writeln!(stdout())?;
    }
    runtime.shutdown_background();
    followed
}

/// Follows one daemon after the other.
async fn follow(daemon: &DaemonClient, view: &mut WatchView) -> anyhow::Result<()> {
    let mut lines = daemon.watch().await?;
    loop {
        view.follow(daemon, &mut lines).await?;
        view.stopped()?;
        lines = loop {
            tokio::time::sleep(RETRY).await;
            if let Ok(lines) = daemon.watch().await {
                break lines;
            }
        };
        view.back()?;
    }
}

/// The recent past, as the daemon tells it first.
#[derive(Deserialize)]
struct RecentPast {
    utterances: Vec<Utterance>,
    digests: Vec<Digest>,
    alerts: Vec<Alert>,
}

/// Something to show.
enum WatchedEvent {
    Utterance(Utterance),
    Digest(Digest),
    Alert(Alert),
}

impl WatchedEvent {
    fn time(&self) -> Timestamp {
        match self {
            Self::Utterance(said) => said.start,
            Self::Digest(digest) => digest.time,
            Self::Alert(alert) => alert.time,
        }
    }

    /// What tells it from others: an alert is shown when it begins and when it ends.
    fn key(&self) -> (ulid::Ulid, bool) {
        match self {
            Self::Utterance(said) => (said.id, false),
            Self::Digest(digest) => (digest.id, false),
            Self::Alert(alert) => (alert.id, alert.phase == AlertPhase::End),
        }
    }
}

struct WatchView {
    screen: EventScreen,
    json: bool,
    /// More than one room is heard, so that each line names its own.
    rooms: bool,
    shown: VecDeque<(ulid::Ulid, bool)>,
    status: Option<Status>,
}

impl WatchView {
    fn new(json: bool) -> Self {
        Self { screen: EventScreen::new(false), json, rooms: false, shown: VecDeque::new(), status: None }
    }

    /// Shows the lines of a daemon until it ends.
    async fn follow(&mut self, daemon: &DaemonClient, lines: &mut WatchedLines) -> anyhow::Result<()> {
        // What cannot be read any more is as good as the end.
        while let Ok(Some(line)) = lines.next_line().await {
            let value: Value = serde_json::from_str(&line).context("the daemon tells something that is no JSON")?;
            if let Some(error) = value["error"].as_str() {
                bail!("the hearth that runs says: {error}");
            }
            if let Some(status) = value.get("status") {
                let status: Status = serde_json::from_value(status.clone())
                    .context("the daemon is of another version than this command")?;
                daemon.check(&status)?;
                self.status(status)?;
            }
            if self.json {
                writeln!(stdout(), "{line}")?;
            } else if let Some(recent) = value.get("recent") {
                self.recent(recent)?;
            } else if let Some(Value::Object(scene)) = value.get("scene") {
                for (kind, event) in scene {
                    self.scene(kind, event)?;
                }
            }
        }
        Ok(())
    }

    /// Shows the newest of the recent past that was not shown yet.
    fn recent(&mut self, recent: &Value) -> anyhow::Result<()> {
        let RecentPast { utterances, digests, alerts } = read(recent)?;
        let mut events: Vec<_> = utterances.into_iter().map(WatchedEvent::Utterance).collect();
        events.extend(digests.into_iter().map(WatchedEvent::Digest));
        // Of an alert that is over only the beginning is kept, and the words.
        events.extend(alerts.into_iter().map(WatchedEvent::Alert));
        events.sort_by_key(WatchedEvent::time);
        let older = events.len().saturating_sub(RECENT);
        for event in events.drain(..older) {
            // On is on, however long ago it began.
            match event {
                WatchedEvent::Alert(alert) if alert.phase != AlertPhase::End => {
                    self.show(&WatchedEvent::Alert(alert))?
                }
                event => self.remember(event.key()),
            }
        }
        events.iter().try_for_each(|event| self.show(event))
    }

    fn scene(&mut self, kind: &str, event: &Value) -> anyhow::Result<()> {
        match kind {
            "utterance" => self.show(&WatchedEvent::Utterance(read(event)?)),
            "digest" => self.show(&WatchedEvent::Digest(read(event)?)),
            "alert" => self.show(&WatchedEvent::Alert(read(event)?)),
            "hypothesis" if std::io::stdout().is_terminal() => {
                let Hypothesis { start, room, committed, tentative } = read(event)?;
                let head = format!("{}{}", clock(start), self.room(&room));
                self.screen.interim(&head, &committed.join(" "), &tentative)
            }
            "gap" => {
                let gap: Gap = read(event)?;
                self.screen.entry(&clock(gap.from), YELLOW, "gap      ", &not_heard(&gap))
            }
            "forgotten" => {
                let ranges: Vec<(Timestamp, Timestamp)> = read(event)?;
                let since = ranges.iter().map(|(from, _)| *from).min();
                let since = since.map(|since| format!(" since {}", clock(since).trim_end())).unwrap_or_default();
                let text = format!("what was said{since} is deleted; clear this terminal to remove it here, too");
                self.screen.entry(&clock(Timestamp::now()), YELLOW, "forget   ", &text)
            }
            // Readings and costs are for curves.
            _ => Ok(()),
        }
    }

    fn show(&mut self, event: &WatchedEvent) -> anyhow::Result<()> {
        if self.shown.contains(&event.key()) {
            return Ok(());
        }
        self.remember(event.key());
        let time = clock(event.time());
        match event {
            WatchedEvent::Utterance(said) => {
                let room = self.room(&said.room);
                self.screen.entry(&time, "", &room, &said_by(said.speaker.as_ref(), &said.text))
            }
            WatchedEvent::Digest(digest) => self.screen.entry(&time, CYAN, "summary  ", &digest.line()),
            WatchedEvent::Alert(alert) if alert.phase == AlertPhase::End => {
                let over = in_room(alert.room.as_deref(), &alert.rule);
                self.screen.entry(&time, DIM, "over     ", &over)
            }
            WatchedEvent::Alert(alert) => self.screen.entry(&time, BOLD_RED, "ALERT    ", &new_alert(alert)),
        }
    }

    fn remember(&mut self, key: (ulid::Ulid, bool)) {
        self.shown.push_back(key);
        if self.shown.len() > REMEMBERED {
            self.shown.pop_front();
        }
    }

    /// The room in front of a text.
    fn room(&self, room: &str) -> String {
        if self.rooms { format!("{room}  ") } else { String::new() }
    }

    /// Tells what has changed.
    fn status(&mut self, now: Status) -> anyhow::Result<()> {
        self.rooms = now.hears.rooms.len() > 1 || now.hears.others.is_some();
        let told = self.status.replace(now);
        let Some(now) = self.status.as_ref().filter(|_| !self.json) else { return Ok(()) };
        let hears = |status: &Status| status.hears.heard_how(status.time);
        let mut lines = Vec::new();
        if told.as_ref().map(hears) != Some(hears(now)) {
            lines.push(hears(now));
        }
        let connected = |status: &Status| status.tells.connected;
        match (told.as_ref().map(connected), connected(now)) {
            (Some(false), true) => lines.push(format!("connected to {}", now.tells.broker)),
            (None | Some(true), false) => lines.push(format!("waiting for {}; messages are kept", now.tells.broker)),
            _ => {}
        }
        if !now.tells.store_ok {
            lines.push("the disk takes nothing: it is full or read-only".into());
        }
        let time = clock(now.time);
        lines.iter().try_for_each(|line| self.screen.entry(&time, DIM, "hearth   ", line))
    }

    fn stopped(&mut self) -> anyhow::Result<()> {
        self.status = None;
        if self.json {
            return Ok(());
        }
        self.screen.entry(&clock(Timestamp::now()), YELLOW, "hearth   ", "it has ended; waiting until it runs again")
    }

    fn back(&mut self) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        self.screen.entry(&clock(Timestamp::now()), YELLOW, "hearth   ", "it runs again")
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> anyhow::Result<T> {
    serde_json::from_value(value.clone()).context("the daemon is of another version than this command")
}

/// The local time of day and two spaces, with the date if that is another day.
fn clock(time: Timestamp) -> String {
    let zone = TimeZone::system();
    let (then, now) = (time.to_zoned_datetime(zone.clone()), Timestamp::now().to_zoned_datetime(zone));
    let format = if then.date() == now.date() { "%T  " } else { "%F %T  " };
    then.strftime(format).to_string()
}
