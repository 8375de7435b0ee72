//! Puts into force what people's answers to alerts taught ([`crate::listener::feedback`]).
//!
//! It follows from the answers in the store and is kept nowhere else: it is derived at the start, when somebody answers, when rules
//! are read again, when something is forgotten, and every hour, because answers grow old.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::info;

use super::ListenerWorker;
use crate::config::{Config, Name};
use crate::listener::feedback::{self, LearnedShift};
use crate::listener::{ListenerOutcome, Listeners};
use crate::store::{Store, StoreError};

/// How often the age of the answers is looked at.
const EVERY: Duration = Duration::from_secs(3600);
/// A shift that moves by less, as it does with every hour, is not logged.
const LOGGED: f64 = 0.05;

/// What the rules have learned, and when that is looked at again.
pub(super) struct Learning {
    shifts: BTreeMap<Name, LearnedShift>,
    due: Instant,
}

impl Learning {
    /// Sets the thresholds at the start. What an older hearth stored belongs to the rules as they are now.
    pub(super) fn start(config: &Config, store: &mut Store, listeners: &mut Listeners) -> Result<Self, StoreError> {
        if store.feedback()?.iter().any(|said| said.rule_version.is_none()) {
            for rule in &config.rules {
                store.adopt_feedback(rule.name.as_str(), &feedback::version(rule, &config.listener.model))?;
            }
        }
        let mut learning = Self { shifts: BTreeMap::new(), due: Instant::now() };
        learning.update(config, store, listeners)?;
        Ok(learning)
    }

    /// Sets the thresholds by the answers that are stored.
    fn update(&mut self, config: &Config, store: &Store, listeners: &mut Listeners) -> Result<(), StoreError> {
        self.due = Instant::now() + EVERY;
        let shifts = LearnedShift::of_all(&config.rules, &config.listener, &store.feedback()?, Timestamp::now());
        listeners.set_learned(&shifts);
        for rule in &config.rules {
            let name = &rule.name;
            let (now, before) = (shifts[name], self.shifts.get(name).copied().unwrap_or_default());
            if (now.shift - before.shift).abs() >= LOGGED {
                let (shift, threshold) = (now.shift, now.threshold(rule));
                info!(kind = "learned", rule = %name, shift, threshold, "an alert of {name} begins at {threshold:.3}");
            }
        }
        self.shifts = shifts;
        Ok(())
    }
}

impl ListenerWorker {
    /// Sets the thresholds by the answers that are stored. They are told with what is recorded next.
    pub(super) fn learn_from_answers(&mut self) -> Result<(), StoreError> {
        let Self { learning, config, store, listeners, .. } = self;
        learning.update(config, store, listeners)
    }

    /// The same, where it was not done for an hour.
    pub(super) fn learn_if_due(&mut self) -> Result<(), StoreError> {
        if Instant::now() < self.learning.due {
            return Ok(());
        }
        self.learn_from_answers()?;
        self.record(ListenerOutcome::default(), Vec::new())
    }
}

#[cfg(test)]
mod tests;
