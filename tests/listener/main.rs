//! The listener with the bundled model: states, rules, digests, answers, and restarts.

mod prompt;
mod restarts;
mod rooms;
mod truth;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth::config::Config;
use hearth::event::{Alert, AlertPhase, DigestReason, Utterance};
use hearth::listener::event_model::EventModel;
use hearth::listener::{Listener, ListenerOutcome};
use hearth::watcher::{self, Watcher};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use ulid::Ulid;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// As the daemon opens it.
fn open() -> Listener {
    open_with(&Config::default()).with_watcher(watcher(), events())
}

fn open_with(config: &Config) -> Listener {
    Listener::open(&root("models/recurrentgemma-nano"), &config.listener, &config.digest, &config.rules).unwrap()
}

/// Ten in the evening of some day, and `seconds` later.
fn at(seconds: f64) -> Timestamp {
    let origin: Timestamp = "2026-03-01T22:00:00Z".parse().unwrap();
    origin + SignedDuration::from_secs_f64(seconds)
}

fn said(start: f64, end: f64, text: &str) -> Utterance {
    Utterance {
        id: Ulid::generate(),
        start: at(start),
        end: at(end),
        room: "home".into(),
        text: text.into(),
        confidence: 0.9,
        no_speech: 0.0,
        speaker: None,
    }
}

/// The text of the demo's recording, as it was written.
fn household() -> Vec<Utterance> {
    #[derive(Deserialize)]
    struct Line {
        start: f64,
        end: f64,
        text: String,
    }
    let text = std::fs::read_to_string(root("examples/household.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    lines.map(|line| said(line.start, line.end, &line.text)).collect()
}

/// Hears and considers each utterance, then the end.
fn follow(listener: &mut Listener, talk: &[Utterance]) -> ListenerOutcome {
    let mut all = ListenerOutcome::default();
    for utterance in talk {
        listener.hear(utterance).unwrap();
        add(&mut all, listener.consider(utterance.end).unwrap());
    }
    add(&mut all, listener.finish(talk.last().unwrap().end).unwrap());
    all
}

fn add(all: &mut ListenerOutcome, more: ListenerOutcome) {
    all.alerts.extend(more.alerts);
    all.digests.extend(more.digests);
    all.readings.extend(more.readings);
}

/// Every leaf of the live state, bit for bit.
fn leaves(listener: &Listener) -> Vec<griffin::StateTensor> {
    listener.state().tensors()
}

fn fired(outcome: &ListenerOutcome) -> Vec<&Alert> {
    outcome.alerts.iter().filter(|alert| alert.phase == AlertPhase::New).collect()
}

#[test]
fn asking_never_alters_the_live_state() {
    let mut listener = open();
    for utterance in &household()[..12] {
        listener.hear(utterance).unwrap();
    }
    let (before, read) = (leaves(&listener), listener.state().tokens_read());
    listener.consider(at(50.0)).unwrap();
    listener.tick(at(60.0)).unwrap();
    listener.ask("Who is at the door?").unwrap();
    listener.ask("Is someone at the door?").unwrap();
    listener.summarize(at(60.0)).unwrap();
    assert_eq!(leaves(&listener), before);
    assert_eq!(listener.state().tokens_read(), read);
}

#[test]
fn evaluating_a_backlog_once_gives_the_same_state_as_one_by_one() {
    let talk = household();
    let (mut one_by_one, mut at_once) = (open(), open());
    follow(&mut one_by_one, &talk);
    for utterance in &talk {
        at_once.hear(utterance).unwrap();
    }
    let last = at_once.consider(talk.last().unwrap().end).unwrap();
    assert_eq!(leaves(&one_by_one), leaves(&at_once));
    assert_eq!(last.readings.len(), Config::default().rules.len(), "each question is asked once");
}

/// The same as Whisper tiny.en transcribes it.
fn as_heard() -> Vec<Utterance> {
    let heard = [
        (3.3, "Good and you. What should we make for dinner tonight?"),
        (6.7, "How about mushroom risotto? Sounds good. Let's eat at half past seven."),
        (11.4, "Perfect. Can you go to the store? We need milk. Eggs and tomatoes."),
        (15.9, "Sure, I will go after work."),
        (24.2, "Grandma, did you take your heart pills?"),
        (26.9, "Oh no, I forgot them this morning."),
        (29.6, "Take them now, please."),
        (35.4, "The doorbell rang Emma, can you get it?"),
        (38.2, "It is the courier."),
        (39.4, "The birthday present was delivered just now."),
        (41.5, "It is in the hallway."),
        (43.2, "Great. Remember, you have a dentist appointment on Thursday at quarter past nine."),
        (48.3, "Oh yes, thank you. I will put it in the calendar."),
        (59.6, "Health, I fell in the bathroom. My ankle hurts so much. I can't get up."),
        (64.2, "Stay there. Don't move. I'm coming."),
        (72.2, "Oh no, there is smoke in the kitchen. The smoke alarm is going off. Jack, open the windows."),
        (78.6, "It was only the toaster, it is off now."),
        (86.0, "The electrician is coming tomorrow at 10, someone has to be home."),
        (90.0, "I can work from home. Good night, Emma."),
        (92.9, "Good night. See you in the morning."),
    ];
    heard.map(|(start, text)| said(start, start + 2.0, text)).to_vec()
}

#[test]
fn the_demo_raises_its_four_alerts_and_no_other() {
    // What was said, and what Whisper makes of it, where "Help!" became "Health".
    for (talk, help) in [(household(), "Help! I fell in the bathroom."), (as_heard(), "I fell in the bathroom.")] {
        let outcome = follow(&mut open(), &talk);
        let alerts = fired(&outcome);
        let rules: Vec<&str> = alerts.iter().map(|alert| alert.rule.as_str()).collect();
        assert_eq!(rules, ["medicine", "door", "help", "fire"]);
        let pills = alerts[0].evidence.iter().any(|quoted| quoted.text.contains("heart pills"));
        assert!(pills, "it is quoted what was forgotten: {:?}", alerts[0]);
        let evidence = ["I forgot them this morning.", "The doorbell rang", help, "there is smoke in the kitchen"];
        for (alert, words) in alerts.iter().zip(evidence) {
            assert!(alert.evidence.iter().any(|e| e.text.contains(words)), "{words} is not quoted in {alert:?}");
            for quoted in &alert.evidence {
                let source = talk.iter().find(|u| u.id == quoted.utterance).unwrap();
                assert_eq!((&quoted.text, quoted.time), (&source.text, source.start));
            }
            // The watcher may know before the model does.
            assert!(alert.answer.as_ref().is_none_or(|answer| answer.starts_with("Yes")), "{alert:?}");
            assert!(alert.probability.unwrap() >= 0.8, "{alert:?}");
        }
        for (alert, words) in [(alerts[2], "fell in the bathroom"), (alerts[3], "kitchen")] {
            assert!(alert.answer.as_ref().is_none_or(|answer| answer.contains(words)), "{alert:?}");
        }
    }
}

#[test]
fn the_rest_at_the_end_is_covered_by_one_digest() {
    let talk = household();
    let outcome = follow(&mut open(), &talk);
    let [digest] = &outcome.digests[..] else { panic!("{:?}", outcome.digests) };
    assert_eq!(digest.reason, DigestReason::Closing);
    assert_eq!(digest.words, talk.iter().map(Utterance::words).sum::<usize>());
    assert_eq!((digest.from, digest.to), (talk[0].start, talk.last().unwrap().end));
    assert!(digest.text.contains("The electrician is coming tomorrow at ten."), "{}", digest.text);
}

#[test]
fn a_digest_is_made_after_a_conversation_and_on_request() {
    let mut listener = open();
    assert_eq!(listener.summarize(at(0.0)).unwrap().text, "Nothing has been said yet.");
    let talk = [
        said(0.0, 6.0, "The plumber is coming tomorrow at ten. Someone has to be home."),
        said(6.0, 8.0, "I will be."),
    ];
    follow_only(&mut listener, &talk);
    assert_eq!(listener.tick(at(187.0)).unwrap().digests, []);
    let ended = listener.tick(at(188.0)).unwrap().digests.remove(0);
    assert_eq!((ended.reason, ended.words), (DigestReason::ConversationEnded, 15));
    assert!(ended.text.contains("plumber"), "{}", ended.text);
    assert_eq!(listener.summarize(at(190.0)).unwrap().text, "Nothing was said since the last summary.");
    listener.hear(&said(200.0, 202.0, "I made lasagna.")).unwrap();
    let asked = listener.summarize(at(203.0)).unwrap();
    assert_eq!((asked.reason, asked.words), (DigestReason::Requested, 3));
    assert!(!asked.text.is_empty());
    assert_eq!(listener.finish(at(204.0)).unwrap().digests, [], "all is told");
}

fn follow_only(listener: &mut Listener, talk: &[Utterance]) {
    for utterance in talk {
        listener.hear(utterance).unwrap();
        listener.consider(utterance.end).unwrap();
    }
}

#[test]
fn a_pattern_alone_needs_no_question_and_an_invalid_one_names_its_rule() {
    let mut config = Config::default();
    let mut parcel = config.rules[0].clone();
    (parcel.name, parcel.question) = ("parcel".parse().unwrap(), None);
    parcel.pattern = Some(r"\bcourier\b".into());
    config.rules = vec![parcel.clone()];
    let outcome = follow(&mut open_with(&config), &household());
    let alert = fired(&outcome)[0];
    assert_eq!((alert.probability, alert.answer.as_deref(), alert.time), (None, None, at(42.66)));
    assert!(alert.evidence[0].text.starts_with("It is the courier."));
    assert!(outcome.readings.is_empty());

    parcel.pattern = Some("(courier".into());
    config.rules = vec![parcel];
    let model = root("models/recurrentgemma-nano");
    let error = Listener::open(&model, &config.listener, &config.digest, &config.rules).err().unwrap().to_string();
    assert!(error.starts_with("the pattern of rule \"parcel\" is no regular expression"), "{error}");
}

#[test]
fn a_pattern_beside_a_question_decides_when_it_is_asked() {
    let mut config = Config::default();
    config.rules.retain(|rule| rule.name.as_str() == "medicine");
    config.rules[0].pattern = Some("pills|medicine|forgot".into());
    let outcome = follow(&mut open_with(&config), &household());
    let asked: Vec<_> = outcome.readings.iter().map(|reading| reading.time).collect();
    assert_eq!(asked[..3], [at(26.71), at(29.38), at(31.35)], "from the pills on, and while the alert is on");
    assert_eq!(fired(&outcome).len(), 1);
}

fn watcher() -> Option<Arc<Watcher>> {
    Some(Arc::new(Watcher::load(&root("models").join(watcher::FILE)).unwrap()))
}

fn events() -> Option<Arc<EventModel>> {
    let folder = root("models/recurrentgemma-events");
    Some(Arc::new(EventModel::load(&folder, &Config::default().listener, watcher()?.as_ref()).unwrap()))
}

#[test]
fn an_event_model_that_goes_with_another_watcher_is_named() {
    let folder = root("models/recurrentgemma-nano");
    let error = EventModel::load(&folder, &Config::default().listener, watcher().unwrap().as_ref()).err().unwrap();
    assert!(
        error.to_string().contains("recurrentgemma-nano goes with another watcher. Install hearth again"),
        "{error}"
    );
}

#[test]
fn words_that_leave_no_doubt_raise_an_alert_whatever_the_model_says() {
    let talk = [said(0.0, 2.0, "What shall we eat tonight?"), said(3.0, 5.0, "Call an ambulance!")];
    for listener in [&mut open(), &mut open_with(&Config::default())] {
        let outcome = follow(listener, &talk);
        let alert = fired(&outcome)[0].clone();
        assert_eq!((alert.rule.as_str(), alert.evidence[0].text.as_str()), ("help", "Call an ambulance!"));
    }
}

#[test]
fn at_one_utterance_the_likeliest_rule_speaks() {
    let talk = [said(0.0, 3.0, "Water is pouring through the ceiling, bring the bucket, quick!")];
    let outcome = follow(&mut open(), &talk);
    assert_eq!(fired(&outcome).iter().map(|alert| alert.rule.as_str()).collect::<Vec<_>>(), ["leak"]);
}

/// Sentences that the bundled model does not know: it answers no to all of them.
#[test]
fn the_watcher_raises_alerts_in_words_that_the_model_does_not_know() {
    let calm = ["What shall we eat tonight?", "Pasta, I think.", "Good, I will set the table."];
    let mut without_triggers = Config::default();
    without_triggers.rules.iter_mut().for_each(|rule| rule.trigger = None);
    let emergencies = [
        ("fire", "Quick, the curtains are burning! Get out of the house!"),
        ("help", "Call an ambulance, Dad collapsed and he is not breathing!"),
        ("leak", "Water is pouring through the ceiling, turn off the mains!"),
        ("intruder", "There is somebody downstairs with a torch, they broke the window. Call the police."),
    ];
    for (rule, text) in emergencies {
        let talk: Vec<Utterance> = calm
            .iter()
            .chain([&text])
            .enumerate()
            .map(|(at, text)| said(3.0 * at as f64, 3.0 * at as f64 + 2.0, text))
            .collect();
        let with = follow(&mut open_with(&without_triggers).with_watcher(watcher(), events()), &talk);
        let alerts = fired(&with);
        assert!(alerts.iter().any(|alert| alert.rule == rule), "{rule}: {alerts:?}");
        let alert = alerts.iter().find(|alert| alert.rule == rule).unwrap();
        assert_eq!(alert.evidence[0].text, text);
        assert!(alert.probability.unwrap() >= 0.7);
        assert!(
            alert.answer.as_ref().is_none_or(|answer| !answer.starts_with("No")),
            "the model must not deny it: {alert:?}"
        );
        assert!(
            fired(&follow(&mut open_with(&without_triggers), &talk)).iter().all(|alert| alert.rule != rule),
            "the model alone hears {rule}"
        );
    }
}

#[test]
fn a_rule_without_watch_is_asked_after_each_utterance_and_others_without_a_watcher_too() {
    let mut config = Config::default();
    config.rules.retain(|rule| rule.name.as_str() == "fire");
    let talk = household();
    let readings = |config: &Config, watcher: Option<Arc<Watcher>>| {
        let events = watcher.as_ref().and_then(|_| events());
        follow(&mut open_with(config).with_watcher(watcher, events), &talk).readings
    };
    let alone = readings(&config, None);
    assert_eq!(alone.len(), talk.len());
    let watched = readings(&config, watcher());
    assert_eq!(watched.len(), talk.len(), "there is a reading also where the model was not asked");
    config.rules[0].watch = None;
    assert_eq!(readings(&config, watcher()), alone);
}
