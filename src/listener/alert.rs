//! When a rule fires, goes on and comes to rest.
//!
//! Owns the state machine of one rule: readings and times in, phases of an alert out. Refuses to know the model, the
//! transcript and MQTT. Invariant: between two `New` of a rule lie an `End` and its cooldown.
//!
//! ```text
//!           k of the last n readings ≥ enter, armed, cooldown over
//!   at rest ─────────────────────────────────────────────────────→ active ──┐ Update: the evidence grew
//!      ↑                       a reading < exit, or long unconfirmed    │←──┘
//!      └────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::config::{Confirm, Rule};
use crate::event::{AlertPhase, Evidence};

/// Readings among which the evidence is sought, if the rule does not confirm over more.
const EVIDENCE_READINGS: usize = 3;
/// Pieces of evidence an alert quotes at most.
const EVIDENCE_MAX: usize = 3;
/// Log-odds by which a reading must exceed what was last told to be worth an update; e² ≈ 7 times the odds.
const UPDATE_RISE: f64 = 2.0;

/// What a rule's settings come to.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertPolicy {
    /// Thresholds in log-odds.
    enter: f64,
    exit: f64,
    confirm: Confirm,
    cooldown: SignedDuration,
    /// How long an alert stands that nothing confirms.
    rest: SignedDuration,
    asks: bool,
    matches: bool,
}

impl From<&Rule> for AlertPolicy {
    fn from(rule: &Rule) -> Self {
        Self {
            enter: log_odds(rule.enter.get()),
            exit: log_odds(rule.exit.get()),
            confirm: rule.confirm,
            cooldown: SignedDuration::from_secs_f64(rule.cooldown_s.get()),
            rest: SignedDuration::from_secs(rule.rest_s() as i64),
            asks: rule.question.is_some(),
            matches: rule.pattern.is_some(),
        }
    }
}

/// ln(p / (1 − p)).
pub fn log_odds(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

/// The probability of some log-odds: 1 / (1 + e^−x).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// What was found when a rule was looked at, after something was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleObservation {
    /// Of yes to the rule's question; `None` when it was not asked.
    pub log_odds: Option<f64>,
    /// The pattern was found in what was said.
    pub matched: bool,
    /// What was said since the reading before, oldest first; of a match, the utterances that matched.
    pub said: Vec<Evidence>,
}

/// A phase that begins.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChange {
    pub id: Ulid,
    pub phase: AlertPhase,
    pub evidence: Vec<Evidence>,
}

/// What a rule remembers: numbers and times; the words it quotes are never written with them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertState {
    /// Newest last.
    recent: VecDeque<RecentReading>,
    /// Log-odds of the reading before.
    last: Option<f64>,
    active: Option<ActiveAlert>,
    /// When the last alert ended.
    ended: Option<Timestamp>,
    /// The last alert ended by itself, with the question still at "yes": it must read "no", or its pattern be
    /// found anew, before it can fire again.
    disarmed: bool,
    /// Readings for which the last match of the pattern still makes the question worth asking.
    gate: usize,
    /// The alert that fired last.
    last_alert: Option<Ulid>,
    /// The household wants to hear nothing of this rule from the first time to the second.
    snoozed: Option<(Timestamp, Timestamp)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RecentReading {
    hit: bool,
    matched: bool,
    /// By how much the log-odds rose.
    rise: f64,
    #[serde(skip)]
    said: Vec<Evidence>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ActiveAlert {
    id: Ulid,
    /// When a reading last counted for the alert.
    confirmed: Timestamp,
    /// The highest log-odds a phase has told of.
    told: Option<f64>,
    /// Somebody knows: nothing more is told of it but its end.
    #[serde(default)]
    acknowledged: bool,
}

impl AlertState {
    /// Whether the alert is on.
    pub fn active(&self) -> bool {
        self.active.is_some()
    }

    /// Whether somebody said that they know of the alert that is on.
    pub fn acknowledged(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.acknowledged)
    }

    /// The alert that is on or was last.
    pub fn last_alert(&self) -> Option<Ulid> {
        self.last_alert
    }

    /// Until when the rule is silent, if it is at `now`.
    pub fn snoozed(&self, now: Timestamp) -> Option<Timestamp> {
        // A clock that was set back ends the silence: it would last for however far that was.
        self.snoozed.filter(|(from, to)| (*from..*to).contains(&now)).map(|(_, to)| to)
    }

    /// Somebody knows of the alert that is on; false when none is.
    pub fn acknowledge(&mut self) -> bool {
        let Some(active) = &mut self.active else { return false };
        active.acknowledged = true;
        true
    }

    /// Nothing is told of this rule until `until`; an alert that is on ends. A time that is past ends the silence.
    pub fn snooze(&mut self, now: Timestamp, until: Timestamp) -> Option<AlertChange> {
        self.snoozed = (until > now).then_some((now, until));
        (self.snoozed.is_some() && self.active()).then(|| self.end(now))
    }

    /// The last alert was none: it ends, and the question must read "no", or the pattern be found anew, before the next.
    pub fn false_alarm(&mut self, now: Timestamp) -> Option<AlertChange> {
        self.disarmed = true;
        self.active().then(|| self.end(now))
    }

    /// The rule goes: an alert that is on ends.
    pub fn retire(&mut self, now: Timestamp) -> Option<AlertChange> {
        self.active().then(|| self.end(now))
    }

    /// Forgets every reading, and what it quotes; an alert that is `forgotten` ends, and was none.
    pub fn forget(&mut self, forgotten: impl Fn(Ulid) -> bool, now: Timestamp) -> Option<AlertChange> {
        // Every field is named, so that a new one cannot be added without saying how it forgets.
        let Self { recent, last, active: _, ended: _, disarmed: _, gate, last_alert, snoozed: _ } = self;
        recent.clear();
        *last = None;
        *gate = 0;
        *last_alert = last_alert.filter(|id| !forgotten(*id));
        let ends = self.active.as_ref().is_some_and(|active| forgotten(active.id));
        ends.then(|| {
            let (ended, disarmed) = (self.ended, self.disarmed);
            let change = self.end(now);
            (self.ended, self.disarmed) = (ended, disarmed);
            change
        })
    }

    /// Whether the question is worth a fork now. A rule with a pattern as well asks from a match on for as many readings as
    /// it confirms over, and while its alert is on.
    pub fn worth_asking(&mut self, policy: &AlertPolicy, matched: bool) -> bool {
        if matched {
            self.gate = policy.confirm.of;
        }
        let open = self.gate > 0;
        self.gate = self.gate.saturating_sub(1);
        policy.asks && (!policy.matches || open || self.active())
    }

    /// Takes a reading at `now`. `id` names the alert if this is the one that fires it.
    pub fn read(
        &mut self,
        policy: &AlertPolicy,
        reading: RuleObservation,
        now: Timestamp,
        id: Ulid,
    ) -> Option<AlertChange> {
        // Weights gone wrong give no number; that is no reason to remember one.
        let odds = reading.log_odds.filter(|x| x.is_finite());
        if policy.asks && odds.is_none() {
            self.last = None;
            return self.tick(policy, now);
        }
        let hit = if policy.asks { odds.is_some_and(|x| x >= policy.enter) } else { reading.matched };
        let miss = odds.is_some_and(|x| x < policy.exit);
        let rise = odds.map_or(0.0, |x| x - self.last.unwrap_or(policy.exit));
        self.last = odds;
        self.disarmed &= !(miss || reading.matched);
        if !self.resting(policy, now) {
            let seen = RecentReading { hit, matched: reading.matched, rise, said: reading.said };
            self.recent.push_back(seen);
            while self.recent.len() > policy.confirm.of.max(EVIDENCE_READINGS) {
                self.recent.pop_front();
            }
        }
        let Some(active) = &mut self.active else {
            return self.fires(policy).then(|| {
                self.active = Some(ActiveAlert { id, confirmed: now, told: None, acknowledged: false });
                self.last_alert = Some(id);
                self.tell(AlertPhase::New, odds)
            });
        };
        if miss {
            return Some(self.end(now));
        }
        if !hit {
            return self.tick(policy, now);
        }
        active.confirmed = now;
        let risen = odds.zip(active.told).is_some_and(|(x, told)| x >= told + UPDATE_RISE);
        let news = (risen || reading.matched) && !active.acknowledged;
        news.then(|| self.tell(AlertPhase::Update, odds))
    }

    /// Time has passed: an alert that nothing confirmed for long ends.
    pub fn tick(&mut self, policy: &AlertPolicy, now: Timestamp) -> Option<AlertChange> {
        let active = self.active.as_mut()?;
        // A clock that was set back must not keep the alert on until it has caught up.
        active.confirmed = active.confirmed.min(now);
        let over = now.duration_since(active.confirmed) >= policy.rest;
        over.then(|| {
            self.disarmed = policy.asks;
            self.end(now)
        })
    }

    fn fires(&self, policy: &AlertPolicy) -> bool {
        let hits = self.recent.iter().rev().take(policy.confirm.of).filter(|seen| seen.hit).count();
        let now_too = self.recent.back().is_some_and(|seen| seen.hit);
        now_too && hits >= policy.confirm.hits && !self.disarmed
    }

    /// Whether the cooldown or a snooze runs: what is read in it counts for nothing. A clock set back ends it.
    fn resting(&self, policy: &AlertPolicy, now: Timestamp) -> bool {
        self.snoozed(now).is_some()
            || self.ended.is_some_and(|ended| now >= ended && now.duration_since(ended) < policy.cooldown)
    }

    fn tell(&mut self, phase: AlertPhase, odds: Option<f64>) -> AlertChange {
        let evidence = evidence(&self.recent);
        let active = self.active.as_mut().expect("only an active alert is told of");
        active.told = odds.into_iter().chain(active.told).reduce(f64::max);
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

/// The words at which the log-odds rose most, and those that matched; oldest first.
fn evidence(recent: &VecDeque<RecentReading>) -> Vec<Evidence> {
    let most = recent.iter().map(|seen| seen.rise).fold(0.0, f64::max);
    let tells = |seen: &&RecentReading| seen.matched || (seen.rise > 0.0 && 2.0 * seen.rise >= most);
    let mut quoted: Vec<Evidence> = recent.iter().filter(tells).flat_map(|seen| seen.said.iter().cloned()).collect();
    if quoted.is_empty() {
        quoted = recent.iter().filter(|seen| seen.hit).flat_map(|seen| seen.said.iter().cloned()).collect();
    }
    quoted.split_off(quoted.len().saturating_sub(EVIDENCE_MAX))
}

#[cfg(test)]
mod tests;
