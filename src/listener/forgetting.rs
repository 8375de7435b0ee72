//! What the listener forgets beside its state, which is rolled back to a snapshot: see [`super::snapshot_store`].
//!
//! Nothing that was quoted stays, and no alert that was raised by forgotten words.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Listener, ListenerOutcome, RuleMonitor, digest};
use crate::event::Utterance;

impl Listener {
    /// Drops every quotation and the pending digest, and ends the alerts with these ids.
    pub(crate) fn forget(&mut self, alerts: &BTreeSet<String>, now: Timestamp) -> ListenerOutcome {
        let mut outcome = ListenerOutcome::default();
        // Every field is named, so that a new one cannot be added without saying how it forgets. The state in `reader` is rolled back.
        let Self {
            reader: _,
            yes_no: _,
            summary: _,
            schedule: _,
            pending,
            now: _,
            rules,
            unasked,
            talk,
            sentences,
            digest,
            given_up: _,
            checked: _,
            watcher: _,
            // It begins anew each time.
            events: _,
            calibration: _,
            watched,
            several_rooms: _,
            room,
            spotted,
            // Numbers alone.
            surprise: _,
            renewals: _,
            measured,
        } = self;
        spotted.clear();
        unasked.clear();
        talk.clear();
        sentences.clear();
        *digest = None;
        // A second state that has read what is forgotten goes, too.
        *measured = None;
        *watched = None;
        *pending = digest::PendingDigest::default();
        for monitor in rules {
            let RuleMonitor {
                rule: _,
                policy: _,
                pattern: _,
                trigger: _,
                question: _,
                watch,
                matches,
                triggers,
                asked: _,
                put_off,
                unasked,
            } = monitor;
            matches.clear();
            triggers.clear();
            *put_off = 0;
            unasked.clear();
            let ended = watch.forget(|id| alerts.contains(&id.to_string()), now);
            outcome.alerts.extend(ended.map(|change| monitor.alert(change, None, None, now)));
        }
        outcome.in_room(room.as_deref())
    }

    /// Makes an utterance that was read part of the next digest again.
    pub(crate) fn mark_pending(&mut self, utterance: &Utterance) {
        self.schedule.add(&mut self.pending, utterance.start, utterance.end, utterance.words());
    }
}
