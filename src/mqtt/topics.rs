//! Every topic, in one place.
//!
//! Owns the names. Invariant: everything of one machine lies below `<base>/<node>/`.

use serde::{Deserialize, Serialize};

use crate::config::{MqttConfig, Name};
use crate::event::Message;
use crate::percent_encode;

/// The topics of one machine; kept over restarts, since a machine that was renamed must take its former ones back.
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

    /// The name Home Assistant knows the machine by.
    pub fn device_id(&self) -> String {
        format!("hearth_{}", self.node)
    }

    /// `online` or `offline`, retained; plain words, since the broker itself says the second.
    pub fn status(&self) -> String {
        self.below("status")
    }

    /// Versions and models, retained.
    pub fn info(&self) -> String {
        self.below("info")
    }

    /// What each part says of itself, retained.
    pub fn health(&self) -> String {
        self.below("health")
    }

    /// The last summary, retained.
    pub fn summary(&self) -> String {
        self.below("summary")
    }

    /// The last summary of a room that has a state of its own, retained.
    pub fn summary_of(&self, room: &str) -> String {
        self.below(&format!("summary/{}", percent_encode::encode(room)))
    }

    /// Whether the microphone is open, retained.
    pub fn listening(&self) -> String {
        self.below("listening")
    }

    /// Minutes between summaries, retained.
    pub fn interval(&self) -> String {
        self.below("interval")
    }

    /// How a rule stands, retained.
    pub fn rule(&self, name: &str) -> String {
        self.below(&format!("rule/{name}"))
    }

    /// What the topics of all rules begin with.
    pub fn rules(&self) -> String {
        self.below("rule/")
    }

    /// What is being said, before it is over.
    pub fn interim(&self) -> String {
        self.below("interim")
    }

    pub fn utterance(&self) -> String {
        self.below("utterance")
    }

    pub fn alert(&self) -> String {
        self.below("alert")
    }

    pub fn gap(&self) -> String {
        self.below("gap")
    }

    /// Where a command's answer goes.
    pub fn response(&self, command: &str) -> String {
        self.below(&format!("response/{command}"))
    }

    /// Where a command is given: `<name>/set` for what has a state, `request/<name>` for what happens once.
    pub fn command(&self, path: &str) -> String {
        self.below(path)
    }

    /// What a topic of this machine is called below its base.
    pub fn path<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(&self.base)?.strip_prefix('/')
    }

    /// What takes back everything a machine of these topics left at a broker, `retained` and what every connection says, but
    /// not what lies below the topics it has `now`.
    pub fn take_back(&self, retained: &[Message], now: &Self) -> Vec<Message> {
        let stored = retained.iter().map(|message| message.topic.clone());
        let every_time = [self.discovery(), self.status(), self.info(), self.health()];
        let theirs = |topic: &String| self.path(topic).is_some() || *topic == self.discovery();
        let kept = |topic: &String| now.path(topic).is_some() || *topic == now.discovery();
        let topics = every_time.into_iter().chain(stored).filter(|topic| theirs(topic) && !kept(topic));
        topics.map(Message::clear).collect()
    }

    /// What to subscribe to in order to hear all of this machine.
    pub fn everything(&self) -> String {
        self.below("#")
    }

    /// What to subscribe to in order to hear commands.
    pub fn commands(&self) -> [String; 2] {
        [self.below("+/set"), self.below("request/+")]
    }

    /// Where Home Assistant reads what entities this machine has.
    pub fn discovery(&self) -> String {
        format!("{}/device/{}/config", self.discovery_prefix, self.device_id())
    }

    /// Where Home Assistant says that it has started.
    pub fn home_assistant(&self) -> String {
        format!("{}/status", self.discovery_prefix)
    }

    pub(super) fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }
}
