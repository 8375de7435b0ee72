//! `hearth demo`: the whole path on a bundled recording, seen from the other side of the broker.
//!
//! Everything shown came over MQTT, as Home Assistant would get it; only the table at the end is the daemon's own.

mod show;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::timeout;

use self::show::{Show, Table};
use super::run::{runtime, terminated};
use crate::config::{self, FileConfig, LogConfig, LogFormat, PlaybackPace, SourceConfig};
use crate::metrics::Metrics;
use crate::mqtt::broker;
use crate::mqtt::client::{self, BrokerEvent, Connection, MqttSender};
use crate::mqtt::topics::Topics;
use crate::{app, audio, journal};

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

/// How long the broker may be silent at the end before it has passed on everything.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
    journal::init(&LogConfig { level: "error".into(), format: LogFormat::Text })?;
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
    let mut config = config::from_text(CONFIG).expect("the demo's config is valid");
    let pace = if args.fast { PlaybackPace::Fast } else { PlaybackPace::RealTime };
    config.source = SourceConfig::File(FileConfig { path: recording.into(), pace, room: None }).into();
    config.store.dir = Some(folder.join("state"));
    // Somebody watches as it is said: they see words before they are whole.
    let watched = !args.fast && !args.json && std::io::stdout().is_terminal();
    (config.asr.interim, config.mqtt.interim) = (watched, watched);
    // The audience must be seated before the play begins; so the broker is started here, and the daemon finds it.
    let address = broker::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None)?;
    config.mqtt.url = format!("mqtt://{address}").parse().expect("an address makes a url");
    let topics = Topics::new(&config.mqtt, &config.node);
    let settings = client::ClientSettings::new(&config.mqtt, &topics, address)?;
    let (sender, mut connection) = client::observe(settings, "audience");
    let seated = timeout(Duration::from_secs(10), take_a_seat(&sender, &mut connection, &topics)).await;
    seated.context("the embedded broker does not answer")??;

    let metrics = Arc::new(Metrics::default());
    let mut show = Show::new(topics, args.json, audio::seconds(recording)?, address);
    show.begin(args.fast);
    let mut house = std::pin::pin!(app::run(config, terminated()?, metrics.clone()));
    loop {
        tokio::select! {
            ended = &mut house => {
                ended?;
                break;
            }
            event = connection.poll() => show.see(event, &metrics),
        }
    }
    // The broker has everything by now; what it has not passed on to us comes within moments.
    while let Ok(event) = timeout(LAST_WORDS, connection.poll()).await {
        show.see(event, &metrics);
    }
    Ok(show.table(&metrics))
}

/// Connects and subscribes; ends when the broker passes everything on.
async fn take_a_seat(sender: &MqttSender, connection: &mut Connection, topics: &Topics) -> anyhow::Result<()> {
    loop {
        match connection.poll().await {
            BrokerEvent::Connected { .. } => {
                let all = topics.command("#");
                if sender.subscribe([all]).is_err() {
                    bail!("the broker's client takes no subscription");
                }
            }
            BrokerEvent::Subscribed => return Ok(()),
            BrokerEvent::Lost(error) => return Err(error.into()),
            _ => {}
        }
    }
}
