//! A rule with its question and pattern prepared for use, and the state of its alert.

use std::cell::Cell;

use jiff::Timestamp;
use ulid::Ulid;

use super::reader::Reader;
use super::{ALERT_TOKENS, ListenerError, ListenerOutcome, RuleEvaluation, alert, ask};
use crate::config;
use crate::event::{Alert, AlertPhase, Evidence};
use crate::grounding::{CheckCounts, Talk};
use crate::watcher::{WatchScores, Watcher};

/// A rule, prepared for one model, and the state of its alert.
#[derive(Clone)]
pub(super) struct RuleMonitor {
    pub(super) rule: config::Rule,
    pub(super) policy: alert::AlertPolicy,
    pub(super) pattern: Option<regex::Regex>,
    pub(super) question: Option<ask::Question>,
    pub(super) watch: alert::AlertState,
    /// Utterances since the last evaluation in which the pattern was found.
    pub(super) matches: Vec<Evidence>,
}

/// The watcher, and what it made of what was said; none where there is no watcher.
pub(super) type Watched<'a> = Option<(WatchScores, &'a Watcher)>;

/// What the sentence of an alert is checked against.
pub(super) struct SentenceCheck<'a> {
    pub(super) talk: &'a [Evidence],
    pub(super) counts: &'a Cell<CheckCounts>,
}

impl RuleMonitor {
    pub(super) fn new(rule: &config::Rule, reader: &Reader) -> Result<Self, ListenerError> {
        let wrong = |source| ListenerError::Pattern { rule: rule.name.clone(), source };
        Ok(Self {
            policy: rule.into(),
            pattern: rule.pattern.as_deref().map(config::pattern).transpose().map_err(wrong)?,
            question: rule.question.as_deref().map(|question| reader.question(question)).transpose()?,
            watch: alert::AlertState::default(),
            matches: Vec::new(),
            rule: rule.clone(),
        })
    }

    /// Whether the rule's question is to be asked now.
    pub(super) fn asks(&mut self, watched: Watched<'_>) -> bool {
        let suggested = self.rule.watch.zip(watched).map(|(kind, (scores, watcher))| watcher.suggests(kind, &scores));
        self.question.is_some() && self.watch.worth_asking(&self.policy, !self.matches.is_empty(), suggested)
    }

    /// What the watcher says, in log-odds that are comparable with the thresholds of the rule; none for a rule without a watcher.
    fn watched(&self, watched: Watched<'_>) -> Option<f64> {
        let excess = self.rule.watch.zip(watched).map(|(kind, (scores, watcher))| watcher.excess(kind, &scores));
        excess.map(|excess| alert::log_odds(self.rule.enter.get()) + excess)
    }

    /// Evaluates the rule after the utterances `said`. `evidence` is what the model says, if it was asked, in log-odds of yes, and
    /// what the watcher says: the higher one counts. What the model answers goes through `check`.
    pub(super) fn evaluate(
        &mut self,
        reader: &Reader,
        (asked, watched): (Option<f64>, Watched<'_>),
        said: &[Evidence],
        check: &SentenceCheck<'_>,
        now: Timestamp,
        outcome: &mut ListenerOutcome,
    ) -> Result<(), ListenerError> {
        let matches = std::mem::take(&mut self.matches);
        let matched = !matches.is_empty();
        let said = if matched { matches } else { said.to_vec() };
        let watched = self.watched(watched);
        let log_odds = asked.into_iter().chain(watched).reduce(f64::max);
        let change =
            self.watch.observe(&self.policy, alert::RuleObservation { log_odds, matched, said }, now, Ulid::generate());
        let probability = log_odds.map(alert::sigmoid);
        if let Some(probability) = probability {
            let (rule, active) = (self.rule.name.clone(), self.watch.active());
            outcome.readings.push(RuleEvaluation { rule, room: None, probability, time: now, active });
        }
        if let Some(change) = change {
            // Where the watcher alone says yes, the model's sentence would deny the alert.
            let agrees = asked.is_some_and(|odds| watched.is_none() || odds >= 0.0);
            let why = self.question.as_ref().filter(|_| agrees && change.phase != AlertPhase::End);
            let answer = why.map(|question| self.answer(reader, question, check)).transpose()?.flatten();
            outcome.alerts.push(self.alert(change, probability, answer, now));
        }
        Ok(())
    }

    /// What the model answers to the rule's question, as far as it was said.
    fn answer(
        &self,
        reader: &Reader,
        question: &ask::Question,
        check: &SentenceCheck<'_>,
    ) -> Result<Option<String>, ListenerError> {
        let written = reader.answer(question, ALERT_TOKENS)?;
        let asked = self.rule.question.as_deref().unwrap_or_default();
        let grounded = Talk::new(check.talk).ground(&written.text, written.ended, reader.check_options(asked));
        let text = grounded.text();
        super::count(check.counts, &grounded);
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    pub(super) fn alert(
        &self,
        change: alert::AlertChange,
        probability: Option<f64>,
        answer: Option<String>,
        now: Timestamp,
    ) -> Alert {
        Alert {
            id: change.id,
            rule: self.rule.name.to_string(),
            phase: change.phase,
            severity: self.rule.severity,
            room: None,
            time: now,
            probability,
            answer,
            evidence: change.evidence,
        }
    }
}
