//! What listeners remember beside their states.
//!
//! Owns its form as JSON. Refuses to know where it is kept. Invariant: numbers, times and names; no words of anybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Listener, ListenerError, alert, digest};

/// What the listener remembers beside the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PersistedState {
    pub(super) untold: digest::PendingDigest,
    pub(super) rules: BTreeMap<String, alert::AlertState>,
    /// What the listeners of single rooms remember.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) rooms: BTreeMap<String, PersistedState>,
}

impl Listener {
    /// What is remembered beside the state, as JSON: what is untold and where each rule stands. No words of anybody.
    pub fn memory(&self) -> String {
        self.remembered().to_json()
    }

    /// Goes on from what [`Listener::memory`] gave; a rule that is new begins at rest, one that is gone is forgotten.
    pub fn recall(&mut self, memory: &str) -> Result<(), ListenerError> {
        self.remember(PersistedState::of_json(memory)?);
        Ok(())
    }

    pub(super) fn remembered(&self) -> PersistedState {
        let rules = self.rules.iter().map(|w| (w.rule.name.to_string(), w.watch.clone())).collect();
        PersistedState { untold: self.untold.clone(), rules, rooms: BTreeMap::new() }
    }

    pub(super) fn remember(&mut self, mut memory: PersistedState) {
        self.untold = memory.untold;
        for monitor in &mut self.rules {
            monitor.watch = memory.rules.remove(monitor.rule.name.as_str()).unwrap_or_default();
        }
    }
}

impl PersistedState {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, times and names are JSON")
    }

    pub(super) fn of_json(memory: &str) -> Result<Self, ListenerError> {
        serde_json::from_str(memory).map_err(|source| ListenerError::Memory { source })
    }
}
