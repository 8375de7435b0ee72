//! What the watcher makes of what was just said: see [`crate::watcher`].

use std::sync::Arc;

use jiff::SignedDuration;
use tracing::warn;

use super::rule_monitor::{RuleEvidence, Watched};
use super::{Listener, cross_talk, cut_quote};
use crate::config::WatchKind;
use crate::event::Evidence;
use crate::watcher::{WatchScores, Watcher};

/// Utterances that are older than this beside the newest are not scored with it.
const TOGETHER: SignedDuration = SignedDuration::from_secs(60);
/// At most so many utterances are scored together.
const UTTERANCES: usize = 30;

impl Listener {
    /// Rules with `watch` are asked only where the watcher says so; without one they are asked after each utterance.
    pub fn with_watcher(mut self, watcher: Option<Arc<Watcher>>) -> Self {
        let unknown = watcher.as_ref().is_some_and(|watcher| !self.calibration.knows(watcher.checksum()));
        if unknown && self.rules.iter().any(|monitor| monitor.rule.watch.is_some()) {
            warn!(
                "the model has no calibration.json for this watcher: the rules with \"watch\" go by the watcher, and by the model only \
                 where it is almost certain (docs/model.md)"
            );
        }
        self.watcher = watcher;
        self
    }

    /// Scores the utterance that was just read, with those before it in the same room.
    pub(super) fn watch_newest(&mut self) {
        let Some(watcher) = &self.watcher else { return };
        let scores = watcher.score(&texts(&together(self.talk.all())));
        self.watched = Some(self.watched.map_or(scores, |before: WatchScores| before.max(scores)));
    }

    /// What is known of each rule's question after the utterances `said`. `asked` is what the model says to each rule that was asked.
    pub(super) fn weigh(&self, asked: Vec<Option<f64>>, watched: Watched<'_>, said: &[Evidence]) -> Vec<RuleEvidence> {
        let weigh = |(monitor, asked): (&super::RuleMonitor, Option<f64>)| {
            let kind = monitor.rule.watch;
            let log_odds = self.calibration.log_odds(kind, watched, asked);
            let reached = log_odds.is_some_and(|odds| odds >= monitor.policy.enter);
            let suspects = kind.zip(watched).filter(|(kind, (scores, watcher))| watcher.suggests(*kind, scores));
            let rests_on = suspects
                .filter(|_| reached)
                .map_or_else(Vec::new, |(kind, (_, watcher))| self.rests_on(watcher, kind, said));
            RuleEvidence { asked, log_odds, rests_on, waits: false }
        };
        let mut all: Vec<RuleEvidence> = self.rules.iter().zip(asked).map(weigh).collect();
        let claims: Vec<_> = self.rules.iter().zip(&all).map(|(monitor, seen)| monitor.claim(seen)).collect();
        for (seen, waits) in all.iter_mut().zip(cross_talk::must_wait(&claims)) {
            seen.waits = waits;
        }
        all
    }

    /// The utterances that the highest score of `kind` at one of the utterances `said` rests on.
    fn rests_on(&self, watcher: &Watcher, kind: WatchKind, said: &[Evidence]) -> Vec<Evidence> {
        let talk = self.talk.all();
        let ends = said.iter().filter_map(|one| talk.iter().rposition(|other| other.utterance == one.utterance));
        let stretches = ends.map(|end| together(&talk[..=end]));
        let score = |stretch: &Vec<&Evidence>| watcher.score(&texts(stretch)).of(kind);
        let Some(best) = stretches.max_by(|a, b| score(a).total_cmp(&score(b))) else { return Vec::new() };
        best[watcher.carriers(&texts(&best), kind)].iter().map(|one| cut_quote((*one).clone())).collect()
    }
}

/// The last utterances that were said in the room of the newest, and not long before it.
fn together(talk: &[Evidence]) -> Vec<&Evidence> {
    let Some(newest) = talk.last() else { return Vec::new() };
    let belongs = |one: &&Evidence| one.room == newest.room && newest.time.duration_since(one.time).abs() <= TOGETHER;
    talk[talk.len().saturating_sub(UTTERANCES)..].iter().filter(belongs).collect()
}

fn texts<'a>(stretch: &[&'a Evidence]) -> Vec<&'a str> {
    stretch.iter().map(|one| one.text.as_str()).collect()
}
