//! The settings of `hearth.toml`: names, defaults, units and ranges.
//!
//! An empty file is a valid config, and `config/hearth.toml` documents the same values as [`Config::default`] (`tests/config`). Nothing here
//! opens devices, models or brokers; `hearth check` does. The file is long because it has one struct after the other, in the order of
//! `hearth.toml`.

mod addresses;
mod listener;
mod load;
mod mqtt;
mod nodes;
mod page;
mod source;
mod validate;
mod values;
mod webhook;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::Severity;

pub(crate) use listener::ListenerConfig;
pub use listener::{RenewWhen, States, WatchKind};
pub(crate) use load::{ConfigError, ConfigProblem};
pub use load::{from_text, load, load_over};
pub(crate) use mqtt::COMMANDS;
pub use mqtt::MqttConfig;
pub(crate) use nodes::NodesConfig;
pub use page::PageConfig;
pub use source::{FileConfig, MicrophoneConfig, PlaybackPace, SourceConfig, WyomingConfig};
pub(crate) use source::{SourcesConfig, StdinConfig};
pub use values::Keep;
pub(crate) use values::{Broker, Confirm, Days, Name, Probability, Seconds, Topic, TopicFilter};

pub use webhook::WebhookConfig;

/// The bundled file: every setting with its default.
pub(crate) const BUNDLED: &str = include_str!("../config/hearth.toml");

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name of this machine in topics and entities, and of its room.
    pub node: Name,
    pub source: SourcesConfig,
    pub asr: AsrConfig,
    pub speakers: SpeakersConfig,
    pub listener: ListenerConfig,
    pub digest: DigestConfig,
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
    pub store: StoreConfig,
    pub privacy: PrivacyConfig,
    pub mqtt: MqttConfig,
    #[serde(rename = "webhook")]
    pub webhooks: Vec<WebhookConfig>,
    pub page: PageConfig,
    pub log: LogConfig,
    /// The file it was read from; none for the defaults.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// The file with the settings that hold where that one has none, if any was named.
    #[serde(skip)]
    pub defaults: Option<PathBuf>,
    /// The folder of the config file, which relative paths start from.
    #[serde(skip)]
    pub base: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "home".parse().expect("the default name is valid"),
            source: SourcesConfig::default(),
            asr: AsrConfig::default(),
            speakers: SpeakersConfig::default(),
            listener: ListenerConfig::default(),
            digest: DigestConfig::default(),
            rules: home_rules(),
            store: StoreConfig::default(),
            privacy: PrivacyConfig::default(),
            mqtt: MqttConfig::default(),
            webhooks: Vec::new(),
            page: PageConfig::default(),
            log: LogConfig::default(),
            file: None,
            defaults: None,
            base: PathBuf::from("."),
        }
    }
}

impl Config {
    /// Every audio source with its room.
    pub fn sources(&self) -> Vec<(String, SourceConfig)> {
        let room = |source: &SourceConfig| source.room().unwrap_or(&self.node).to_string();
        self.source.each().map(|source| (room(&source), source)).collect()
    }

    /// Whether there is any audio source.
    pub(crate) fn has_audio_source(&self) -> bool {
        self.source.each().next().is_some()
    }

    /// Whether voices without a name get a number. It is known again by what is stored, so where nothing is kept there are none.
    pub(crate) fn numbers_unknown_voices(&self) -> bool {
        self.speakers.number_unknown && self.store.keep != Keep::Nothing
    }

    /// Whether utterances may come from more than one room.
    pub(crate) fn several_rooms(&self) -> bool {
        let wyoming = self.source.wyoming.as_ref();
        self.source.mqtt.is_some()
            || self.source.each().nth(1).is_some()
            || wyoming.is_some_and(|wyoming| wyoming.rooms.len() != 1)
    }
}

/// Speech to text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsrConfig {
    /// A bundled model's name, or the path of a Whisper model in ggml form.
    pub model: PathBuf,
    /// ISO 639-1, or "auto".
    pub language: String,
    /// The languages that "auto" may detect; by default all that the model knows.
    pub languages: Option<Vec<String>>,
    /// 0: one less than the machine has cores, at most 4.
    pub threads: usize,
    /// Names and words that people here use; they bias the recognizer.
    pub hot_words: Vec<String>,
    /// Words that people call out alone. They are a little likelier as the first word of a short segment.
    pub called_out: Vec<String>,
    /// Decode speech before it is finished, as far as there is time for it.
    pub interim: bool,
}

/// The default of `[asr] called_out`.
const CALLED_OUT: [&str; 14] = [
    "help",
    "fire",
    "smoke",
    "stop",
    "ambulance",
    "police",
    "doctor",
    "hurry",
    "mom",
    "mum",
    "mommy",
    "dad",
    "daddy",
    "ouch",
];

impl Default for AsrConfig {
    fn default() -> Self {
        Self {
            model: "whisper-tiny.en-q5_1.bin".into(),
            language: "en".into(),
            languages: None,
            threads: 0,
            hot_words: Vec::new(),
            called_out: CALLED_OUT.iter().map(|&word| word.into()).collect(),
            interim: false,
        }
    }
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeakersConfig {
    /// Tell people who were enrolled by their voices.
    pub enabled: bool,
    /// Give a number to voices that have no name, and store the voice of each utterance for that.
    pub number_unknown: bool,
}

impl Default for SpeakersConfig {
    fn default() -> Self {
        Self { enabled: false, number_unknown: true }
    }
}

/// When the state is asked for a summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigestConfig {
    /// Minutes between two digests while people talk, from the first word that no digest covers; 0 switches the interval off.
    pub(crate) every_min: f64,
    /// Fewer words than this make no digest; for a conversation that ended, or at the end of the stream, a third of them are enough.
    /// The next digest covers the words that are left over.
    pub(crate) min_words: usize,
    /// Minutes of silence that end a conversation; 0 switches this off.
    pub(crate) quiet_min: f64,
}

impl Default for DigestConfig {
    fn default() -> Self {
        Self { every_min: 15.0, min_words: 40, quiet_min: 3.0 }
    }
}

/// One thing to raise an alert for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: Name,
    /// A regular expression searched in each utterance, ignoring case. Without a question, the alert begins at a match and ends a
    /// minute after the last one. With a question, the question is only asked after a match: for as many evaluations as the rule
    /// confirms over, and while its alert is active.
    pub pattern: Option<String>,
    /// A regular expression as `pattern`, beside a question: an utterance in which it is found leaves no doubt, and raises the alert.
    pub trigger: Option<String>,
    /// A yes/no question asked of the state after each utterance.
    pub question: Option<String>,
    /// The question is only asked where the watcher hears that talk may be about this, and while the alert is active.
    pub watch: Option<WatchKind>,
    /// From this probability on, an evaluation counts for the alert.
    #[serde(default = "enter")]
    pub(crate) enter: Probability,
    /// Below this probability, an evaluation counts against it.
    #[serde(default = "exit")]
    pub(crate) exit: Probability,
    /// How many of the last evaluations must agree: "k of n".
    #[serde(default)]
    pub(crate) confirm: Confirm,
    /// Seconds after the end of an alert in which evaluations are ignored.
    #[serde(default = "cooldown")]
    pub(crate) cooldown_s: Seconds,
    #[serde(default)]
    pub(crate) severity: Severity,
}

impl Rule {
    /// After so many seconds without confirmation its alert ends: a minute for a pattern, since no text says that something is over;
    /// half an hour for a question.
    pub(crate) fn unconfirmed_limit_s(&self) -> u32 {
        if self.question.is_some() { 1800 } else { 60 }
    }
}

/// A rule's pattern, ready to search.
///
/// # Errors
/// The text is no regular expression, or compiles to one that is too large.
pub(crate) fn pattern(text: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(text).case_insensitive(true).build()
}

fn enter() -> Probability {
    Probability::try_from(0.8).expect("0.8 is a probability")
}

fn exit() -> Probability {
    Probability::try_from(0.4).expect("0.4 is a probability")
}

fn cooldown() -> Seconds {
    Seconds::try_from(300.0).expect("five minutes are a valid time")
}

/// The default rules, in words that the bundled model knows. `training/calibrate.py` chose the thresholds on written exchanges that were
/// kept from training, for few false alarms (`docs/model.md`).
fn home_rules() -> Vec<Rule> {
    let rule = |name: &str, watch: WatchKind, enter: f64, severity| Rule {
        name: name.parse().expect("the names below are valid"),
        pattern: None,
        trigger: trigger(watch).map(Into::into),
        question: Some(watch.question().into()),
        watch: Some(watch),
        enter: Probability::try_from(enter).expect("the probabilities below are valid"),
        exit: exit(),
        confirm: Confirm::default(),
        cooldown_s: Seconds::try_from(60.0).expect("a minute is a valid time"),
        severity,
    };
    vec![
        rule("help", WatchKind::Help, 0.85, Severity::Critical),
        rule("fire", WatchKind::Fire, 0.5, Severity::Critical),
        rule("leak", WatchKind::Leak, 0.5, Severity::Critical),
        rule("intruder", WatchKind::Intruder, 0.85, Severity::Critical),
        rule("door", WatchKind::Door, 0.9, Severity::Info),
        rule("medicine", WatchKind::Medicine, 0.9, Severity::Warning),
        rule("left_on", WatchKind::LeftOn, 0.85, Severity::Warning),
    ]
}

/// Words that leave no doubt, as they were found in the exchanges that the watcher is trained on.
fn trigger(kind: WatchKind) -> Option<&'static str> {
    match kind {
        WatchKind::Help => Some(
            r"^((please|somebody|someone|quick|quickly|mum|mom|dad)[,!]? )?(call|ring|phone|get) (for )?an ambulance\b|^((please|somebody|someone|quick|quickly|mum|mom|dad)[,!]? )?(call|ring|dial|phone) (911|999|112|nine one one|nine nine nine)( now| please|, please|, quick)?[.!]*$|(^|[.!] )i can(no|.)?t get up[.!]|^((please|somebody|someone)[,!]? )?help me[.!]",
        ),
        WatchKind::Fire => Some(
            r"(^|[.!,] )there(.s| is) (\w+ )?smoke (pouring|everywhere|coming (out|through|up|under|from (the|under|behind)))\b|\bthe (house|kitchen|oven|sofa|bed|curtains?|stove|pan|dryer|garage|shed)( is|.s| are) on fire[.!]|^fire[!.,]+ ?(fire|everybody|everyone|get out|call)\b",
        ),
        WatchKind::Leak => Some(
            r"\bwater( is|.s) (pouring|gushing|coming|dripping|running|leaking|spraying) (through|from|down|out|in|into|under|up)\b|\b(basement|cellar|kitchen|bathroom|floor|hallway|laundry room|utility room|garage)( is|.s) (flooded|flooding)\b",
        ),
        WatchKind::Intruder => Some(
            r"\b(someone|somebody|a man|a stranger)( is|.s) (trying to break|breaking) in\b|\bthere( is|.s) (someone|somebody|a man|a stranger|a burglar) in (the|our|my) (house|garage|cellar|basement|shed)[.!]",
        ),
        _ => None,
    }
}

/// What is stored, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// By default `$STATE_DIRECTORY` (systemd sets it), else `~/.local/state/hearth`.
    pub(crate) dir: Option<PathBuf>,
    /// How long text is kept: "nothing", "forever", or "N days".
    pub(crate) keep: Keep,
    /// At most so many MiB of messages wait for a broker; the oldest are dropped first.
    pub(crate) outbox_max_mib: u32,
    /// A message waits at most so many days for a broker.
    pub(crate) outbox_max_days: Days,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            dir: None,
            keep: Keep::default(),
            outbox_max_mib: 64,
            outbox_max_days: Days::try_from(30).expect("30 days are valid"),
        }
    }
}

/// What is kept from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// A program with its arguments that is run when listening is switched off, and one for when it is switched on.
    pub on_mute: Vec<String>,
    pub on_unmute: Vec<String>,
    /// Remove numbers from everything that is published.
    pub redact_numbers: bool,
    /// Names and words to remove from it.
    pub redact: Vec<String>,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// "error", "warn", "info", "debug", "trace", or a filter such as "info,hearth::mqtt=debug".
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::default() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// The journal under systemd, text on a terminal, JSON lines otherwise.
    #[default]
    Auto,
    Journal,
    Text,
    Json,
}
