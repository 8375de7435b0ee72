//! What people do about an alert: snooze its rule, acknowledge it, call it a false alarm, forget what raised it.

use super::*;

/// What one probability comes to.
fn hear(watch: &mut AlertState, policy: &AlertPolicy, p: f64, second: i64) -> char {
    letter(ask(watch, policy, p, second).as_ref())
}

#[test]
fn a_snoozed_rule_ends_its_alert_and_stays_silent_until_then() {
    let p = policy(true, false, "1 of 1", 0);
    let mut watch = AlertState::default();
    assert_eq!(hear(&mut watch, &p, 0.9, 0), 'N');
    assert_eq!(letter(watch.snooze(at(10), at(100)).as_ref()), 'E');
    assert_eq!(watch.snoozed(at(50)), Some(at(100)));
    assert_eq!(hear(&mut watch, &p, 0.9, 50), '-');
    assert_eq!(watch.snoozed(at(9)), None, "a clock that was set back does not keep it silent");
    assert_eq!(hear(&mut watch, &p, 0.9, 100), 'N');
    assert_eq!(watch.snooze(at(110), at(110)), None, "no time at all ends a silence and no alert");
    assert!(watch.active());
}

#[test]
fn what_is_forgotten_ends_its_alert_and_no_other_and_leaves_no_cooldown() {
    let p = policy(true, false, "2 of 2", 300);
    let mut watch = AlertState::default();
    assert_eq!(hear(&mut watch, &p, 0.9, 0), '-');
    assert_eq!(watch.forget(|_| true, at(5)), None);
    assert_eq!(hear(&mut watch, &p, 0.9, 10), '-', "what was read before is forgotten");
    assert_eq!(hear(&mut watch, &p, 0.9, 20), 'N');
    let id = watch.last_alert().unwrap();
    assert_eq!(watch.forget(|other| other != id, at(25)), None);
    assert!(watch.active(), "it stays");
    let ended = watch.forget(|other| other == id, at(30)).unwrap();
    assert_eq!((ended.id, ended.phase, ended.evidence), (id, AlertPhase::End, Vec::new()));
    assert_eq!((watch.active(), watch.last_alert()), (false, None));
    assert_eq!(hear(&mut watch, &p, 0.9, 40), '-');
    assert_eq!(hear(&mut watch, &p, 0.9, 50), 'N', "as if it had never been");
}

#[test]
fn an_acknowledged_alert_tells_only_of_its_end() {
    let p = policy(true, false, "1 of 1", 0);
    let mut watch = AlertState::default();
    assert!(!watch.acknowledge(), "there is none");
    assert_eq!(hear(&mut watch, &p, 0.81, 0), 'N');
    assert!(watch.acknowledge() && watch.acknowledged());
    assert_eq!(hear(&mut watch, &p, 0.999, 10), '-');
    assert_eq!(hear(&mut watch, &p, 0.01, 20), 'E');
    assert_eq!(hear(&mut watch, &p, 0.9, 30), 'N');
    assert!(!watch.acknowledged(), "the next is another");
}

#[test]
fn a_false_alarm_ends_and_does_not_come_back_before_the_question_read_no() {
    let p = policy(true, false, "1 of 1", 0);
    let mut watch = AlertState::default();
    assert_eq!(hear(&mut watch, &p, 0.9, 0), 'N');
    assert_eq!(letter(watch.false_alarm(at(5)).as_ref()), 'E');
    assert!(watch.last_alert().is_some());
    assert_eq!(hear(&mut watch, &p, 0.95, 10), '-');
    assert_eq!(hear(&mut watch, &p, 0.01, 20), '-');
    assert_eq!(hear(&mut watch, &p, 0.9, 30), 'N');
}

#[test]
fn an_alert_that_somebody_has_seen_ends_with_the_first_no() {
    let p = policy(true, false, "1 of 1", 0);
    let mut watch = AlertState::default();
    assert_eq!(hear(&mut watch, &p, 0.9, 0), 'N');
    assert_eq!(hear(&mut watch, &p, 0.01, 2), '-');
    assert!(watch.acknowledge());
    assert_eq!(letter(watch.tick(&p, at(5)).as_ref()), 'E');
}
