//! What people's answers to alerts teach: by how much the threshold of a rule is raised.
//!
//! A false alarm says that the rule's log-odds were too high, an acknowledged alert that they were not. If a rule's log-odds are `shift` too
//! high, an alert that began at `x` is a false alarm with the odds of `shift − x`. The shift is the likeliest one under a normal prior
//! around 0 ([`PRIOR`]); each answer counts half after [`HALF_LIFE`]. It is never below 0, so no rule becomes more eager than it is
//! configured, and never above [`LIMIT`] or [`CRITICAL_LIMIT`]. Alerts without a probability, which words alone raised, teach nothing.
//!
//! Nothing of this is stored: it is derived from the answers in the store ([`AlertFeedback`]) whenever they may have changed.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::alert::{log_odds, sigmoid};
use crate::config::{ListenerConfig, Name, Rule};
use crate::event::{AlertFeedback, AlertVerdict, Severity};

/// The variance of the prior, in log-odds squared: one false alarm moves a threshold of 0.8 to 0.85, three to 0.91.
const PRIOR: f64 = 0.4;
/// An answer counts half after so long, and a quarter after twice that.
const HALF_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The largest shift, in log-odds: e³ ≈ 20 times the odds.
const LIMIT: f64 = 3.0;
/// That of a critical rule, 1.6 times the odds: an emergency must not be switched off by a button. Beyond it a critical default rule would lose
/// more real alerts than false ones (measured: `docs/alerts.md`).
const CRITICAL_LIMIT: f64 = 0.5;

/// What was learned of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LearnedShift {
    /// What is added to the log-odds of the rule's `enter`.
    pub(crate) shift: f64,
    /// How many answers it rests on.
    pub(crate) false_alarms: usize,
    pub(crate) acknowledged: usize,
}

impl LearnedShift {
    /// Of one rule of the config, from the answers of all rules, at `now`.
    pub(crate) fn of(rule: &Rule, settings: &ListenerConfig, feedback: &[AlertFeedback], now: Timestamp) -> Self {
        if !settings.learn_from_feedback || rule.question.is_none() {
            return Self::default();
        }
        let version = version(rule, &settings.model);
        let is_of_rule = |said: &&AlertFeedback| {
            said.counts && said.rule == rule.name.as_str() && said.rule_version.as_ref().is_none_or(|of| *of == version)
        };
        let answers: Vec<_> =
            feedback.iter().filter(is_of_rule).filter_map(|said| RuleAnswer::new(said, now)).collect();
        let false_alarms = answers.iter().filter(|answer| answer.is_false).count();
        let shift = likeliest_shift(&answers, limit(rule.severity));
        Self { shift, false_alarms, acknowledged: answers.len() - false_alarms }
    }

    /// Of each rule.
    pub(crate) fn of_all(
        rules: &[Rule],
        settings: &ListenerConfig,
        feedback: &[AlertFeedback],
        now: Timestamp,
    ) -> BTreeMap<Name, Self> {
        rules.iter().map(|rule| (rule.name.clone(), Self::of(rule, settings, feedback, now))).collect()
    }

    /// The probability at which an alert of the rule begins now.
    pub(crate) fn threshold(&self, rule: &Rule) -> f64 {
        if self.shift == 0.0 { rule.enter.get() } else { sigmoid(log_odds(rule.enter.get()) + self.shift) }
    }
}

/// The largest shift of a rule.
pub(crate) fn limit(severity: Severity) -> f64 {
    if severity == Severity::Critical { CRITICAL_LIMIT } else { LIMIT }
}

/// Tells apart what a rule of one name was at different times: a hash of what its probability is of (its question, pattern and watcher,
/// and the model's name) and of its `enter`. Answers to another version of a rule teach nothing.
pub(crate) fn version(rule: &Rule, model: &Path) -> String {
    let model = model.file_name().map(|name| name.to_string_lossy());
    let what = json!([rule.question, rule.pattern, rule.watch, rule.enter, model]);
    hex::encode(&Sha256::digest(what.to_string())[..8])
}

/// An answer that counts for a rule.
#[derive(Clone, Copy, Debug)]
struct RuleAnswer {
    /// At which the alert began.
    log_odds: f64,
    is_false: bool,
    /// How much of it is left, 0 to 1.
    weight: f64,
}

impl RuleAnswer {
    /// None where the alert had no probability.
    fn new(said: &AlertFeedback, now: Timestamp) -> Option<Self> {
        // An answer that is later than now was given before the clock was set back.
        let age = now.duration_since(said.time).max(SignedDuration::ZERO);
        let weight = (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        let is_false = said.verdict == AlertVerdict::FalseAlarm;
        let log_odds = log_odds(said.probability?);
        (!log_odds.is_nan()).then_some(Self { log_odds, is_false, weight })
    }

    /// How much it raises the likeliest shift, at `shift`.
    fn pull(&self, shift: f64) -> f64 {
        let expected = sigmoid(self.log_odds - shift);
        self.weight * if self.is_false { expected } else { expected - 1.0 }
    }
}

/// The shift of 0 to `limit` that is likeliest by the answers.
fn likeliest_shift(answers: &[RuleAnswer], limit: f64) -> f64 {
    // Falls as the shift rises, so it is above 0 up to the likeliest shift.
    let slope = |shift: f64| answers.iter().map(|answer| answer.pull(shift)).sum::<f64>() - shift / PRIOR;
    if slope(0.0) <= 0.0 {
        return 0.0;
    }
    if slope(limit) >= 0.0 {
        return limit;
    }
    let (mut low, mut high) = (0.0, limit);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        (low, high) = if slope(middle) > 0.0 { (middle, high) } else { (low, middle) };
    }
    low
}

#[cfg(test)]
mod tests;
