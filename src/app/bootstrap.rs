//! Loads what must be there before the daemon can run: models, the store, a broker.
//!
//! What fails here fails before a word was heard. A store that takes nothing is such a failure: whoever starts hearth learns of it
//! at once, and the service manager tries again. Once hearth runs, a store that takes nothing is waited for. The one thing that
//! runs after this is the embedded broker, which need not be stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tracing::{info, warn};

use super::AppError;
use crate::asr::decode_scheduler::InterimMode;
use crate::asr::whisper::Whisper;
use crate::asr_pipeline::AsrPipeline;
use crate::commands::microphone::MicrophoneState;
use crate::config::{Broker, Config, Keep};
use crate::listener::event_model::EventModel;
use crate::listener::{Listener, ListenerError};
use crate::metrics::Metrics;
use crate::models;
use crate::mqtt::payload::NodeInfo;
use crate::mqtt::{broker, client};
use crate::services::Context;
use crate::speakers::VoiceEncoder;
use crate::store::transcript_jsonl::TranscriptJsonl;
use crate::store::{self, Store};
use crate::watcher::Watcher;
use crate::webhook::WebhookClient;

/// What the daemon is started from.
pub(crate) struct Resources {
    pub(crate) context: Context,
    pub(crate) lock: store::Lock,
    pub(crate) store: Store,
    /// None on a machine without a source of sound.
    pub(crate) pipeline: Option<AsrPipeline>,
    pub(crate) listener: Option<Listener>,
    pub(crate) client: client::ClientSettings,
    /// One for each webhook of the config.
    pub(crate) webhooks: Vec<WebhookClient>,
    pub(crate) info: NodeInfo,
}

impl Resources {
    /// Loads and opens everything; seconds, or minutes for a large model. With a new database the microphone is as `first` says.
    ///
    /// # Errors
    /// A model, the state directory or the broker cannot be had.
    pub(crate) fn load(config: Config, first: MicrophoneState, metrics: Arc<Metrics>) -> Result<Self, AppError> {
        let dir = state_dir(&config)?;
        let new = Store::is_new_in(&dir);
        let mut store = Store::open(&dir, store::OutboxLimits::from(&config.store))?;
        let lock = store::Lock::take(&dir)?;
        let mut context = Context::open(config, &dir, metrics)?;
        if new {
            warn_of_lost_database(&context, &store)?;
            first.store(&mut store)?;
            if !first.is_open() && context.config.has_audio_source() {
                info!(
                    "this is the first start, so the microphone is closed: open it with `sudo hearth setup`, on the page or in Home \
                     Assistant"
                );
            }
        }
        let mut store = store.with_routes(context.routes.clone());
        for (name, messages) in store.remove_unrouted()? {
            warn!(
                webhook = name,
                messages, "messages waited for a webhook that is not told of them any more; they are deleted"
            );
        }
        let config = context.config.clone();
        context.transcript = match config.store.keep {
            Keep::Nothing => {
                TranscriptJsonl::remove(&dir)?;
                None
            }
            _ => Some(Arc::new(Mutex::new(TranscriptJsonl::open(&dir, jiff::tz::TimeZone::system())?))),
        };
        let whisper = config.has_audio_source().then(|| models::find(&config.asr.model, &config.base)).transpose()?;
        let hearing = whisper.as_ref().map(|path| Whisper::load(path, &config.asr)).transpose()?.map(AsrPipeline::new);
        let mode = if config.asr.interim { InterimMode::Adaptive } else { InterimMode::Off };
        let voices =
            (hearing.is_some() && config.speakers.enabled).then(|| VoiceEncoder::find(&config.base)).transpose()?;
        let hearing = hearing.map(|hearing| hearing.with_voices(voices));
        let hearing = hearing.map(|hearing| if config.source.is_live() { hearing.live(mode) } else { hearing });
        let reader = config.listener.enabled.then(|| models::find(&config.listener.model, &config.base)).transpose()?;
        let listener = match &reader {
            Some(path) => {
                let began = Instant::now();
                let watcher = watcher(&config);
                let events = EventModel::of(watcher.as_ref(), &config);
                let listener = Listener::open(path, &config.listener, &config.digest, &config.rules)?
                    .in_several_rooms(config.several_rooms())
                    .with_watcher(watcher, events);
                info!(model = %path.display(), ms = began.elapsed().as_millis() as u64, "the model that reads along is loaded");
                Some(listener)
            }
            None => None,
        };
        let mqtt = config.mqtt_paths();
        let client = match mqtt.url {
            Broker::Embedded => {
                let broker = broker::start(mqtt.listen, client::credentials(&mqtt)?)?;
                client::ClientSettings::new(&mqtt, &context.topics, broker.address)?.connected_at(broker.own)
            }
            Broker::External { .. } => client::ClientSettings::new(&mqtt, &context.topics, mqtt.listen)?,
        };
        let hooks = config.webhook_paths();
        let webhooks =
            hooks.iter().map(|hook| WebhookClient::new(hook, config.node.as_str())).collect::<Result<_, _>>()?;
        let info = NodeInfo {
            whisper: whisper.as_deref().map(name),
            listener: reader.as_deref().map(name),
            rules: config.rules.iter().map(|r| r.name.to_string()).collect(),
        };
        Ok(Self { context, lock, store, pipeline: hearing, listener, client, webhooks, info })
    }
}

/// The watcher, also where no rule has `watch` yet. Without it the questions are asked after each utterance, so its lack is no reason
/// to end.
fn watcher(config: &Config) -> Option<Arc<Watcher>> {
    match Watcher::find(&config.base) {
        Ok(watcher) => Some(Arc::new(watcher)),
        Err(error) => {
            warn!(%error, "there is no watcher: the question of every rule is asked after each utterance");
            None
        }
    }
}

/// Says that the database is gone, if other files show that there was one. Snapshots count by the numbers of that database, so none of
/// them can be used.
fn warn_of_lost_database(context: &Context, store: &Store) -> Result<(), AppError> {
    let no_snapshots = context.snapshots.is_empty().map_err(ListenerError::from)?;
    if no_snapshots && !TranscriptJsonl::is_in(&context.state_dir) {
        return Ok(());
    }
    context.snapshots.set_all_aside().map_err(ListenerError::from)?;
    warn!(
        path = %store.path().display(),
        "the database was missing or empty, though there are snapshots or a transcript beside it; a new one is made. What was in it is not \
         searched or summed up any more, messages that waited are lost, and the snapshots are kept aside. If you have a copy of the database, \
         stop hearth and put it there"
    );
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Where the transcript, the state and the outbox live.
pub(crate) fn state_dir(config: &Config) -> Result<PathBuf, AppError> {
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
            .ok_or(AppError::NoStateDirectory),
    }
}
