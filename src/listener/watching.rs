//! What the watcher makes of what was just said: see [`crate::watcher`].

use std::sync::Arc;

use jiff::SignedDuration;

use super::Listener;
use crate::watcher::{WatchScores, Watcher};

/// Utterances that are older than this beside the newest are not scored with it.
const TOGETHER: SignedDuration = SignedDuration::from_secs(60);
/// At most so many utterances are scored together.
const UTTERANCES: usize = 30;

impl Listener {
    /// Rules with `watch` are asked only where the watcher says so; without one they are asked after each utterance.
    pub fn with_watcher(mut self, watcher: Option<Arc<Watcher>>) -> Self {
        self.watcher = watcher;
        self
    }

    /// Scores the utterance that was just read, with those before it in the same room.
    pub(super) fn watch_newest(&mut self) {
        let (Some(watcher), Some(newest)) = (&self.watcher, self.talk.last(1).first()) else { return };
        let together = |one: &&crate::event::Evidence| {
            one.room == newest.room && newest.time.duration_since(one.time).abs() <= TOGETHER
        };
        let texts: Vec<&str> =
            self.talk.last(UTTERANCES).iter().filter(together).map(|one| one.text.as_str()).collect();
        let scores = watcher.score(&texts);
        self.watched = Some(self.watched.map_or(scores, |before: WatchScores| before.max(scores)));
    }
}
