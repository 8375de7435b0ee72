//! A disk that is full or read-only: nothing that was heard is lost, and health and `hearth status` say so.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::crashes::stored;
use super::harness::{HEARTH, Hearth, clip, config, household, ids, is_farewell, transcript, until};
use super::mosquitto::{LONG, Mosquitto, ReceivedMessage, Subscriber};

/// What arrived over MQTT.
#[derive(Default)]
struct Arrived {
    /// Ids of utterances, in the order in which each came first.
    utterances: Vec<String>,
    gaps: BTreeSet<String>,
}

impl Arrived {
    fn note(&mut self, message: &ReceivedMessage) {
        let id = || message.json()["id"].as_str().unwrap().to_owned();
        match message.topic.as_str() {
            "hearth/home/utterance" if !self.utterances.contains(&id()) => self.utterances.push(id()),
            "hearth/home/gap" => drop(self.gaps.insert(id())),
            _ => {}
        }
    }
}

/// A file system of its own for a state directory; it is unmounted when this is dropped.
pub(super) struct Mounted(PathBuf);

impl Mounted {
    pub(super) fn new(at: PathBuf, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        assert!(run("mount", arguments, &at), "cannot mount {}: are you root?", at.display());
        Self(at)
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

/// A hearth on a disk that will fail, and what arrived of it.
struct FaultyDisk {
    broker: Mosquitto,
    subscriber: Subscriber,
    hearth: Hearth,
    arrived: Arrived,
}

impl FaultyDisk {
    /// Starts hearth on the household, and waits for its first utterance.
    fn start(dir: &Path, more: &str) -> Self {
        let broker = Mosquitto::anywhere(dir);
        let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
        let text = config(&household(), "real-time", &format!("mqtt://{}", broker.address), more);
        let hearth = Hearth::run(dir, &text);
        let mut test = Self { broker, subscriber, hearth, arrived: Arrived::default() };
        test.until(|message| message.topic == "hearth/home/utterance");
        test
    }

    /// Takes messages until one is what is `wanted`.
    fn until(&mut self, wanted: impl Fn(&ReceivedMessage) -> bool) {
        let end = Instant::now() + 2 * LONG;
        until(&self.subscriber, |message| {
            self.arrived.note(message);
            assert!(Instant::now() < end, "the message that is waited for does not come, but {}", message.topic);
            wanted(message)
        });
    }

    fn until_store_ok(&mut self, ok: bool) {
        self.until(|message| message.topic == "hearth/home/health" && message.json()["store_ok"] == ok);
    }
}

fn status(dir: &Path) -> String {
    let shown = Command::new(HEARTH).args(["status", "--config", "hearth.toml"]).current_dir(dir).output().unwrap();
    String::from_utf8(shown.stdout).unwrap()
}

mod needs_root {
    use super::*;

    #[test]
    #[ignore = "needs root, to mount a small file system: make test-root"]
    fn nothing_is_missing_after_a_full_disk_has_space_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let _mounted = Mounted::new(state.clone(), &["-t", "tmpfs", "-o", "size=16m", "hearth"]);
        let mut test = FaultyDisk::start(dir.path(), "");
        let mut filler = std::fs::File::create(state.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        test.hearth.until_said("the store cannot be written");
        test.until_store_ok(false);
        let shown = status(dir.path());
        assert!(shown.contains("listening") && shown.contains("takes nothing: the disk is full"), "{shown}");
        test.subscriber.publish("hearth/home/interval/set", "soon", false);
        test.until(|message| message.topic == "hearth/home/response/interval");
        drop(filler);
        std::fs::remove_file(state.join("filler")).unwrap();
        test.hearth.until_said("the store can be written again");
        test.until_store_ok(true);
        // Not only what waited in memory meanwhile, but also what is said after it.
        test.until(|message| message.topic == "hearth/home/utterance");
        test.hearth.terminate();
        test.until(is_farewell);
        let FaultyDisk { hearth, arrived, broker: _broker, subscriber: _ } = test;
        let (status, log) = hearth.wait();
        assert!(status.success(), "{log}");
        assert_eq!(arrived.utterances, ids(&transcript(dir.path())), "everything, in order");
        assert_eq!(stored(dir.path()), arrived.utterances);
        // A machine that is busy as well may give up what was said long before there was space again; then it reports a gap.
        let database = rusqlite::Connection::open(state.join("hearth.db")).unwrap();
        let mut gaps = database.prepare("SELECT id FROM gap").unwrap();
        let gaps: BTreeSet<String> = gaps.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(gaps, arrived.gaps, "each gap was published");
    }

    /// Fills a disk to the last byte.
    fn fill(state: &Path) -> PathBuf {
        let filler = state.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        filler
    }

    #[test]
    #[ignore = "needs root, to mount a small file system: make test-root"]
    fn an_alert_and_a_mute_are_told_while_the_disk_is_full_and_hold_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let _mounted = Mounted::new(state.clone(), &["-t", "tmpfs", "-o", "size=16m", "hearth"]);
        let rule = "[[rule]]\nname = \"fall\"\npattern = \"bathroom\"\nconfirm = \"1 of 1\"\n";
        let mut test = FaultyDisk::start(dir.path(), rule);
        let filler = fill(&state);
        test.hearth.until_said("the store cannot be written");
        let ask = |sql: &str| {
            let database = rusqlite::Connection::open(state.join("hearth.db")).unwrap();
            database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        test.until(|message| message.topic == "hearth/home/alert" && message.json()["phase"] == "new");
        assert_eq!(ask("SELECT count(*) FROM alert"), 0, "the disk is still full");
        test.subscriber.publish("hearth/home/listening/set", "OFF", false);
        test.until(|message| message.topic == "hearth/home/listening" && message.payload.contains("OFF"));
        assert_eq!(ask("SELECT count(*) FROM meta WHERE key = 'muted' AND value = 'yes'"), 0);
        std::fs::remove_file(filler).unwrap();
        let end = Instant::now() + LONG;
        while ask("SELECT count(*) FROM meta WHERE key = 'muted' AND value = 'yes'") == 0 {
            assert!(Instant::now() < end, "the mute is never stored");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        test.hearth.until_said("the store can be written again");
        test.until_store_ok(true);
        let FaultyDisk { hearth, broker, subscriber, arrived } = test;
        hearth.kill();
        assert_eq!(ask("SELECT count(*) FROM alert WHERE phase = 'new'"), 1, "it is stored, once");
        assert_eq!(ask("SELECT count(*) FROM gap WHERE reason != 'muted'"), 0, "nothing is given up");
        let stored = stored(dir.path());
        assert!(arrived.utterances.iter().all(|id| stored.contains(id)), "what was sent from memory is stored");
        let text = config(&household(), "real-time", &format!("mqtt://{}", broker.address), rule);
        let _hearth = Hearth::run(dir.path(), &text);
        subscriber.on("hearth/home/listening");
        assert!(status(dir.path()).contains("muted"), "{}", status(dir.path()));
    }

    #[test]
    #[ignore = "needs root, to mount a file system that can fail: make test-root"]
    fn a_card_that_becomes_read_only_is_reported_and_loses_nothing_that_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let card = dir.path().join("card");
        std::fs::File::create(&card).unwrap().set_len(32 << 20).unwrap();
        assert!(run("mkfs.ext4", &["-q"], &card), "mkfs.ext4 fails");
        let card_path = card.display().to_string();
        let mounted = Mounted::new(state.clone(), &["-o", "loop", &card_path]);
        let mut test = FaultyDisk::start(dir.path(), "");
        // What the kernel does to a file system with errors=remount-ro.
        assert!(run("mount", &["-o", "remount,abort"], &state));
        test.hearth.until_said("the system made it read-only after a fault");
        test.until_store_ok(false);
        let shown = status(dir.path());
        assert!(shown.contains("listening") && shown.contains("takes nothing"), "it goes on: {shown}");
        let FaultyDisk { hearth, arrived, broker, subscriber } = test;
        hearth.terminate();
        let (status, log) = hearth.wait();
        assert!(!status.success(), "what was heard could not be stored: {log}");
        assert!(log.contains("failed while closing") && log.contains("hearth.db cannot be read or written"), "{log}");

        drop(mounted);
        let _mounted = Mounted::new(state.clone(), &["-o", "loop", &card_path]);
        let before = stored(dir.path());
        assert!(!before.is_empty());
        let short = config(&clip(dir.path(), 6), "fast", &format!("mqtt://{}", broker.address), "");
        let mut test = FaultyDisk { hearth: Hearth::run(dir.path(), &short), arrived, broker, subscriber };
        test.until(|message| message.topic == "hearth/home/status" && message.payload == "online" && !message.retain);
        test.until(is_farewell);
        let FaultyDisk { hearth, arrived, .. } = test;
        let (status, log) = hearth.wait();
        assert!(status.success(), "{log}");
        let stored = stored(dir.path());
        assert_eq!(stored[..before.len()], before);
        // What was sent from memory could not be stored any more.
        let arrived: Vec<_> = arrived.utterances.into_iter().filter(|id| stored.contains(id)).collect();
        assert_eq!(arrived, stored, "everything that was stored arrived, in order");
    }
}
