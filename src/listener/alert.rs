//! When the alert of a rule begins, goes on and ends: the state machine of one rule.
//!
//! Observations and times go in, phases of an alert come out. Between two `New` of a rule there are always an `End` and the cooldown.
//!
//! ```text
//!            k of the last n probabilities ≥ enter, armed, cooldown over
//!   inactive ────────────────────────────────────────────────────────────→ active ──┐ Update: the evidence grew
//!      ↑         a probability < exit, a minute after the last hit or later;  │←──┘
//!      │         or long unconfirmed                                          │
//!      └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! An alert stays on for [`STAYS_ON`] after the last observation that confirmed it, whatever is said next, until somebody has seen it:
//! once it is acknowledged, a probability below `exit` ends it at once. A false alarm, a snooze, a request to forget, and the removal of
//! the rule always do.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::config::{Confirm, Rule};
use crate::event::{AlertPhase, Evidence};

/// Evidence is taken from so many of the last observations, or from those the rule confirms over if these are more.
const EVIDENCE_OBSERVATIONS: usize = 3;
/// An alert quotes at most so many utterances.
const EVIDENCE_MAX: usize = 3;
/// After an observation that confirmed it, an alert stays on for so long at least, by the time of the stream.
const STAYS_ON: SignedDuration = SignedDuration::from_secs(60);
/// An update is due when the log-odds exceed those last reported by this much; e² ≈ 7 times the odds.
const UPDATE_RISE: f64 = 2.0;

/// The settings of a rule, with thresholds in log-odds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlertPolicy {
    /// Thresholds in log-odds.
    pub(super) enter: f64,
    exit: f64,
    confirm: Confirm,
    cooldown: SignedDuration,
    /// An alert ends when nothing has confirmed it for this long.
    unconfirmed_limit: SignedDuration,
    asks: bool,
    matches: bool,
}

impl AlertPolicy {
    /// Puts the threshold for an alert so much above the configured one.
    pub(crate) fn raise(&mut self, rule: &Rule, shift: f64) {
        self.enter = log_odds(rule.enter.get()) + shift;
    }
}

impl From<&Rule> for AlertPolicy {
    fn from(rule: &Rule) -> Self {
        Self {
            enter: log_odds(rule.enter.get()),
            exit: log_odds(rule.exit.get()),
            confirm: rule.confirm,
            cooldown: SignedDuration::from_secs_f64(rule.cooldown_s.get()),
            unconfirmed_limit: SignedDuration::from_secs(rule.unconfirmed_limit_s() as i64),
            asks: rule.question.is_some(),
            matches: rule.pattern.is_some(),
        }
    }
}

/// ln(p / (1 − p)).
pub(crate) fn log_odds(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

/// The probability of some log-odds: 1 / (1 + e^−x).
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// What a rule found in the utterances since the last evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuleObservation {
    /// That what the rule asks about is so; none when nothing tells.
    pub(crate) log_odds: Option<f64>,
    /// The pattern was found in what was said.
    pub(crate) matched: bool,
    /// Words were said that leave no doubt.
    pub(crate) triggered: bool,
    /// A likelier rule speaks at the same words ([`super::cross_talk`]): this observation does not count for the alert.
    pub(crate) waits: bool,
    /// The utterances since the last observation, oldest first; if the pattern matched, only those that match.
    pub(crate) said: Vec<Evidence>,
    /// `said` are the utterances that the observation rests on, and nothing else is to be quoted.
    pub(crate) exact: bool,
}

/// A phase of an alert that begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlertChange {
    pub(crate) id: Ulid,
    pub(crate) phase: AlertPhase,
    pub(crate) evidence: Vec<Evidence>,
}

/// The state of a rule's alert. Its JSON holds numbers and times; quoted words are never serialized.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AlertState {
    /// The last observations, newest last.
    recent: VecDeque<RecentReading>,
    /// Log-odds of the last observation.
    last: Option<f64>,
    active: Option<ActiveAlert>,
    /// When the last alert ended.
    ended: Option<Timestamp>,
    /// The last alert ended while its question was still answered by yes: before the next alert, the probability must fall below
    /// `exit` or the pattern must match again.
    disarmed: bool,
    /// For so many more observations the question is asked because of the last match of the pattern.
    gate: usize,
    /// The alert that fired last, and the log-odds it began at, where they alone were enough for it.
    last_alert: Option<Ulid>,
    last_odds: Option<f64>,
    /// The rule is snoozed from the first time to the second.
    snoozed: Option<(Timestamp, Timestamp)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RecentReading {
    /// It counts for the alert.
    hit: bool,
    /// It is enough for the alert.
    #[serde(default)]
    triggered: bool,
    matched: bool,
    /// By how much the log-odds rose.
    rise: f64,
    #[serde(skip)]
    said: Vec<Evidence>,
    #[serde(skip)]
    exact: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ActiveAlert {
    id: Ulid,
    /// When an observation last counted for the alert.
    confirmed: Timestamp,
    /// The highest log-odds that a phase has reported.
    #[serde(rename = "told")]
    reported: Option<f64>,
    /// A probability below `exit` came after that: the alert ends when it was on for long enough.
    #[serde(default)]
    missed: bool,
    /// Somebody acknowledged it: only its end is still reported.
    #[serde(default)]
    acknowledged: bool,
}

impl AlertState {
    /// Whether the alert is active.
    pub(crate) fn active(&self) -> bool {
        self.active.is_some()
    }

    /// Whether the active alert was acknowledged.
    pub(crate) fn acknowledged(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.acknowledged)
    }

    /// The active alert, or the last one.
    pub(crate) fn last_alert(&self) -> Option<Ulid> {
        self.last_alert
    }

    /// The probability at which it began; none where words alone raised it.
    pub(crate) fn last_probability(&self) -> Option<f64> {
        self.last_odds.map(sigmoid)
    }

    /// Until when the rule is snoozed, if it is at `now`.
    pub(crate) fn snoozed(&self, now: Timestamp) -> Option<Timestamp> {
        // When the clock was set back before the snooze began, the snooze is over: it would last for as long as that was.
        self.snoozed.filter(|(from, to)| (*from..*to).contains(&now)).map(|(_, to)| to)
    }

    /// Acknowledges the active alert; false when none is active.
    pub(crate) fn acknowledge(&mut self) -> bool {
        let Some(active) = &mut self.active else { return false };
        active.acknowledged = true;
        true
    }

    /// Snoozes the rule until `until`; an active alert ends. A time in the past ends the snooze.
    pub(crate) fn snooze(&mut self, now: Timestamp, until: Timestamp) -> Option<AlertChange> {
        self.snoozed = (until > now).then_some((now, until));
        (self.snoozed.is_some() && self.active()).then(|| self.end(now))
    }

    /// Marks the last alert as a false alarm: it ends, and the rule must be re-armed before the next.
    pub(crate) fn false_alarm(&mut self, now: Timestamp) -> Option<AlertChange> {
        self.disarmed = true;
        self.active().then(|| self.end(now))
    }

    /// The rule is removed: an active alert ends.
    pub(crate) fn retire(&mut self, now: Timestamp) -> Option<AlertChange> {
        self.active().then(|| self.end(now))
    }

    /// Forgets every observation and its quotes. An alert that is `forgotten` ends as if it had never been.
    pub(crate) fn forget(&mut self, forgotten: impl Fn(Ulid) -> bool, now: Timestamp) -> Option<AlertChange> {
        // Every field is named, so that a new one cannot be added without saying how it forgets.
        let Self { recent, last, active: _, ended: _, disarmed: _, gate, last_alert, last_odds, snoozed: _ } = self;
        recent.clear();
        *last = None;
        *gate = 0;
        *last_alert = last_alert.filter(|id| !forgotten(*id));
        *last_odds = last_odds.filter(|_| last_alert.is_some());
        let ends = self.active.as_ref().is_some_and(|active| forgotten(active.id));
        ends.then(|| {
            let (ended, disarmed) = (self.ended, self.disarmed);
            let change = self.end(now);
            (self.ended, self.disarmed) = (ended, disarmed);
            change
        })
    }

    /// Whether the question should be asked now. A rule that also has a pattern or a watcher (`suggested` is what the watcher says)
    /// asks for as many observations after either as it confirms over, and while its alert is active.
    pub(crate) fn worth_asking(&mut self, policy: &AlertPolicy, matched: bool, suggested: Option<bool>) -> bool {
        if matched || suggested == Some(true) {
            self.gate = policy.confirm.of;
        }
        let open = self.gate > 0;
        self.gate = self.gate.saturating_sub(1);
        let always = !policy.matches && suggested.is_none();
        policy.asks && (always || open || self.active())
    }

    /// Takes an observation at `now`. `id` becomes the alert's if this observation raises one.
    pub(crate) fn observe(
        &mut self,
        policy: &AlertPolicy,
        observation: RuleObservation,
        now: Timestamp,
        id: Ulid,
    ) -> Option<AlertChange> {
        // Damaged weights give NaN; such a value must not be kept.
        let odds = observation.log_odds.filter(|x| x.is_finite());
        let triggered = observation.triggered;
        if policy.asks && odds.is_none() && !triggered {
            self.last = None;
            return self.tick(policy, now);
        }
        let reached = if policy.asks { odds.is_some_and(|x| x >= policy.enter) } else { observation.matched };
        let hit = triggered || (reached && !observation.waits);
        let miss = odds.is_some_and(|x| x < policy.exit) && !triggered;
        let rise = odds.map_or(0.0, |x| x - self.last.unwrap_or(policy.exit));
        self.last = odds;
        self.disarmed &= !(miss || triggered || observation.matched);
        if !self.is_silenced(policy, now) {
            let RuleObservation { matched, said, exact, .. } = observation;
            self.recent.push_back(RecentReading { hit, triggered, matched, rise, said, exact });
            while self.recent.len() > policy.confirm.of.max(EVIDENCE_OBSERVATIONS) {
                self.recent.pop_front();
            }
        }
        let Some(active) = &mut self.active else {
            return self.fires(policy).then(|| {
                self.active =
                    Some(ActiveAlert { id, confirmed: now, reported: None, missed: false, acknowledged: false });
                self.last_alert = Some(id);
                self.last_odds = odds.filter(|_| reached);
                self.report(AlertPhase::New, odds)
            });
        };
        if !hit {
            active.missed |= miss;
            return self.tick(policy, now);
        }
        active.confirmed = now;
        active.missed = false;
        let risen = odds.zip(active.reported).is_some_and(|(x, reported)| x >= reported + UPDATE_RISE);
        let is_news = (risen || observation.matched) && !active.acknowledged;
        is_news.then(|| self.report(AlertPhase::Update, odds))
    }

    /// Time has passed: an alert ends that nothing has confirmed for long, or for [`STAYS_ON`] if a probability spoke against it.
    pub(crate) fn tick(&mut self, policy: &AlertPolicy, now: Timestamp) -> Option<AlertChange> {
        let active = self.active.as_mut()?;
        // A clock that was set back must not keep the alert active until it has caught up.
        active.confirmed = active.confirmed.min(now);
        let limit = match active.missed {
            true if active.acknowledged => SignedDuration::ZERO,
            true => STAYS_ON,
            false => policy.unconfirmed_limit,
        };
        if now.duration_since(active.confirmed) < limit {
            return None;
        }
        self.disarmed |= policy.asks && !active.missed;
        Some(self.end(now))
    }

    fn fires(&self, policy: &AlertPolicy) -> bool {
        let hits = self.recent.iter().rev().take(policy.confirm.of).filter(|seen| seen.hit).count();
        let enough = |newest: &RecentReading| newest.triggered || (newest.hit && hits >= policy.confirm.hits);
        self.recent.back().is_some_and(enough) && !self.disarmed
    }

    /// Whether the cooldown or a snooze runs; observations in it are ignored. A clock that was set back ends the cooldown.
    fn is_silenced(&self, policy: &AlertPolicy, now: Timestamp) -> bool {
        self.snoozed(now).is_some()
            || self.ended.is_some_and(|ended| now >= ended && now.duration_since(ended) < policy.cooldown)
    }

    fn report(&mut self, phase: AlertPhase, odds: Option<f64>) -> AlertChange {
        let evidence = evidence(&self.recent);
        let active = self.active.as_mut().expect("only an active alert is reported");
        active.reported = odds.into_iter().chain(active.reported).reduce(f64::max);
        self.recent.iter_mut().for_each(|seen| seen.said.clear());
        AlertChange { id: active.id, phase, evidence }
    }

    fn end(&mut self, now: Timestamp) -> AlertChange {
        let active = self.active.take().expect("only an active alert ends");
        self.recent.clear();
        self.ended = Some(now);
        AlertChange { id: active.id, phase: AlertPhase::End, evidence: Vec::new() }
    }
}

/// What the newest log-odds rest on, where that is known. Else the utterances at which they rose most, and those that matched, oldest
/// first.
fn evidence(recent: &VecDeque<RecentReading>) -> Vec<Evidence> {
    if let Some(newest) = recent.back().filter(|seen| seen.exact) {
        return newest.said[newest.said.len().saturating_sub(EVIDENCE_MAX)..].to_vec();
    }
    let most = recent.iter().map(|seen| seen.rise).fold(0.0, f64::max);
    let counts = |seen: &&RecentReading| seen.matched || (seen.rise > 0.0 && 2.0 * seen.rise >= most);
    let mut quoted: Vec<Evidence> = recent.iter().filter(counts).flat_map(|seen| seen.said.iter().cloned()).collect();
    if quoted.is_empty() {
        quoted = recent.iter().filter(|seen| seen.hit).flat_map(|seen| seen.said.iter().cloned()).collect();
    }
    quoted.split_off(quoted.len().saturating_sub(EVIDENCE_MAX))
}

#[cfg(test)]
mod tests;
