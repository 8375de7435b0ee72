//! Brokers that go, processes that are killed, files that are torn: nothing that was heard is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hearth::config::Config;
use hearth::event::{Gap, GapReason};
use hearth::listener::Listener as Reader;
use hearth::listener::snapshot_store::SnapshotStore;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use ulid::Ulid;

use super::house::{HEARTH, Hearth, Held, config, household, ids, is_farewell, thread, transcript, until};
use super::mosquitto::{LONG, Mosquitto, ReceivedMessage, Subscriber, free_address};

/// A long recording where there is one, else the bundled household.
fn recording() -> PathBuf {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures");
    let fixtures = std::env::var_os("HEARTH_FIXTURES").map_or(shared, PathBuf::from);
    let room = fixtures.join("room/room_dry.flac");
    if room.exists() {
        return room;
    }
    println!("skipped: the long recording {} is not here; the bundled household is played instead", room.display());
    household()
}

#[test]
fn every_utterance_arrives_although_the_broker_is_killed_half_way() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let broker = Mosquitto::start(dir.path(), address, "");
    let listener = Subscriber::new(address, "hearth/home/#", None);
    let hearth = Hearth::run(dir.path(), &config(&recording(), "fast", &format!("mqtt://{address}"), ""));

    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = |heard: &ReceivedMessage| {
        if heard.topic == "hearth/home/utterance" {
            *seen.entry(heard.json()["id"].as_str().unwrap().into()).or_default() += 1;
        }
        seen.len()
    };
    until(&listener, |heard| count(heard) >= 8);
    broker.kill();
    let _broker = Mosquitto::start(dir.path(), address, "");
    listener.wait_until_subscribed();
    until(&listener, |heard| {
        count(heard);
        is_farewell(heard)
    });
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let written = ids(&transcript(dir.path()));
    let missing: Vec<_> = written.iter().filter(|id| !seen.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {} never arrived", missing.len(), written.len());
    assert_eq!(seen.len(), written.len(), "something arrived that was never said");
}

/// The ids of what was heard over MQTT, in the order in which each came first, and of what was told as unheard.
#[derive(Default)]
struct Arrived(Vec<String>, BTreeSet<String>);

impl Arrived {
    fn note(&mut self, heard: &ReceivedMessage) {
        let id = || heard.json()["id"].as_str().unwrap().to_owned();
        match heard.topic.as_str() {
            "hearth/home/utterance" if !self.0.contains(&id()) => self.0.push(id()),
            "hearth/home/gap" => drop(self.1.insert(id())),
            _ => {}
        }
    }

    /// Takes messages until one is what is `wanted`.
    fn until(&mut self, listener: &Subscriber, wanted: impl Fn(&ReceivedMessage) -> bool) {
        let end = Instant::now() + 2 * LONG;
        until(listener, |heard| {
            self.note(heard);
            assert!(Instant::now() < end, "what is waited for does not come, but {}", heard.topic);
            wanted(heard)
        });
    }
}

fn says_store_ok(heard: &ReceivedMessage, ok: bool) -> bool {
    heard.topic == "hearth/home/health" && heard.json()["store_ok"] == ok
}

/// A file system of its own for a state directory; it is taken away when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// None where that is not allowed.
    fn new(at: PathBuf, arguments: &[&str]) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        run("mount", arguments, &at).then_some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
}

fn status(dir: &Path) -> String {
    let shown = Command::new(HEARTH).args(["status", "--config", "hearth.toml"]).current_dir(dir).output().unwrap();
    String::from_utf8(shown.stdout).unwrap()
}

#[test]
fn a_disk_that_fills_up_is_said_and_nothing_that_was_heard_is_missing_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let Some(_mounted) = Mounted::new(state.clone(), &["-t", "tmpfs", "-o", "size=16m", "hearth"]) else {
        println!("skipped: a small file system can only be mounted as root");
        return;
    };
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    let text = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
    let mut hearth = Hearth::run(dir.path(), &text);
    let mut arrived = Arrived::default();
    arrived.until(&listener, |heard| heard.topic == "hearth/home/utterance");
    let mut filler = std::fs::File::create(state.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    hearth.until_said("the store takes nothing");
    arrived.until(&listener, |heard| says_store_ok(heard, false));
    let shown = status(dir.path());
    assert!(shown.contains("listening") && shown.contains("takes nothing: the disk is full"), "{shown}");
    listener.publish("hearth/home/interval/set", "soon", false);
    arrived.until(&listener, |heard| heard.topic == "hearth/home/response/interval");
    drop(filler);
    std::fs::remove_file(state.join("filler")).unwrap();
    hearth.until_said("the store takes text again");
    arrived.until(&listener, |heard| says_store_ok(heard, true));
    // What waited in memory meanwhile is not the end of it.
    arrived.until(&listener, |heard| heard.topic == "hearth/home/utterance");
    hearth.terminate();
    arrived.until(&listener, is_farewell);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert_eq!(arrived.0, ids(&transcript(dir.path())), "everything, in order");
    assert_eq!(stored(dir.path()), arrived.0);
    // A machine that is busy as well may give up what was said long before there was room again; then it says so.
    let database = rusqlite::Connection::open(state.join("hearth.db")).unwrap();
    let mut gaps = database.prepare("SELECT id FROM gap").unwrap();
    let gaps: BTreeSet<String> = gaps.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(gaps, arrived.1, "what went unheard was told");
}

#[test]
fn a_card_that_its_own_fault_made_read_only_is_said_and_costs_nothing_that_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (state, card) = (dir.path().join("state"), dir.path().join("card"));
    std::fs::File::create(&card).unwrap().set_len(32 << 20).unwrap();
    let card_path = card.display().to_string();
    let insert = || {
        run("mkfs.ext4", &["-q"], &card).then_some(())?;
        Mounted::new(state.clone(), &["-o", "loop", &card_path])
    };
    let Some(mounted) = insert() else {
        println!("skipped: a file system that can fail can only be mounted as root");
        return;
    };
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    let text = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
    let mut hearth = Hearth::run(dir.path(), &text);
    let mut arrived = Arrived::default();
    arrived.until(&listener, |heard| heard.topic == "hearth/home/utterance");
    // What the kernel does to a file system with errors=remount-ro.
    assert!(run("mount", &["-o", "remount,abort"], &state));
    hearth.until_said("the system made it read-only after a fault");
    arrived.until(&listener, |heard| says_store_ok(heard, false));
    let shown = status(dir.path());
    assert!(shown.contains("listening") && shown.contains("takes nothing"), "it goes on: {shown}");
    hearth.terminate();
    let (_, said) = hearth.wait();
    assert!(said.contains("failed while closing") && said.contains("hearth.db cannot be read or written"), "{said}");

    drop(mounted);
    let _mounted = Mounted::new(state.clone(), &["-o", "loop", &card_path]).expect("it was mounted before");
    let before = stored(dir.path());
    assert!(!before.is_empty());
    let short = config(&super::house::clip(dir.path(), 6), "fast", &format!("mqtt://{}", broker.address), "");
    let hearth = Hearth::run(dir.path(), &short);
    arrived.until(&listener, |heard| heard.topic == "hearth/home/status" && heard.payload == "online" && !heard.retain);
    arrived.until(&listener, is_farewell);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let stored = stored(dir.path());
    assert_eq!(stored[..before.len()], before);
    assert_eq!(arrived.0, stored, "everything that was stored arrived, in order");
}

/// Ids of all utterances in the database of a hearth that is not running.
fn stored(dir: &Path) -> Vec<String> {
    let store = Store::open(&dir.join("state"), OutboxLimits::from(&hearth::config::StoreConfig::default())).unwrap();
    store.utterances_after(0, 10_000).unwrap().into_iter().map(|(_, utterance)| utterance.id.to_string()).collect()
}

/// Every phase of every alert in the database of a hearth that is not running.
fn stored_alerts(dir: &Path) -> Vec<(String, String)> {
    let database = rusqlite::Connection::open(dir.join("state/hearth.db")).unwrap();
    let mut all = database.prepare("SELECT id, phase FROM alert ORDER BY seq").unwrap();
    all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn kill_minus_nine_loses_nothing_and_repeats_only_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    // An alert with the first words, so that there are some to lose.
    let rule = "[[rule]]\nname = \"table\"\npattern = \"dinner|Emma\"\nconfirm = \"1 of 1\"\ncooldown_s = 0\n";
    let text = config(&household(), "fast", &format!("mqtt://{}", broker.address), rule);
    let mut seen = BTreeMap::new();
    let (mut said, mut alerts) = (Vec::new(), Vec::new());
    let mut note = |heard: &ReceivedMessage| {
        let name = |json: &serde_json::Value, key: &str| json[key].as_str().unwrap().to_string();
        if heard.topic == "hearth/home/utterance" {
            let utterance = heard.json();
            let (id, text) = (name(&utterance, "id"), name(&utterance, "text"));
            match seen.insert(id.clone(), text.clone()) {
                Some(before) => assert_eq!(before, text, "one id for two texts"),
                None => said.push(id),
            }
        } else if heard.topic == "hearth/home/alert" {
            let alert = heard.json();
            // What is sent again is the same to the letter; two updates of one moment are not.
            let phase = (name(&alert, "id"), name(&alert, "phase"), heard.payload.clone());
            if !alerts.contains(&phase) {
                alerts.push(phase);
            }
        }
        seen.len()
    };
    // Three in every run; `make soak-publishing` kills a hundred times.
    let rounds = std::env::var("HEARTH_KILLS").map_or(3, |n| n.parse().expect("HEARTH_KILLS is a number"));
    for kills in 1..=rounds {
        let hearth = Hearth::run(dir.path(), &text);
        until(&listener, |heard| note(heard) >= 3 * kills);
        // Somewhere in the middle of whatever it does now.
        std::thread::sleep(std::time::Duration::from_millis(rand::random_range(0..300)));
        hearth.kill();
    }
    let before_last = stored(dir.path());
    let short = config(&super::house::clip(dir.path(), 6), "fast", &format!("mqtt://{}", broker.address), rule);
    let hearth = Hearth::run(dir.path(), &short);
    // The will of the one that was killed says "offline", too.
    until(&listener, |heard| {
        note(heard);
        heard.topic == "hearth/home/status" && heard.payload.contains("online")
    });
    until(&listener, |heard| {
        note(heard);
        is_farewell(heard)
    });
    let (status, log) = hearth.wait();
    assert!(status.success(), "{log}");
    let stored = stored(dir.path());
    assert_eq!(stored[..before_last.len()], before_last, "what was committed never changes");
    let missing: Vec<_> = stored.iter().filter(|id| !seen.contains_key(*id)).collect();
    assert!(missing.is_empty(), "{} of {} stored utterances never arrived", missing.len(), stored.len());
    assert!(said == stored, "each came first in the order in which they were stored");
    let phases = |alerts: &[(String, String, String)]| -> Vec<_> {
        alerts.iter().map(|(id, phase, _)| (id.clone(), phase.clone())).collect()
    };
    assert_eq!(phases(&alerts), stored_alerts(dir.path()), "each phase of each alert came, in order");
    assert!(!alerts.is_empty(), "there was no alert to lose");
    println!("{rounds} kills, {} utterances, {} phases of alerts", said.len(), alerts.len());
    assert_eq!(ids(&transcript(dir.path())), stored, "transcript.jsonl has caught up");
}

#[test]
fn sigterm_drains_and_the_next_start_goes_on_from_the_snapshot() {
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
    hearth.until_said("went on from the last snapshot");
    listener.on("hearth/home/utterance");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn what_there_was_no_time_for_is_stored_told_and_read_as_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    // The bundled model is told nothing of gaps.
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(&bundled).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let prompt = model.join("prompt.json");
    let mut named: Value = serde_json::from_slice(&std::fs::read(&prompt).unwrap()).unwrap();
    named["gap"] = " (… {seconds} seconds missing …)".into();
    std::fs::write(&prompt, named.to_string()).unwrap();

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

    let settings = Config::default();
    let fresh = || Reader::open(&model, &settings.listener, &settings.digest, &[]).unwrap();
    let (mut all, mut left) = (fresh(), fresh());
    let store = Store::look(&dir.path().join("state"), OutboxLimits::from(&settings.store)).unwrap();
    for (_, utterance) in store.utterances_after(0, 1_000).unwrap() {
        all.replay(std::slice::from_ref(&utterance)).unwrap();
    }
    let database = rusqlite::Connection::open(store.path()).unwrap();
    let mut gaps = database.prepare("SELECT reason, (\"end\" - start) / 1e9 FROM gap").unwrap();
    let gaps: Vec<(String, f64)> =
        gaps.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert!(gaps.iter().any(|(reason, seconds)| reason == "overload" && *seconds > 1.0), "{gaps:?}");
    for (_, seconds) in &gaps {
        let (from, reason) = (Timestamp::UNIX_EPOCH, GapReason::Overload);
        let to = from + SignedDuration::from_secs_f64(*seconds);
        all.gap(&Gap { id: Ulid::nil(), room: "home".into(), from, to, reason }).unwrap();
    }
    let (state, _) = left.load_latest(&SnapshotStore::look(&dir.path().join("state")), |_| true).unwrap().unwrap();
    left.resume(Some(state));
    assert_eq!(left.state().tokens_read(), all.state().tokens_read(), "the state has read each of {gaps:?}");
}

#[test]
fn a_torn_snapshot_is_kept_aside_and_reading_starts_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let file = super::house::clip(dir.path(), 8);
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
    assert_eq!((bad.len(), good.len()), (1, 1), "a new one was left in its place");
}

/// What lies in the directory of snapshots.
fn snapshots(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join("state/snapshots")).unwrap().map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_broker_that_refuses_the_password_is_named_and_everything_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users"), "somebody:$7$101$0123456789abcdef$AAAA\n").unwrap();
    let users = dir.path().join("users");
    let rules = format!("allow_anonymous false\npassword_file {}\n", users.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &rules);
    std::fs::write(dir.path().join("password"), "wrong\n").unwrap();
    let file = super::house::clip(dir.path(), 8);
    let more = "username = \"hearth\"\npassword_file = \"password\"\n";
    let (status, said) =
        Hearth::run(dir.path(), &config(&file, "fast", &format!("mqtt://{}", broker.address), more)).wait();
    assert!(status.success(), "{said}");
    assert!(said.contains("refuses") && said.contains("password_file"), "{said}");
    assert!(!said.contains("wrong"), "the password is in the log: {said}");
    let store =
        Store::open(&dir.path().join("state"), OutboxLimits::from(&hearth::config::StoreConfig::default())).unwrap();
    assert!(store.outbox_len().unwrap() > 0, "what could not be sent waits");
}

#[test]
fn no_password_is_logged_however_much_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "Tr0ub4dor\n").unwrap();
    let more = format!(
        "listen = \"{}\"\nusername = \"anna\"\npassword_file = \"password\"\n[log]\nlevel = \"trace,rumqttd=trace,rumqttc=trace\"\n",
        free_address()
    );
    let text = config(&super::house::clip(dir.path(), 4), "fast", "embedded", &more);
    let (status, said) = Hearth::run(dir.path(), &text).wait();
    assert!(status.success() && said.contains("TRACE") && said.contains("connected to the broker"), "{said}");
    assert!(!said.contains("Tr0ub4dor"), "{}", said.lines().find(|line| line.contains("Tr0ub4dor")).unwrap());
}
