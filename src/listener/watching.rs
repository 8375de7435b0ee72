//! What the watcher makes of what was just said: see [`crate::watcher`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use tracing::warn;

use super::calibration::WatchedOdds;
use super::event_model::EventModel;
use super::rule_monitor::{RuleEvidence, Watched};
use super::telling::TELLS_OF_EVENT;
use super::{Listener, cross_talk, cut_quote};
use crate::config::WatchKind;
use crate::event::Evidence;
use crate::watcher::{WatchScores, Watcher};

/// Utterances that are older than this beside the newest are not scored with it.
const TOGETHER: SignedDuration = SignedDuration::from_secs(60);
/// At most so many utterances are scored together.
const UTTERANCES: usize = 30;

impl Listener {
    /// Rules with `watch` are asked only where the watcher says so; without one they are asked after each utterance. The event model
    /// is its second stage.
    pub fn with_watcher(mut self, watcher: Option<Arc<Watcher>>, events: Option<Arc<EventModel>>) -> Self {
        let unknown = events.as_ref().is_some_and(|events| !self.calibration.knows(events.checksum()));
        if unknown && self.rules.iter().any(|monitor| monitor.rule.watch.is_some()) {
            warn!(
                "the model has no calibration.json for this watcher: the rules with \"watch\" go by the watcher, and by the model only \
                 where it is almost certain (docs/model.md)"
            );
        }
        (self.watcher, self.events) = (watcher, events);
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
        let known = watched.map(|(scores, watcher)| self.without_the_model(watcher, &scores, said));
        let weigh = |(monitor, asked): (&super::RuleMonitor, Option<f64>)| {
            let kind = monitor.rule.watch;
            let known = kind.zip(known.as_ref()).map(|(kind, known)| known[kind as usize]);
            let log_odds = self.calibration.log_odds(known, asked);
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

    /// What is known of each kind from the words: by the watcher's n-grams, and by the event model where those suspect something
    /// that a rule is about.
    fn without_the_model(&self, watcher: &Watcher, scores: &WatchScores, said: &[Evidence]) -> [WatchedOdds; 8] {
        let mut known = WatchKind::ALL.map(|kind| {
            let log_odds = watcher.log_odds(kind, scores);
            WatchedOdds { kind, log_odds, checksum: None }
        });
        let watched = |kind: &WatchKind| self.rules.iter().any(|monitor| monitor.rule.watch == Some(*kind));
        for (kind, answer) in self.event_answers(watcher, scores, said, watched) {
            let Some(events) = &self.events else { break };
            let log_odds = events.log_odds(kind, scores, answer);
            known[kind as usize] = WatchedOdds { kind, log_odds, checksum: Some(events.checksum()) };
        }
        known
    }

    /// What the event model says of those `kinds` that the n-grams suspect, in log-odds of yes.
    pub(super) fn event_answers(
        &self,
        watcher: &Watcher,
        scores: &WatchScores,
        said: &[Evidence],
        kinds: impl Fn(&WatchKind) -> bool,
    ) -> Vec<(WatchKind, f64)> {
        let Some(events) = &self.events else { return Vec::new() };
        let suspected = WatchKind::ALL.into_iter().filter(kinds).filter(|kind| watcher.suggests(*kind, scores));
        // By the utterance of the highest score, which mostly is the same for all.
        let mut ends: BTreeMap<usize, Vec<WatchKind>> = BTreeMap::new();
        for kind in suspected {
            ends.entry(self.likeliest(watcher, kind, said).len()).or_default().push(kind);
        }
        let mut answers = Vec::new();
        for (end, kinds) in ends {
            let talk = texts(&together(&self.talk.all()[..end]));
            let said = events.try_ask(watcher.longest(&talk), &kinds);
            answers.extend(kinds.into_iter().zip(said));
        }
        answers
    }

    /// The talk up to that of the utterances `said` at which the score of `kind` was highest.
    fn likeliest(&self, watcher: &Watcher, kind: WatchKind, said: &[Evidence]) -> &[Evidence] {
        let talk = self.talk.all();
        let ends = said.iter().filter_map(|one| talk.iter().rposition(|other| other.utterance == one.utterance));
        let score = |talk: &&[Evidence]| watcher.score(&texts(&together(talk))).of(kind);
        ends.map(|end| &talk[..=end]).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or_default()
    }

    /// The utterances that the highest score of `kind` at one of the utterances `said` rests on. An utterance that tells of another
    /// event is none of them, nor is what was said before it.
    fn rests_on(&self, watcher: &Watcher, kind: WatchKind, said: &[Evidence]) -> Vec<Evidence> {
        let best = together(self.likeliest(watcher, kind, said));
        let earlier = &best[..best.len().saturating_sub(1)];
        let is_other = |one: &&Evidence| tells_of(watcher, &one.text).is_some_and(|told| told != kind);
        let end = &best[earlier.iter().rposition(is_other).map_or(0, |last| last + 1)..];
        end[watcher.carriers(&texts(end), kind)].iter().map(|one| cut_quote((*one).clone())).collect()
    }
}

/// The event that a text surely tells of by itself.
fn tells_of(watcher: &Watcher, text: &str) -> Option<WatchKind> {
    let scores = watcher.score(&[text]);
    let odds = |kind: &WatchKind| watcher.log_odds(*kind, &scores);
    WatchKind::ALL.into_iter().filter(|kind| odds(kind) >= TELLS_OF_EVENT).max_by(|a, b| odds(a).total_cmp(&odds(b)))
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
