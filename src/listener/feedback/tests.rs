//! How far answers move a threshold, and that they never move it beyond its bounds.

use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::config::Config;
use crate::event::Severity;

fn at(days: f64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + (days * 86_400.0) as i64).unwrap()
}

fn settings() -> ListenerConfig {
    ListenerConfig::default()
}

/// A default rule, with the threshold that the documentation takes as an example.
fn rule(name: &str) -> Rule {
    let rule = Config::default().rules.into_iter().find(|rule| rule.name.as_str() == name).unwrap();
    let enter = if rule.severity == Severity::Critical { 0.85 } else { 0.8 };
    Rule { enter: enter.try_into().unwrap(), ..rule }
}

fn said(rule: &Rule, verdict: AlertVerdict, probability: f64, time: Timestamp) -> AlertFeedback {
    AlertFeedback {
        alert: Ulid::generate(),
        rule: rule.name.to_string(),
        verdict,
        time,
        probability: Some(probability),
        rule_version: Some(version(rule, &settings().model)),
        counts: true,
    }
}

fn false_alarms(rule: &Rule, n: usize, probability: f64) -> Vec<AlertFeedback> {
    vec![said(rule, AlertVerdict::FalseAlarm, probability, at(0.0)); n]
}

/// The threshold of a rule in percent, after so many days.
fn percent(rule: &Rule, feedback: &[AlertFeedback], days: f64) -> f64 {
    let threshold = LearnedShift::of(rule, &settings(), feedback, at(days)).threshold(rule);
    (threshold * 1000.0).round() / 10.0
}

/// The table in `docs/alerts.md` is of these figures.
#[test]
fn one_press_moves_little_and_three_clearly() {
    let after = |rule: &Rule, presses: [usize; 5], probability: f64| {
        presses.map(|n| percent(rule, &false_alarms(rule, n, probability), 0.0))
    };
    assert_eq!(after(&rule("medicine"), [0, 1, 3, 10, 30], 0.9), [80.0, 85.0, 91.1, 97.0, 98.8]);
    assert_eq!(after(&rule("help"), [0, 1, 3, 10, 30], 0.95), [85.0, 89.2, 90.3, 90.3, 90.3]);
    let medicine = rule("medicine");
    let old = false_alarms(&medicine, 3, 0.9);
    assert_eq!([0.0, 30.0, 90.0, 365.0].map(|days| percent(&medicine, &old, days)), [91.1, 86.9, 82.0, 80.0]);
    assert_eq!(percent(&medicine, &old, -1.0), 91.1, "the clock was set back");
}

#[test]
fn an_acknowledged_alert_lowers_the_threshold_again_and_never_below_the_configured_one() {
    let medicine = rule("medicine");
    let mut all = false_alarms(&medicine, 3, 0.9);
    let mut before = percent(&medicine, &all, 0.0);
    for _ in 0..20 {
        all.push(said(&medicine, AlertVerdict::Acknowledged, 0.9, at(0.0)));
        let now = percent(&medicine, &all, 0.0);
        assert!(now < before || now == 80.0, "{now} after {before}");
        before = now;
    }
    let learned = LearnedShift::of(&medicine, &settings(), &all, at(0.0));
    assert_eq!((learned.false_alarms, learned.acknowledged), (3, 20));
    let all = vec![said(&medicine, AlertVerdict::Acknowledged, 0.85, at(0.0)); 50];
    assert_eq!(percent(&medicine, &all, 0.0), 80.0);
}

#[test]
fn a_rule_that_was_changed_starts_anew() {
    let medicine = rule("medicine");
    let all = false_alarms(&medicine, 5, 0.9);
    let shift = |rule: &Rule| LearnedShift::of(rule, &settings(), &all, at(0.0)).shift;
    assert!(shift(&medicine) > 1.0);
    let same = Rule {
        trigger: Some("pills".into()),
        exit: 0.3.try_into().unwrap(),
        severity: Severity::Info,
        ..medicine.clone()
    };
    assert_eq!(shift(&same), shift(&medicine), "its probability means the same");
    let others = [
        Rule { question: Some("Did someone take their medicine?".into()), ..medicine.clone() },
        Rule { enter: 0.7.try_into().unwrap(), ..medicine.clone() },
        Rule { watch: None, ..medicine.clone() },
        Rule { pattern: Some("pills".into()), ..medicine.clone() },
        Rule { name: "pills".parse().unwrap(), ..medicine.clone() },
    ];
    assert!(others.iter().all(|other| shift(other) == 0.0));
    let moved = ListenerConfig { model: "/srv/recurrentgemma-nano".into(), ..settings() };
    let other = ListenerConfig { model: "/srv/2b-it.gguf".into(), ..settings() };
    let with = |settings: &ListenerConfig| LearnedShift::of(&medicine, settings, &all, at(0.0)).shift;
    assert_eq!((with(&moved), with(&other)), (shift(&medicine), 0.0));
}

#[test]
fn what_does_not_count_moves_nothing() {
    let medicine = rule("medicine");
    let learned = |change: &dyn Fn(&mut AlertFeedback)| {
        let mut all = false_alarms(&medicine, 5, 0.9);
        all.iter_mut().for_each(change);
        LearnedShift::of(&medicine, &settings(), &all, at(0.0))
    };
    let nothing = LearnedShift::default();
    assert_eq!(learned(&|said| said.counts = false), nothing, "the rule was reset");
    assert_eq!(learned(&|said| said.probability = None), nothing, "words alone raised it");
    assert_eq!(learned(&|said| said.probability = Some(f64::NAN)), nothing);
    assert!(learned(&|said| said.rule_version = None).shift > 1.0, "an older hearth stored it");
    let off = ListenerConfig { learn_from_feedback: false, ..settings() };
    assert_eq!(LearnedShift::of(&medicine, &off, &false_alarms(&medicine, 5, 0.9), at(0.0)), nothing);
    let pattern = Rule { question: None, watch: None, pattern: Some("pills".into()), ..medicine };
    assert_eq!(LearnedShift::of(&pattern, &settings(), &false_alarms(&pattern, 5, 0.9), at(0.0)), nothing);
}

proptest! {
    #[test]
    fn a_shift_stays_within_its_bounds_and_each_answer_moves_it_its_way(
        answers in prop::collection::vec((any::<bool>(), 0.01f64..=1.0, 0.0f64..400.0), 0..60), critical: bool, more: bool,
    ) {
        let rule = rule(if critical { "help" } else { "medicine" });
        let verdict = |wrong| if wrong { AlertVerdict::FalseAlarm } else { AlertVerdict::Acknowledged };
        let mut all: Vec<_> = answers.iter().map(|&(wrong, p, days)| said(&rule, verdict(wrong), p, at(-days))).collect();
        let shift = |all: &[AlertFeedback]| LearnedShift::of(&rule, &settings(), all, at(0.0)).shift;
        let before = shift(&all);
        prop_assert!((0.0..=limit(rule.severity)).contains(&before));
        all.push(said(&rule, verdict(more), 0.9, at(0.0)));
        let after = shift(&all);
        prop_assert!(if more { after >= before } else { after <= before + 1e-9 }, "{before} → {after}");
    }
}
