//! A rule with its question and pattern prepared for use, and the state of its alert.

use jiff::Timestamp;
use ulid::Ulid;

use super::cross_talk::AlertClaim;
use super::reader::Reader;
use super::{ListenerError, ListenerOutcome, RuleEvaluation, alert, ask};
use crate::config;
use crate::event::{Alert, AlertPhase, Evidence};
use crate::watcher::{WatchScores, Watcher};

/// A rule, prepared for one model, and the state of its alert.
#[derive(Clone)]
pub(super) struct RuleMonitor {
    pub(super) rule: config::Rule,
    pub(super) policy: alert::AlertPolicy,
    pub(super) pattern: Option<regex::Regex>,
    pub(super) trigger: Option<regex::Regex>,
    pub(super) question: Option<ask::Question>,
    pub(super) watch: alert::AlertState,
    /// Utterances since the last evaluation in which the pattern was found.
    pub(super) matches: Vec<Evidence>,
    /// The same for the trigger.
    pub(super) triggers: Vec<Evidence>,
    /// How often its question was asked since the start.
    pub(super) asked: u64,
    /// How often it was put off since then, because others were more urgent; and the last utterances that it was not asked about.
    pub(super) put_off: u64,
    pub(super) unasked: Vec<Evidence>,
}

/// The watcher, and what it made of what was said; none where there is no watcher.
pub(super) type Watched<'a> = Option<(WatchScores, &'a Watcher)>;

/// What is known of a rule's question after some utterances.
#[derive(Clone, Debug)]
pub(super) struct RuleEvidence {
    /// What the model says, in log-odds of yes; none where it was not asked.
    pub(super) asked: Option<f64>,
    /// That it is so, from the model and the watcher.
    pub(super) log_odds: Option<f64>,
    /// The utterances that the watcher's score rests on, where the rule reached its threshold and the watcher suspects it, too.
    pub(super) rests_on: Vec<Evidence>,
    /// See [`super::cross_talk`].
    pub(super) waits: bool,
}

impl RuleMonitor {
    pub(super) fn new(rule: &config::Rule, reader: &Reader) -> Result<Self, ListenerError> {
        let wrong = |source| ListenerError::Pattern { rule: rule.name.clone(), source };
        Ok(Self {
            policy: rule.into(),
            pattern: rule.pattern.as_deref().map(config::pattern).transpose().map_err(wrong)?,
            trigger: rule.trigger.as_deref().map(config::pattern).transpose().map_err(wrong)?,
            question: rule.question.as_deref().map(|question| reader.question(question)).transpose()?,
            watch: alert::AlertState::default(),
            matches: Vec::new(),
            triggers: Vec::new(),
            asked: 0,
            put_off: 0,
            unasked: Vec::new(),
            rule: rule.clone(),
        })
    }

    /// The same rule, of which nothing was heard yet.
    pub(super) fn inactive(&self) -> Self {
        Self {
            watch: alert::AlertState::default(),
            matches: Vec::new(),
            triggers: Vec::new(),
            asked: 0,
            put_off: 0,
            unasked: Vec::new(),
            ..self.clone()
        }
    }

    /// The probability at which an alert begins now; none without a question.
    pub(super) fn threshold(&self) -> Option<f64> {
        self.question.as_ref().map(|_| alert::sigmoid(self.policy.enter))
    }

    /// Searches an utterance for the rule's words. Those that raised the alert before it was read (`spotted`) do not count again.
    pub(super) fn search(&mut self, text: &str, quote: &Evidence, spotted: bool) -> bool {
        if spotted && self.is_raised_by(text) {
            return true;
        }
        let mut any = false;
        for (pattern, found) in [(&self.pattern, &mut self.matches), (&self.trigger, &mut self.triggers)] {
            if pattern.as_ref().is_some_and(|pattern| pattern.is_match(text)) {
                super::keep_last(found, quote.clone());
                any = true;
            }
        }
        any
    }

    /// Whether the words of a text are enough for the alert, whatever the model says.
    fn is_raised_by(&self, text: &str) -> bool {
        let decides = if self.question.is_some() { &self.trigger } else { &self.pattern };
        decides.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }

    /// Raises the alert because of an utterance whose words are enough for it; false where they are not.
    pub(super) fn spot(&mut self, text: &str, quote: &Evidence, now: Timestamp, outcome: &mut ListenerOutcome) -> bool {
        if !self.is_raised_by(text) {
            return false;
        }
        let triggered = self.question.is_some();
        let observation = alert::RuleObservation {
            matched: !triggered,
            triggered,
            said: vec![quote.clone()],
            exact: true,
            ..alert::RuleObservation::default()
        };
        let change = self.watch.observe(&self.policy, observation, now, Ulid::generate());
        outcome.alerts.extend(change.map(|change| self.alert(change, None, None, now)));
        true
    }

    /// Whether the rule's question is to be asked now.
    pub(super) fn asks(&mut self, watched: Watched<'_>) -> bool {
        let suggested = self.rule.watch.zip(watched).map(|(kind, (scores, watcher))| watcher.suggests(kind, &scores));
        let matched = !self.matches.is_empty() || !self.triggers.is_empty();
        self.question.is_some() && (self.watch.worth_asking(&self.policy, matched, suggested) || self.put_off > 0)
    }

    /// Its question was asked, or put off although it was `wanted`.
    pub(super) fn note_asked(&mut self, asked: bool, wanted: bool) {
        self.asked += u64::from(asked);
        self.put_off = if wanted && !asked { self.put_off + 1 } else { 0 };
    }

    /// What the rule claims, if it has a watcher and reached its threshold: rules that share their evidence are compared.
    pub(super) fn claim(&self, seen: &RuleEvidence) -> Option<AlertClaim> {
        let enter = self.policy.enter;
        let log_odds = seen.log_odds.filter(|odds| self.rule.watch.is_some() && *odds >= enter)?;
        let rests_on = seen.rests_on.iter().map(|one| one.utterance).collect();
        let own_words = !self.matches.is_empty() || !self.triggers.is_empty();
        Some(AlertClaim { log_odds, enter, own_words, rests_on })
    }

    /// Evaluates the rule after the utterances `said`. Returns the alert whose sentence the model is to write, if there is one.
    pub(super) fn evaluate(
        &mut self,
        seen: RuleEvidence,
        said: &[Evidence],
        now: Timestamp,
        outcome: &mut ListenerOutcome,
    ) -> Option<Alert> {
        let RuleEvidence { asked, log_odds, rests_on, waits } = seen;
        let mut unasked = std::mem::take(&mut self.unasked);
        said.iter().for_each(|quote| super::keep_last(&mut unasked, quote.clone()));
        if self.put_off > 0 && log_odds.is_none() && self.triggers.is_empty() {
            // Nothing is known until it is asked.
            self.unasked = unasked;
            return None;
        }
        let (matches, triggers) = (std::mem::take(&mut self.matches), std::mem::take(&mut self.triggers));
        let (matched, triggered) = (!matches.is_empty(), !triggers.is_empty());
        let exact = triggered || (!matched && !rests_on.is_empty());
        let said = match (triggered, matched) {
            (true, _) => triggers,
            (false, true) => matches,
            (false, false) if exact => rests_on,
            (false, false) => unasked,
        };
        let observation = alert::RuleObservation { log_odds, matched, triggered, waits, said, exact };
        let change = self.watch.observe(&self.policy, observation, now, Ulid::generate());
        let probability = log_odds.map(alert::sigmoid);
        if let Some(probability) = probability {
            let (rule, threshold, active) = (self.rule.name.clone(), self.threshold(), self.watch.active());
            outcome.readings.push(RuleEvaluation { rule, room: None, probability, threshold, time: now, active });
        }
        let change = change?;
        // Where only the watcher says yes, the model's sentence would deny the alert.
        let agrees = asked.is_some_and(|odds| self.rule.watch.is_none() || odds >= 0.0);
        let explains = agrees && self.question.is_some() && change.phase != AlertPhase::End;
        // What its words alone raised has no probability: neither model nor watcher agrees.
        let agreed = log_odds.is_some_and(|odds| !triggered || odds >= self.policy.enter);
        let alert = self.alert(change, probability.filter(|_| agreed), None, now);
        outcome.alerts.push(alert.clone());
        explains.then_some(alert)
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
