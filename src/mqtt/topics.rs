//! The names of all topics. Everything of one machine is below `<base>/<node>/`, except its discovery message.

use serde::{Deserialize, Serialize};

use crate::config::{MqttConfig, Name};
use crate::event::Message;
use crate::percent_encode;

/// Where Home Assistant announces that it has started, if it is not told otherwise.
const HOME_ASSISTANT: &str = "homeassistant/status";

/// The topics of one machine. They are stored, since a renamed machine must delete what it left under its former name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    base: String,
    discovery_prefix: String,
    node: Name,
}

impl Topics {
    pub fn new(mqtt: &MqttConfig, node: &Name) -> Self {
        Self {
            base: format!("{}/{node}", mqtt.base_topic),
            discovery_prefix: mqtt.discovery_prefix.to_string(),
            node: node.clone(),
        }
    }

    /// The machine's name.
    pub fn node(&self) -> &str {
        self.node.as_str()
    }

    /// The device id in Home Assistant, and the MQTT client id.
    pub(crate) fn device_id(&self) -> String {
        format!("hearth_{}", self.node)
    }

    /// `online` or `offline`, retained. Plain words, since the broker publishes `offline` (the will).
    pub(crate) fn status(&self) -> String {
        self.below("status")
    }

    /// Versions and models, retained.
    pub(crate) fn info(&self) -> String {
        self.below("info")
    }

    /// Metrics of each part, retained.
    pub(crate) fn health(&self) -> String {
        self.below("health")
    }

    /// Each summary.
    pub(crate) fn summaries(&self) -> String {
        self.below("summaries")
    }

    /// The last summary, retained.
    pub(crate) fn summary(&self) -> String {
        self.below("summary")
    }

    /// The last summary of a room that has a state of its own, retained.
    pub(crate) fn summary_of(&self, room: &str) -> String {
        self.below(&format!("summary/{}", percent_encode::encode(room)))
    }

    /// Whether the microphone is open, retained.
    pub(crate) fn listening(&self) -> String {
        self.below("listening")
    }

    /// Minutes between summaries, retained.
    pub fn interval(&self) -> String {
        self.below("interval")
    }

    /// The state of a rule, retained.
    pub fn rule(&self, name: &str) -> String {
        self.below(&format!("rule/{name}"))
    }

    /// The common prefix of the topics of all rules.
    pub(crate) fn rules(&self) -> String {
        self.below("rule/")
    }

    /// The text of speech that has not ended yet.
    pub(crate) fn interim(&self) -> String {
        self.below("interim")
    }

    pub(crate) fn utterance(&self) -> String {
        self.below("utterance")
    }

    pub(crate) fn alert(&self) -> String {
        self.below("alert")
    }

    pub(crate) fn gap(&self) -> String {
        self.below("gap")
    }

    /// A fresh state has taken the place of the live one.
    pub(crate) fn renewed(&self) -> String {
        self.below("renewed")
    }

    /// The topic of a command's answer.
    pub(crate) fn response(&self, command: &str) -> String {
        self.below(&format!("response/{command}"))
    }

    /// The topic of a command: `<name>/set` for what has a state, `request/<name>` for what happens once.
    pub fn command(&self, path: &str) -> String {
        self.below(path)
    }

    /// The part of a topic below this machine's base; None for topics of others.
    pub(crate) fn path<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(&self.base)?.strip_prefix('/')
    }

    /// Messages that delete everything a machine with these topics left at a broker: the `retained` messages and those of
    /// every connection, but nothing below the topics it has `now`.
    pub fn removal_messages(&self, retained: &[Message], now: &Self) -> Vec<Message> {
        let stored = retained.iter().map(|message| message.topic.clone());
        let every_time = [self.discovery(), self.status(), self.info(), self.health()];
        let theirs = |topic: &String| self.path(topic).is_some() || *topic == self.discovery();
        let kept = |topic: &String| now.path(topic).is_some() || *topic == now.discovery();
        let topics = every_time.into_iter().chain(stored).filter(|topic| theirs(topic) && !kept(topic));
        topics.map(Message::clear).collect()
    }

    /// The filter for all topics of this machine.
    pub(crate) fn everything(&self) -> String {
        self.below("#")
    }

    /// The filters for commands.
    pub(crate) fn commands(&self) -> [String; 2] {
        [self.below("+/set"), self.below("request/+")]
    }

    /// A topic within each filter for commands that belongs to no command: hearth sends itself messages there.
    pub(crate) fn command_probes(&self) -> [String; 2] {
        [self.below("probe/set"), self.below("request/probe")]
    }

    /// The topic of the Home Assistant discovery message, retained.
    pub fn discovery(&self) -> String {
        format!("{}/device/{}/config", self.discovery_prefix, self.device_id())
    }

    /// The topic of the discovery message of one entity, retained. Home Assistant knows the entity by the same id as in the message of
    /// the device.
    pub(crate) fn discovery_of(&self, platform: &str, entity: &str) -> String {
        format!("{}/{platform}/{}/{entity}/config", self.discovery_prefix, self.device_id())
    }

    /// The filter for the discovery messages of all entities.
    pub(crate) fn discovery_of_entities(&self) -> String {
        self.discovery_of("+", "+")
    }

    /// The topics on which Home Assistant announces that it has started: by default its own, whatever the discovery prefix is.
    pub(crate) fn home_assistant(&self) -> impl Iterator<Item = String> + use<> {
        let configured = format!("{}/status", self.discovery_prefix);
        let default = (configured != HOME_ASSISTANT).then(|| HOME_ASSISTANT.into());
        std::iter::once(configured).chain(default)
    }

    pub(super) fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }
}
