//! `hearth bench day` with the bundled model. What a token costs is given, so that the figures do not depend on the machine.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.args(["bench", "day"]).args(args).output().unwrap()
}

fn figures(args: &[&str]) -> Value {
    let output = bench(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn on_a_machine_with_time_alerts_come_at_once_and_digests_are_written() {
    let day = figures(&["--hours", "0.7", "--talk", "0.7", "--cost", "2,10"]);
    let seconds = |key: &str, of: &str| day[key][of].as_f64().unwrap();
    assert_eq!(day["readings_s"]["count"], day["asking_utterances"]);
    assert_eq!((&day["alerts_s"]["count"], day["alarms"].as_u64().unwrap() > 1), (&day["alarms"], true));
    assert!(seconds("alerts_s", "max") < 3.0 && seconds("critical_readings_s", "p95") < 3.0, "{day}");
    assert!(day["digests_s"]["count"].as_u64().unwrap() >= 2 && day["digests_given_up"] == 0, "{day}");
    assert!(day["reading"]["tokens"].as_u64().unwrap() > day["words"].as_u64().unwrap());
    let share = day["used_share"].as_f64().unwrap();
    assert!(share > 0.0 && share < 0.2, "{share}");
    assert_eq!(day["rules"].as_object().unwrap().len(), 7);
}

#[test]
fn a_model_that_is_slower_than_the_talk_says_so_and_still_asks_about_everything() {
    // A token takes 0.8 s, and people say about five a second.
    let day = figures(&["--hours", "0.15", "--talk", "1", "--cost", "40,40", "--cpu", "0.05", "--whisper", "0"]);
    assert_eq!(day["readings_s"]["count"], day["asking_utterances"]);
    assert!(day["most_behind_s"].as_f64().unwrap() > 300.0 && day["most_behind_utterances"].as_u64().unwrap() > 20);
    // Words that leave no doubt do not wait until what was said before them is read.
    assert_eq!(day["alerts_s"]["count"], day["alarms"]);
    assert!(day["alerts_s"]["max"].as_f64().unwrap() < 60.0, "{day}");
    assert!(day["overtime_s"].as_f64().unwrap() > 300.0 && day["used_share"].as_f64().unwrap() > 0.95, "{day}");
}

#[test]
fn each_way_to_ask_less_or_earlier_can_be_left_out_and_is_missed_then() {
    let tokens = |more: &[&str]| {
        let day = figures(&[&["--hours", "0.1", "--talk", "1", "--cost", "2,10"], more].concat());
        day["asking"]["tokens"].as_u64().unwrap()
    };
    let all = tokens(&[]);
    assert!(tokens(&["--without", "gate"]) > 3 * all);
    let every_rule = tokens(&["--no-watch"]);
    assert!(tokens(&["--no-watch", "--without", "shared-starts"]) > every_rule);
    assert!(tokens(&["--no-watch", "--without", "fillers"]) > every_rule);
    // The last layer is left out of the work, not of the tokens.
    assert_eq!(tokens(&["--no-watch", "--without", "last-token"]), every_rule);
    let slow = ["--hours", "0.15", "--talk", "1", "--cost", "40,40", "--cpu", "0.05", "--whisper", "0"];
    let latest = |more: &[&str]| figures(&[&slow[..], more].concat())["alerts_s"]["max"].as_f64().unwrap();
    assert!(latest(&["--without", "words-first"]) > 3.0 * latest(&[]));
    let asked = |more: &[&str]| {
        let day = figures(&[&slow[..], &["--no-watch"], more].concat());
        day["rules"].as_object().unwrap().values().map(|rule| rule["asked"].as_u64().unwrap()).sum::<u64>()
    };
    assert!(asked(&["--without", "priority"]) > asked(&[]));
}

#[test]
fn a_file_of_talk_is_read_and_the_table_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let talk = dir.path().join("talk.txt");
    std::fs::write(&talk, "We need milk.\nThe plumber is coming tomorrow.\n").unwrap();
    let args = ["--hours", "0.1", "--talk", "1", "--cost", "1,1", "--no-watch", "--text", talk.to_str().unwrap()];
    let output = bench(&args);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for words in ["until every critical rule was", "behind at worst", "digests given up: 0", "left_on"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    for (args, reason) in [
        (["--talk", "1.5"], "--talk 1.5 is no share"),
        (["--cpu", "0"], "--cpu 0 is no number of cores"),
        (["--hours", "NaN"], "--hours NaN is no time"),
        (["--whisper", "-1"], "--whisper -1 is no number of seconds"),
        (["--cost", "5"], "not two numbers of milliseconds"),
        (["--text", "/nowhere"], "cannot read /nowhere"),
        (["--without", "gates"], "there is no step"),
    ] {
        let output = bench(&[&format!("{}={}", args[0], args[1])]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(reason), "{args:?}: {error}");
    }
}
