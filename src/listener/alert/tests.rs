//! The life of an alert, case by case, and its laws.

mod people;

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
fn whatever_is_said_next_an_alert_of_any_kind_of_rule_stays_on_for_a_minute() {
    let odds = |p: f64| Some(log_odds(p));
    let yes = RuleObservation { log_odds: odds(0.9), ..RuleObservation::default() };
    // The rule, what raises its alert, and what the watcher says of harmless talk.
    let kinds = [
        ("question", policy(true, false, "1 of 1", 300), yes.clone(), None),
        (
            "question and pattern",
            policy(true, true, "1 of 1", 300),
            RuleObservation { matched: true, ..yes.clone() },
            None,
        ),
        ("question and watcher", policy(true, false, "1 of 1", 300), yes.clone(), Some(false)),
        (
            "trigger",
            policy(true, false, "2 of 3", 300),
            RuleObservation { triggered: true, ..Default::default() },
            None,
        ),
    ];
    for (kind, p, raises, suggested) in kinds {
        let mut watch = AlertState::default();
        let hear = |watch: &mut AlertState, seen: &RuleObservation, second| {
            watch.worth_asking(&p, seen.matched, suggested);
            let seen = RuleObservation { said: said("", second), ..seen.clone() };
            letter(watch.observe(&p, seen, at(second), Ulid::nil()).as_ref())
        };
        let no = RuleObservation { log_odds: odds(0.01), ..RuleObservation::default() };
        assert_eq!(hear(&mut watch, &raises, 0), 'N', "{kind}");
        assert!(watch.worth_asking(&p, false, suggested), "{kind}: it is asked as long as it is on");
        assert_eq!(hear(&mut watch, &no, 2), '-', "{kind}");
        assert_eq!(hear(&mut watch, &yes, 30), '-', "{kind}: confirmed");
        assert_eq!(hear(&mut watch, &no, 60), '-', "{kind}: a minute after the beginning");
        assert_eq!(watch.tick(&p, at(89)), None, "{kind}");
        assert_eq!(
            letter(watch.tick(&p, at(90)).as_ref()),
            'E',
            "{kind}: nobody speaks any more, and the last word was no"
        );
        assert_eq!(
            hear(&mut watch, &yes, 390),
            if kind == "trigger" { '-' } else { 'N' },
            "{kind}: armed, after the cooldown"
        );
    }
}

#[test]
fn words_that_leave_no_doubt_raise_the_alert_at_once() {
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
    assert_eq!(letter(ask(&mut watch, &p, 0.1, 1_000_060).as_ref()), 'E');
    assert_eq!(letter(ask(&mut watch, &p, 0.9, 0).as_ref()), 'N');
    let mut watch = AlertState::default();
    ask(&mut watch, &p, 0.9, 1_000_000);
    assert_eq!(ask(&mut watch, &p, 0.1, 0), None);
    assert_eq!(watch.tick(&p, at(59)), None);
    assert_eq!(letter(watch.tick(&p, at(60)).as_ref()), 'E', "a minute is a minute by the new time");
}

proptest! {
    #[test]
    fn phases_alternate_and_the_cooldown_is_kept(
        asks: bool, matches: bool, hits in 1usize..4, more in 0usize..3, cooldown in 0i64..600,
        steps in prop::collection::vec((0i64..400, 0.01f64..0.99, any::<bool>(), any::<bool>()), 1..120),
    ) {
        let p = policy(asks, matches || !asks, &format!("{hits} of {}", hits + more), cooldown);
        let mut watch = AlertState::default();
        let (mut now, mut on, mut ended, mut hit) = (0, None, None, 0);
        for (pause, probability, matched, talk) in steps {
            now += pause;
            let change = if talk {
                hit = if probability >= 0.8 { now } else { hit };
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
                        prop_assert!(!asks || now - hit >= 60, "an alert of less than a minute");
                        ended = Some(now);
                    }
                }
            } else if on.is_some() && talk && asks {
                let stays = now - hit < 60;
                prop_assert!(stays || probability >= 0.4 - 1e-9, "a reading below exit ends the alert after a minute");
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
