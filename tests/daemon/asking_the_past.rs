//! Questions to the state of an earlier time, and rules that are tried on what was said.

use std::path::Path;
use std::process::Command;

use hearth::config::Config;
use hearth::listener::Listener as Reader;
use hearth::listener::snapshot_store::SnapshotStore;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::forgetting::{begins, furnish, silent, store};
use super::harness::HEARTH;
use super::mosquitto::{Mosquitto, Subscriber};

#[test]
fn a_state_of_the_past_is_asked_by_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    furnish(dir.path());
    // A snapshot of an hour ago, that has read nothing.
    let config = Config::default();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let reader = Reader::open(&model, &config.listener, &config.digest, &[]).unwrap();
    let history = SnapshotStore::open(&dir.path().join("state")).unwrap();
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    reader.save(&history, &hearth::listener::snapshot::ReadPosition { read: 0, time: hour_ago }).unwrap();

    let (hearth, _stdin) = silent(dir.path(), &broker);
    listener.wait_for("the alert", begins);
    let hurt = "Is someone hurt or calling for help?";
    let ask = |at: &str| {
        listener.publish("hearth/home/request/ask", &json!({ "value": hurt, "at": at }).to_string(), false);
        listener.on("hearth/home/response/ask").json()
    };
    let (now, then) = (ask("1m"), ask("10m"));
    assert!(now["probability"].as_f64().unwrap() > 0.5, "{now}");
    assert!(then["probability"].as_f64().unwrap() < 0.5, "{then}");
    let stored = store(dir.path()).utterances_after(0, 10).unwrap();
    assert_eq!(then["at"], stored[1].1.end.to_string(), "the last that was said before");
    assert!(ask("2h")["error"].as_str().unwrap().contains("no snapshot is as old"));
    assert!(ask("soon")["error"].as_str().unwrap().contains("is no time"));

    // The command line looks at the same files meanwhile.
    let cli = |at: &str| {
        Command::new(HEARTH)
            .args(["ask", hurt, "--at", at, "--json", "--config", "hearth.toml"])
            .current_dir(dir.path())
            .output()
    };
    let output = cli("10m").unwrap();
    assert!(output.status.success(), "{output:?}");
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((line["probability"].as_f64().unwrap() - then["probability"].as_f64().unwrap()).abs() < 1e-3, "{line}");
    let refused = cli("2h").unwrap();
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("the oldest of all"),
        "{refused:?}"
    );
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn a_new_rule_is_tried_on_what_was_said() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path());
    std::fs::write(dir.path().join("hearth.toml"), "[store]\ndir = \"state\"\n").unwrap();
    let rules = "[[rule]]\nname = \"hurt\"\nquestion = \"Is someone hurt or calling for help?\"\nenter = 0.15\nexit = 0.05\n\
                 [[rule]]\nname = \"bird\"\npattern = \"zebrafinch\"\n";
    std::fs::write(dir.path().join("rule.toml"), rules).unwrap();
    let run = |file: &str, more: &[&str]| {
        let arguments = ["rules", "dry-run", file, "--config", "hearth.toml"];
        Command::new(HEARTH).args(arguments).args(more).current_dir(dir.path()).output().unwrap()
    };
    let tried = |more: &[&str]| {
        let output = run("rule.toml", &[more, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let before = std::fs::read(dir.path().join("state/hearth.db")).unwrap();
    let lines = tried(&["--since", "1h"]);
    let fired = |rule: &str| lines.iter().filter(|line| line["rule"] == rule && line["phase"] == "new").count();
    assert_eq!((fired("hurt"), fired("bird")), (1, 1), "{lines:#?}");
    let hurt = lines.iter().find(|line| line["rule"] == "hurt" && line["phase"] == "new").unwrap();
    assert!(hurt["evidence"].to_string().contains("fell in the bathroom"), "{hurt}");
    let of = |rule: &str| lines.iter().find(|line| line["rule"] == rule && !line["fired"].is_null()).unwrap().clone();
    assert_eq!(
        (&of("hurt")["fired"], &of("hurt")["readings"], &of("bird")["readings"]),
        (&json!(1), &json!(4), &json!(0))
    );
    assert!(tried(&["--since", "1m"]).iter().all(|line| line["fired"] == 0), "it was said before");

    let text = run("rule.toml", &["--since", "1h"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("bird: fired 1 times") && text.contains("“Stay there with the zebrafinch.”"), "{text}");
    std::fs::write(dir.path().join("none.toml"), "node = \"x\"\n").unwrap();
    for (file, says) in [("none.toml", "has no [[rule]]"), ("away.toml", "away.toml")] {
        let refused = run(file, &[]);
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(says), "{refused:?}");
    }
    assert_eq!(std::fs::read(dir.path().join("state/hearth.db")).unwrap(), before, "nothing was changed");
}
