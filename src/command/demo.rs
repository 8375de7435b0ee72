//! `hearth demo`: the whole path on a bundled recording, seen from the other side of the broker.
//!
//! Everything shown came over MQTT, as Home Assistant would get it; only the table at the end is the daemon's own.

mod show;

use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{sleep, timeout};

use self::show::{Show, Table};
use super::run::{runtime, terminated};
use crate::config::{Config, File, Log, LogFormat, Pace, Source};
use crate::mqtt::client::{self, Connection, Event, Sender};
use crate::mqtt::topics::Topics;
use crate::mqtt::broker;
use crate::vitals::Vitals;
use crate::{daemon, journal};

/// 98 s of a household in synthetic speech: two voices, six things worth telling.
const RECORDING: &[u8] = include_bytes!("../../examples/household.flac");

/// A house that speaks in short scenes is told of after each.
const CONFIG: &str = r#"
node = "demo"
[digest]
every_min = 0
min_words = 12
quiet_min = 0.07
"#;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Play as fast as the machine can, instead of at the pace of the room
    #[arg(long)]
    fast: bool,
    /// End with the table as one line of JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let level = if stderr().is_terminal() { "error" } else { "warn" };
    journal::init(&Log { level: level.into(), format: LogFormat::Auto })?;
    let folder = tempfile::Builder::new().prefix("hearth-demo-").tempdir().context("cannot make a temporary folder")?;
    let recording = folder.path().join("household.flac");
    std::fs::write(&recording, RECORDING).with_context(|| format!("cannot write {}", recording.display()))?;
    let runtime = runtime()?;
    let shown = runtime.block_on(play(&args, folder.path(), &recording));
    runtime.shutdown_background();
    let table = shown?;
    if args.json {
        println!("{}", serde_json::to_string(&table)?);
    } else {
        println!("{table}");
    }
    Ok(())
}

/// Plays the recording through the daemon and shows what the broker delivers.
async fn play(args: &Args, folder: &Path, recording: &Path) -> anyhow::Result<Table> {
    let (config, topics) = config(args.fast, folder, recording)?;
    let address = config.mqtt.listen;
    let (sender, mut connection) = client::observe(client::Settings::new(&config.mqtt, &topics, address)?, "audience");
    timeout(Duration::from_secs(10), subscribed(&sender, &mut connection, &topics))
        .await
        .context("the embedded broker does not answer")??;

    let vitals = Arc::new(Vitals::default());
    let mut show = Show::new(&topics, args.json, address);
    let mut house = std::pin::pin!(daemon::run(config, terminated()?, vitals.clone()));
    loop {
        tokio::select! {
            ended = &mut house => {
                ended?;
                break;
            }
            event = connection.poll() => show.see(event)?,
        }
    }
    // The broker has everything by now; what it has not passed on to us comes within moments.
    while let Ok(event) = timeout(Duration::from_millis(500), connection.poll()).await {
        show.see(event)?;
    }
    Ok(show.table(&vitals))
}
