//! `hearth mute`, `hearth unmute` and `hearth pause 30m`: the running daemon is asked over its socket.

use std::io::Write;
use std::path::PathBuf;

use anyhow::ensure;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};
use serde_json::json;

use super::daemon_client::DaemonClient;
use super::output::stdout;
use super::run::read_config;

/// Arguments of `hearth mute` and `hearth unmute`.
#[derive(Debug, clap::Args)]
pub(crate) struct MuteArgs {
    /// The config file of the daemon; by default the system's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Arguments of `hearth pause`.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// For how long: "30m", "1h30m", at most a day; "0" ends a pause
    #[arg(value_name = "TIME", value_parser = minutes)]
    minutes: f64,
    /// The config file of the daemon; by default the system's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Closes the microphone, or opens it.
///
/// # Errors
/// No hearth runs, or it has no microphone.
pub(crate) fn mute(args: &MuteArgs, mute: bool) -> anyhow::Result<()> {
    let daemon = with_microphone(args.config.as_ref())?;
    daemon.command(&json!({ "command": "listening", "value": if mute { "OFF" } else { "ON" } }))?;
    let told = if mute { "muted: nothing is heard until `hearth unmute`, also after a restart" } else { "listening" };
    Ok(writeln!(stdout(), "{told}")?)
}

/// Closes the microphone for a while.
///
/// # Errors
/// As [`mute`], or the microphone is muted.
pub(crate) fn pause(args: &PauseArgs) -> anyhow::Result<()> {
    let daemon = with_microphone(args.config.as_ref())?;
    let answer = daemon.command(&json!({ "command": "pause", "value": args.minutes }))?;
    let until = answer["paused_until"].as_str().and_then(|until| until.parse::<Timestamp>().ok());
    match until.map(|until| until.to_zoned_datetime(TimeZone::system())) {
        Some(until) => writeln!(stdout(), "paused until {}: then it listens again by itself", until.strftime("%F %T"))?,
        None => writeln!(stdout(), "no pause is on")?,
    }
    Ok(())
}

fn with_microphone(config: Option<&PathBuf>) -> anyhow::Result<DaemonClient> {
    let daemon = DaemonClient::of(&read_config(config.map(PathBuf::as_path))?);
    let status = daemon.status()?;
    ensure!(status.hears.ears, "the hearth \"{}\" has no microphone: ask the machine that has one", status.node);
    Ok(daemon)
}

/// A length of time in minutes. A number alone is one of minutes, as over MQTT.
fn minutes(text: &str) -> Result<f64, String> {
    let wrong = || format!("\"{text}\" is no length of time: say \"30m\" or \"1h30m\"");
    if let Ok(minutes) = text.trim().parse::<f64>() {
        return if minutes >= 0.0 && minutes.is_finite() { Ok(minutes) } else { Err(wrong()) };
    }
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let total = span.total((Unit::Minute, SpanRelativeTo::days_are_24_hours())).map_err(|_| wrong())?;
    if total >= 0.0 { Ok(total) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_minutes() {
        for (text, means) in [("30m", 30.0), ("1h30m", 90.0), ("45", 45.0), ("90s", 1.5), ("0", 0.0), ("1 day", 1440.0)]
        {
            assert_eq!(minutes(text), Ok(means), "{text}");
        }
        for text in ["", "soon", "-5m", "-5", "inf", "1 month"] {
            assert!(minutes(text).unwrap_err().contains("is no length of time"), "{text}");
        }
    }
}
