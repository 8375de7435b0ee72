//! Subcommands that read what a daemon stored, run as programs on the sample of commit 390a4b9.

mod bench_day;
mod demo;
mod judging;
mod looking_back;
mod shell;
mod transcribing;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A config and a state directory with the transcript of the demo's recording.
fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/390a4b9/state/hearth.db");
    fs::copy(old, dir.path().join("state/hearth.db")).unwrap();
    fs::write(dir.path().join("hearth.toml"), "[store]\ndir = \"state\"\n").unwrap();
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.args(args).arg("--config").arg(dir.join("hearth.toml")).env("TZ", "UTC");
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
}

#[test]
fn search_finds_utterances_by_words_time_and_room() {
    let dir = sample();
    let found = lines(&run(dir.path(), &["search", "kitchen", "SMOKE"]));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("2026-11-29 01:2") && found[0].contains("  home  Oh no, there is smoke"), "{found:?}");
    let all = lines(&run(dir.path(), &["search", "it", "--json"]));
    let all: Vec<Value> = all.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(all.len() > 2 && all.iter().all(|line| line["text"].is_string() && line["room"] == "home"), "{all:?}");
    assert!(all.is_sorted_by_key(|line| line["start"].as_str().unwrap().to_string()), "oldest first");
    assert_eq!(lines(&run(dir.path(), &["search", "it", "--limit", "1"])).len(), 1);
    assert_eq!(lines(&run(dir.path(), &["search", "it", "--room", "attic"])).len(), 0);
    assert_eq!(lines(&run(dir.path(), &["search", "it", "--until", "2026-01-01T00:00:00Z"])).len(), 0);
    let nothing = run(dir.path(), &["search", "zebra"]);
    assert!(nothing.status.success() && String::from_utf8_lossy(&nothing.stderr).contains("nothing that is stored"));
}

#[test]
fn search_says_what_is_wrong() {
    let dir = sample();
    let wrong = run(dir.path(), &["search", "it", "--since", "soon"]);
    assert!(
        !wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("\"soon\" is no time"),
        "{wrong:?}"
    );
    fs::remove_file(dir.path().join("state/hearth.db")).unwrap();
    let absent = run(dir.path(), &["search", "it"]);
    let told = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(
        !absent.status.success() && told.contains("hearth.db cannot be read") && told.contains("--config"),
        "{told}"
    );
    assert!(!dir.path().join("state/hearth.db").exists(), "nothing is made");
}

#[test]
fn the_list_of_rules_counts_false_alarms() {
    let dir = sample();
    let table = lines(&run(dir.path(), &["rules", "list"]));
    assert!(table[0].starts_with("rule") && table.len() == 8, "{table:?}");
    let rules: Vec<Value> = lines(&run(dir.path(), &["rules", "list", "--json"]))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = |name: &str| rules.iter().find(|rule| rule["rule"] == name).unwrap()["false_alarms"].clone();
    assert_eq!((count("medicine"), count("fire")), (1.into(), 0.into()));
}

#[test]
fn the_state_is_renewed_by_a_command_of_that_name_and_only_where_hearth_runs() {
    let dir = sample();
    for args in [&["state"][..], &["state", "renew"]] {
        let output = run(dir.path(), args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.starts_with("hearth: "), "{args:?}: {told}");
    }
    let both = run(dir.path(), &["state", "--json", "renew"]);
    assert!(
        both.status.code() == Some(1) && String::from_utf8_lossy(&both.stderr).contains("no such answer"),
        "{both:?}"
    );
}

#[test]
fn what_a_rule_has_learned_is_shown_and_undone() {
    let dir = sample();
    let show = |args: &[&str]| -> Vec<Value> {
        let shown = lines(&run(dir.path(), &[&["rules", "show", "--json"], args].concat()));
        shown.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = show(&[]);
    assert_eq!(all.len(), 7);
    let medicine = &show(&["medicine"])[0];
    assert_eq!(
        (&medicine["rule"], &medicine["false_alarms"], &medicine["acknowledged"]),
        (&"medicine".into(), &1.into(), &0.into())
    );
    assert_eq!((&medicine["enter"], &medicine["shift_limit"]), (&0.9.into(), &3.0.into()));
    assert!(
        medicine["threshold"].as_f64().unwrap() > 0.9 && medicine["undo"] == "hearth rules reset medicine",
        "{medicine}"
    );
    let fire = all.iter().find(|rule| rule["rule"] == "fire").unwrap();
    assert_eq!((&fire["threshold"], &fire["shift"], &fire["undo"]), (&0.5.into(), &0.0.into(), &Value::Null));
    let text = lines(&run(dir.path(), &["rules", "show"])).join("\n");
    assert!(text.starts_with("rule ") && text.contains("instead of 0.9: 1 false and 0 acknowledged"), "{text}");

    let wrong = run(dir.path(), &["rules", "show", "flood"]);
    assert!(
        !wrong.status.success()
            && String::from_utf8_lossy(&wrong.stderr).contains("there is no rule \"flood\"; there are: help")
    );
    assert!(!run(dir.path(), &["rules", "reset"]).status.success(), "a rule, or all");
    assert_eq!(
        lines(&run(dir.path(), &["rules", "reset", "fire"])),
        ["nothing was learned; the thresholds are as configured"]
    );
    assert_eq!(show(&["medicine"])[0]["false_alarms"], 1);
    assert_eq!(lines(&run(dir.path(), &["rules", "reset", "medicine"])), ["as configured again: medicine"]);
    let medicine = &show(&["medicine"])[0];
    assert_eq!((&medicine["threshold"], &medicine["false_alarms"]), (&0.9.into(), &0.into()));
    let listed = lines(&run(dir.path(), &["rules", "list", "--json"]));
    assert!(
        listed.iter().any(|line| line.contains("medicine") && line.contains("\"false_alarms\":1")),
        "it is still stored"
    );
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let dir = sample();
    let mut child =
        command(dir.path(), &["search", "it"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before anything is written.
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}");
    assert_eq!(told, "");
}
