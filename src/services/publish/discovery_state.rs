//! What this machine announces of itself, and which entities Home Assistant knows of.
//!
//! An entity counts as announced, and one that went as removed, only when a broker acknowledged the message.

use super::Context;
use super::outbox_sender::OutgoingKind;
use crate::commands;
use crate::config::Rule;
use crate::event::Message;
use crate::mqtt::discovery::{self, AnnouncedEntities, Capabilities};
use crate::mqtt::payload::{self, MessageHeader, NodeInfo};
use crate::mqtt::topics::Topics;
use crate::store::{self, Store};

/// Where the topics of the last run are noted.
const TOPICS: &str = "topics";
/// Where the entities that Home Assistant knows of are noted.
const ANNOUNCED: &str = "announced";

/// A machine that was renamed removes what it left under its former name. A crash half-way repeats that.
pub(super) fn remove_former_topics(store: &mut Store, topics: &Topics) -> Result<(), store::StoreError> {
    let former: Option<Topics> = store.note(TOPICS)?.and_then(|note| serde_json::from_str(&note).ok());
    if former.as_ref() == Some(topics) {
        return Ok(());
    }
    if let Some(former) = former {
        store.enqueue(&former.removal_messages(&store.retained()?, topics))?;
        if former.discovery() != topics.discovery() {
            store.enqueue(&discovery::withdraw(&former, &announced(store)?))?;
            store.set_note(ANNOUNCED, "{}")?;
        }
    }
    store.set_note(TOPICS, &serde_json::to_string(topics).expect("names can be written as JSON"))
}

/// The entities that Home Assistant knows of.
fn announced(store: &Store) -> Result<AnnouncedEntities, store::StoreError> {
    Ok(store.note(ANNOUNCED)?.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default())
}

/// Stores which entities Home Assistant knows of: what [`DiscoveryState::acknowledged`] returned.
pub(super) fn remember(store: &mut Store, note: &str) -> Result<(), store::StoreError> {
    store.set_note(ANNOUNCED, note)
}

/// What this machine announces of itself.
pub(super) struct DiscoveryState {
    /// Says which commands are taken.
    taken: crate::config::MqttConfig,
    rules: Vec<Rule>,
    capabilities: Capabilities,
    discovery: bool,
    info: NodeInfo,
    /// What Home Assistant knows of, as far as a broker acknowledged it.
    before: AnnouncedEntities,
    /// What it will know of when the discovery messages are acknowledged.
    announcing: Option<AnnouncedEntities>,
    /// How many of them are not acknowledged yet, and the number of the announcement they belong to.
    left: usize,
    number: u64,
}

impl DiscoveryState {
    /// Continues with what the last run had announced.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn open(
        context: &Context,
        store: &Store,
        rules: Vec<Rule>,
        info: NodeInfo,
    ) -> Result<Self, store::StoreError> {
        let before = announced(store)?;
        let capabilities = Capabilities::of(&context.config);
        Ok(Self {
            rules,
            capabilities,
            discovery: context.config.mqtt.discovery,
            taken: context.config.mqtt.clone(),
            info,
            before,
            announcing: None,
            left: 0,
            number: 0,
        })
    }

    /// Other rules from now on.
    pub(super) fn set_rules(&mut self, rules: Vec<Rule>) {
        self.info.rules = rules.iter().map(|rule| rule.name.to_string()).collect();
        self.rules = rules;
    }

    /// Everything that a broker, or a Home Assistant, which knows nothing of us must be sent, in order. The broker takes no packet
    /// longer than `limit`.
    pub(super) fn announcement(
        &mut self,
        topics: &Topics,
        retained: Vec<Message>,
        limit: Option<usize>,
    ) -> Vec<(OutgoingKind, Message)> {
        let messages = if self.discovery {
            let commands = commands::entities_of(topics, |name| self.taken.takes(name));
            let (messages, now) =
                discovery::announce(topics, &self.rules, &commands, &self.capabilities, &self.before, limit);
            self.announcing = Some(now);
            messages
        } else if self.before != AnnouncedEntities::default() {
            self.announcing = Some(AnnouncedEntities::default());
            discovery::withdraw(topics, &self.before)
        } else {
            Vec::new()
        };
        self.left = messages.len();
        self.number += 1;
        let number = self.number;
        let discovery = messages.into_iter().map(|message| (OutgoingKind::Discovery(number), message));
        let own = [payload::online(topics), payload::info(topics, MessageHeader::now(), &self.info)];
        let others = own.into_iter().chain(retained).map(|message| (OutgoingKind::Announcement, message));
        discovery.chain(others).collect()
    }

    /// A discovery message was acknowledged. When it was the last of its announcement: what to note, if that changed.
    pub(super) fn acknowledged(&mut self, number: u64) -> Option<String> {
        if number != self.number {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        let now = self.announcing.take().filter(|now| *now != self.before)?;
        let note = serde_json::to_string(&now).expect("names can be written as JSON");
        self.before = now;
        Some(note)
    }
}
