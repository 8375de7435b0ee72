//! Home Assistant discovery: one message of a device with its entities, or one of each entity where the broker takes no such long one.
//!
//! Written for and tested against Home Assistant 2026.2. Every entity has a platform, a unique id and QoS 1 of its own (Home
//! Assistant takes none of these from the root), and a name that does not repeat the device's.

mod health;
mod rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::health::health;
use self::rules::of_rule;
use super::client::packet_bytes;
use super::topics::Topics;
use crate::config::{Config, Rule};
use crate::event::Message;

/// The attributes of a retained message. Clearing the message sends an empty payload, of which Home Assistant would warn "Erroneous
/// JSON": it may arrive before Home Assistant has removed the entity.
const ATTRIBUTES: &str = "{{ value or '{}' }}";

/// The announced entities with their platforms. They are stored, since an entity that no longer exists must be removed from
/// Home Assistant once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnnouncedEntities {
    /// In the one message of the device.
    Together(BTreeMap<String, String>),
    /// Each in a message of its own.
    Apart { apart: BTreeMap<String, String> },
}

impl Default for AnnouncedEntities {
    fn default() -> Self {
        Self::Together(BTreeMap::new())
    }
}

impl AnnouncedEntities {
    fn platforms(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Together(platforms) | Self::Apart { apart: platforms } => platforms,
        }
    }

    fn topics(&self, topics: &Topics) -> Vec<String> {
        match self {
            Self::Together(_) => vec![topics.discovery()],
            Self::Apart { apart } => apart.iter().map(|(key, platform)| topics.discovery_of(platform, key)).collect(),
        }
    }
}

/// What a machine can do, beside publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It has a source of audio.
    pub hears: bool,
    /// It runs the language model.
    pub reads: bool,
    /// It tells who speaks.
    pub tells_speakers: bool,
    /// The address of its page, for a browser somewhere in the house.
    pub page: Option<String>,
}

/// How Home Assistant shows something that it can command.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    pub(crate) key: &'static str,
    pub(crate) needs: Needs,
    /// Its part of the discovery message; see Home Assistant's documentation of the platform in `p`.
    pub(crate) config: Value,
}

/// What a machine must have for an entity to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Microphone,
    Listener,
}

impl Entity {
    /// A button that sends `payload` to `topic`.
    pub(crate) fn button(
        key: &'static str,
        name: &str,
        icon: &str,
        topic: String,
        payload: &str,
        needs: Needs,
    ) -> Self {
        let config = json!({ "p": "button", "name": name, "ic": icon, "cmd_t": topic, "pl_prs": payload });
        Self { key, needs, config }
    }
}

/// Entities that only a machine with a source of audio has, and that only one with the language model has.
const OF_HEARING: [&str; 3] = ["utterance", "microphone", "lag"];
const OF_READING: [&str; 8] =
    ["summary", "answer", "tokens", "state_size", "state_age", "unread", "surprise", "renewals"];

impl Capabilities {
    /// What a machine with this config can do.
    pub(crate) fn of(config: &Config) -> Self {
        let hears = config.has_audio_source();
        let tells_speakers = hears && config.speakers.enabled;
        Self { hears, reads: config.listener.enabled, tells_speakers, page: config.page.address() }
    }

    fn has(&self, entity: &str) -> bool {
        (self.hears || !OF_HEARING.contains(&entity))
            && (self.tells_speakers || entity != "speaker")
            && (self.reads || !OF_READING.contains(&entity))
    }

    fn meets(&self, needs: Needs) -> bool {
        match needs {
            Needs::Nothing => true,
            Needs::Microphone => self.hears,
            Needs::Listener => self.reads,
        }
    }
}

/// The discovery messages, in order, and the entities they announce: one message of the device, or, where that is longer than the
/// `limit` of the broker for a packet, one of each entity. `commands` are the entities of commands. `before` are the entities
/// announced earlier: one that no longer exists is removed.
pub fn announce(
    topics: &Topics,
    rules: &[Rule],
    commands: &[Entity],
    capabilities: &Capabilities,
    before: &AnnouncedEntities,
    limit: Option<usize>,
) -> (Vec<Message>, AnnouncedEntities) {
    let entities = entities(topics, rules, commands, capabilities);
    let page = capabilities.page.as_deref();
    let platforms: BTreeMap<String, String> =
        entities.iter().map(|(key, entity)| (key.clone(), platform(entity))).collect();
    let gone: Vec<_> = before.platforms().iter().filter(|(key, _)| !entities.contains_key(*key)).collect();
    let together = of_device(topics, page, &entities, &gone);
    if limit.is_none_or(|limit| packet_bytes(&together) <= limit) {
        let now = AnnouncedEntities::Together(platforms);
        let messages = match before {
            AnnouncedEntities::Together(_) => vec![together],
            AnnouncedEntities::Apart { .. } => handed_over(topics, before, vec![together]),
        };
        return (messages, now);
    }
    let now = AnnouncedEntities::Apart { apart: platforms };
    let each = entities.iter().map(|(key, entity)| of_entity(topics, page, key, entity.clone()));
    let messages = match before {
        AnnouncedEntities::Apart { .. } => {
            let (former, present) = (before.topics(topics), now.topics(topics));
            let removed = former.into_iter().filter(|topic| !present.contains(topic)).map(Message::clear);
            removed.chain(each).collect()
        }
        AnnouncedEntities::Together(_) => handed_over(topics, before, each.collect()),
    };
    (messages, now)
}

/// The messages that remove the device from Home Assistant.
pub(crate) fn withdraw(topics: &Topics, announced: &AnnouncedEntities) -> Vec<Message> {
    announced.topics(topics).into_iter().map(Message::clear).collect()
}

/// The messages of the other form, with what makes Home Assistant take entities over from the form they were announced in, with
/// their history and what was set for them.
fn handed_over(topics: &Topics, before: &AnnouncedEntities, now: Vec<Message>) -> Vec<Message> {
    if before.platforms().is_empty() {
        return now;
    }
    let payload = json!({ "migrate_discovery": true }).to_string();
    let hand_over = before.topics(topics).into_iter().map(|topic| Message::plain(topic, payload.clone(), false));
    hand_over.chain(now).chain(withdraw(topics, before)).collect()
}

/// The message of the device with all its entities. One that is gone is sent as its platform alone, which removes it.
fn of_device(
    topics: &Topics,
    page: Option<&str>,
    entities: &Map<String, Value>,
    gone: &[(&String, &String)],
) -> Message {
    let gone = gone.iter().map(|(key, platform)| ((*key).clone(), json!({ "p": platform })));
    let components: Map<String, Value> = gone.chain(entities.clone()).collect();
    let mut payload = about(topics, page);
    payload["cmps"] = components.into();
    retained(topics.discovery(), &payload)
}

/// The message of one entity.
fn of_entity(topics: &Topics, page: Option<&str>, key: &str, mut entity: Value) -> Message {
    let topic = topics.discovery_of(&platform(&entity), key);
    if let (Value::Object(fields), Value::Object(about)) = (&mut entity, about(topics, page)) {
        fields.remove("p");
        fields.extend(about);
    }
    retained(topic, &entity)
}

/// What every discovery message says of this machine.
fn about(topics: &Topics, page: Option<&str>) -> Value {
    let mut device = json!({
        "ids": [topics.device_id()],
        "name": format!("Hearth {}", topics.node()),
        "mf": "hearth",
        "mdl": "hearth",
        "sw": env!("CARGO_PKG_VERSION"),
    });
    if let Some(page) = page {
        device["cu"] = page.into();
    }
    json!({
        "dev": device,
        "o": { "name": "hearth", "sw": env!("CARGO_PKG_VERSION") },
        "avty": [{ "t": topics.status() }],
    })
}

fn retained(topic: String, payload: &Value) -> Message {
    Message::plain(topic, payload.to_string(), true)
}

fn platform(entity: &Value) -> String {
    entity["p"].as_str().unwrap_or_default().into()
}

fn entities(topics: &Topics, rules: &[Rule], commands: &[Entity], capabilities: &Capabilities) -> Map<String, Value> {
    let device = topics.device_id();
    let mut all = Map::new();
    let mut add = |key: String, mut entity: Value| {
        entity["uniq_id"] = format!("{device}_{key}").into();
        entity["def_ent_id"] =
            format!("{}.{device}_{}", platform(&entity), key.replace('-', "_").to_lowercase()).into();
        entity["qos"] = 1.into();
        all.insert(key, entity);
    };
    let candidates = text_entities(topics, rules).into_iter().chain(health(topics));
    for (key, entity) in candidates.filter(|(key, _)| capabilities.has(key)) {
        add(key.into(), entity);
    }
    for command in commands.iter().filter(|command| capabilities.meets(command.needs)) {
        add(command.key.into(), command.config.clone());
    }
    for (key, entity) in rules.iter().flat_map(|rule| of_rule(topics, rule)) {
        add(key, entity);
    }
    all
}

/// Utterances, summaries, answers and alerts. Home Assistant shows a state longer than 255 characters as "unknown", so texts
/// are cut before that; the attributes have the full text.
fn text_entities(topics: &Topics, rules: &[Rule]) -> Vec<(&'static str, Value)> {
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let mut entities = vec![
        (
            "utterance",
            json!({
                "p": "sensor", "name": "Last utterance", "ic": "mdi:format-quote-close",
                "stat_t": topics.utterance(), "val_tpl": "{{ value_json.text[:250] }}", "json_attr_t": topics.utterance(),
            }),
        ),
        (
            "speaker",
            json!({
                "p": "sensor", "name": "Last speaker", "ic": "mdi:account-voice", "stat_t": topics.utterance(),
                "val_tpl": "{{ value_json.speaker | default('unknown') }}",
            }),
        ),
        (
            "summary",
            json!({
                "p": "sensor", "name": "Summary", "ic": "mdi:text-box-outline",
                "stat_t": topics.summary(), "val_tpl": "{{ value_json.text[:250] }}", "json_attr_t": topics.summary(),
                "json_attr_tpl": ATTRIBUTES,
            }),
        ),
        (
            "answer",
            json!({
                "p": "sensor", "name": "Answer", "ic": "mdi:message-reply-text", "stat_t": topics.response("ask"),
                "val_tpl": "{{ (value_json.text if value_json.status == 'ok' else value_json.error)[:250] }}",
                "json_attr_t": topics.response("ask"),
            }),
        ),
    ];
    // Home Assistant refuses an event entity without event types.
    if !names.is_empty() {
        entities.push((
            "alert",
            json!({
                "p": "event", "name": "Alert", "ic": "mdi:alert", "evt_typ": names, "stat_t": topics.alert(),
                // Only the beginning of an alert is an event; Home Assistant ignores an empty payload.
                "val_tpl": "{{ value if value_json.phase == 'new' else '' }}",
            }),
        ));
    }
    entities
}
