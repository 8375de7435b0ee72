//! What the listener forgets beside its state.
//!
//! The state itself is rolled back: see [`super::history`]. Invariant: no quotation outlives the words it is of, and no
//! alert the words that raised it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Listener, Outcome, digest};
use crate::event::Utterance;

impl Listener {
    /// Drops every quotation and what was untold, and ends the alerts of these ids.
    pub fn forget(&mut self, alerts: &BTreeSet<String>, now: Timestamp) -> Outcome {
        let mut outcome = Outcome::default();
        self.unasked.clear();
        self.untold = digest::Untold::default();
        for watched in &mut self.rules {
            watched.matches.clear();
            let ended = watched.watch.forget(|id| alerts.contains(&id.to_string()), now);
            outcome.alerts.extend(ended.map(|change| watched.alert(change, None, None, now)));
        }
        outcome.of(self.room.as_deref())
    }

    /// Takes note of an utterance that was read and is untold again.
    pub fn untell(&mut self, utterance: &Utterance) {
        self.schedule.said(&mut self.untold, utterance.start, utterance.end, utterance.words());
    }
}
