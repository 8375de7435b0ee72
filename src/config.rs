//! Every setting: its name, default, unit and range. Longer than most files: one struct after the other, as `hearth.toml` has them.
//!
//! Owns the shape of `hearth.toml` and what is a valid value. Refuses to touch devices, models or brokers: `hearth check`
//! does. Invariant: an empty file is a valid config, and `config/hearth.toml` says the same as [`Config::default`].

mod listener;
mod load;
mod nodes;
mod source;
mod validate;
mod values;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::Severity;

pub(crate) use listener::ListenerConfig;
pub use listener::States;
pub(crate) use load::ConfigError;
pub use load::{from_text, load};
pub(crate) use nodes::NodesConfig;
pub use source::{FileConfig, MicrophoneConfig, PlaybackPace, SourceConfig, WyomingConfig};
pub(crate) use source::{SourcesConfig, StdinConfig};
pub use values::Keep;
pub(crate) use values::{Confirm, Days, Name, Probability, Seconds, Topic, TopicFilter};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name of this machine in topics and entities, and of the room it hears.
    pub node: Name,
    pub source: SourcesConfig,
    pub asr: AsrConfig,
    pub listener: ListenerConfig,
    pub digest: DigestConfig,
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
    pub store: StoreConfig,
    pub privacy: PrivacyConfig,
    pub mqtt: MqttConfig,
    pub page: PageConfig,
    pub log: LogConfig,
    /// Where it was read from; none: these are the defaults.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// The folder of the config file: relative paths start here.
    #[serde(skip)]
    pub base: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "home".parse().expect("the default name is valid"),
            source: SourcesConfig::default(),
            asr: AsrConfig::default(),
            listener: ListenerConfig::default(),
            digest: DigestConfig::default(),
            rules: home_rules(),
            store: StoreConfig::default(),
            privacy: PrivacyConfig::default(),
            mqtt: MqttConfig::default(),
            page: PageConfig::default(),
            log: LogConfig::default(),
            file: None,
            base: PathBuf::from("."),
        }
    }
}

impl Config {
    /// Every source with the room it hears.
    pub fn sources(&self) -> Vec<(String, SourceConfig)> {
        let room = |source: &SourceConfig| source.room().unwrap_or(&self.node).to_string();
        self.source.each().map(|source| (room(&source), source)).collect()
    }

    /// There is a source of sound.
    pub(crate) fn hears(&self) -> bool {
        self.source.each().next().is_some()
    }

    /// What is heard may come from more than one room.
    pub(crate) fn several_rooms(&self) -> bool {
        let wyoming = self.source.wyoming.as_ref();
        self.source.mqtt.is_some()
            || self.source.each().nth(1).is_some()
            || wyoming.is_some_and(|wyoming| wyoming.rooms.len() != 1)
    }

    /// `[mqtt]` with the paths of its files made absolute.
    pub(crate) fn mqtt_paths(&self) -> MqttConfig {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(|path| self.base.join(path));
        let MqttConfig { password_file, ca_file, .. } = &self.mqtt;
        MqttConfig { password_file: absolute(password_file), ca_file: absolute(ca_file), ..self.mqtt.clone() }
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
    /// 0: one less than the machine has cores, at most 4.
    pub threads: usize,
    /// Names and words the household uses; they bias the recogniser.
    pub hot_words: Vec<String>,
    /// Look at what is being said before it is over, while there is time for it.
    pub interim: bool,
}

impl Default for AsrConfig {
    fn default() -> Self {
        Self {
            model: "whisper-tiny.en-q5_1.bin".into(),
            language: "en".into(),
            threads: 0,
            hot_words: Vec::new(),
            interim: false,
        }
    }
}

/// When the state is asked for a summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigestConfig {
    /// Minutes between two digests while people talk, from the first word not yet told; 0 switches the interval off.
    pub(crate) every_min: f64,
    /// Fewer words than this are not worth a digest; of a conversation that ended, or at the end of the stream, a third of
    /// them are enough. What is not told is told with what follows.
    pub(crate) min_words: usize,
    /// Minutes of silence that end a conversation; 0 switches this off.
    pub(crate) quiet_min: f64,
}

impl Default for DigestConfig {
    fn default() -> Self {
        Self { every_min: 15.0, min_words: 40, quiet_min: 3.0 }
    }
}

/// One thing the household wants to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: Name,
    /// A regular expression searched in each utterance (no case unless it says so). Alone, it fires at a match and ends a
    /// minute after the last. With a question, a match is what makes the question worth asking: for as many readings as the
    /// rule confirms over, and while its alert is on.
    pub pattern: Option<String>,
    /// A yes/no question asked of the state after each utterance.
    pub question: Option<String>,
    /// The probability at which a reading counts for the alert.
    #[serde(default = "enter")]
    pub(crate) enter: Probability,
    /// The probability below which a reading counts against it.
    #[serde(default = "exit")]
    pub(crate) exit: Probability,
    /// Readings that must agree: "k of n".
    #[serde(default)]
    pub(crate) confirm: Confirm,
    /// Seconds after an alert's end in which the rule stays silent: what is read in them counts for nothing.
    #[serde(default = "cooldown")]
    pub(crate) cooldown_s: Seconds,
    #[serde(default)]
    pub(crate) severity: Severity,
}

impl Rule {
    /// Seconds its alert stands when nothing confirms it. Words alone never say "over", so a pattern rests a minute after its
    /// last match; a question that no reading has confirmed for half an hour is no longer what goes on in the house.
    pub(crate) fn rest_s(&self) -> u32 {
        if self.question.is_some() { 1800 } else { 60 }
    }
}

/// A rule's pattern, ready to search.
///
/// # Errors
/// The text is no regular expression, or one too large to search at the pace of speech.
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

/// What a home wants to be told, asked in words that the bundled model knows. Wordings and thresholds were chosen on streams
/// of 70 households it had never heard, for few false and few missed alerts together. Their talk is far denser in alarming
/// things than a home's: a long cooldown would only have hidden the next one.
fn home_rules() -> Vec<Rule> {
    let rule = |name: &str, question: &str, enter: f64, severity| Rule {
        name: name.parse().expect("the names below are valid"),
        pattern: None,
        question: Some(question.into()),
        enter: Probability::try_from(enter).expect("the probabilities below are valid"),
        exit: exit(),
        confirm: Confirm::default(),
        cooldown_s: Seconds::try_from(60.0).expect("a minute is a valid time"),
        severity,
    };
    vec![
        rule("help", "Is someone hurt or calling for help?", 0.7, Severity::Critical),
        rule("fire", "Is there a fire?", 0.8, Severity::Critical),
        rule("leak", "Is water leaking in the house?", 0.8, Severity::Critical),
        rule("intruder", "Is someone trying to break in?", 0.85, Severity::Critical),
        rule("door", "Is someone at the door?", 0.8, Severity::Info),
        rule("medicine", "Did someone forget their medicine?", 0.9, Severity::Warning),
        rule("left_on", "Is anything left open or switched on by mistake?", 0.95, Severity::Warning),
    ]
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// By default `$STATE_DIRECTORY` (systemd sets it), else `~/.local/state/hearth`.
    pub(crate) dir: Option<PathBuf>,
    /// How long text is kept: "nothing", "forever", or "N days".
    pub(crate) keep: Keep,
    /// MiB of messages that may wait for a broker; the oldest go first.
    pub(crate) outbox_max_mib: u32,
    /// Days a message may wait for a broker.
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

/// What the household wants nobody else to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// A program and its arguments, run when the room is muted, and when it is not any more.
    pub on_mute: Vec<String>,
    pub on_unmute: Vec<String>,
    /// Leave numbers out of everything that is published.
    pub redact_numbers: bool,
    /// Names and words to leave out of it.
    pub redact: Vec<String>,
}

/// Where it is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// "embedded", "mqtt://host:port" or "mqtts://host:port".
    pub url: Broker,
    /// Where the embedded broker listens.
    pub listen: std::net::SocketAddr,
    pub username: Option<String>,
    /// A file that holds the password and nothing else.
    pub password_file: Option<PathBuf>,
    /// Certificates to trust for mqtts, PEM; by default the system's.
    pub ca_file: Option<PathBuf>,
    /// The first level of every topic.
    pub base_topic: Topic,
    /// Announce entities to Home Assistant.
    pub discovery: bool,
    /// Home Assistant's own prefix.
    pub discovery_prefix: Topic,
    /// Publish what is being said before it is over.
    pub interim: bool,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            url: Broker::Embedded,
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 1883)),
            username: None,
            password_file: None,
            ca_file: None,
            base_topic: "hearth".parse().expect("the default topic is valid"),
            discovery: true,
            discovery_prefix: "homeassistant".parse().expect("the default topic is valid"),
            interim: false,
        }
    }
}

pub(crate) use values::Broker;

/// The page in a browser, and the metrics beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageConfig {
    /// Where it listens; none: there is no page.
    pub(crate) listen: Option<std::net::SocketAddr>,
}

/// What it says of itself.
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
