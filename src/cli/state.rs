//! `hearth state`: how sound the model's state is; `hearth state renew`: a fresh one takes its place. The running daemon is asked over its socket.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use super::run::read_config;
use crate::api::control_socket;
use crate::api::status::{ListenerStatus, Status};
use crate::app::bootstrap;
use crate::cli::output::stdout;

#[derive(Debug, clap::Args)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    action: Option<StateAction>,
    /// The config file of the daemon; by default the system's
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// One JSON object instead of words
    #[arg(long, conflicts_with = "action")]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum StateAction {
    /// Read a fresh state from the text that is kept; it takes the place of the live one
    Renew(RenewArgs),
}

#[derive(Debug, clap::Args)]
struct RenewArgs {
    /// Only the state of this room, where each room has its own
    #[arg(long)]
    room: Option<String>,
}

pub(crate) fn run(args: StateArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let dir = bootstrap::state_dir(&config).ok();
    let ask = |request| control_socket::ask(dir.as_deref(), &request);
    if let Some(StateAction::Renew(RenewArgs { room })) = args.action {
        let mut request = json!({ "command": "renew" });
        if let Some(room) = room {
            request["room"] = room.into();
        }
        let answer = ask(request)?;
        if answer["status"] != "ok" {
            bail!("{}", answer["error"].as_str().unwrap_or("the daemon gave no answer that is understood here"));
        }
        writeln!(stdout(), "a fresh state is read; `hearth state` shows when it has taken over")?;
        return Ok(());
    }
    let status: Status = serde_json::from_value(ask(json!({ "command": "status" }))?)
        .context("the daemon is of another version than this command")?;
    let Some(reads) = status.reads else { bail!("there is no state: [listener] enabled = false") };
    if args.json {
        writeln!(stdout(), "{}", json!({ "tokens": reads.tokens, "since": reads.since, "state": reads.state }))?;
        return Ok(());
    }
    Ok(show(&reads)?)
}

fn show(reads: &ListenerStatus) -> std::io::Result<()> {
    let mut out = stdout();
    let nats = |nats: Option<f64>| nats.map_or("not known yet".into(), |nats| format!("{nats:.2} nats a token"));
    let since = reads.since.map_or("not known".into(), |since| since.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let (surprise, renewal) = (&reads.state.surprise, &reads.state.renewal);
    writeln!(out, "made        {since}")?;
    writeln!(out, "age         {} tokens", reads.tokens)?;
    writeln!(out, "surprise    {}", nats(surprise.nats))?;
    writeln!(
        out,
        "when young  {}{}",
        nats(surprise.young),
        match (surprise.risen, surprise.young) {
            (false, _) => "",
            (true, Some(_)) => ": it has risen for good",
            (true, None) => "; the state predicts no better than chance",
        }
    )?;
    if surprise.rooms.len() > 1 {
        surprise.rooms.iter().try_for_each(|(room, median)| writeln!(out, "  {room}  {}", nats(Some(*median))))?;
    }
    writeln!(out, "stood out   {} utterances", surprise.outstanding)?;
    let last = renewal.last.map(|last| last.strftime(", last %Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
    writeln!(out, "renewals    {}{last}", renewal.count)?;
    renewal.going_on().map_or(Ok(()), |what| writeln!(out, "now         {what}"))
}
