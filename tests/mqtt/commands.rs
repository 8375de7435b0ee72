//! Commands that arrive over MQTT.

use std::time::{Duration, Instant};

use hearth::commands::limiter::{BURST, INTERVAL, REFUSALS};
use hearth::commands::{
    self, Acknowledge, AlertSelector, Ask, AskReply, FalseAlarm, Forget, Interval, Listening, Pause, Reload, Reply,
    Request, ResetRule, Snooze, Summarize,
};
use hearth::config::MqttConfig;
use hearth::mqtt::payload::MessageHeader;
use proptest::prelude::*;
use serde_json::json;

use crate::harness::*;
use crate::mosquitto::{Mosquitto, Subscriber, free_address};

#[test]
fn commands_are_forwarded_and_bad_ones_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let mut node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    let subscriber = Subscriber::new(broker.address, "hearth/home/response/+", None);
    // hearth publishes `online` after it subscribed to commands; the broker drops commands sent before.
    assert_eq!(Subscriber::new(broker.address, "hearth/home/status", None).next().payload, "online");
    subscriber.publish("hearth/home/listening/set", "OFF", false);
    assert_eq!(subscriber.on("hearth/home/response/listening").json()["listening"], false);
    assert!(!node.microphone.borrow().is_open());

    subscriber.publish("hearth/home/request/ask", r#"{"value": "What broke?", "transaction": 7}"#, false);
    let request = node.requests.blocking_recv().unwrap();
    assert_eq!(request, Request { command: asks("What broke?"), transaction: Some(7.into()) });
    let reply = AskReply {
        question: "What broke?".into(),
        text: "The lamp.".into(),
        model: "recurrentgemma-nano (demo model)".into(),
        evidence: Vec::new(),
        probability: None,
        at: None,
    };
    let answer = request.response(&topics(), MessageHeader::now(), &Ok(Reply::Ask(reply)));
    node.store.enqueue(&[answer]).unwrap();
    node.context.notify_outbox();
    let answer = subscriber.on("hearth/home/response/ask").json();
    assert_eq!(
        (&answer["transaction"], &answer["status"], &answer["text"]),
        (&json!(7), &json!("ok"), &json!("The lamp."))
    );

    subscriber.publish("hearth/home/interval/set", "often", false);
    let answer = subscriber.on("hearth/home/response/interval").json();
    assert_eq!(
        (&answer["status"], &answer["error"]),
        (&json!("error"), &json!("\"often\" is no number of minutes from 0 to 1440"))
    );
    subscriber.publish("hearth/home/request/dance", r#"{"transaction": "t"}"#, false);
    let answer = subscriber.on("hearth/home/response/unknown").json();
    assert_eq!((&answer["transaction"], &answer["error"]), (&json!("t"), &json!("there is no command request/dance")));

    // One fits the queue; the next is answered with "busy".
    subscriber.publish("hearth/home/request/summarise", "PRESS", false);
    subscriber.publish("hearth/home/request/summarise", "PRESS", false);
    let answer = subscriber.on("hearth/home/response/summarise").json();
    assert!(answer["error"].as_str().unwrap().contains("busy"), "{answer}");
    node.drain();
}

#[test]
fn floods_repeats_and_retained_commands_are_not_carried_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    // A retained command, from before this node started.
    let somebody = Subscriber::new(broker.address, "nothing", None);
    somebody.publish("hearth/home/listening/set", "OFF", true);
    let mut node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    let subscriber = Subscriber::new(broker.address, "hearth/home/response/+", None);
    assert_eq!(Subscriber::new(broker.address, "hearth/home/status", None).next().payload, "online");

    let ask = r#"{"value": "What broke?", "transaction": "t-1"}"#;
    subscriber.publish("hearth/home/request/ask", ask, false);
    let request = node.requests.blocking_recv().unwrap();
    assert_eq!(request.command, asks("What broke?"), "the old command was not carried out");
    subscriber.publish("hearth/home/request/ask", ask, false);
    let answer = subscriber.on("hearth/home/response/ask").json();
    assert_eq!((&answer["transaction"], &answer["status"]), (&json!("t-1"), &json!("error")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("before"), "{answer}");

    for n in 0..1_000 {
        subscriber.publish(&format!("hearth/home/request/x{n}"), "{\"value\": [[[", false);
    }
    // The flood is over when a message sent after it has arrived.
    let seen = Subscriber::new(broker.address, "hearth/home/mark", None);
    subscriber.publish("hearth/home/mark", "", false);
    seen.next();
    let answered = node.store.waiting().unwrap().messages;
    assert!(answered <= u64::from(BURST), "{answered} answers to 1,000 commands wait");
    assert!(node.requests.try_recv().is_err(), "nothing was carried out");
    let mut answers = 0;
    let end = Instant::now() + INTERVAL * 2;
    while Instant::now() < end {
        answers += usize::from(subscriber.try_next(INTERVAL).is_some());
    }
    assert!((1..=200).contains(&answers), "{answers} answers to 1,000 commands");
    node.drain();
}

#[test]
fn each_command_beyond_the_limit_is_answered_under_its_own_transaction_and_not_carried_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let mut node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    let subscriber = Subscriber::new(broker.address, "hearth/home/response/+", None);
    eventually("it listens", || node.metrics.commands_ok.get());
    let sent = u64::from(BURST + REFUSALS) / 2;
    for n in 0..sent {
        let ask = format!(r#"{{"value": "What broke?", "transaction": {n}}}"#);
        subscriber.publish("hearth/home/request/ask", &ask, false);
    }
    // One fits the queue, those within the limit find it full, and the others are too many.
    let (mut busy, mut too_many) = (0, 0);
    let mut answered: Vec<u64> = (1..sent)
        .map(|_| {
            let answer = subscriber.on("hearth/home/response/ask").json();
            assert_eq!(answer["status"], "error", "{answer}");
            match answer["error"].as_str().unwrap() {
                "too many commands: wait a second" => too_many += 1,
                error => busy += u64::from(error.contains("busy")),
            }
            answer["transaction"].as_u64().unwrap()
        })
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, (1..sent).collect::<Vec<_>>(), "each has an answer of its own");
    assert_eq!(busy + too_many, sent - 1);
    // Two a second are taken meanwhile.
    assert!((u64::from(BURST) - 1..u64::from(BURST) + 20).contains(&busy), "{busy} were within the limit");
    assert_eq!(node.requests.blocking_recv().unwrap().transaction, Some(0.into()));
    assert!(node.requests.try_recv().is_err(), "nothing else was carried out");
    node.drain();
}

#[test]
fn a_mute_takes_effect_during_a_flood_of_commands() {
    let dir = tempfile::tempdir().unwrap();
    // By default mosquitto drops what a client that is behind by 1,000 messages is sent, the last command, too.
    let broker = Mosquitto::start(dir.path(), free_address(), "max_queued_messages 0");
    let node = PublishingNode::start(dir.path(), &external(broker.address), Vec::new());
    assert_eq!(Subscriber::new(broker.address, "hearth/home/status", None).next().payload, "online");
    let subscriber = Subscriber::new(broker.address, "hearth/home/response/+", None);
    for n in 0..2_000 {
        subscriber.publish("hearth/home/request/ask", "Who is there?", false);
        subscriber.publish("hearth/home/listening/set", if n % 2 == 0 { "OFF" } else { "ON" }, false);
    }
    subscriber.publish("hearth/home/listening/set", r#"{"value": "OFF", "transaction": "last"}"#, false);
    eventually("the last command counts", || !node.microphone.borrow().is_open());
    node.drain();
    let answers = std::iter::from_fn(|| subscriber.try_next(Duration::ZERO)).count();
    assert!((1..=600).contains(&answers), "{answers} answers to 4,000 commands");
}

#[test]
fn a_birth_on_home_assistants_own_topic_counts_with_another_discovery_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let mqtt = MqttConfig { discovery_prefix: "ha".parse().unwrap(), ..external(broker.address) };
    let heard = Subscriber::new(broker.address, "hearth/home/status", None);
    let node = PublishingNode::start(dir.path(), &mqtt, Vec::new());
    eventually("it listens", || node.metrics.commands_ok.get());
    heard.on("hearth/home/status");
    heard.publish("homeassistant/status", "online", false);
    heard.wait_for("it announces itself again", |message| message.payload == "online" && !message.retain);
    node.drain();
}

#[test]
fn a_payload_is_a_command_or_an_error_that_says_why_not() {
    let topics = topics();
    let parse = |path: &str, payload: &str| {
        commands::parse(&topics, &format!("hearth/home/{path}"), payload.as_bytes(), false).unwrap()
    };
    let good = |path: &str, payload: &str| parse(path, payload).unwrap().command;
    let bad = |path: &str, payload: &str| parse(path, payload).unwrap_err().error;

    assert_eq!(good("listening/set", "on"), Listening { on: true }.into());
    assert_eq!(good("listening/set", r#"{"value": false}"#), Listening { on: false }.into());
    assert_eq!(good("interval/set", " 12.5 "), Interval { minutes: 12.5 }.into());
    assert_eq!(good("interval/set", r#"{"value": 0}"#), Interval { minutes: 0.0 }.into());
    assert_eq!(good("request/summarise", ""), Summarize { room: None }.into());
    let room = Some("living room".to_string());
    assert_eq!(good("request/summarise", r#"{"room": "living room"}"#), Summarize { room: room.clone() }.into());
    let of_room = r#"{"value": "Who came?", "room": "living room"}"#;
    assert_eq!(good("request/ask", of_room), Ask { question: "Who came?".into(), at: None, room }.into());
    assert_eq!(good("request/ask", "  Is it raining?\n"), asks("Is it raining?"));
    assert_eq!(bad("listening/set", "maybe"), "\"maybe\" is neither ON nor OFF");
    assert_eq!(bad("interval/set", "-1"), "\"-1\" is no number of minutes from 0 to 1440");
    assert_eq!(bad("interval/set", "NaN"), "\"NaN\" is no number of minutes from 0 to 1440");
    assert_eq!(bad("request/ask", " "), "the question is empty");
    assert_eq!(bad("request/ask", &"why ".repeat(600)), "a question has at most 2000 characters");
    assert_eq!(bad("request/ask", r#"{"value": ["x"]}"#), "[\"x\"] is no question");
    assert!(bad("request/ask", "{oops").starts_with("this is no JSON object: "));
    assert_eq!(bad("request/ask", r#"{"value": "x", "transaction": [1]}"#), "a transaction is a string or a number");
    assert_eq!(bad("request/ask", &"x".repeat(70_000)), "a command has at most 65536 bytes, this one has 70000");
    assert_eq!(bad("summarise/set", "x"), "there is no command summarise/set");

    let (question, at) = ("Who called?".into(), Some("yesterday 18:00".into()));
    let then = r#"{"value": "Who called?", "at": "yesterday 18:00"}"#;
    assert_eq!(good("request/ask", then), Ask { question, at, room: None }.into());
    assert_eq!(bad("request/ask", r#"{"value": "Who called?", "at": 18}"#), "18 is no time");
    for payload in ["10", r#"{"value": 10}"#, r#"{"minutes": 10}"#] {
        assert_eq!(good("request/forget", payload), Forget { minutes: 10.0, confirm: None }.into());
    }
    assert_eq!(bad("request/forget", "PRESS"), "\"PRESS\" is no number of minutes from 0 to 44640");
    assert!(bad("request/forget", "0").contains("give minutes"));
    for payload in ["60", r#"{"value": 60}"#] {
        assert_eq!(good("request/pause", payload), Pause { minutes: 60.0 }.into());
    }
    assert_eq!(good("request/pause", "0"), Pause { minutes: 0.0 }.into());
    for payload in ["1441", "-1", "", "PRESS", "NaN"] {
        assert_eq!(bad("request/pause", payload), format!("{payload:?} is no number of minutes from 0 to 1440"));
    }
    assert_eq!(good("request/snooze", "60"), Snooze { rule: None, minutes: 60.0 }.into());
    let one = Snooze { rule: Some("fire".into()), minutes: 0.0 }.into();
    assert_eq!(good("request/snooze", r#"{"value": 0, "rule": "fire"}"#), one);
    assert_eq!(bad("request/snooze", "PRESS"), "\"PRESS\" is no number of minutes from 0 to 10080");
    assert_eq!(bad("request/snooze", r#"{"value": 1, "rule": 7}"#), "7 is no name of a rule or an alert");
    assert_eq!(good("request/acknowledge", "PRESS"), Acknowledge { alert: AlertSelector::Newest }.into());
    assert_eq!(
        good("request/acknowledge", r#"{"value": "fire"}"#),
        Acknowledge { alert: AlertSelector::Named("fire".into()) }.into()
    );
    assert_eq!(good("request/false_alarm", ""), FalseAlarm { alert: AlertSelector::Newest }.into());
    assert_eq!(good("request/reload", ""), Reload.into());
    assert_eq!(good("request/reset_rule", "PRESS"), ResetRule { rule: None }.into());
    assert_eq!(good("request/reset_rule", "fire"), ResetRule { rule: Some("fire".into()) }.into());
    assert_eq!(bad("request/reset_rule", r#"{"value": 7}"#), "7 is no name of a rule or an alert");
    assert!(bad("request/false_alarm", &"x".repeat(65)).contains("is no name of a rule or an alert"));
    let utf8 = commands::parse(&topics, "hearth/home/request/ask", &[0xff], false).unwrap().unwrap_err();
    assert_eq!(utf8.error, "a command must be UTF-8 text");

    assert_eq!(commands::parse(&topics, "hearth/home/request/summarise", b"", true), None, "it is retained");
    for topic in ["hearth/home/utterance", "hearth/homes/request/ask", "hearth/other/request/ask", "x", ""] {
        assert_eq!(commands::parse(&topics, topic, b"x", false), None);
    }
}

proptest! {
    #[test]
    fn no_payload_makes_the_parser_panic(topic in "hearth/home/(listening|interval|x)/set|hearth/home/request/(ask|forget|summarise|snooze|acknowledge|false_alarm|reset_rule|.{0,9})", payload in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(Err(refusal)) = commands::parse(&topics(), &topic, &payload, false) {
            prop_assert!(!refusal.error.is_empty());
        }
    }
}
