//! A household that presses the button, with a real database and the state machine of the alerts.

use jiff::SignedDuration;
use ulid::Ulid;

use super::*;
use crate::config::{ListenerConfig, Rule, StoreConfig};
use crate::event::{AlertFeedback, AlertPhase, AlertVerdict};
use crate::listener::alert::{AlertPolicy, AlertState, RuleObservation, log_odds};
use crate::store::OutboxLimits;

/// A household for some days, of which one rule is asked.
struct AnsweringHousehold {
    dir: tempfile::TempDir,
    rule: Rule,
    settings: ListenerConfig,
    state: AlertState,
    day: i64,
    /// How many talks there were.
    talks: u32,
    answers: bool,
}

/// Alerts in some days.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    wrong: u32,
    right: u32,
}

/// In a day there are so many harmless talks that the rule takes for its event, at this many log-odds above its threshold, at most; and two
/// real events, at so many at least.
const HARMLESS: u32 = 5;
const HARMLESS_ABOVE: f64 = 1.5;
const REAL: u32 = 2;
const REAL_ABOVE: f64 = 2.5;

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), OutboxLimits::from(&StoreConfig::default())).unwrap()
}

impl AnsweringHousehold {
    fn with(rule: &str) -> Self {
        let rule = Config::default().rules.into_iter().find(|known| known.name.as_str() == rule).unwrap();
        let (dir, settings) = (tempfile::tempdir().unwrap(), ListenerConfig::default());
        Self { dir, rule, settings, state: AlertState::default(), day: 0, talks: 0, answers: true }
    }

    fn store(&self) -> Store {
        open(&self.dir)
    }

    /// Evenly spread numbers of 0 to 1.
    fn spread(&mut self) -> f64 {
        self.talks += 1;
        (f64::from(self.talks) * 0.618_034).fract()
    }

    fn live(&mut self, days: i64) -> Counted {
        let mut counted = Counted::default();
        for _ in 0..days {
            self.day += 1;
            for talk in 0..HARMLESS + REAL {
                let is_real = talk % 3 == 2;
                let above = self.spread() * HARMLESS_ABOVE + if is_real { REAL_ABOVE } else { 0.0 };
                let time = Timestamp::from_second(1_700_000_000 + self.day * 86_400 + i64::from(talk) * 3600).unwrap();
                if self.talk(above, is_real, time) {
                    *if is_real { &mut counted.right } else { &mut counted.wrong } += 1;
                }
            }
        }
        counted
    }

    /// Something is said at `above` the configured threshold. Somebody answers the alert, if there is one.
    fn talk(&mut self, above: f64, is_real: bool, time: Timestamp) -> bool {
        let Self { rule, settings, .. } = self;
        // As after a restart: what was learned comes from the database alone.
        let mut store = open(&self.dir);
        let mut policy = AlertPolicy::from(&*rule);
        policy.raise(rule, LearnedShift::of(rule, settings, &store.feedback().unwrap(), time).shift);
        let reading = |log_odds| RuleObservation { log_odds: Some(log_odds), ..RuleObservation::default() };
        let seen = reading(log_odds(rule.enter.get()) + above);
        let change = self.state.observe(&policy, seen, time, Ulid::generate());
        let alert = change.filter(|change| change.phase == AlertPhase::New);
        if let Some(alert) = alert.as_ref().filter(|_| self.answers) {
            let verdict = if is_real { AlertVerdict::Acknowledged } else { AlertVerdict::FalseAlarm };
            let said = AlertFeedback {
                alert: alert.id,
                rule: rule.name.to_string(),
                verdict,
                time,
                probability: self.state.last_probability(),
                rule_version: Some(feedback::version(rule, &settings.model)),
                counts: true,
            };
            store.record_feedback(&said).unwrap();
            match is_real {
                true => assert!(self.state.acknowledge()),
                false => assert!(self.state.false_alarm(time).is_some()),
            }
        }
        self.state.observe(&policy, reading(-8.0), time + SignedDuration::from_mins(10), Ulid::generate());
        alert.is_some()
    }
}

#[test]
fn a_household_that_presses_the_button_has_fewer_false_alarms_and_misses_nothing() {
    let mut household = AnsweringHousehold::with("medicine");
    household.answers = false;
    let all = Counted { wrong: 10 * HARMLESS, right: 10 * REAL };
    assert_eq!(household.live(10), all, "nobody presses it");
    household.answers = true;
    let first = household.live(10);
    let later = household.live(30);
    assert_eq!((first.right, later.right), (10 * REAL, 30 * REAL), "what is really there is told as before");
    assert!(first.wrong < all.wrong / 2, "{first:?}");
    assert!(later.wrong <= 30 * HARMLESS / 10, "a tenth are left: {later:?}");
    println!("false alarms of {HARMLESS} a day: {first:?} in the first ten days, {later:?} in the next thirty");

    let stored = household.store().feedback().unwrap().len();
    assert_eq!(household.store().reset_feedback(Some("medicine")).unwrap().len(), 1);
    household.answers = false;
    assert_eq!(household.live(10), all, "as before it learned");
    assert_eq!(household.store().feedback().unwrap().len(), stored, "the answers are still there");
}

#[test]
fn a_critical_rule_cannot_be_switched_off_by_a_button() {
    let mut household = AnsweringHousehold::with("help");
    let told = household.live(60);
    assert_eq!(told.right, 60 * REAL);
    assert!(told.wrong > 150, "its threshold rises less: {told:?}");
    let time = Timestamp::from_second(1_700_000_000 + 61 * 86_400).unwrap();
    assert!(!household.talk(0.4, true, time), "it has learned");
    assert!(household.talk(0.51, true, time + SignedDuration::from_hours(1)), "and no more than it may");
}

#[test]
fn with_learning_switched_off_the_button_moves_nothing() {
    let mut household = AnsweringHousehold::with("medicine");
    household.settings.learn_from_feedback = false;
    assert_eq!(household.live(10), Counted { wrong: 10 * HARMLESS, right: 10 * REAL });
    assert_eq!(household.store().feedback().unwrap().len() as u32, 10 * (HARMLESS + REAL), "what was said is stored");
}
