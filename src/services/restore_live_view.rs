//! Fills the live feed after a restart, so that the web page and `hearth status` begin with what was stored last.

use std::collections::BTreeSet;

use ulid::Ulid;

use crate::event::{Alert, AlertPhase};
use crate::live::{ALERTS, DIGESTS, LiveEvent, LiveFeed, UTTERANCES};
use crate::store::{Store, StoreError};

/// Phases of alerts that are read: most alerts have a few.
const PHASES: usize = 10 * ALERTS;

/// The last utterances.
pub(crate) fn utterances(store: &Store, live_feed: &LiveFeed) -> Result<(), StoreError> {
    store
        .last_utterances(UTTERANCES)?
        .into_iter()
        .for_each(|utterance| live_feed.publish(LiveEvent::Utterance(utterance)));
    Ok(())
}

/// The last digests and alerts. Alerts but those that are `on` have ended, also where no end is stored: their rule was removed
/// while hearth did not run. An alert of which only the end is stored was forgotten, and is not shown.
pub(crate) fn digests_and_alerts(store: &Store, live_feed: &LiveFeed, on: &BTreeSet<Ulid>) -> Result<(), StoreError> {
    store.last_digests(DIGESTS)?.into_iter().for_each(|digest| live_feed.publish(LiveEvent::Digest(digest)));
    for alert in store.last_alerts(PHASES)? {
        let ended = !on.contains(&alert.id) && alert.phase != AlertPhase::End;
        let end = ended.then(|| LiveEvent::Alert(Alert { phase: AlertPhase::End, ..alert.clone() }));
        live_feed.publish(LiveEvent::Alert(alert));
        end.into_iter().for_each(|end| live_feed.publish(end));
    }
    Ok(())
}
