//! What the household says of alerts: be silent, we know, it was none.
//!
//! Owns which rule or alert is meant. Refuses to know how the word came here. Invariant: what the household said is remembered
//! with the rule it was said of, over restarts.

use jiff::Timestamp;
use ulid::Ulid;

use super::{Listener, ListenerOutcome, RuleMonitor};
use crate::config;

impl Listener {
    /// Silences a rule, or all, until `until`; alerts that are on end. None when there is no such rule.
    pub fn snooze(&mut self, rule: Option<&str>, now: Timestamp, until: Timestamp) -> Option<ListenerOutcome> {
        let mut outcome = ListenerOutcome::default();
        let mut found = false;
        for monitor in self.rules.iter_mut().filter(|w| rule.is_none_or(|name| w.rule.name.as_str() == name)) {
            found = true;
            let ended = monitor.watch.snooze(now, until);
            outcome.alerts.extend(ended.map(|change| monitor.alert(change, None, None, now)));
        }
        found.then(|| outcome.of(self.room.as_deref()))
    }

    /// Somebody knows of an alert that is on: the newest, or that of an id or a rule. Returns its rule.
    pub fn acknowledge(&mut self, named: Option<&str>) -> Option<config::Name> {
        let monitor = self.alerting(named).filter(|monitor| monitor.watch.active())?;
        monitor.watch.acknowledge();
        Some(monitor.rule.name.clone())
    }

    /// An alert, on or over, was none: the newest, or that of an id or a rule. Returns its id, its rule, and its end if it was on.
    pub fn false_alarm(
        &mut self,
        named: Option<&str>,
        now: Timestamp,
    ) -> Option<(Ulid, config::Name, ListenerOutcome)> {
        let monitor = self.alerting(named)?;
        let id = monitor.watch.last_alert()?;
        let ended = monitor.watch.false_alarm(now);
        let alerts = ended.map(|change| monitor.alert(change, None, None, now)).into_iter().collect();
        let (rule, outcome) = (monitor.rule.name.clone(), ListenerOutcome { alerts, ..ListenerOutcome::default() });
        Some((id, rule, outcome.of(self.room.as_deref())))
    }

    /// Whether the alert that is meant is on, and its id: of several listeners the one with the greatest of these is meant.
    pub(super) fn alert_meant(&self, named: Option<&str>) -> Option<(bool, Ulid)> {
        let watch = &self.rules[self.meant(named)?].watch;
        watch.last_alert().map(|id| (watch.active(), id))
    }

    fn alerting(&mut self, named: Option<&str>) -> Option<&mut RuleMonitor> {
        self.meant(named).map(|at| &mut self.rules[at])
    }

    /// The place of the rule whose alert is meant; of several one that is on, and of those the newest.
    fn meant(&self, named: Option<&str>) -> Option<usize> {
        let means = |monitor: &RuleMonitor| {
            let id = monitor.watch.last_alert().map(|id| id.to_string());
            id.is_some_and(|id| named.is_none_or(|name| name == id || name == monitor.rule.name.as_str()))
        };
        let fired = self.rules.iter().enumerate().filter(|(_, monitor)| means(monitor));
        fired.max_by_key(|(_, monitor)| (monitor.watch.active(), monitor.watch.last_alert())).map(|(at, _)| at)
    }

    /// The alerts that are on.
    pub(super) fn alerts(&self) -> impl Iterator<Item = Ulid> {
        self.rules.iter().filter(|monitor| monitor.watch.active()).filter_map(|monitor| monitor.watch.last_alert())
    }

    /// Where each rule stands beyond its alert: whether somebody knows of it, and until when it is silent.
    pub fn standings(&self, now: Timestamp) -> impl Iterator<Item = (&config::Name, bool, Option<Timestamp>)> {
        self.rules.iter().map(move |w| (&w.rule.name, w.watch.acknowledged(), w.watch.snoozed(now)))
    }
}
