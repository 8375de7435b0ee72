//! What the page and `hearth status` begin with after a restart: the last things that are stored.
//!
//! Invariant: what is shown as on is on.

use std::collections::BTreeSet;

use ulid::Ulid;

use crate::event::{Alert, AlertPhase};
use crate::live::{ALERTS, DIGESTS, LiveEvent, LiveFeed, UTTERANCES};
use crate::store::{Store, StoreError};

/// Phases of alerts that are looked at: most have a few.
const PHASES: usize = 10 * ALERTS;

/// What was heard.
pub fn heard(store: &Store, live_feed: &LiveFeed) -> Result<(), StoreError> {
    store.last_utterances(UTTERANCES)?.into_iter().for_each(|said| live_feed.publish(LiveEvent::Utterance(said)));
    Ok(())
}

/// What was made of it. Alerts but those that are `on` have ended, also where nobody could tell: their rule went while hearth
/// did not run.
pub fn told(store: &Store, live_feed: &LiveFeed, on: &BTreeSet<Ulid>) -> Result<(), StoreError> {
    store.last_digests(DIGESTS)?.into_iter().for_each(|digest| live_feed.publish(LiveEvent::Digest(digest)));
    for alert in store.last_alerts(PHASES)? {
        let phase = if on.contains(&alert.id) { alert.phase } else { AlertPhase::End };
        live_feed.publish(LiveEvent::Alert(Alert { phase, ..alert }));
    }
    Ok(())
}
