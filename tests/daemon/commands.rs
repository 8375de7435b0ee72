//! Commands that a running hearth takes over MQTT.

use hearth::commands::limiter;
use jiff::Timestamp;
use serde_json::json;

use std::process::Command;
use std::time::Duration;

use super::harness::{HEARTH, Hearth, config, household, until};
use super::mosquitto::{Mosquitto, ReceivedMessage, Subscriber};

/// A hearth that plays the household, its broker and a subscriber.
struct Running {
    dir: tempfile::TempDir,
    settings: String,
    subscriber: Subscriber,
    hearth: Hearth,
    _broker: Mosquitto,
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::anywhere(dir.path());
        let subscriber = Subscriber::new(broker.address, "hearth/#", None);
        let settings = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
        let hearth = Hearth::run(dir.path(), &settings);
        subscriber.on("hearth/home/utterance");
        Self { dir, settings, subscriber, hearth, _broker: broker }
    }

    fn request(&self, name: &str, body: serde_json::Value) -> serde_json::Value {
        self.subscriber.publish(&format!("hearth/home/request/{name}"), &body.to_string(), false);
        self.subscriber.on(&format!("hearth/home/response/{name}")).json()
    }

    fn restart(self) -> Self {
        let Self { dir, settings, subscriber, hearth, _broker } = self;
        end(hearth);
        let hearth = Hearth::run(dir.path(), &settings);
        subscriber.wait_for("the birth", |h| h.topic == "hearth/home/status" && h.payload.contains("online"));
        Self { dir, settings, subscriber, hearth, _broker }
    }
}

fn end(hearth: Hearth) {
    hearth.terminate();
    let (status, log) = hearth.wait();
    assert!(status.success(), "{log}");
}

#[test]
fn commands_are_carried_out_and_answered_with_their_transaction() {
    let running = Running::start();
    let answer = running.request("summarise", json!({ "transaction": "s-1" }));
    assert_eq!((&answer["transaction"], &answer["status"]), (&json!("s-1"), &json!("ok")), "{answer}");
    assert!(!answer["text"].as_str().unwrap().is_empty());

    let answer = running.request("ask", json!({ "transaction": 7, "value": "Is there a fire?" }));
    assert_eq!(answer["transaction"], 7);
    assert!(answer["probability"].as_f64().unwrap() < 0.5, "nothing burns: {answer}");

    let answer = running.request("snooze", json!({ "value": 5, "rule": "leak", "transaction": "z" }));
    assert_eq!((&answer["status"], &answer["transaction"]), (&json!("ok"), &json!("z")), "{answer}");
    assert!(running.subscriber.on("hearth/home/rule/leak").json()["snoozed_until"].is_string());
    let answer = running.request("snooze", json!({ "value": 5, "rule": "flood" }));
    assert_eq!(answer["error"], "there is no rule \"flood\"", "{answer}");
    for name in ["acknowledge", "false_alarm"] {
        let answer = running.request(name, json!({ "value": "leak" }));
        assert_eq!(answer["status"], "error", "nothing leaks: {answer}");
    }
    end(running.hearth);
}

#[test]
fn an_interval_is_kept_over_a_restart_and_a_bad_one_is_refused() {
    let running = Running::start();
    let subscriber = &running.subscriber;
    subscriber.publish("hearth/home/interval/set", "5", false);
    subscriber.wait_for("the interval", |h| h.topic == "hearth/home/interval" && h.json()["minutes"] == 5.0);
    subscriber.publish("hearth/home/interval/set", "soon", false);
    subscriber.wait_for("a refusal", |h| h.topic == "hearth/home/response/interval" && h.json()["status"] == "error");
    let running = running.restart();
    assert_eq!(running.subscriber.on("hearth/home/interval").json()["minutes"], 5.0);
    end(running.hearth);
}

#[test]
fn a_mute_is_kept_over_a_restart_and_published_as_a_gap() {
    let running = Running::start();
    running.subscriber.publish("hearth/home/listening/set", "OFF", false);
    let state = |h: &ReceivedMessage, state: &str| h.topic == "hearth/home/listening" && h.json()["state"] == state;
    running.subscriber.wait_for("a closed microphone", |h| state(h, "OFF"));
    let running = running.restart();
    let subscriber = &running.subscriber;
    assert_eq!(subscriber.on("hearth/home/listening").json()["state"], "OFF");
    subscriber.publish("hearth/home/listening/set", "ON", false);
    subscriber.wait_for("listening again", |h| state(h, "ON"));
    // Muting for less than a block of sound is no gap; so it is muted until it was one, no faster than commands are taken.
    let mut gap = None;
    while gap.is_none() {
        subscriber.publish("hearth/home/listening/set", "OFF", false);
        std::thread::sleep(2 * limiter::INTERVAL);
        subscriber.publish("hearth/home/listening/set", "ON", false);
        until(subscriber, |message| {
            if message.topic == "hearth/home/gap" {
                gap = Some(message.json());
            }
            state(message, "ON")
        });
    }
    assert_eq!(gap.expect("the loop ends with one")["reason"], "muted");
    end(running.hearth);
}

/// The next state of the microphone that is published: `ON` or `OFF`, and until when it is paused.
fn microphone(listener: &Subscriber) -> (String, Option<Timestamp>) {
    let listening = listener.on("hearth/home/listening").json();
    let until = listening["paused_until"].as_str().map(|until| until.parse().unwrap());
    (listening["state"].as_str().unwrap().to_string(), until)
}

#[test]
fn a_paused_microphone_opens_again_by_itself_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    let settings = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
    let send = |path: &str, value: &str| listener.publish(&format!("hearth/home/{path}"), value, false);
    let open = ("ON".to_string(), None);
    let hearth = Hearth::run(dir.path(), &settings);
    listener.on("hearth/home/utterance");

    // Three seconds.
    send("request/pause", r#"{"value": 0.05, "transaction": "p"}"#);
    let (state, until) = microphone(&listener);
    let until = until.expect("it says until when");
    assert!(state == "OFF" && until > Timestamp::now(), "{state} until {until}");
    let answer = listener.on("hearth/home/response/pause").json();
    assert_eq!((&answer["status"], &answer["transaction"]), (&json!("ok"), &json!("p")), "{answer}");
    assert_eq!(answer["paused_until"], until.to_string());
    let status = Command::new(HEARTH).args(["status", "--config", "hearth.toml"]).current_dir(dir.path()).output();
    let status = String::from_utf8(status.unwrap().stdout).unwrap();
    assert!(status.contains("paused until "), "{status}");
    assert_eq!(microphone(&listener), open, "it opens by itself");
    assert!(Timestamp::now() >= until - Duration::from_millis(50));
    assert_eq!(listener.on("hearth/home/gap").json()["reason"], "muted");

    // Somebody who opens it ends the pause, and so does a pause of no time.
    for (path, value) in [("listening/set", "ON"), ("request/pause", "0")] {
        send("request/pause", "60");
        assert!(microphone(&listener).1.is_some());
        send(path, value);
        assert_eq!(microphone(&listener), open, "{path}");
    }

    // Somebody who closes it keeps it closed, and a microphone that is closed is not paused.
    send("request/pause", "0.02");
    assert!(microphone(&listener).1.is_some());
    send("listening/set", "OFF");
    assert_eq!(microphone(&listener), ("OFF".to_string(), None));
    std::thread::sleep(Duration::from_secs(2));
    send("request/pause", "60");
    let refused =
        listener.wait_for("a refusal", |h| h.topic.ends_with("response/pause") && h.payload.contains("error"));
    assert!(refused.payload.contains("closed already"), "{}", refused.payload);

    // A pause goes on after a restart, until its time has come.
    send("listening/set", "ON");
    listener.wait_for("an open microphone", |h| h.topic == "hearth/home/listening" && h.json()["state"] == "ON");
    send("request/pause", "0.2");
    let until = listener.wait_for("a pause", |h| h.topic == "hearth/home/listening" && h.payload.contains("paused"));
    let until = until.json()["paused_until"].clone();
    hearth.kill();
    let hearth = Hearth::run(dir.path(), &settings);
    let paused = listener.wait_for("the pause", |h| h.topic == "hearth/home/listening");
    assert_eq!((&paused.json()["state"], &paused.json()["paused_until"]), (&json!("OFF"), &until));
    listener.wait_for("its end", |h| h.topic == "hearth/home/listening" && h.json()["state"] == "ON");
    assert!(Timestamp::now() >= until.as_str().unwrap().parse::<Timestamp>().unwrap() - Duration::from_millis(50));

    // One that has passed while hearth did not run is over.
    send("request/pause", "0.02");
    listener.wait_for("a pause", |h| h.topic == "hearth/home/listening" && h.payload.contains("paused"));
    hearth.kill();
    std::thread::sleep(Duration::from_secs(2));
    let hearth = Hearth::run(dir.path(), &settings);
    listener.wait_for("an open microphone", |h| h.topic == "hearth/home/listening" && h.json()["state"] == "ON");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn retained_messages_of_a_machine_are_cleared_but_not_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "#", None);
    let url = format!("mqtt://{}", broker.address);
    let text = config(&household(), "real-time", &url, "");
    let hearth = Hearth::run(dir.path(), &text);
    listener.on("hearth/home/health");
    listener.publish("hearth/study/status", "offline", true);
    let clear =
        || Command::new(HEARTH).args(["mqtt", "clear", "--config", "hearth.toml"]).current_dir(dir.path()).output();
    let refused = clear().unwrap();
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("stop it first"),
        "{refused:?}"
    );
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");

    listener.publish_long("hearth/home/request/long", 3 << 20);
    let cleared = clear().unwrap();
    let said = String::from_utf8_lossy(&cleared.stdout);
    assert!(cleared.status.success() && said.contains("homeassistant/device/hearth_home/config"), "{cleared:?}");
    for topic in ["request/long", "status", "info", "health", "listening", "interval", "rule/fire"] {
        assert!(said.contains(&format!("hearth/home/{topic}\n")), "{topic} is not cleared: {said}");
    }
    let late = Subscriber::new(broker.address, "#", None);
    listener.publish("hearth/study/mark", "", false);
    let mut left = Vec::new();
    until(&late, |heard| {
        left.push(heard.topic.clone());
        heard.topic == "hearth/study/mark"
    });
    assert_eq!(left, ["hearth/study/status", "hearth/study/mark"], "only another machine's is left");
}

#[test]
fn the_mute_hook_runs_when_the_microphone_is_muted_paused_or_opened() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    let lamp = dir.path().join("lamp");
    let write = |word: &str| format!("[\"/bin/sh\", \"-c\", \"echo {word} >> {}\"]", lamp.display());
    let config = format!(
        "[source.stdin]\nrate = 16000\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n[privacy]\non_mute = {}\non_unmute = {}\n",
        broker.address,
        write("muted"),
        write("listening")
    );
    let shows = |expected: &str| {
        let end = std::time::Instant::now() + super::mosquitto::LONG;
        while std::fs::read_to_string(&lamp).unwrap_or_default() != expected {
            assert!(
                std::time::Instant::now() < end,
                "the lamp never showed {expected:?}: {:?}",
                std::fs::read_to_string(&lamp)
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let run = || {
        let mut hearth = Hearth::run_with(dir.path(), &config, std::process::Stdio::piped());
        let stdin = hearth.stdin();
        (hearth, stdin)
    };
    let (hearth, stdin) = run();
    listener.wait_for("the birth", |h| h.topic.ends_with("/status") && h.payload == "online" && !h.retain);
    shows("listening\n");
    listener.publish("hearth/home/listening/set", "OFF", false);
    shows("listening\nmuted\n");
    listener.publish("hearth/home/listening/set", "ON", false);
    shows("listening\nmuted\nlistening\n");
    listener.publish("hearth/home/request/pause", "60", false);
    shows("listening\nmuted\nlistening\nmuted\n");
    hearth.terminate();
    drop(stdin);
    assert!(hearth.wait().0.success());
    let (hearth, stdin) = run();
    shows("listening\nmuted\nlistening\nmuted\nmuted\n");
    hearth.terminate();
    drop(stdin);
    assert!(hearth.wait().0.success());
}
