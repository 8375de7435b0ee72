//! What the listener forgets beside its state, which is rolled back to a snapshot: see [`super::snapshot_store`].
//!
//! Nothing that was quoted stays, and no alert that was raised by forgotten words.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Listener, ListenerOutcome, RuleMonitor, digest};
use crate::event::Utterance;

impl Listener {
    /// Drops every quotation and what was untold, and ends the alerts of these ids.
    pub fn forget(&mut self, alerts: &BTreeSet<String>, now: Timestamp) -> ListenerOutcome {
        let mut outcome = ListenerOutcome::default();
        // Every field is named, so that a new one cannot be added without saying how it forgets. The state in `reader` is rolled back.
        let Self { reader: _, yes_no: _, summary: _, schedule: _, untold, rules, unasked, several_rooms: _, room } =
            self;
        unasked.clear();
        *untold = digest::PendingDigest::default();
        for monitor in rules {
            let RuleMonitor { rule: _, policy: _, pattern: _, question: _, watch, matches } = monitor;
            matches.clear();
            let ended = watch.forget(|id| alerts.contains(&id.to_string()), now);
            outcome.alerts.extend(ended.map(|change| monitor.alert(change, None, None, now)));
        }
        outcome.of(room.as_deref())
    }

    /// Takes note of an utterance that was read and is untold again.
    pub fn untell(&mut self, utterance: &Utterance) {
        self.schedule.said(&mut self.untold, utterance.start, utterance.end, utterance.words());
    }
}
