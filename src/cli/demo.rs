//! `hearth demo`: the whole path from audio to MQTT on a bundled recording.
//!
//! Everything shown before the final table arrived over MQTT, as Home Assistant would receive it. The table holds the daemon's
//! own counts.

mod screen;

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::timeout;

use self::screen::{DemoScreen, DemoSummary};
use super::output::stdout;
use super::run::{runtime, terminated};
use super::terminal::Verbosity;
use crate::commands::microphone::MicrophoneState;
use crate::config::{self, FileConfig, LogConfig, LogFormat, PlaybackPace, SourceConfig};
use crate::metrics::Metrics;
use crate::mqtt::broker;
use crate::mqtt::client::{self, BrokerEvent, Connection, MqttSender};
use crate::mqtt::topics::Topics;
use crate::{app, audio, journal};

/// The bundled recordings, in synthetic speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum DemoRecording {
    /// 98 s of a household in sentences that the bundled model knows: two voices, six events worth an alert
    #[default]
    Household,
    /// 98 s of a household in words that it does not know: three voices, six events worth an alert, and harmless talk in like words
    Everyday,
}

impl DemoRecording {
    /// A FLAC file.
    fn sound(self) -> &'static [u8] {
        match self {
            Self::Household => include_bytes!("../../examples/household.flac"),
            Self::Everyday => include_bytes!("../../examples/everyday.flac"),
        }
    }
}

/// The recordings consist of short scenes, so a summary is made after each short silence.
const CONFIG: &str = r#"
node = "demo"
[digest]
every_min = 0
min_words = 12
quiet_min = 0.07
"#;

/// After the daemon has ended: how long the broker may be silent before everything is taken as delivered.
const LAST_MESSAGES: Duration = Duration::from_millis(500);
/// How long the embedded broker may take to accept the subscription.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `hearth demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// What is played
    #[arg(long, value_enum, default_value_t)]
    recording: DemoRecording,
    /// Play as fast as the machine can, instead of at the pace of the room
    #[arg(long)]
    fast: bool,
    /// End with the table as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Plays the recording and prints what happens.
///
/// # Errors
/// A temporary folder cannot be made, the daemon fails, or standard output cannot be written.
pub(crate) fn run(args: DemoArgs) -> anyhow::Result<()> {
    let level = if Verbosity::get() > Verbosity::Normal { Verbosity::get().log_level() } else { "error" };
    journal::init(&LogConfig { level: level.into(), format: LogFormat::Text })?;
    let folder = tempfile::Builder::new().prefix("hearth-demo-").tempdir().context("cannot make a temporary folder")?;
    let recording = folder.path().join("recording.flac");
    std::fs::write(&recording, args.recording.sound())
        .with_context(|| format!("cannot write {}", recording.display()))?;
    let runtime = runtime()?;
    let played = runtime.block_on(play(&args, folder.path(), &recording));
    runtime.shutdown_background();
    let summary = played?;
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string(&summary)?)?;
    } else {
        writeln!(stdout(), "{summary}")?;
    }
    Ok(())
}

/// Plays the recording through the daemon and shows what the broker delivers.
async fn play(args: &DemoArgs, folder: &Path, recording: &Path) -> anyhow::Result<DemoSummary> {
    let mut config = config::from_text(CONFIG).expect("the demo's config is valid");
    let pace = if args.fast { PlaybackPace::Fast } else { PlaybackPace::RealTime };
    config.source = SourceConfig::File(FileConfig { path: recording.into(), pace, room: None }).into();
    config.store.dir = Some(folder.join("state"));
    // On a terminal and at the pace of the room, words are shown while they are spoken.
    let interim = !args.fast && !args.json && std::io::stdout().is_terminal();
    config.asr.interim = interim;
    config.mqtt.interim = interim;
    // The viewer must have subscribed before the first message, so the broker is started here and not by the daemon.
    let address = broker::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None)?.address;
    config.mqtt.url = format!("mqtt://{address}").parse().expect("an address makes a url");
    let topics = Topics::new(&config.mqtt, &config.node);
    let settings = client::ClientSettings::new(&config.mqtt, &topics, address)?;
    let (sender, mut connection) = client::observe(settings, "viewer");
    let subscribed = timeout(SUBSCRIBE_TIMEOUT, subscribe(&sender, &mut connection, &topics)).await;
    subscribed.context("the embedded broker does not answer")??;

    let metrics = Arc::new(Metrics::default());
    let mut screen = DemoScreen::new(topics, args.json, audio::seconds(recording)?, address);
    screen.begin(args.fast)?;
    let mut daemon = std::pin::pin!(app::run(config, MicrophoneState::Open, terminated()?, metrics.clone()));
    loop {
        tokio::select! {
            ended = &mut daemon => {
                ended?;
                break;
            }
            event = connection.poll() => screen.show(event, &metrics)?,
        }
    }
    // The broker has everything by now; what it has not passed on yet arrives within moments.
    while let Ok(event) = timeout(LAST_MESSAGES, connection.poll()).await {
        screen.show(event, &metrics)?;
    }
    Ok(screen.summary(&metrics))
}

/// Connects and subscribes to every topic of the demo; returns when the broker has confirmed that.
async fn subscribe(sender: &MqttSender, connection: &mut Connection, topics: &Topics) -> anyhow::Result<()> {
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
