//! Somebody presses "false alarm": the rule's threshold rises, also over a restart, until it is reset.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use serde_json::{Value, json};

use super::harness::{HEARTH, Hearth, samples};
use super::mosquitto::{Mosquitto, Subscriber};

/// The rule's threshold as configured.
const ENTER: f64 = 0.9;

/// What `hearth rules show` says of the rule.
fn shown(dir: &Path) -> Value {
    let args = ["rules", "show", "medicine", "--json", "--config", "hearth.toml"];
    let output = Command::new(HEARTH).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn request(subscriber: &Subscriber, name: &str, value: &str) -> Value {
    subscriber.publish(&format!("hearth/home/request/{name}"), value, false);
    subscriber.on(&format!("hearth/home/response/{name}")).json()
}

/// The next state of the rule with another threshold than `before`.
fn threshold_after(subscriber: &Subscriber, before: f64) -> f64 {
    let state = subscriber.wait_for("another threshold", |heard| {
        heard.topic == "hearth/home/rule/medicine" && heard.json()["threshold"].as_f64().is_some_and(|p| p != before)
    });
    state.json()["threshold"].as_f64().unwrap()
}

fn start(dir: &Path, config: &str) -> (Hearth, ChildStdin) {
    let mut hearth = Hearth::run_with(dir, config, Stdio::piped());
    let stdin = hearth.stdin();
    (hearth, stdin)
}

fn end(hearth: Hearth, stdin: ChildStdin) {
    hearth.terminate();
    drop(stdin);
    let (status, log) = hearth.wait();
    assert!(status.success(), "{log}");
}

#[test]
fn a_false_alarm_raises_the_threshold_of_its_rule_until_it_is_reset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
    let config = format!(
        "[source.stdin]\nrate = 16000\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
        broker.address
    );
    let (hearth, mut stdin) = start(dir.path(), &config);
    // "Grandma, did you take your heart pills?" "Oh no, I forgot them this morning."
    let sound: Vec<u8> = samples(34).iter().flat_map(|sample| sample.to_le_bytes()).collect();
    stdin.write_all(&sound).unwrap();
    let alert = subscriber.wait_for("the alert", |heard| {
        heard.topic == "hearth/home/alert" && heard.json()["rule"] == "medicine" && heard.json()["phase"] == "new"
    });
    assert!(alert.json()["probability"].as_f64().unwrap() > ENTER);
    assert_eq!(shown(dir.path())["threshold"], ENTER);

    let answer = request(&subscriber, "false_alarm", "medicine");
    assert_eq!((&answer["status"], &answer["alert"]), (&json!("ok"), &alert.json()["id"]), "{answer}");
    let raised = threshold_after(&subscriber, ENTER);
    assert!(raised > 0.91 && raised < 0.95, "{raised}");
    let learned = shown(dir.path());
    assert_eq!((&learned["enter"], &learned["false_alarms"]), (&json!(ENTER), &json!(1)), "{learned}");
    assert!((learned["threshold"].as_f64().unwrap() - raised).abs() < 1e-3, "{learned}");
    assert_eq!(request(&subscriber, "acknowledge", "medicine")["status"], "error", "it is over");
    end(hearth, stdin);

    let (hearth, stdin) = start(dir.path(), &config);
    subscriber.wait_for("the birth", |heard| heard.topic == "hearth/home/status" && heard.payload.contains("online"));
    let kept = shown(dir.path());
    assert_eq!((&kept["false_alarms"], &kept["undo"]), (&json!(1), &json!("hearth rules reset medicine")), "{kept}");
    // The daemon has it in force, too: this says that it changes.
    let args = ["rules", "reset", "medicine", "--config", "hearth.toml"];
    let reset = Command::new(HEARTH).args(args).current_dir(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&reset.stdout), "as configured again: medicine\n", "{reset:?}");
    assert_eq!(threshold_after(&subscriber, raised), ENTER);
    assert_eq!(shown(dir.path())["threshold"], ENTER);
    let answer = request(&subscriber, "reset_rule", "PRESS");
    assert_eq!((&answer["status"], &answer["rules"]), (&json!("ok"), &json!([])), "nothing is left: {answer}");
    assert_eq!(request(&subscriber, "reset_rule", "flood")["error"], "there is no rule \"flood\"");
    end(hearth, stdin);
}
