//! What the page and `hearth status` begin with after a restart: the last things that are stored.
//!
//! Invariant: what is shown as on is on.

use std::collections::BTreeSet;

use ulid::Ulid;

use crate::event::{Alert, AlertPhase};
use crate::scenes::{ALERTS, DIGESTS, Scene, Scenes, UTTERANCES};
use crate::store::{Error, Store};

/// Phases of alerts that are looked at: most have a few.
const PHASES: usize = 10 * ALERTS;

/// What was heard.
pub fn heard(store: &Store, scenes: &Scenes) -> Result<(), Error> {
    store.last_utterances(UTTERANCES)?.into_iter().for_each(|said| scenes.tell(Scene::Utterance(said)));
    Ok(())
}

/// What was made of it. Alerts but those that are `on` have ended, also where nobody could tell: their rule went while hearth
/// did not run.
pub fn told(store: &Store, scenes: &Scenes, on: &BTreeSet<Ulid>) -> Result<(), Error> {
    store.last_digests(DIGESTS)?.into_iter().for_each(|digest| scenes.tell(Scene::Digest(digest)));
    for alert in store.last_alerts(PHASES)? {
        let phase = if on.contains(&alert.id) { alert.phase } else { AlertPhase::End };
        scenes.tell(Scene::Alert(Alert { phase, ..alert }));
    }
    Ok(())
}
