//! `hearth judge`, run as a program on the sample of the examples.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The command with the default rules and the models of this repository, whatever the machine has installed.
fn judge(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.arg("judge").arg(folder).arg("--config").arg(root("config/hearth.toml")).args(args);
    command.env("HEARTH_MODELS", root("models"));
    command
}

fn scores(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_model_is_judged_on_what_a_folder_holds() {
    let dir = tempfile::tempdir().unwrap();
    let readings = dir.path().join("readings.jsonl");
    let sample = root("examples/judge");
    let found = scores(&judge(&sample, &["--json", "--readings", readings.to_str().unwrap()]).output().unwrap());
    let lines = fs::read_to_string(sample.join("exchanges.jsonl")).unwrap();
    let exchanges: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((found["exchanges"].as_u64(), found["stopped"].as_bool()), (Some(exchanges.len() as u64), Some(false)));
    let utterances: usize = exchanges.iter().map(|one| one["t"].as_str().unwrap().split('|').count()).sum();
    let readings: Vec<Value> =
        fs::read_to_string(readings).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(readings.len(), 8 * utterances, "a reading of each kind after each utterance");
    let last = readings.iter().filter(|reading| reading["last"] == true);
    assert_eq!(last.count(), 8 * exchanges.len());
    for reading in &readings {
        let exchange = &exchanges[reading["exchange"].as_u64().unwrap() as usize];
        let label = exchange["k"].as_array().unwrap().contains(&reading["kind"]);
        assert_eq!((&reading["label"], &reading["half"]), (&label.into(), &exchange["half"]));
        assert_eq!((&reading["file"], &reading["line"]), (&exchange["file"], &exchange["line"]));
        assert!(reading["model"].is_number() && reading["watcher"].is_number(), "{reading}");
        // Delivery has no default rule.
        assert_eq!(reading["published"].is_null(), reading["kind"] == "delivery", "{reading}");
    }
    // Each part of the folder is in the scores.
    assert_eq!(found["own_questions"]["readings"], 7);
    assert_eq!(found["households"]["digests"][0]["texts"], 4);
    assert!(found["harmless"].as_array().unwrap().iter().any(|talk| talk["name"] == "talk.txt"));
    let told = &found["households"]["digests"][1];
    let count = |counts: &Value, key: &str| counts[key].as_u64().unwrap();
    assert!(count(told, "true_sentences") * 100 >= 85 * count(told, "sentences"), "{told}");
    // Of what could be told of talk as long as a quarter of an hour's. Measured: 117 of 160; 68 % on 40 other households.
    let long = &found["households"]["long_digests"][1];
    assert!(count(long, "texts") == 3 && count(long, "told_events") * 100 >= 60 * count(long, "events"), "{long}");
}

#[test]
fn what_the_bundled_model_knows_is_heard_and_what_is_harmless_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let known = r#"{"t": "Help! I fell in the bathroom. My ankle hurts so much, I can't get up.", "k": ["help"]}
{"t": "The doorbell rang. Emma, can you get it? | It is Paul, come in!", "k": ["door"]}
{"t": "How about pasta for dinner? | Fine with me.", "k": []}
"#;
    fs::write(dir.path().join("a.jsonl"), known).unwrap();
    let found = scores(&judge(dir.path(), &["--json"]).output().unwrap());
    let kind =
        |name: &str| found["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == name).unwrap().clone();
    assert_eq!((&kind("help")["alert_recall"], &kind("door")["alert_recall"]), (&1.0.into(), &1.0.into()));
    assert_eq!((&kind("fire")["alert_recall"], &kind("fire")["alert_false"]), (&Value::Null, &0.0.into()));
    let text = judge(dir.path(), &[]).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(
        text.contains("alerts of the rules in 3 exchanges") && text.contains("help           1     1.00"),
        "{text}"
    );
}

#[test]
fn a_wrong_line_is_named_and_a_folder_without_lines_too() {
    let dir = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        fs::write(dir.path().join("mine.jsonl"), text).unwrap();
        let output = judge(dir.path(), &[]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(error("").contains("holds nothing to judge a model on"));
    let told = error("{\"t\": \"a\", \"k\": []}\n{\"t\": \"{p}, come here\", \"k\": []}\n");
    assert!(told.contains("mine.jsonl:2: {p} must be filled in first"), "{told}");
}

#[test]
fn it_ends_at_a_signal_with_the_scores_so_far() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.jsonl"), "{\"t\": \"Good evening.\", \"k\": []}\n").unwrap();
    fs::write(dir.path().join("long.txt"), "Hello, how was your day at the office?\n".repeat(200_000)).unwrap();
    let mut child = judge(dir.path(), &["--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("judging: "), "{line}");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = child.wait_with_output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["stopped"], &found["exchanges"]), (&true.into(), &1.into()));
    stderr.read_to_string(&mut line).unwrap();
    assert!(!output.status.success() && line.contains("hearth: it was stopped before the end"), "{line}");
}
