//! `hearth state`: how sound the model's state is; `hearth state renew`: a fresh one takes its place. The running daemon is asked over its socket.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use serde_json::json;

use super::daemon_client::DaemonClient;
use super::run::read_config;
use super::terminal::local;
use crate::api::status::ListenerStatus;
use crate::cli::output::stdout;

#[derive(Debug, clap::Args)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    action: Option<StateAction>,
    /// The config file of the daemon; by default the system's
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// One JSON object instead of words
    #[arg(long)]
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
    let daemon = DaemonClient::of(&config);
    if let Some(StateAction::Renew(RenewArgs { room })) = args.action {
        // Not a conflict in the grammar: those are between arguments, and a script of completions cannot be made of others.
        ensure!(!args.json, "--json shows the state; `hearth state renew` has no such answer");
        let mut request = json!({ "command": "renew" });
        if let Some(room) = room {
            request["room"] = room.into();
        }
        daemon.command(&request)?;
        writeln!(stdout(), "a fresh state is read; `hearth state` shows when it has taken over")?;
        return Ok(());
    }
    let status = daemon.status()?;
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
    let since = reads.since.map_or("not known".into(), local);
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
    let last = renewal.last.map(|last| format!(", last {}", local(last))).unwrap_or_default();
    writeln!(out, "renewals    {}{last}", renewal.count)?;
    renewal.going_on().map_or(Ok(()), |what| writeln!(out, "now         {what}"))
}
