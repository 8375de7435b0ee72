//! Rules and schedules that change while the state lives on.
//!
//! Owns what a rule keeps when it is read again. Refuses to know where rules are written. Invariant: the state is not touched, and
//! a rule that asks and searches the same as before stands where it stood.

use jiff::Timestamp;

use super::{Listener, ListenerError, ListenerOutcome, RuleMonitor};
use crate::config;

impl Listener {
    /// Takes rules and a schedule in the place of those it has. Alerts of rules that went, or that ask something else now, end.
    ///
    /// # Errors
    /// A rule cannot be used with this model; then nothing has changed.
    pub fn reload(
        &mut self,
        digest: &config::DigestConfig,
        rules: &[config::Rule],
        now: Timestamp,
    ) -> Result<ListenerOutcome, ListenerError> {
        let mut fresh = rules.iter().map(|rule| RuleMonitor::new(rule, &self.reader)).collect::<Result<Vec<_>, _>>()?;
        let mut outcome = ListenerOutcome::default();
        for mut old in std::mem::take(&mut self.rules) {
            match fresh.iter_mut().find(|new| is_same(&new.rule, &old.rule)) {
                Some(new) => (new.watch, new.matches) = (old.watch, old.matches),
                None => {
                    let ended = old.watch.retire(now);
                    outcome.alerts.extend(ended.map(|change| old.alert(change, None, None, now)));
                }
            }
        }
        self.rules = fresh;
        self.schedule = digest.into();
        Ok(outcome.of(self.room.as_deref()))
    }

    /// Nothing is monitor for any more: alerts that are on end.
    pub(super) fn retire(&mut self, now: Timestamp) -> ListenerOutcome {
        let mut outcome = ListenerOutcome::default();
        for monitor in &mut self.rules {
            let ended = monitor.watch.retire(now);
            outcome.alerts.extend(ended.map(|change| monitor.alert(change, None, None, now)));
        }
        outcome.of(self.room.as_deref())
    }
}

/// Thresholds and severity may differ.
fn is_same(a: &config::Rule, b: &config::Rule) -> bool {
    (&a.name, &a.question, &a.pattern) == (&b.name, &b.question, &b.pattern)
}
