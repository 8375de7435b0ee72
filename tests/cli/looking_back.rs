//! `hearth history`, `hearth export` and the times that commands take, on the transcript of the demo's recording.

use std::os::unix::fs::PermissionsExt;

use hearth::config::StoreConfig;
use hearth::event::{Alert, AlertPhase, Evidence, Gap, GapReason, Severity, Utterance};
use hearth::store::{ListenerTurn, OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use super::*;

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails with this exit code and a sentence that has all of `words`.
fn refuses(dir: &Path, args: &[&str], code: i32, words: &[&str]) {
    let output = run(dir, args);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    assert!(output.stdout.is_empty() && told.lines().count() == 1 && told.starts_with("hearth: "), "{args:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{args:?} does not say {word:?}: {told}");
    }
}

/// A state directory with two rooms: what was said on two days, an alert, a summary-free gap.
fn two_rooms() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("hearth.toml"), "[store]\ndir = \"state\"\n").unwrap();
    let mut store = Store::open(&dir.path().join("state"), OutboxLimits::from(&StoreConfig::default())).unwrap();
    let first: Timestamp = "2026-03-01T23:30:00Z".parse().unwrap();
    let mut said = Vec::new();
    for (seconds, room, text) in [
        (0, "kitchen", "Where is the \"blue\" cup, Emma?"),
        (5, "hall", "In the <top> cupboard & *clean*"),
        (3_600, "hall", "=SUM, she said, and left"),
    ] {
        let start = first + SignedDuration::from_secs(seconds);
        let end = start + SignedDuration::from_millis(2_500);
        let (room, text) = (room.into(), text.into());
        let utterance =
            Utterance { id: Ulid::generate(), start, end, room, text, confidence: 0.9, no_speech: 0.0, speaker: None };
        store.record_utterance(&utterance, &[]).unwrap();
        said.push(utterance);
    }
    let gap = |seconds, reason| Gap {
        id: Ulid::generate(),
        room: "kitchen".into(),
        from: first + SignedDuration::from_secs(seconds),
        to: first + SignedDuration::from_secs(seconds + 60),
        reason,
    };
    store.record_gap(&gap(100, GapReason::Muted), &[]).unwrap();
    let quoted = &said[1];
    let (utterance, time, room, text) = (quoted.id, quoted.start, quoted.room.clone(), quoted.text.clone());
    let alert = |phase, seconds| Alert {
        id: Ulid::nil(),
        rule: "left_on".into(),
        phase,
        severity: Severity::Warning,
        room: None,
        time: first + SignedDuration::from_secs(seconds),
        probability: Some(0.93),
        answer: None,
        evidence: vec![Evidence { utterance, time, room: room.clone(), text: text.clone() }],
    };
    let alerts = [alert(AlertPhase::New, 8), alert(AlertPhase::Update, 9), alert(AlertPhase::End, 70)];
    store.record_reading(ListenerTurn { digests: &[], alerts: &alerts, processed: 2, memory: "" }, &[]).unwrap();
    dir
}

fn text(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn history_tells_what_was_said_and_what_came_of_it_in_the_order_of_time() {
    let dir = two_rooms();
    let shown = lines(&run(dir.path(), &["history"]));
    assert_eq!(
        shown,
        [
            "2026-03-01 23:30:00  kitchen  Where is the \"blue\" cup, Emma?",
            "2026-03-01 23:30:05  hall  In the <top> cupboard & *clean*",
            "2026-03-01 23:30:08  ALERT    left_on 93 %  “In the <top> cupboard & *clean*”",
            "2026-03-01 23:31:10  over     left_on",
            "2026-03-01 23:31:40  gap      kitchen: not heard until 2026-03-01 23:32:40: muted",
            "2026-03-02 00:30:00  hall  =SUM, she said, and left",
        ]
    );
    assert_eq!(lines(&run(dir.path(), &["history", "--limit", "2"])), shown[4..]);
    assert_eq!(lines(&run(dir.path(), &["history", "--since", "2026-03-02"])), shown[5..], "a day begins with it");
    assert_eq!(lines(&run(dir.path(), &["history", "--until", "2026-03-01"])), shown[..5], "and ends with it");
    let kitchen = lines(&run(dir.path(), &["history", "--room", "kitchen"]));
    assert_eq!(kitchen, [&shown[0][..], &shown[4]]);
    assert_eq!(lines(&run(dir.path(), &["history", "--room", "hall"])), [&shown[1..4], &shown[5..]].concat());
    let json: Vec<Value> = lines(&run(dir.path(), &["history", "--json"]))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json.len(), 7, "the update of the alert, too");
    assert_eq!((&json[2]["alert"]["rule"], &json[5]["gap"]["reason"]), (&"left_on".into(), &"muted".into()));
}

#[test]
fn times_are_local() {
    let dir = two_rooms();
    let output = command(dir.path(), &["history", "--limit", "1"]).env("TZ", "Europe/Berlin").output().unwrap();
    assert_eq!(lines(&output), ["2026-03-02 01:30:00  hall  =SUM, she said, and left"]);
    let output = command(dir.path(), &["export", "--format", "csv", "--since", "2026-03-02 01:00"])
        .env("TZ", "Europe/Berlin")
        .output()
        .unwrap();
    assert!(lines(&output)[1].starts_with("2026-03-02T01:30:00.000+01:00,2026-03-02T01:30:02.500+01:00,hall,"));
}

#[test]
fn export_writes_every_format() {
    let dir = two_rooms();
    let export = |format: &str| text(dir.path(), &["export", "--format", format]);
    assert_eq!(export("txt").lines().count(), 3);
    assert_eq!(
        export("md"),
        "# What was said\n\n## Sunday, 2026-03-01\n\n23:30:00 **kitchen** Where is the \"blue\" cup, Emma?\n\n\
         23:30:05 **hall** In the \\<top\\> cupboard \\& \\*clean\\*\n\n\
         > 23:30:08 ALERT left\\_on 93 %  “In the \\<top\\> cupboard \\& \\*clean\\*”\n\n\
         > 23:31:40 kitchen: not heard until 2026-03-01 23:32:40: muted\n\n\
         ## Monday, 2026-03-02\n\n00:30:00 **hall** =SUM, she said, and left\n"
    );
    assert!(export("srt").starts_with(
        "1\n00:00:00,000 --> 00:00:02,500\nkitchen: Where is the \"blue\" cup, Emma?\n\n2\n00:00:05,000 --> 00:00:07,500\nhall: In"
    ));
    let vtt = export("vtt");
    assert!(vtt.starts_with("WEBVTT\n\nNOTE 00:00:00 is 2026-03-01T23:30:00.000+00:00\n\n"), "{vtt}");
    assert!(
        vtt.contains("00:00:05.000 --> 00:00:07.500\n<v hall>In the &lt;top&gt; cupboard &amp; *clean*\n"),
        "{vtt}"
    );
    let csv = export("csv");
    assert!(csv.starts_with("start,end,room,text,confidence,id\n"), "{csv}");
    assert!(csv.contains(",kitchen,\"Where is the \"\"blue\"\" cup, Emma?\",0.9,"), "{csv}");
    let json: Vec<Value> = export("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((json.len(), &json[2]["room"], &json[2]["confidence"]), (3, &"hall".into(), &0.9.into()));
    assert_eq!(json[2]["start"].as_str().unwrap().parse::<Timestamp>().unwrap().to_string(), "2026-03-02T00:30:00Z");
    // Of one room no name is needed, and a film begins when it is said to.
    let hall = text(dir.path(), &["export", "--format", "srt", "--room", "hall", "--since", "2026-03-01 23:30"]);
    assert!(hall.starts_with("1\n00:00:05,000 --> 00:00:07,500\nIn the"), "{hall}");
}

#[test]
fn an_exported_file_is_for_this_user_alone_and_is_not_replaced_unasked() {
    let dir = two_rooms();
    let file = dir.path().join("talk.vtt");
    let name = file.to_str().unwrap();
    let output = run(dir.path(), &["export", "-o", name]);
    assert!(output.status.success() && output.stdout.is_empty() && told(&output).contains("3 utterances are in"));
    assert!(fs::read_to_string(&file).unwrap().starts_with("WEBVTT"), "the name says how");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&file, "mine").unwrap();
    refuses(dir.path(), &["export", "-o", name], 1, &["is there already", "--force"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let quiet = run(dir.path(), &["export", "-o", name, "--force", "-q"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{quiet:?}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("WEBVTT"));
    refuses(dir.path(), &["export", "-o", "talk.doc"], 1, &["talk.doc does not say how to write it", ".jsonl"]);
    refuses(dir.path(), &["export", "-o", "/none/talk.txt"], 1, &["/none/talk.txt cannot be written"]);
}

#[test]
fn a_long_export_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("hearth.toml"), "[store]\ndir = \"state\"\n").unwrap();
    let mut store = Store::open(&dir.path().join("state"), OutboxLimits::from(&StoreConfig::default())).unwrap();
    let first: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    for n in 0..2_050 {
        let start = first + SignedDuration::from_secs(n);
        let (room, text) = ("home".into(), format!("number {n}"));
        let id = Ulid::generate();
        let said = Utterance { id, start, end: start, room, text, confidence: 1.0, no_speech: 0.0, speaker: None };
        store.record_utterance(&said, &[]).unwrap();
    }
    let exported = text(dir.path(), &["export"]);
    let wanted: Vec<_> = (0..2_050).map(|n| format!("number {n}")).collect();
    assert!(exported.lines().map(|line| line.split("  ").last().unwrap()).eq(wanted.iter().map(String::as_str)));
}

#[test]
fn what_finds_nothing_says_so_and_what_cannot_be_read_is_named() {
    let dir = two_rooms();
    for args in [&["history", "--room", "attic"][..], &["export", "--room", "attic"], &["search", "zebra"]] {
        let output = run(dir.path(), args);
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert_eq!(told(&output), "nothing that is stored matches; text is kept for 30 days ([store] keep)\n");
        let quiet = run(dir.path(), &[args, &["-q"]].concat());
        assert!(quiet.status.success() && quiet.stderr.is_empty(), "{quiet:?}");
    }
    for command in [&["history"][..], &["export"], &["search", "it"]] {
        let with = |more: &[&'static str]| [command, more].concat();
        refuses(dir.path(), &with(&["--since", "soon"]), 1, &["\"soon\" is no time"]);
        refuses(dir.path(), &with(&["--since", "2h", "--until", "3h"]), 1, &["--since is not before --until"]);
        assert_eq!(run(dir.path(), &with(&["--color"])).status.code(), Some(2));
    }
    assert_eq!(run(dir.path(), &["export", "--format", "docx"]).status.code(), Some(2));
    let older = sample();
    refuses(older.path(), &["history"], 1, &["written by an older hearth", "start this hearth once"]);
    fs::remove_file(dir.path().join("state/hearth.db")).unwrap();
    for command in ["history", "export"] {
        refuses(dir.path(), &[command], 1, &["hearth.db cannot be read", "--config"]);
    }
    assert!(!dir.path().join("state/hearth.db").exists(), "nothing is made");
}
