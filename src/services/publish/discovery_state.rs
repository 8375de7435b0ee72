//! What the house says of itself when it is asked, or when nobody knows it yet.
//!
//! Owns what Home Assistant was told. Refuses to know when there is somebody to tell. Invariant: an entity counts as known,
//! and one that went as taken back, only when a broker acknowledged the message.

use super::ANNOUNCED;
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

/// A machine that was renamed takes back what it left under its former name. A crash half-way repeats that.
pub(super) fn take_back_former(store: &mut Store, topics: &Topics) -> Result<(), store::StoreError> {
    let former: Option<Topics> = store.note(TOPICS)?.and_then(|note| serde_json::from_str(&note).ok());
    if former.as_ref() == Some(topics) {
        return Ok(());
    }
    if let Some(former) = former {
        store.enqueue(&former.take_back(&store.retained()?, topics))?;
        if former.discovery() != topics.discovery() {
            store.set_note(ANNOUNCED, "{}")?;
        }
    }
    store.set_note(TOPICS, &serde_json::to_string(topics).expect("names can be written as JSON"))
}

/// What this house announces of itself.
pub(super) struct DiscoveryState {
    pub(super) topics: Topics,
    rules: Vec<Rule>,
    capabilities: Capabilities,
    discovery: bool,
    info: NodeInfo,
    /// What Home Assistant knows of, as far as a broker acknowledged it.
    before: AnnouncedEntities,
    /// What it will know of when the discovery message is acknowledged.
    announcing: Option<AnnouncedEntities>,
}

impl DiscoveryState {
    pub(super) fn new(
        topics: Topics,
        rules: Vec<Rule>,
        capabilities: Capabilities,
        discovery: bool,
        info: NodeInfo,
        before: AnnouncedEntities,
    ) -> Self {
        Self { topics, rules, capabilities, discovery, info, before, announcing: None }
    }

    /// Other rules from now on.
    pub(super) fn follow(&mut self, rules: Vec<Rule>) {
        self.info.rules = rules.iter().map(|rule| rule.name.to_string()).collect();
        self.rules = rules;
    }

    /// Everything a broker, or a Home Assistant, that knows nothing of us has to be told, in order.
    pub(super) fn announcement(&mut self, retained: Vec<Message>) -> Vec<(OutgoingKind, Message)> {
        let mut all = Vec::new();
        if self.discovery {
            let (message, now) = discovery::announce(
                &self.topics,
                &self.rules,
                &commands::entities(&self.topics),
                self.capabilities,
                &self.before,
            );
            self.announcing = Some(now);
            all.push((OutgoingKind::Discovery, message));
        } else if self.before != AnnouncedEntities::default() {
            self.announcing = Some(AnnouncedEntities::default());
            all.push((OutgoingKind::Discovery, discovery::withdraw(&self.topics)));
        }
        let own = [payload::online(&self.topics), payload::info(&self.topics, MessageHeader::now(), &self.info)];
        all.extend(own.into_iter().chain(retained).map(|message| (OutgoingKind::Own, message)));
        all
    }

    /// The discovery message was acknowledged; what to note of it, when that changed.
    pub(super) fn announced(&mut self) -> Option<String> {
        let now = self.announcing.take().filter(|now| *now != self.before)?;
        let note = serde_json::to_string(&now).expect("names can be written as JSON");
        self.before = now;
        Some(note)
    }
}
