//! A message on its way out: where it goes, what it tells of, and what it holds of what was said.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// What a message tells of. Webhooks choose among these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Alert,
    Summary,
    Utterance,
    Gap,
    Listening,
    Health,
}

impl EventKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Alert, Self::Summary, Self::Utterance, Self::Gap, Self::Listening, Self::Health];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Summary => "summary",
            Self::Utterance => "utterance",
            Self::Gap => "gap",
            Self::Listening => "listening",
            Self::Health => "health",
        }
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// To the broker alone.
    Broker,
    /// To the broker, and to each webhook that is told of this. It is stored as one message for each of them.
    Subscribers(EventKind),
    /// To the webhook of this name alone. Its topic is the name of what it tells of.
    Webhook(Arc<str>),
}

/// One message on its way out, as the outbox keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub destination: Destination,
    pub topic: String,
    pub payload: String,
    /// The broker keeps it for later subscribers. In the outbox, only the newest of a topic is kept.
    pub retain: bool,
    /// What it holds of what was said. Whoever makes a message must say so: by this alone it is found when speech is forgotten.
    pub provenance: Provenance,
}

impl Message {
    /// For the broker, with nothing of what was said.
    pub fn plain(topic: impl Into<String>, payload: impl Into<String>, retain: bool) -> Self {
        let (topic, payload, provenance) = (topic.into(), payload.into(), Provenance::Nothing);
        Self { destination: Destination::Broker, topic, payload, retain, provenance }
    }

    /// An empty retained message: the broker then keeps nothing under its topic.
    pub fn clear(topic: String) -> Self {
        Self::plain(topic, "", true)
    }

    /// The same message, for the webhooks that are told of `kind`, too.
    pub(crate) fn telling_of(self, kind: EventKind) -> Self {
        Self { destination: Destination::Subscribers(kind), ..self }
    }
}

/// What a message holds of what was said. There is no default: a message that quotes nothing says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// No words of anybody, and nothing that a model made of them.
    Nothing,
    Speech(Quoted),
}

/// The speech that a message quotes, sums up or answers from. It is deleted when any of that speech is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Ids of the utterances, the digest or the alert that it tells of.
    pub(crate) sources: Vec<Ulid>,
    /// Nothing that was said after this time is in it.
    pub(crate) until: Timestamp,
    /// The payload that takes its place when it is retained and forgotten. Without one its topic is cleared at the broker.
    pub replacement: Option<String>,
}
