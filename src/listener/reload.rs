//! Replacing rules and the summary schedule while the state lives on.
//!
//! A rule whose name, question, pattern, trigger and watcher are unchanged keeps its alert and its history.

use jiff::Timestamp;

use super::{Listener, ListenerError, ListenerOutcome, RuleMonitor};
use crate::config;

impl Listener {
    /// Replaces rules and schedule. Active alerts of rules that were removed or changed end.
    ///
    /// # Errors
    /// A rule's pattern or question cannot be used; nothing has changed then.
    pub(crate) fn reload(
        &mut self,
        digest: &config::DigestConfig,
        rules: &[config::Rule],
        now: Timestamp,
    ) -> Result<ListenerOutcome, ListenerError> {
        let mut fresh = rules.iter().map(|rule| RuleMonitor::new(rule, &self.reader)).collect::<Result<Vec<_>, _>>()?;
        let mut outcome = ListenerOutcome::default();
        for mut old in std::mem::take(&mut self.rules) {
            match fresh.iter_mut().find(|new| is_same(&new.rule, &old.rule)) {
                Some(new) => {
                    let RuleMonitor { watch, matches, triggers, asked, put_off, unasked, .. } = old;
                    *new = RuleMonitor { watch, matches, triggers, asked, put_off, unasked, ..new.clone() };
                }
                None => {
                    let ended = old.watch.retire(now);
                    outcome.alerts.extend(ended.map(|change| old.alert(change, None, None, now)));
                }
            }
        }
        self.rules = fresh;
        self.schedule = digest.into();
        Ok(outcome.in_room(self.room.as_deref()))
    }

    /// The rules are no longer evaluated: active alerts end.
    pub(super) fn retire(&mut self, now: Timestamp) -> ListenerOutcome {
        let mut outcome = ListenerOutcome::default();
        for monitor in &mut self.rules {
            let ended = monitor.watch.retire(now);
            outcome.alerts.extend(ended.map(|change| monitor.alert(change, None, None, now)));
        }
        outcome.in_room(self.room.as_deref())
    }
}

/// Thresholds, cooldown and severity may differ.
fn is_same(a: &config::Rule, b: &config::Rule) -> bool {
    let words = |rule: &config::Rule| (rule.question.clone(), rule.pattern.clone(), rule.trigger.clone());
    (&a.name, words(a), a.watch) == (&b.name, words(b), b.watch)
}
