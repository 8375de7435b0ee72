//! What people do about alerts: snooze a rule, acknowledge an alert, report a false alarm.
//!
//! What they said is kept with the rule over restarts ([`super::persisted_state`]). What it teaches is put into force here
//! ([`super::feedback`]).

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use ulid::Ulid;

use super::feedback::{self, LearnedShift};
use super::{Listener, ListenerOutcome, RuleMonitor};
use crate::config;
use crate::event::{AlertFeedback, AlertVerdict};

/// What people did about the alert of a rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleStanding<'a> {
    pub(crate) rule: &'a config::Name,
    /// The room whose state the rule watches; none when all rooms share one state.
    pub room: Option<&'a str>,
    /// The rule's alert is on.
    pub(crate) active: bool,
    pub acknowledged: bool,
    /// Until when the rule is snoozed, if it is.
    pub(crate) snoozed_until: Option<Timestamp>,
    /// The probability at which an alert begins now; none for a rule without a question.
    pub(crate) threshold: Option<f64>,
}

/// An alert of which somebody says something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AnsweredAlert {
    pub(crate) id: Ulid,
    pub(crate) active: bool,
    pub(crate) rule: config::Rule,
    /// At which it began; none where words alone raised it.
    pub(crate) probability: Option<f64>,
}

impl AnsweredAlert {
    /// What is stored of it. `model` is the model that raised it.
    pub(crate) fn feedback(&self, verdict: AlertVerdict, model: &Path, time: Timestamp) -> AlertFeedback {
        AlertFeedback {
            alert: self.id,
            rule: self.rule.name.to_string(),
            verdict,
            time,
            probability: self.probability,
            rule_version: Some(feedback::version(&self.rule, model)),
            counts: true,
        }
    }
}

impl Listener {
    /// Silences a rule, or all rules, until `until`; active alerts end. None when there is no such rule.
    pub(crate) fn snooze(&mut self, rule: Option<&str>, now: Timestamp, until: Timestamp) -> Option<ListenerOutcome> {
        let mut outcome = ListenerOutcome::default();
        let mut found = false;
        for monitor in self.rules.iter_mut().filter(|w| rule.is_none_or(|name| w.rule.name.as_str() == name)) {
            found = true;
            let ended = monitor.watch.snooze(now, until);
            outcome.alerts.extend(ended.map(|change| monitor.alert(change, None, None, now)));
        }
        found.then(|| outcome.in_room(self.room.as_deref()))
    }

    /// The alert that is meant, active or ended: the newest, or the one with this id or rule.
    pub(crate) fn answered(&self, named: Option<&str>) -> Option<AnsweredAlert> {
        let RuleMonitor { rule, watch, .. } = &self.rules[self.meant(named)?];
        Some(AnsweredAlert {
            id: watch.last_alert()?,
            active: watch.active(),
            rule: rule.clone(),
            probability: watch.last_probability(),
        })
    }

    /// Acknowledges an active alert: the newest, or the one with this id or rule. Returns its rule.
    pub(crate) fn acknowledge(&mut self, named: Option<&str>) -> Option<config::Name> {
        let monitor = self.alert_monitor(named).filter(|monitor| monitor.watch.active())?;
        monitor.watch.acknowledge();
        Some(monitor.rule.name.clone())
    }

    /// Marks an alert, active or ended, as a false alarm: the newest, or the one with this id or rule.
    pub(crate) fn false_alarm(
        &mut self,
        named: Option<&str>,
        now: Timestamp,
    ) -> Option<(Ulid, config::Name, ListenerOutcome)> {
        let monitor = self.alert_monitor(named)?;
        let id = monitor.watch.last_alert()?;
        let ended = monitor.watch.false_alarm(now);
        let alerts = ended.map(|change| monitor.alert(change, None, None, now)).into_iter().collect();
        let (rule, outcome) = (monitor.rule.name.clone(), ListenerOutcome { alerts, ..ListenerOutcome::default() });
        Some((id, rule, outcome.in_room(self.room.as_deref())))
    }

    /// Puts the thresholds into force that people's answers taught. A rule that is not among them has the configured one.
    pub(crate) fn set_learned(&mut self, learned: &BTreeMap<config::Name, LearnedShift>) {
        for RuleMonitor { rule, policy, .. } in &mut self.rules {
            policy.raise(rule, learned.get(&rule.name).map_or(0.0, |learned| learned.shift));
        }
    }

    /// Whether the alert that `named` selects is active, and its id. Of several listeners, the one with the greatest value is
    /// meant.
    pub(super) fn alert_meant(&self, named: Option<&str>) -> Option<(bool, Ulid)> {
        let watch = &self.rules[self.meant(named)?].watch;
        watch.last_alert().map(|id| (watch.active(), id))
    }

    fn alert_monitor(&mut self, named: Option<&str>) -> Option<&mut RuleMonitor> {
        self.meant(named).map(|at| &mut self.rules[at])
    }

    /// The index of the rule whose alert is meant: of several an active one, and of those the newest.
    fn meant(&self, named: Option<&str>) -> Option<usize> {
        let means = |monitor: &RuleMonitor| {
            let id = monitor.watch.last_alert().map(|id| id.to_string());
            id.is_some_and(|id| named.is_none_or(|name| name == id || name == monitor.rule.name.as_str()))
        };
        let fired = self.rules.iter().enumerate().filter(|(_, monitor)| means(monitor));
        fired.max_by_key(|(_, monitor)| (monitor.watch.active(), monitor.watch.last_alert())).map(|(at, _)| at)
    }

    /// The ids of the active alerts.
    pub(super) fn alerts(&self) -> impl Iterator<Item = Ulid> {
        self.rules.iter().filter(|monitor| monitor.watch.active()).filter_map(|monitor| monitor.watch.last_alert())
    }

    /// What people did about the alert of each rule.
    pub(crate) fn standings(&self, now: Timestamp) -> impl Iterator<Item = RuleStanding<'_>> {
        self.rules.iter().map(move |monitor| RuleStanding {
            rule: &monitor.rule.name,
            room: self.room.as_deref(),
            active: monitor.watch.active(),
            acknowledged: monitor.watch.acknowledged(),
            snoozed_until: monitor.watch.snoozed(now),
            threshold: monitor.threshold(),
        })
    }
}
