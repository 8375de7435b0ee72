//! The life of an alert, case by case, and its laws.

use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn policy(asks: bool, matches: bool, confirm: &str, cooldown_s: i64) -> AlertPolicy {
    let (enter, exit) = (log_odds(0.8), log_odds(0.4));
    let cooldown = SignedDuration::from_secs(cooldown_s);
    AlertPolicy {
        enter,
        exit,
        confirm: confirm.parse().unwrap(),
        cooldown,
        unconfirmed_limit: SignedDuration::from_secs(if asks { 1800 } else { 60 }),
        asks,
        matches,
    }
}

fn said(text: &str, seconds: i64) -> Vec<Evidence> {
    vec![Evidence { utterance: Ulid::nil(), time: at(seconds), room: "home".into(), text: text.into() }]
}

/// Gives a rule one probability a minute and writes down what comes of it: N, U, E or "-".
fn phases(policy: &AlertPolicy, probabilities: &[f64]) -> String {
    let mut watch = AlertState::default();
    let readings = probabilities.iter().zip(0i64..);
    readings.map(|(&p, minute)| letter(ask(&mut watch, policy, p, minute * 60).as_ref())).collect()
}

fn ask(watch: &mut AlertState, policy: &AlertPolicy, p: f64, second: i64) -> Option<AlertChange> {
    let reading = RuleObservation { log_odds: Some(log_odds(p)), said: said("", second), ..RuleObservation::default() };
    watch.observe(policy, reading, at(second), Ulid::generate())
}

fn letter(change: Option<&AlertChange>) -> char {
    change.map_or('-', |change| match change.phase {
        AlertPhase::New => 'N',
        AlertPhase::Update => 'U',
        AlertPhase::End => 'E',
    })
}

#[test]
fn thresholds_confirmation_and_cooldown_as_a_table() {
    let once = policy(true, false, "1 of 1", 150);
    assert_eq!(phases(&once, &[0.1, 0.79, 0.81, 0.5, 0.45, 0.39, 0.1]), "--N--E-");
    assert_eq!(phases(&once, &[0.9, 0.1, 0.9, 0.9, 0.9, 0.9]), "NE--N-", "the cooldown of 150 s counts from the end");
    assert_eq!(phases(&once, &[0.81, 0.9, 0.98, 0.99]), "N-U-", "an update needs seven times the odds");
    let twice = policy(true, false, "2 of 3", 0);
    assert_eq!(phases(&twice, &[0.9, 0.1, 0.1, 0.9, 0.5, 0.9, 0.1]), "-----NE");
    assert_eq!(phases(&twice, &[0.9, 0.9, 0.3, 0.9, 0.9]), "-NE-N");
}

#[test]
fn the_evidence_is_where_the_odds_rose() {
    let p = policy(true, false, "1 of 1", 0);
    let mut watch = AlertState::default();
    let mut hear = |text: &str, probability: f64, second: i64| {
        let reading = RuleObservation {
            log_odds: Some(log_odds(probability)),
            said: said(text, second),
            ..RuleObservation::default()
        };
        watch.observe(&p, reading, at(second), Ulid::nil())
    };
    assert_eq!(hear("How are you?", 0.02, 0), None);
    assert_eq!(hear("Grandma, did you take your pills?", 0.45, 10), None);
    let fired = hear("Oh no, I forgot them.", 0.98, 20).unwrap();
    let quoted: Vec<&str> = fired.evidence.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(quoted, ["Grandma, did you take your pills?", "Oh no, I forgot them."]);
    assert_eq!(hear("Take them now.", 0.99, 30), None, "no news");
}

#[test]
fn a_pattern_alone_fires_at_a_match_and_ends_by_itself() {
    let p = policy(false, true, "1 of 1", 300);
    let mut watch = AlertState::default();
    let matched = || RuleObservation { matched: true, said: said("the parcel", 0), ..RuleObservation::default() };
    let fired = watch.observe(&p, matched(), at(0), Ulid::nil()).unwrap();
    assert_eq!((fired.phase, fired.evidence[0].text.as_str()), (AlertPhase::New, "the parcel"));
    assert_eq!(letter(watch.observe(&p, RuleObservation::default(), at(20), Ulid::nil()).as_ref()), '-');
    assert_eq!(letter(watch.observe(&p, matched(), at(30), Ulid::nil()).as_ref()), 'U');
    assert_eq!(watch.tick(&p, at(89)), None);
    assert_eq!(letter(watch.tick(&p, at(90)).as_ref()), 'E');
    assert_eq!(watch.observe(&p, matched(), at(389), Ulid::nil()), None, "cooldown");
    assert_eq!(letter(watch.observe(&p, matched(), at(390), Ulid::nil()).as_ref()), 'N');
}

#[test]
fn words_that_leave_no_doubt_raise_the_alert_and_keep_it_on_for_a_minute() {
    let p = policy(true, false, "2 of 3", 300);
    let mut watch = AlertState::default();
    let triggered = || RuleObservation {
        triggered: true,
        exact: true,
        said: said("Call an ambulance!", 0),
        ..RuleObservation::default()
    };
    let fired = watch.observe(&p, triggered(), at(0), Ulid::nil()).unwrap();
    assert_eq!((fired.phase, fired.evidence[0].text.as_str()), (AlertPhase::New, "Call an ambulance!"));
    assert_eq!(ask(&mut watch, &p, 0.01, 10), None, "what is said next does not end it");
    assert_eq!(ask(&mut watch, &p, 0.01, 59), None);
    assert_eq!(letter(ask(&mut watch, &p, 0.01, 60).as_ref()), 'E');
    assert_eq!(watch.observe(&p, triggered(), at(100), Ulid::nil()), None, "cooldown");
    assert_eq!(watch.snooze(at(400), at(500)), None);
    assert_eq!(watch.observe(&p, triggered(), at(450), Ulid::nil()), None, "snoozed");
    assert_eq!(letter(watch.observe(&p, triggered(), at(500), Ulid::nil()).as_ref()), 'N');
}

#[test]
fn a_rule_that_waits_for_a_likelier_one_does_not_fire() {
    let p = policy(true, false, "1 of 1", 0);
    let mut watch = AlertState::default();
    let reading = |waits, second| RuleObservation {
        log_odds: Some(log_odds(0.9)),
        waits,
        said: said("", second),
        ..RuleObservation::default()
    };
    assert_eq!(watch.observe(&p, reading(true, 0), at(0), Ulid::nil()), None);
    assert_eq!(letter(watch.observe(&p, reading(false, 10), at(10), Ulid::nil()).as_ref()), 'N');
}

#[test]
fn where_it_is_known_what_the_odds_rest_on_only_that_is_quoted() {
    let p = policy(true, false, "1 of 1", 0);
    let mut watch = AlertState::default();
    ask(&mut watch, &p, 0.3, 0);
    let both = [said("Did you take your pills?", 0), said("I forgot them.", 20)].concat();
    let reading = RuleObservation {
        log_odds: Some(log_odds(0.95)),
        said: both.clone(),
        exact: true,
        ..RuleObservation::default()
    };
    assert_eq!(watch.observe(&p, reading, at(20), Ulid::nil()).unwrap().evidence, both);
}

#[test]
fn a_watcher_decides_when_the_question_is_worth_asking() {
    let p = policy(true, false, "2 of 3", 0);
    let mut watch = AlertState::default();
    let asked = [Some(false), Some(true), Some(false), Some(false), Some(false)];
    let asked = asked.map(|suggested| watch.worth_asking(&p, false, suggested));
    assert_eq!(asked, [false, true, true, true, false], "for as many evaluations as it confirms over");
    assert!(watch.worth_asking(&p, true, Some(false)), "a match of the pattern is reason enough");
}

#[test]
fn a_pattern_decides_when_the_question_is_worth_asking() {
    let p = policy(true, true, "2 of 3", 0);
    let mut watch = AlertState::default();
    assert!(!watch.worth_asking(&p, false, None));
    let asked: Vec<bool> = [true, false, false, false].map(|m| watch.worth_asking(&p, m, None)).to_vec();
    assert_eq!(asked, [true, true, true, false], "as many readings as it confirms over");
    ask(&mut watch, &p, 0.9, 0);
    ask(&mut watch, &p, 0.9, 10);
    assert!(watch.worth_asking(&p, false, None), "and while the alert is on");
    assert!(
        policy(true, false, "1 of 1", 0).asks
            && AlertState::default().worth_asking(&policy(true, false, "1 of 1", 0), false, None)
    );
    assert!(
        !AlertState::default().worth_asking(&policy(false, true, "1 of 1", 0), true, None),
        "there is no question to ask"
    );
}

#[test]
fn an_alert_nobody_speaks_of_ends_and_does_not_come_back_with_the_next_word() {
    let p = policy(true, false, "1 of 1", 60);
    let mut watch = AlertState::default();
    assert_eq!(letter(ask(&mut watch, &p, 0.9, 0).as_ref()), 'N');
    assert_eq!(watch.tick(&p, at(1_799)), None);
    assert_eq!(letter(watch.tick(&p, at(1_800)).as_ref()), 'E');
    assert_eq!(ask(&mut watch, &p, 0.9, 30_000), None, "the state still remembers last night");
    assert_eq!(ask(&mut watch, &p, 0.1, 30_010), None);
    assert_eq!(letter(ask(&mut watch, &p, 0.9, 30_020).as_ref()), 'N');
}

#[test]
fn a_clock_set_back_neither_silences_a_rule_nor_keeps_its_alert_on() {
    let p = policy(true, false, "1 of 1", 300);
    let mut watch = AlertState::default();
    ask(&mut watch, &p, 0.9, 1_000_000);
    assert_eq!(watch.tick(&p, at(0)), None);
    assert_eq!(letter(watch.tick(&p, at(1_800)).as_ref()), 'E');
    let mut watch = AlertState::default();
    ask(&mut watch, &p, 0.9, 1_000_000);
    ask(&mut watch, &p, 0.1, 1_000_010);
    assert_eq!(letter(ask(&mut watch, &p, 0.9, 0).as_ref()), 'N');
}

proptest! {
    #[test]
    fn phases_alternate_and_the_cooldown_is_kept(
        asks: bool, matches: bool, hits in 1usize..4, more in 0usize..3, cooldown in 0i64..600,
        steps in prop::collection::vec((0i64..400, 0.01f64..0.99, any::<bool>(), any::<bool>()), 1..120),
    ) {
        let p = policy(asks, matches || !asks, &format!("{hits} of {}", hits + more), cooldown);
        let mut watch = AlertState::default();
        let (mut now, mut on, mut ended) = (0, None, None);
        for (pause, probability, matched, talk) in steps {
            now += pause;
            let change = if talk {
                let asked = watch.worth_asking(&p, matched, None);
                let odds = asked.then(|| log_odds(probability));
                let matched = matched && p.matches;
                let reading = RuleObservation { log_odds: odds, matched, said: said("words", now), ..RuleObservation::default() };
                watch.observe(&p, reading, at(now), Ulid::generate())
            } else {
                watch.tick(&p, at(now))
            };
            if let Some(AlertChange { id, phase, evidence }) = change {
                match phase {
                    AlertPhase::New => {
                        prop_assert_eq!(on, None, "two New without an End between");
                        prop_assert!(ended.is_none_or(|e| now - e >= cooldown), "New within the cooldown");
                        let called_for = if asks { probability >= 0.8 } else { matched };
                        prop_assert!(called_for);
                        prop_assert!(!evidence.is_empty() && evidence.len() <= EVIDENCE_MAX);
                        on = Some(id);
                    }
                    AlertPhase::Update => prop_assert_eq!(on, Some(id)),
                    AlertPhase::End => {
                        prop_assert_eq!(on.take(), Some(id));
                        ended = Some(now);
                    }
                }
            } else if on.is_some() && talk && asks {
                prop_assert!(probability >= 0.4 - 1e-9, "a reading below exit ends the alert");
            }
            prop_assert_eq!(watch.active(), on.is_some());
            prop_assert!(watch.recent.len() <= 32);
        }
    }

    #[test]
    fn a_restart_goes_on_as_if_nothing_had_happened(
        probabilities in prop::collection::vec(0.01f64..0.99, 2..40), cut in 0usize..40,
    ) {
        let p = policy(true, false, "2 of 3", 100);
        let (mut steady, mut restarted) = (AlertState::default(), AlertState::default());
        for (i, (&probability, second)) in probabilities.iter().zip((0i64..).step_by(30)).enumerate() {
            if i == cut {
                let json = serde_json::to_string(&restarted).unwrap();
                prop_assert!(!json.contains("words"), "the memory holds no words");
                restarted = serde_json::from_str(&json).unwrap();
            }
            let reading = || RuleObservation { log_odds: Some(log_odds(probability)), said: said("words", second), ..RuleObservation::default() };
            let a = steady.observe(&p, reading(), at(second), Ulid::nil());
            let b = restarted.observe(&p, reading(), at(second), Ulid::nil());
            prop_assert_eq!(a.map(|c| c.phase), b.map(|c| c.phase));
        }
    }
}

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
