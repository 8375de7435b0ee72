//! `hearth check`: reports every error of a config, and tries to use what it names.

mod running;

use crate::cli::output::stdout;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

use self::running::RunningHearth;
use super::{run, sentence};
use crate::config::{Broker, Config, Keep, RenewWhen, SourceConfig, WebhookConfig};
use crate::listener::Listener;
use crate::listener::event_model::{self, EventModel};
use crate::mqtt::client::PacketLimit;
use crate::mqtt::discovery::{AnnouncedEntities, Capabilities};
use crate::mqtt::topics::Topics;
use crate::mqtt::{broker, client, discovery, payload};
use crate::speakers::{self, VoiceEncoder};
use crate::store::{self, Store};
use crate::watcher::Watcher;
use crate::webhook::WebhookClient;
use crate::{asr, audio, commands, models};

/// What a broker must take at least, in bytes: some messages cannot be cut.
const NEEDED: usize = 2_048;
/// How long a broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The config file; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send each webhook a message of the type "test"
    #[arg(long)]
    webhooks: bool,
}

impl CheckArgs {
    /// For this file.
    pub(super) fn of(config: &Path) -> Self {
        Self { config: Some(config.into()), webhooks: false }
    }
}

/// Something that the config names cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", if *.0 == 1 { "one check failed: see the line with ✗".into() } else { format!("{} checks failed: see the lines with ✗", .0) })]
pub(crate) struct NotValid(usize);

impl NotValid {
    /// How many checks failed.
    pub(super) fn count(&self) -> usize {
        self.0
    }
}

pub(crate) fn run(args: CheckArgs) -> anyhow::Result<()> {
    let config = run::read_config(args.config.as_deref())?;
    match &args.config {
        Some(path) => writeln!(stdout(), "✓ {} is valid", path.display())?,
        None => writeln!(stdout(), "✓ the config is valid")?,
    }
    let mut failed = 0;
    let mut tell = |what: &str, found: anyhow::Result<String>| match found {
        Ok(found) => writeln!(stdout(), "✓ {what}: {found}"),
        Err(error) => {
            failed += 1;
            writeln!(stdout(), "✗ {what}: {}", sentence(&error))
        }
    };
    let running = RunningHearth::of(&config);
    for (room, source) in config.sources() {
        tell(&format!("source of {room}"), probed(&source, &config, &running))?;
    }
    tell("speech model", speech_model(&config))?;
    if config.speakers.enabled {
        tell("voice encoder", voice_encoder(&config))?;
    }
    let mut warnings = Vec::new();
    if config.listener.enabled {
        let told = reading_model(&config, &mut warnings);
        tell("reading model", told)?;
        if config.listener.renew != RenewWhen::Never && config.store.keep == Keep::Nothing {
            warnings.push(
                "[store] keep = \"nothing\": there is no text from which a fresh state could be read, so the state is never renewed"
                    .into(),
            );
        }
    }
    tell("state directory", state(&config))?;
    tell("broker", mqtt(&config, &running))?;
    warnings.extend(config.mqtt_paths().password_file.as_deref().and_then(open_to_all));
    for hook in config.webhook_paths() {
        tell(&format!("webhook {}", hook.name()), webhook(&hook, &config, args.webhooks, &mut warnings))?;
    }
    if let Some(listen) = config.page.listen {
        tell("page", running.try_address(listen))?;
    }
    for warning in warnings {
        writeln!(stdout(), "! {warning}")?;
    }
    if failed > 0 {
        bail!(NotValid(failed));
    }
    Ok(())
}

fn probed(source: &SourceConfig, config: &Config, running: &RunningHearth) -> anyhow::Result<String> {
    match source {
        SourceConfig::Microphone(microphone) => {
            let devices = audio::devices()?;
            let wanted =
                |d: &&audio::InputDevice| d.name == microphone.device || (microphone.device == "default" && d.default);
            let Some(device) = devices.iter().find(wanted) else {
                let known = devices.into_iter().map(|d| d.name).collect();
                bail!(audio::AudioError::NoDevice { name: microphone.device.clone(), known });
            };
            let format = match &device.format {
                Ok(format) => format,
                Err(reason) => return running.busy_microphone(&microphone.device, reason),
            };
            Ok(format!(
                "microphone {}, {} Hz, {} channels, {}",
                device.name, format.rate, format.channels, format.samples
            ))
        }
        SourceConfig::File(file) => {
            let path = config.base.join(&file.path);
            let length = audio::seconds(&path)?.map_or("of unknown length".into(), |s| format!("{s:.1} s"));
            Ok(format!("{}, {length}", path.display()))
        }
        SourceConfig::Stdin(stdin) => Ok(format!("standard input, {} Hz, {} channels", stdin.rate, stdin.channels)),
        SourceConfig::Wyoming(wyoming) => Ok(format!("network microphones, {}", running.try_address(wyoming.listen)?)),
    }
}

fn speech_model(config: &Config) -> anyhow::Result<String> {
    let path = models::find(&config.asr.model, &config.base)?;
    asr::whisper::Whisper::load(&path, &config.asr)?;
    Ok(path.display().to_string())
}

fn voice_encoder(config: &Config) -> anyhow::Result<String> {
    let encoder = VoiceEncoder::find(&config.base)?;
    Ok(format!("{}, {}", speakers::FILE, encoder.model()))
}

/// Also says how fast this machine is with it. What will not work although it can be used is added to `warnings`.
fn reading_model(config: &Config, warnings: &mut Vec<String>) -> anyhow::Result<String> {
    let path = models::find(&config.listener.model, &config.base)?;
    let listener = Listener::open(&path, &config.listener, &config.digest, &config.rules)?;
    if let Some(watcher) = Watcher::of(&config.rules, &config.base)? {
        let path = models::find(Path::new(event_model::FOLDER), &config.base)?;
        EventModel::load(&path, &config.listener, &watcher)?;
    }
    let speed = listener.measure()?;
    warnings.extend(speed.warnings(&config.digest));
    Ok(format!("{}; {speed}", path.display()))
}

fn state(config: &Config) -> anyhow::Result<String> {
    let dir = run::existing_state_dir(config)?;
    Ok(match Store::inspect(&dir, store::OutboxLimits::from(&config.store))? {
        true => dir.display().to_string(),
        false => format!("{}, which hearth makes when it starts", dir.display()),
    })
}

fn mqtt(config: &Config, running: &RunningHearth) -> anyhow::Result<String> {
    let mqtt = config.mqtt_paths();
    if mqtt.url == Broker::Embedded {
        broker::check_built_in()?;
        broker::check_protected(mqtt.listen, client::credentials(&mqtt)?.as_ref())?;
        return Ok(format!("embedded, {}", running.try_address(mqtt.listen)?));
    }
    let topics = Topics::new(&mqtt, &config.node);
    let settings = client::ClientSettings::new(&mqtt, &topics, mqtt.listen)?;
    let runtime = run::runtime()?;
    runtime.block_on(client::probe_commands(&settings, &topics, BROKER_TIMEOUT))?;
    let url = settings.url();
    match runtime.block_on(client::ask_packet_limit(&settings)) {
        PacketLimit::Bytes(limit) if limit < NEEDED => bail!(
            "{url} takes packets of at most {limit} bytes, and hearth needs {NEEDED}: raise the broker's limit \
             (max_packet_size in mosquitto)"
        ),
        PacketLimit::Bytes(limit) if limit < payload::MAX_BYTES => Ok(format!(
            "{url} takes hearth in, and passes commands on, with packets of at most {limit} bytes: {}",
            consequences(config, &topics, limit)
        )),
        _ => Ok(format!("{url} takes hearth in, and passes commands on")),
    }
}

/// Where messages go, and whether they can: the path of the address is not shown, since it may be a secret.
fn webhook(hook: &WebhookConfig, config: &Config, send: bool, warnings: &mut Vec<String>) -> anyhow::Result<String> {
    let client = WebhookClient::new(hook, config.node.as_str())?;
    let tried = if send {
        run::runtime()?.block_on(client.try_out())?;
        "it took a test message"
    } else {
        run::runtime()?.block_on(client.reach())?;
        "it can be reached, and `hearth check --webhooks` sends it a test message"
    };
    warnings.extend(hook.secret_file.as_deref().and_then(open_to_all));
    if !client.signs() {
        warnings.push(format!(
            "webhook {}: there is no secret, so a receiver cannot know that a message is from hearth (secret_file, docs/webhooks.md)",
            hook.name()
        ));
    }
    if !hook.url.is_encrypted() && !matches!(hook.url.host(), "localhost" | "127.0.0.1" | "::1") {
        warnings.push(format!(
            "webhook {}: http:// is not encrypted; who is on the way can read what is said",
            hook.name()
        ));
    }
    let events: Vec<_> = hook.events.names().collect();
    Ok(format!("{}, told of {}; {tried}", client.shown(), events.join(", ")))
}

/// What to say of a file with a secret, if every user of this machine may read it.
fn open_to_all(secret: &Path) -> Option<String> {
    const OTHERS_READ: u32 = 0o004;
    let mode = secret.metadata().ok()?.permissions().mode();
    let shown = secret.display();
    (mode & OTHERS_READ != 0)
        .then(|| format!("{shown} holds a secret, and every user of this machine may read it: chmod 600 {shown}"))
}

/// What it means that the broker takes no long packets.
fn consequences(config: &Config, topics: &Topics, limit: usize) -> String {
    let capabilities = Capabilities::of(config);
    let commands = commands::entities_of(topics, |name| config.mqtt.takes(name));
    let before = AnnouncedEntities::default();
    let announced = |limit| discovery::announce(topics, &config.rules, &commands, &capabilities, &before, limit).0;
    match (&announced(None)[..], announced(Some(limit)).len()) {
        ([device], messages @ 2..) if config.mqtt.discovery => format!(
            "longer texts are cut, and the announcement to Home Assistant, of {} bytes, is sent as {messages} messages",
            client::packet_bytes(device)
        ),
        _ => "longer texts are cut".into(),
    }
}
