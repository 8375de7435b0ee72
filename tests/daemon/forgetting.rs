//! "Forget the last ten minutes": nowhere on the disk, in the state or at the broker is left what was said then.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use griffin::StateTensor;
use hearth::config::Config;
use hearth::event::Utterance;
use hearth::listener::Listener as Reader;
use hearth::listener::snapshot_store::SnapshotStore;
use hearth::mqtt::payload;
use hearth::mqtt::topics::Topics;
use hearth::store::transcript_jsonl::TranscriptJsonl;
use hearth::store::{OutboxLimits, Store};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use ulid::Ulid;

use super::harness::{HEARTH, Hearth, until};
use super::mosquitto::{Mosquitto, ReceivedMessage, Subscriber, free_address};

const KEPT: [&str; 2] = ["The plumber is coming tomorrow at ten.", "Someone has to be home."];
/// Words that stand nowhere else.
pub(super) const SECRET: &str = "zebrafinch";
const FORGOTTEN: [&str; 2] =
    ["Help! I fell in the bathroom. My ankle hurts so much. I can't get up.", "Stay there with the zebrafinch."];

pub(super) fn store(dir: &Path) -> Store {
    Store::open(&dir.join("state"), OutboxLimits::from(&Config::default().store)).unwrap()
}

/// Puts on disk what a hearth would have heard: half an hour ago what is kept, five minutes ago what is to be forgotten.
pub(super) fn furnish(dir: &Path) {
    let config = Config::default();
    let topics = Topics::new(&config.mqtt, &config.node);
    let mut store = store(dir);
    let mut lines = TranscriptJsonl::open(&dir.join("state"), TimeZone::UTC).unwrap();
    let ago = |minutes: i64| Timestamp::now() - SignedDuration::from_mins(minutes);
    let said = KEPT.iter().zip([30, 29]).chain(FORGOTTEN.iter().zip([5, 4]));
    for (text, minutes) in said {
        let (id, start, end) = (Ulid::generate(), ago(minutes), ago(minutes) + SignedDuration::from_secs(3));
        let (room, text) = ("home".into(), text.to_string());
        let utterance = Utterance { id, start, end, room, text, confidence: 0.9, no_speech: 0.0, speaker: None };
        store.record_utterance(&utterance, &[payload::utterance(&topics, &utterance)]).unwrap();
        lines.follow(&store).unwrap();
    }
}

/// A hearth that hears nothing more: its standard input stays open, and silent.
pub(super) fn silent(dir: &Path, broker: &Mosquitto) -> (Hearth, std::process::ChildStdin) {
    silent_with(dir, broker, "")
}

pub(super) fn silent_with(dir: &Path, broker: &Mosquitto, more: &str) -> (Hearth, std::process::ChildStdin) {
    let text = format!(
        "[source.stdin]\nrate = 16000\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n{more}\n",
        broker.address
    );
    let mut hearth = Hearth::run_with(dir, &text, Stdio::piped());
    let stdin = hearth.stdin();
    (hearth, stdin)
}

/// Every file below the state directory that holds `word`, in whatever case.
pub(crate) fn holding(dir: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, word));
        }
        // A socket holds nothing.
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if bytes.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word.as_bytes())) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// The last utterance that any snapshot has read; 0 where there is none.
pub(super) fn last_read_by_a_snapshot(state: &Path) -> i64 {
    let snapshots = SnapshotStore::read_only(state).list().unwrap();
    snapshots.iter().map(|stored| stored.header.mark.read).max().unwrap_or(0)
}

/// The newest snapshot's leaves, and the last utterance that any has read.
pub(super) fn newest_state(dir: &Path) -> (Vec<StateTensor>, i64) {
    let config = Config::default();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let mut reader = Reader::open(&model, &config.listener, &config.digest, &config.rules).unwrap();
    let history = SnapshotStore::read_only(&dir.join("state"));
    let last = history.list().unwrap().iter().map(|kept| kept.header.mark.read).max().unwrap();
    let (state, _) = reader.load_latest(&history, |_| true).unwrap().unwrap();
    reader.resume(Some(state));
    (reader.state().tensors(), last)
}

/// The state that has read what is kept, and nothing else.
fn state_of_what_is_kept() -> Vec<StateTensor> {
    let config = Config::default();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let mut reader = Reader::open(&model, &config.listener, &config.digest, &config.rules).unwrap();
    let texts = KEPT.map(|text| Utterance {
        id: Ulid::nil(),
        start: Timestamp::UNIX_EPOCH,
        end: Timestamp::UNIX_EPOCH,
        room: String::new(),
        text: text.into(),
        confidence: 1.0,
        no_speech: 0.0,
        speaker: None,
    });
    reader.replay(&texts).unwrap();
    reader.state().tensors()
}

pub(super) fn forget(dir: &Path, since: &str) -> String {
    let output = Command::new(HEARTH)
        .args(["forget", since, "--yes", "--config", "hearth.toml"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_forgotten_is_nowhere_any_more_and_what_stays_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    furnish(dir.path());
    let (hearth, _stdin) = silent(dir.path(), &broker);
    listener.wait_for("the alert", begins);
    let ask = |question: &str, more: serde_json::Value| {
        let mut body = json!({ "value": question });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        listener.publish("hearth/home/request/ask", &body.to_string(), false);
        listener.on("hearth/home/response/ask").json()
    };
    let hurt = "Is someone hurt or calling for help?";
    assert!(ask(hurt, json!({}))["probability"].as_f64().unwrap() > 0.5);
    listener.publish("hearth/home/request/summarise", "", false);
    listener.on("hearth/home/summary");
    assert!(!holding(&state, SECRET).is_empty());

    // A hearth that runs is asked by the command line over MQTT.
    let said = forget(dir.path(), "10m");
    assert!(said.contains("2 utterances since") && said.contains("that runs"), "{said}");
    assert_eq!(holding(&state, SECRET), Vec::<String>::new(), "while it runs");
    assert_eq!(holding(&state, "ankle"), Vec::<String>::new());
    assert!(!holding(&state, "plumber").is_empty(), "what was said before stays");
    let answer = ask(hurt, json!({}));
    assert!(answer["probability"].as_f64().unwrap() < 0.5, "{answer}");

    let late = Subscriber::new(broker.address, "hearth/#", None);
    listener.publish("hearth/study/mark", "", false);
    until(&late, |heard| {
        assert!(!heard.payload.contains(SECRET) && !heard.payload.contains("ankle"), "{heard:?}");
        heard.topic == "hearth/study/mark"
    });

    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let (leaves, last) = newest_state(dir.path());
    assert!(last <= 2, "a snapshot has read utterance {last}");
    assert_eq!(leaves, state_of_what_is_kept(), "the state is that of one who never heard it");

    // A hearth that does not run: the files forget, the state at the next start.
    let said = forget(dir.path(), "2h");
    assert!(said.contains("2 utterances since") && said.contains("next start"), "{said}");
    assert_eq!(holding(&state, "plumber"), Vec::<String>::new());
    let history = SnapshotStore::read_only(&state);
    assert!(history.list().unwrap().iter().all(|kept| kept.header.mark.read == 0));
    let (hearth, _stdin) = silent(dir.path(), &broker);
    listener.wait_for("the birth", |h| h.topic == "hearth/home/status" && h.payload.contains("online") && !h.retain);
    let answer = ask("Is a plumber coming?", json!({}));
    assert_eq!(answer["status"], "ok", "{answer}");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success() && said.contains("carried through"), "{said}");
    assert_eq!(store(dir.path()).pending_forget().unwrap(), Default::default());
}

/// What the page of a hearth shows to whoever opens it.
fn shown(dir: &Path) -> serde_json::Value {
    let output =
        Command::new(HEARTH).args(["status", "--json", "--config", "hearth.toml"]).current_dir(dir).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (base, token) = status["page"].as_str().unwrap().split_once("#token=").unwrap();
    let stream = ureq::get(format!("{base}events")).header("authorization", format!("Bearer {token}")).call().unwrap();
    let mut lines = BufReader::new(stream.into_body().into_reader()).lines().map(Result::unwrap);
    let recent = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    serde_json::from_str(&recent).unwrap()
}

#[test]
fn a_forgotten_alert_is_not_shown_any_more_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    furnish(dir.path());
    let page = format!("[page]\nlisten = \"{}\"", free_address());
    let (hearth, _stdin) = silent_with(dir.path(), &broker, &page);
    listener.wait_for("the alert", begins);
    assert_eq!(shown(dir.path())["alerts"].as_array().unwrap().len(), 1);
    forget(dir.path(), "10m");
    listener.wait_for("the alert's end", |h| h.topic == "hearth/home/alert" && h.json()["phase"] == "end");
    assert_eq!(shown(dir.path())["alerts"], json!([]));
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");

    let (mut hearth, _stdin) = silent_with(dir.path(), &broker, &page);
    hearth.until_said("hearth is up");
    let alerts = shown(dir.path())["alerts"].clone();
    assert_eq!(alerts, json!([]), "after a restart");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn more_than_an_hour_is_forgotten_over_the_broker_only_with_the_token_of_the_first_answer() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    furnish(dir.path());
    let (hearth, _stdin) = silent_with(dir.path(), &broker, "[listener]\nenabled = false");
    listener.wait_for("the birth", |h| h.topic.ends_with("/status") && h.payload == "online" && !h.retain);
    let ask = |body: serde_json::Value| {
        listener.publish("hearth/home/request/forget", &body.to_string(), false);
        listener.on("hearth/home/response/forget").json()
    };
    let count = || store(dir.path()).utterances_after(0, 100).unwrap().len();
    let first = ask(json!({ "value": 90 }));
    assert_eq!((&first["status"], &first["utterances"]), (&json!("confirm"), &json!(4)), "{first}");
    assert!(first["from"].is_string() && first["to"].is_string(), "{first}");
    let wrong = ask(json!({ "value": 90, "confirm": "guessed" }));
    assert_eq!((&wrong["status"], count()), (&json!("confirm"), 4), "{wrong}");
    let done = ask(json!({ "value": 90, "confirm": wrong["confirm"] }));
    assert_eq!((&done["status"], &done["utterances"], count()), (&json!("ok"), &json!(4), 0), "{done}");

    let output = Command::new(HEARTH)
        .args(["forget", "2h", "--config", "hearth.toml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("--yes"), "without a terminal it is not asked: {error}");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}

/// The alert of the fall begins. The state of its rule is no sign: where the alert has ended by then, only "OFF" is published.
pub(super) fn begins(heard: &ReceivedMessage) -> bool {
    heard.topic == "hearth/home/alert" && heard.json()["rule"] == "help" && heard.json()["phase"] == "new"
}

/// Runs a hearth with a listener over what was said, and ends it: snapshots, a summary, and what the rules quote are there.
pub(super) fn leave_traces(dir: &Path, broker: &Mosquitto) {
    let listener = Subscriber::new(broker.address, "hearth/#", None);
    let (hearth, _stdin) = silent(dir, broker);
    listener.wait_for("the alert", begins);
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert_eq!(last_read_by_a_snapshot(&dir.join("state")), 4);
}

#[test]
fn without_a_listener_too_what_is_forgotten_is_nowhere_any_more() {
    for keep in ["keep = \"30 days\"", "keep = \"nothing\""] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let broker = Mosquitto::anywhere(dir.path());
        furnish(dir.path());
        leave_traces(dir.path(), &broker);
        assert!(!holding(&state, SECRET).is_empty());

        let listener = Subscriber::new(broker.address, "hearth/#", None);
        let text = format!(
            "[source.stdin]\nrate = 16000\n[listener]\nenabled = false\n[store]\ndir = \"state\"\n{keep}\n\
             [mqtt]\nurl = \"mqtt://{}\"\n",
            broker.address
        );
        let mut hearth = Hearth::run_with(dir.path(), &text, Stdio::piped());
        let _stdin = hearth.stdin();
        hearth.until_said("hearth is up");
        // It says that it is there after it asked for commands.
        listener.wait_for("the birth", |h| h.topic.ends_with("/status") && h.payload == "online" && !h.retain);
        listener.publish("hearth/home/request/forget", "10", false);
        let answer = listener.on("hearth/home/response/forget").json();
        assert_eq!(answer["status"], "ok", "{answer}");
        assert_eq!(holding(&state, SECRET), Vec::<String>::new(), "{keep}");
        assert_eq!(holding(&state, "ankle"), Vec::<String>::new(), "{keep}");
        assert!(last_read_by_a_snapshot(&state) <= 2, "{keep}");
        let late = Subscriber::new(broker.address, "hearth/#", None);
        listener.publish("hearth/study/mark", "", false);
        until(&late, |heard| {
            assert!(!heard.payload.contains(SECRET) && !heard.payload.contains("ankle"), "{heard:?}");
            heard.topic == "hearth/study/mark"
        });
        assert_eq!(store(dir.path()).pending_forget().unwrap(), Default::default());
        hearth.terminate();
        let (status, said) = hearth.wait();
        assert!(status.success(), "{said}");
    }
}
