//! What the listener forgets beside its state.
//!
//! The state itself is rolled back: see [`super::snapshot_store`]. Invariant: no quotation outlives the words it is of, and no
//! alert the words that raised it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Listener, ListenerOutcome, digest};
use crate::event::Utterance;

impl Listener {
    /// Drops every quotation and what was untold, and ends the alerts of these ids.
    pub fn forget(&mut self, alerts: &BTreeSet<String>, now: Timestamp) -> ListenerOutcome {
        let mut outcome = ListenerOutcome::default();
        self.unasked.clear();
        self.untold = digest::PendingDigest::default();
        for monitor in &mut self.rules {
            monitor.matches.clear();
            let ended = monitor.watch.forget(|id| alerts.contains(&id.to_string()), now);
            outcome.alerts.extend(ended.map(|change| monitor.alert(change, None, None, now)));
        }
        outcome.of(self.room.as_deref())
    }

    /// Takes note of an utterance that was read and is untold again.
    pub fn untell(&mut self, utterance: &Utterance) {
        self.schedule.said(&mut self.untold, utterance.start, utterance.end, utterance.words());
    }
}
