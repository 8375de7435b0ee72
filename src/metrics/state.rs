//! What is told of the listener's states beside their age and size.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// See the module. In health, in the status and on the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateHealth {
    pub(crate) surprise: SurpriseHealth,
    pub(crate) renewal: RenewalHealth,
}

/// How much what was read lately surprised the state, in nats a token; where there are several, the one that it surprised most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SurpriseHealth {
    /// The median of the last measured utterances; none before the first.
    pub(crate) nats: Option<f64>,
    pub(crate) spread: Option<f64>,
    /// The median when the state was young.
    pub(crate) young: Option<f64>,
    /// It has risen for good since then.
    pub(crate) risen: bool,
    /// Utterances that stood out since the state was made: perhaps no speech.
    pub(crate) outstanding: u64,
    /// The median of each room.
    pub(crate) rooms: BTreeMap<String, f64>,
}

/// How states were replaced by fresh ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RenewalHealth {
    pub(crate) count: u64,
    pub(crate) last: Option<Timestamp>,
    /// What is going on: a fresh state reads, or is compared; none otherwise.
    pub(crate) stage: Option<RenewalStage>,
    /// Whose state it is; none where all rooms share one.
    pub(crate) room: Option<String>,
    /// Tokens over which the states were compared so far.
    pub(crate) compared_tokens: u64,
}

impl RenewalHealth {
    /// What is going on, in words.
    pub(crate) fn going_on(&self) -> Option<String> {
        let room = self.room.as_deref().map(|room| format!(" for {room}")).unwrap_or_default();
        Some(match self.stage? {
            RenewalStage::Reading => format!("a fresh state{room} is read"),
            RenewalStage::Comparing => {
                format!("a fresh state{room} is compared, over {} tokens so far", self.compared_tokens)
            }
            RenewalStage::Unsaved => {
                format!("a fresh state{room} waits: it could not be saved, which needs space on the disk")
            }
        })
    }
}

/// How far a renewal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalStage {
    Reading,
    Comparing,
    /// The fresh state is to take over and could not be saved; that is tried again.
    Unsaved,
}
