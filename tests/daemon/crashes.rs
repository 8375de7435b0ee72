//! Processes that are killed, overloaded or find damaged files: nothing that was heard is lost without a gap that says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth::config::Config;
use hearth::event::{Gap, GapReason};
use hearth::listener::Listener as Reader;
use hearth::listener::snapshot_store::SnapshotStore;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use ulid::Ulid;

use super::harness::{Hearth, Held, clip, config, household, ids, is_farewell, thread, transcript, until};
use super::mosquitto::{Mosquitto, ReceivedMessage, Subscriber};

/// Ids of all utterances in the database of a hearth that is not running.
pub(crate) fn stored(dir: &Path) -> Vec<String> {
    let store = Store::open(&dir.join("state"), OutboxLimits::from(&hearth::config::StoreConfig::default())).unwrap();
    store.utterances_after(0, 10_000).unwrap().into_iter().map(|(_, utterance)| utterance.id.to_string()).collect()
}

/// Every phase of every alert in the database of a hearth that is not running.
fn stored_alerts(dir: &Path) -> Vec<(String, String)> {
    let database = rusqlite::Connection::open(dir.join("state/hearth.db")).unwrap();
    let mut all = database.prepare("SELECT id, phase FROM alert ORDER BY seq").unwrap();
    all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

/// What arrived over MQTT of a hearth that is killed again and again.
#[derive(Default)]
struct Arrivals {
    /// The text of each utterance, by id.
    texts: BTreeMap<String, String>,
    /// Ids of utterances, in the order in which each came first.
    utterances: Vec<String>,
    /// Id, phase and payload of each alert message that is not a repetition.
    alerts: Vec<(String, String, String)>,
}

impl Arrivals {
    /// Returns how many utterances have arrived.
    fn note(&mut self, message: &ReceivedMessage) -> usize {
        let text = |json: &Value, key: &str| json[key].as_str().unwrap().to_string();
        if message.topic == "hearth/home/utterance" {
            let utterance = message.json();
            let id = text(&utterance, "id");
            match self.texts.insert(id.clone(), text(&utterance, "text")) {
                Some(before) => assert_eq!(before, self.texts[&id], "one id for two texts"),
                None => self.utterances.push(id),
            }
        } else if message.topic == "hearth/home/alert" {
            let alert = message.json();
            // A message that is sent again is the same to the letter; two updates of one moment are not.
            let phase = (text(&alert, "id"), text(&alert, "phase"), message.payload.clone());
            if !self.alerts.contains(&phase) {
                self.alerts.push(phase);
            }
        }
        self.texts.len()
    }

    fn alert_phases(&self) -> Vec<(String, String)> {
        self.alerts.iter().map(|(id, phase, _)| (id.clone(), phase.clone())).collect()
    }
}

#[test]
fn kill_minus_nine_loses_nothing_and_repeats_only_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
    let url = format!("mqtt://{}", broker.address);
    // An alert with the first words, so that there are some to lose.
    let rule = "[[rule]]\nname = \"table\"\npattern = \"dinner|Emma\"\nconfirm = \"1 of 1\"\ncooldown_s = 0\n";
    let text = config(&household(), "fast", &url, rule);
    let mut arrivals = Arrivals::default();
    // Three in every run; `make soak-publishing` kills a hundred times.
    let rounds = std::env::var("HEARTH_KILLS").map_or(3, |n| n.parse().expect("HEARTH_KILLS is a number"));
    for kills in 1..=rounds {
        let hearth = Hearth::run(dir.path(), &text);
        until(&subscriber, |message| arrivals.note(message) >= 3 * kills);
        // Somewhere in the middle of whatever it does now.
        std::thread::sleep(Duration::from_millis(rand::random_range(0..300)));
        hearth.kill();
    }
    let before_last = stored(dir.path());
    let hearth = Hearth::run(dir.path(), &config(&clip(dir.path(), 6), "fast", &url, rule));
    // The will of the one that was killed says "offline", too.
    until(&subscriber, |message| {
        arrivals.note(message);
        message.topic == "hearth/home/status" && message.payload.contains("online")
    });
    until(&subscriber, |message| {
        arrivals.note(message);
        is_farewell(message)
    });
    let (status, log) = hearth.wait();
    assert!(status.success(), "{log}");
    let stored = stored(dir.path());
    assert_eq!(stored[..before_last.len()], before_last, "committed utterances never change");
    assert!(arrivals.utterances == stored, "each arrived, first in the order in which they were stored");
    assert_eq!(arrivals.alert_phases(), stored_alerts(dir.path()), "each phase of each alert came, in order");
    assert!(!arrivals.alerts.is_empty(), "there was no alert to lose");
    assert_eq!(ids(&transcript(dir.path())), stored, "transcript.jsonl has caught up");
}

#[test]
fn sigterm_finishes_what_was_heard_and_the_next_start_continues_from_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    let text = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
    let hearth = Hearth::run(dir.path(), &text);
    listener.on("hearth/home/utterance");
    hearth.terminate();
    until(&listener, is_farewell);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let first = stored(dir.path()).len();
    assert!(first >= 1);
    // While it closes each may be the last; the newest two stay.
    assert!((1..=2).contains(&snapshots(dir.path()).len()));

    let mut hearth = Hearth::run(dir.path(), &text);
    hearth.until_said("the last snapshot is restored");
    listener.on("hearth/home/utterance");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}

/// A copy of the bundled model that is told of gaps.
pub(crate) fn model_with_gaps(dir: &Path) -> PathBuf {
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let model = dir.join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(&bundled).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let prompt = model.join("prompt.json");
    let mut named: Value = serde_json::from_slice(&std::fs::read(&prompt).unwrap()).unwrap();
    named["gap"] = " (… {seconds} seconds missing …)".into();
    std::fs::write(&prompt, named.to_string()).unwrap();
    model
}

#[test]
fn speech_that_there_was_no_time_for_is_stored_published_and_read_as_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let model = model_with_gaps(dir.path());
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    let more = format!("[listener]\nmodel = {:?}\n", model.display().to_string());
    let url = format!("mqtt://{}", broker.address);
    let text = format!("rule = []\n{}", config(&household(), "real-time", &url, &more));
    let mut hearth = Hearth::run(dir.path(), &text);
    listener.on("hearth/home/utterance");
    let held = Held::hold(thread(hearth.id(), "transcribe"));
    std::thread::sleep(Duration::from_secs(35));
    drop(held);
    let gap = listener.on("hearth/home/gap").json();
    assert_eq!((&gap["reason"], &gap["room"]), (&json!("overload"), &json!("home")), "{gap}");
    hearth.until_said("a segment was dropped");
    let later = |heard: &ReceivedMessage| {
        heard.topic == "hearth/home/utterance" && heard.json()["start"].as_str() > gap["to"].as_str()
    };
    until(&listener, later);
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");

    assert_state_has_read_every_gap(dir.path(), &model, "overload");
}

/// The last snapshot has read as many tokens as a fresh state that reads the stored utterances and gaps. One of those has the reason
/// `expected`.
pub(crate) fn assert_state_has_read_every_gap(dir: &Path, model: &Path, expected: &str) {
    let settings = Config::default();
    let fresh = || Reader::open(model, &settings.listener, &settings.digest, &[]).unwrap();
    let (mut all, mut left) = (fresh(), fresh());
    let store = Store::open_read_only(&dir.join("state"), OutboxLimits::from(&settings.store)).unwrap();
    for (_, utterance) in store.utterances_after(0, 1_000).unwrap() {
        all.replay(std::slice::from_ref(&utterance)).unwrap();
    }
    let database = rusqlite::Connection::open(store.path()).unwrap();
    let mut gaps = database.prepare("SELECT reason, (\"end\" - start) / 1e9 FROM gap").unwrap();
    let gaps: Vec<(String, f64)> =
        gaps.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert!(gaps.iter().any(|(reason, seconds)| reason == expected && *seconds > 1.0), "{gaps:?}");
    for (_, seconds) in &gaps {
        let (from, reason) = (Timestamp::UNIX_EPOCH, GapReason::Overload);
        let to = from + SignedDuration::from_secs_f64(*seconds);
        all.gap(&Gap { id: Ulid::nil(), room: "home".into(), from, to, reason }).unwrap();
    }
    let (state, _) = left.load_latest(&SnapshotStore::read_only(&dir.join("state")), |_| true).unwrap().unwrap();
    left.resume(Some(state));
    assert_eq!(left.state().tokens_read(), all.state().tokens_read(), "the state has read each of {gaps:?}");
}

#[test]
fn a_damaged_snapshot_is_kept_aside_and_a_new_state_begins() {
    let dir = tempfile::tempdir().unwrap();
    let file = super::harness::clip(dir.path(), 8);
    let text = config(&file, "fast", "mqtt://127.0.0.1:1", "");
    let (status, said) = Hearth::run(dir.path(), &text).wait();
    assert!(status.success(), "{said}");
    let snapshot = snapshots(dir.path()).remove(0);
    let whole = std::fs::read(&snapshot).unwrap();
    std::fs::write(&snapshot, &whole[..whole.len() / 2]).unwrap();
    let (status, said) = Hearth::run(dir.path(), &text).wait();
    assert!(status.success() && said.contains("kept aside") && said.contains("damaged"), "{said}");
    let (bad, good): (Vec<_>, Vec<_>) =
        snapshots(dir.path()).into_iter().partition(|path| path.display().to_string().contains(".bad-"));
    assert_eq!((bad.len(), good.len()), (1, 1), "a new one takes its place");
}

/// What lies in the directory of snapshots.
fn snapshots(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join("state/snapshots")).unwrap().map(|file| file.unwrap().path()).collect()
}
