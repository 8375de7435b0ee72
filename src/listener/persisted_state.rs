//! What the listener keeps beside the model's state over a restart, as JSON: pending summary and state of each rule.
//!
//! It holds numbers, times and names, and no words of anybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Listener, ListenerError, alert, digest, renewal, surprise};

/// See the module. The JSON keys are part of the database's content and stay as they are.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PersistedState {
    #[serde(rename = "untold")]
    pub(super) pending: digest::PendingDigest,
    pub(super) rules: BTreeMap<String, alert::AlertState>,
    pub(super) surprise: surprise::Surprise,
    pub(super) renewals: renewal::Renewals,
    /// The same of each room that has a state of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) rooms: BTreeMap<String, PersistedState>,
}

impl Listener {
    /// What [`Listener::recall`] takes after a restart, as JSON.
    pub fn memory(&self) -> String {
        self.persisted().to_json()
    }

    /// Continues from what [`Listener::memory`] gave. A rule that is new starts inactive; one that no longer exists is dropped.
    ///
    /// # Errors
    /// The JSON cannot be read; nothing has changed then.
    pub fn recall(&mut self, memory: &str) -> Result<(), ListenerError> {
        self.restore_persisted(PersistedState::from_json(memory)?);
        Ok(())
    }

    pub(super) fn persisted(&self) -> PersistedState {
        let rules = self.rules.iter().map(|w| (w.rule.name.to_string(), w.watch.clone())).collect();
        let (surprise, renewals) = (self.surprise.clone(), self.renewals);
        PersistedState { pending: self.pending.kept(), rules, surprise, renewals, rooms: BTreeMap::new() }
    }

    pub(super) fn restore_persisted(&mut self, mut memory: PersistedState) {
        self.pending = memory.pending;
        self.surprise = memory.surprise;
        self.renewals = memory.renewals;
        for monitor in &mut self.rules {
            monitor.watch = memory.rules.remove(monitor.rule.name.as_str()).unwrap_or_default();
        }
    }
}

impl PersistedState {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, times and names are JSON")
    }

    pub(super) fn from_json(memory: &str) -> Result<Self, ListenerError> {
        serde_json::from_str(memory).map_err(|source| ListenerError::Memory { source })
    }
}
