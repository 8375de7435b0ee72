//! Everything that must be there before the house can run: models, the store, a broker.
//!
//! Refuses to start anything that must be stopped in order. Invariant: what fails here fails before a word was heard. A store that
//! takes nothing is one of these: who starts hearth hears it at once, and the service manager tries again, where a house that seems
//! to listen and remembers nothing would be found out when it is too late. Once it runs, a store that takes nothing is waited for.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tracing::info;

use super::Error;
use crate::asr::decode_scheduler::InterimMode;
use crate::asr::whisper::Whisper;
use crate::asr_pipeline::AsrPipeline;
use crate::config::{Broker, Config, Keep};
use crate::listener::Listener;
use crate::models;
use crate::mqtt::payload::NodeInfo;
use crate::mqtt::topics::Topics;
use crate::mqtt::{broker, client};
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, Store};

/// What a house is started from.
pub struct Resources {
    pub dir: PathBuf,
    pub lock: store::Lock,
    pub store: Store,
    pub topics: Topics,
    /// None on a machine without ears.
    pub pipeline: Option<AsrPipeline>,
    pub lines: Option<TranscriptJsonl>,
    pub listener: Option<Listener>,
    pub broker: client::ClientSettings,
    pub info: NodeInfo,
}

impl Resources {
    /// Loads and opens everything; seconds, or minutes for a large model.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let dir = state_dir(config)?;
        let store = Store::open(&dir, store::OutboxLimits::from(&config.store))?;
        let lock = store::Lock::take(&dir)?;
        let lines = match config.store.keep {
            Keep::Nothing => {
                TranscriptJsonl::remove(&dir)?;
                None
            }
            _ => Some(TranscriptJsonl::open(&dir, jiff::tz::TimeZone::system())?),
        };
        let whisper = config.hears().then(|| models::find(&config.asr.model, &config.base)).transpose()?;
        let pipeline = whisper.as_ref().map(|path| Whisper::load(path, &config.asr)).transpose()?.map(AsrPipeline::new);
        let mode = if config.asr.interim { InterimMode::Adaptive } else { InterimMode::Off };
        let pipeline = pipeline.map(|pipeline| if config.source.live() { pipeline.live(mode) } else { pipeline });
        let reader = config.listener.enabled.then(|| models::find(&config.listener.model, &config.base)).transpose()?;
        let listener = match &reader {
            Some(path) => {
                let began = Instant::now();
                let listener = Listener::open(path, &config.listener, &config.digest, &config.rules)?
                    .in_several_rooms(config.several_rooms());
                info!(model = %path.display(), ms = began.elapsed().as_millis() as u64, "the model that reads along is loaded");
                Some(listener)
            }
            None => None,
        };
        let topics = Topics::new(&config.mqtt, &config.node);
        let mqtt = config.mqtt_paths();
        let listen = match mqtt.url {
            Broker::Embedded => broker::start(mqtt.listen, client::credentials(&mqtt)?)?,
            Broker::External { .. } => mqtt.listen,
        };
        let info = NodeInfo {
            whisper: whisper.as_deref().map(name),
            listener: reader.as_deref().map(name),
            rules: config.rules.iter().map(|r| r.name.to_string()).collect(),
        };
        let broker = client::ClientSettings::new(&mqtt, &topics, listen)?;
        Ok(Self { dir, lock, store, topics, pipeline, lines, listener, broker, info })
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Where the transcript, the state and the outbox live.
pub fn state_dir(config: &Config) -> Result<PathBuf, Error> {
    let from = |variable: &str, below: &str| {
        // systemd may name several, divided by colons; the first is ours.
        let value = std::env::var(variable).ok().filter(|v| !v.is_empty())?;
        Some(Path::new(value.split(':').next()?).join(below))
    };
    match &config.store.dir {
        Some(dir) => Ok(config.base.join(dir)),
        None => from("STATE_DIRECTORY", "")
            .or_else(|| from("XDG_STATE_HOME", "hearth"))
            .or_else(|| from("HOME", ".local/state/hearth"))
            .ok_or(Error::NoStateDirectory),
    }
}
