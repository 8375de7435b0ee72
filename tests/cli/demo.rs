//! `hearth demo`, run as a program on the recording in free words.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn demo(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_hearth")).arg("demo").args(args).output().unwrap()
}

/// Seconds at which something was said in the recording, by the words of its text.
fn said_at(words: &str) -> f64 {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/everyday.jsonl");
    let lines = std::fs::read_to_string(text).unwrap();
    let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(|line| line["text"].as_str().unwrap().contains(words));
    line.unwrap_or_else(|| panic!("{words:?} is not in the text"))["start"].as_f64().unwrap()
}

#[test]
fn emergencies_in_words_of_no_template_are_heard_in_the_second_recording() {
    let output = demo(&["--recording", "everyday", "--fast", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let alerts = found["alerts"].as_array().unwrap();
    // An alert comes when the words have been said, and quotes them.
    for (rule, words, quoted) in [
        ("leak", "carpet squelching", "squelching"),
        ("help", "keeled over", "wake up"),
        ("fire", "gone up in flames", "flames"),
    ] {
        let said = said_at(words);
        let right = |alert: &&Value| {
            let soon = (0.0..12.0).contains(&(alert["time_s"].as_f64().unwrap() - said));
            alert["rule"] == rule && soon && alert["evidence"].as_str().unwrap().contains(quoted)
        };
        assert!(alerts.iter().any(|alert| right(&alert)), "no {rule} after {said} s: {alerts:#?}");
    }
    // Six things happen, and for the parcel there is no default rule; one false alarm is let pass.
    assert!(alerts.len() <= 6, "{alerts:#?}");
    for digest in found["digests"].as_array().unwrap() {
        for sentence in digest["evidence"].as_array().unwrap() {
            assert!(!sentence["evidence"].as_array().unwrap().is_empty(), "{sentence} rests on nothing");
        }
    }
}

#[test]
fn a_recording_that_is_not_there_is_named_with_those_that_are() {
    let output = demo(&["--recording", "office"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("office") && told.contains("everyday"), "{told}");
}
