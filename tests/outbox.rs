//! The outbox on a real SQLite: nothing accepted is lost, whatever happens between any two steps.
//!
//! A crash is a connection that is dropped, in the middle of a transaction too, or a process that is killed. The power
//! going is not played here: for that SQLite's `synchronous=FULL` is trusted.
#![allow(clippy::disallowed_methods, reason = "a test is its own supervisor")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hearth::config::Keep;
use hearth::event::{Alert, AlertPhase, Gap, GapReason, Message, Provenance, Severity, Utterance};
use hearth::mqtt::inflight::{InflightWindow, WINDOW};
use hearth::store::transcript_jsonl::TranscriptJsonl;
use hearth::store::{ListenerTurn, OutboxLimits, Store, StoreError};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use ulid::Ulid;

const ROOMY: OutboxLimits =
    OutboxLimits { outbox_max_bytes: 64 << 20, outbox_max_age: SignedDuration::from_hours(24 * 30) };

fn open(dir: &Path) -> Store {
    Store::open(dir, ROOMY).unwrap()
}

fn message(topic: &str, payload: impl ToString) -> Message {
    Message { topic: topic.into(), payload: payload.to_string(), retain: false, provenance: Provenance::Nothing }
}

fn retained(topic: &str, payload: impl ToString) -> Message {
    Message { retain: true, ..message(topic, payload) }
}

fn utterance(seconds: i64, text: &str) -> Utterance {
    let start = Timestamp::from_second(1_767_225_600 + seconds).unwrap();
    Utterance {
        id: Ulid::generate(),
        start,
        end: start + SignedDuration::from_millis(1_500),
        room: "kitchen".into(),
        text: text.into(),
        confidence: 0.75,
        no_speech: 0.125,
    }
}

fn payloads(store: &Store) -> Vec<String> {
    store.outbox_after(0, 10_000).unwrap().into_iter().map(|(_, message)| message.payload).collect()
}

// ---- the model: a household, a store, a client and a broker

#[derive(Clone, Debug)]
enum Step {
    Push {
        topic: u8,
        retain: bool,
    },
    /// Something is handed to the client.
    HandOver,
    /// The client puts its oldest on the wire; the broker has it from then on.
    Send,
    /// The broker acknowledges one of those that are open, in any order.
    Acknowledge(prop::sample::Index),
    /// The broker makes an acknowledgement up.
    Nonsense(u16),
    /// What was acknowledged is removed from the outbox.
    Flush,
    Lose,
    Connect,
    /// The process dies and starts again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, prop::bool::weighted(0.3)).prop_map(|(topic, retain)| Step::Push { topic, retain }),
        5 => Just(Step::HandOver),
        5 => Just(Step::Send),
        5 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        1 => any::<u16>().prop_map(|id| Step::Nonsense(id | 0x100)),
        3 => Just(Step::Flush),
        1 => Just(Step::Lose),
        2 => Just(Step::Connect),
        1 => Just(Step::Crash),
    ]
}

/// The house, as it publishes: what `services::publish` does, step by step.
struct House {
    dir: tempfile::TempDir,
    store: Store,
    inflight: InflightWindow<i64>,
    cursor: i64,
    acknowledged: BTreeSet<i64>,
    /// In the client's hands: row, topic, payload.
    client: VecDeque<(i64, Message)>,
    next_packet: u16,
    open: BTreeMap<u16, i64>,
    /// What the broker got, in order.
    broker: Vec<(i64, Message)>,
    pushed: Vec<Message>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        Self {
            store,
            dir,
            inflight: InflightWindow::default(),
            cursor: 0,
            acknowledged: BTreeSet::new(),
            client: VecDeque::new(),
            next_packet: 1,
            open: BTreeMap::new(),
            broker: Vec::new(),
            pushed: Vec::new(),
        }
    }

    fn lose(&mut self) {
        self.inflight.lost();
        self.client.clear();
        self.open.clear();
        self.cursor = 0;
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Push { topic, retain } => {
                let topic = if *retain { format!("state/{topic}") } else { format!("event/{topic}") };
                let payload = self.pushed.len().to_string();
                let message = Message { topic, payload, retain: *retain, provenance: Provenance::Nothing };
                self.store.enqueue(std::slice::from_ref(&message)).unwrap();
                self.pushed.push(message);
            }
            Step::HandOver if self.inflight.free_slots() > 0 => {
                let rows = self.store.outbox_after(self.cursor, 1).unwrap();
                for (seq, message) in rows {
                    self.cursor = seq;
                    if !self.acknowledged.contains(&seq) {
                        self.inflight.handed_over(seq);
                        self.client.push_back((seq, message));
                    }
                }
            }
            Step::Send => {
                if let Some((seq, message)) = self.client.pop_front() {
                    let packet = self.next_packet;
                    self.next_packet = packet % 32 + 1;
                    assert_eq!(self.open.insert(packet, seq), None, "the window is smaller than the packet ids");
                    self.inflight.sent(packet);
                    self.broker.push((seq, message));
                }
            }
            Step::Acknowledge(which) if !self.open.is_empty() => {
                let packets: Vec<u16> = self.open.keys().copied().collect();
                let packet = *which.get(&packets);
                let expected = self.open.remove(&packet);
                let seq = self.inflight.acknowledged(packet);
                assert_eq!(seq, expected);
                self.acknowledged.extend(seq);
            }
            Step::Nonsense(packet) => assert_eq!(self.inflight.acknowledged(*packet), None),
            Step::Flush => {
                let rows: Vec<i64> = self.acknowledged.iter().copied().collect();
                self.store.acknowledge(&rows, 0).unwrap();
                self.acknowledged.clear();
            }
            Step::Lose => self.lose(),
            Step::Connect if !self.inflight.is_connected() => self.inflight.connected(),
            Step::Crash => {
                self.lose();
                self.acknowledged.clear();
                self.store = open(self.dir.path());
            }
            _ => {}
        }
        assert!(self.inflight.count() <= WINDOW);
    }

    /// The broker behaves from now on: everything must arrive.
    fn settle(&mut self) {
        self.take(&Step::Connect);
        for _ in 0..10 * (self.pushed.len() + WINDOW) {
            self.take(&Step::HandOver);
            self.take(&Step::Send);
            if let Some(packet) = self.open.keys().next().copied() {
                let seq = self.inflight.acknowledged(packet);
                self.open.remove(&packet);
                self.acknowledged.extend(seq);
            }
        }
        self.take(&Step::Flush);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_repeats_keep_their_row_and_order(steps in prop::collection::vec(step(), 1..120)) {
        let mut house = House::new();
        for step in &steps {
            house.take(step);
        }
        house.settle();
        prop_assert_eq!(house.store.outbox_len().unwrap(), 0);

        // A row always carries the same message: a repeat is the same under the same name.
        let mut rows: BTreeMap<i64, &Message> = BTreeMap::new();
        for (seq, message) in &house.broker {
            prop_assert_eq!(*rows.entry(*seq).or_insert(message), message);
        }
        let firsts = |topic: &str| -> Vec<i64> {
            let mut seen = BTreeSet::new();
            house.broker.iter().filter(|(seq, m)| m.topic == topic && seen.insert(*seq)).map(|(seq, _)| *seq).collect()
        };
        for topic in (0..3).flat_map(|n| [format!("event/{n}"), format!("state/{n}")]) {
            // Order per topic, as somebody sees it who drops repeats.
            let seqs = firsts(&topic);
            prop_assert!(seqs.is_sorted(), "{} arrived as {:?}", topic, seqs);
            let sent: Vec<&String> = house.pushed.iter().filter(|m| m.topic == topic).map(|m| &m.payload).collect();
            let arrived: Vec<&String> = seqs.iter().map(|seq| &rows[seq].payload).collect();
            if topic.starts_with("event") {
                prop_assert_eq!(arrived, sent, "every event arrives");
            } else {
                // Of a state only the newest must arrive, and it must be what the broker heard last.
                let last = house.broker.iter().rfind(|(_, m)| m.topic == topic).map(|(_, m)| &m.payload);
                prop_assert_eq!(last, sent.last().copied());
            }
        }
    }
}

// ---- crashes

#[test]
fn a_transaction_that_was_not_committed_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).record_utterance(&utterance(0, "first"), &[message("u", 1)]).unwrap();
    {
        let half = rusqlite::Connection::open(dir.path().join("hearth.db")).unwrap();
        half.execute_batch("BEGIN IMMEDIATE; DELETE FROM outbox; DELETE FROM utterance;").unwrap();
        half.execute("INSERT INTO outbox(topic, payload, retain, created, bytes) VALUES ('u', 'x', 0, 0, 2)", [])
            .unwrap();
        // Dropped here, in the middle.
    }
    let store = open(dir.path());
    assert_eq!(payloads(&store), ["1"]);
    assert_eq!(store.utterances_after(0, 10).unwrap().len(), 1);
    assert_eq!(store.waiting().unwrap().messages, 1);
}

const CHILD: &str = "HEARTH_TEST_RECORD_INTO";

/// Not a test of its own: what the killed process runs. Without the variable it has nothing to do.
#[test]
fn a_process_that_records_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let mut store = open(Path::new(&dir));
    let mut out = std::io::stdout();
    for n in 0.. {
        store.record_utterance(&utterance(n, &format!("word {n}")), &[message("u", n), retained("last", n)]).unwrap();
        writeln!(out, "\nstored {n}").unwrap();
    }
}

#[test]
fn a_process_killed_while_it_records_loses_nothing_it_had_stored() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let before = if round == 0 { 0 } else { open(dir.path()).utterances_after(0, 100_000).unwrap().len() };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_that_records_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stored = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while stored <= 20 * (round + 1) {
            if let Some(n) = lines.next().unwrap().unwrap().strip_prefix("stored ") {
                stored = n.parse().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let told =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("stored ").map(str::to_owned)).last();
        let told = told.and_then(|n| n.parse().ok()).unwrap_or(stored) as usize + 1;

        let store = open(dir.path());
        let utterances = store.utterances_after(0, 100_000).unwrap();
        let messages: Vec<_> = store.outbox_after(0, 100_000).unwrap();
        let events = messages.iter().filter(|(_, message)| !message.retain).count();
        assert!(utterances.len() - before >= told, "{} of {told} utterances are there", utterances.len() - before);
        assert_eq!(utterances.len(), events, "an utterance and its message are there together");
        assert_eq!(messages.iter().filter(|(_, message)| message.retain).count(), 1);
        assert_eq!(store.waiting().unwrap().messages as usize, messages.len());
        assert!(utterances.iter().zip(utterances.iter().skip(1)).all(|(a, b)| a.0 < b.0));
    }
}

#[test]
fn a_full_disk_is_said_and_costs_nothing_that_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    if rustix::process::geteuid().is_root() && mount(dir.path()) {
        let full = dir.path().join("small");
        std::fs::write(full.join("photo"), [0; 64 << 10]).unwrap();
        let mut store = open(&full);
        let mut stored = 0;
        let error = loop {
            match store.record_utterance(&utterance(stored, &"many words ".repeat(500)), &[message("u", stored)]) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }) && error.may_pass(), "{error:?}");
        assert!(error.to_string().contains("hearth.db") && error.to_string().contains("full"), "{error}");
        drop(store);
        // Opening needs a little room.
        std::fs::remove_file(full.join("photo")).unwrap();
        let store = open(&full);
        assert_eq!(store.utterances_after(0, 100_000).unwrap().len(), stored as usize);
        assert_eq!(store.outbox_len().unwrap(), stored as u64);
        drop(store);
        assert!(Command::new("umount").arg(&full).status().unwrap().success());
    } else {
        println!("skipped: a small file system can only be mounted as root");
    }
}

#[test]
fn a_file_system_that_cannot_be_written_is_said() {
    let dir = tempfile::tempdir().unwrap();
    if !(rustix::process::geteuid().is_root() && mount(dir.path())) {
        println!("skipped: a small file system can only be mounted as root");
        return;
    }
    let small = dir.path().join("small");
    let sealed = |options: &str| {
        assert!(Command::new("mount").args(["-o", options]).arg(&small).status().unwrap().success());
    };
    sealed("remount,ro");
    let error = Store::open(&small, ROOMY).unwrap_err().to_string();
    assert!(error.contains("hearth.db cannot be opened for writing") && error.contains("ead-only"), "{error}");
    let error = Store::open(&small.join("deeper"), ROOMY).unwrap_err().to_string();
    assert!(error.contains("deeper cannot be made") && error.contains("[store] dir"), "{error}");
    sealed("remount,rw");
    let mut store = open(&small);
    assert!(store.enqueue(&[message("u", 1)]).is_ok());
    drop(store);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
}

fn mount(dir: &Path) -> bool {
    let small = dir.join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "hearth"]).arg(&small).status();
    mounted.is_ok_and(|status| status.success())
}

// ---- files that are not ours

#[test]
fn a_file_that_is_no_database_or_not_ours_or_newer_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hearth.db");
    let refusal = || {
        let error = Store::open(dir.path(), ROOMY).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(!error.may_pass());
        error.to_string()
    };

    std::fs::write(&path, "this is a letter, not a database; ".repeat(200)).unwrap();
    assert!(refusal().contains("is no hearth database; move it away"));

    std::fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE photo(name TEXT)").unwrap();
    drop(other);
    assert!(refusal().contains("is no hearth database"));
    let other = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    drop(other);

    std::fs::remove_file(&path).unwrap();
    drop(open(dir.path()));
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(refusal().contains("written by a newer hearth (schema 99, this one knows 6)"));
}

#[test]
fn a_database_from_before_there_were_rooms_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).record_utterance(&utterance(0, "good morning"), &[]).unwrap();
    let older = rusqlite::Connection::open(dir.path().join("hearth.db")).unwrap();
    for table in ["outbox", "retained"] {
        for column in ["quoted_sources", "quoted_until", "replacement"] {
            older.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
        }
    }
    older
        .execute_batch(
            "ALTER TABLE gap DROP COLUMN room; ALTER TABLE digest DROP COLUMN room; ALTER TABLE alert DROP COLUMN room; DROP TABLE inbox; DROP TABLE arrival; DROP TABLE false_alarm; DROP TABLE forgotten;
             PRAGMA user_version = 1",
        )
        .unwrap();
    older.execute("INSERT INTO gap VALUES (1, 'x', 0, 1, 'muted')", []).unwrap();
    drop(open(dir.path()));
    let room: String = older.query_row("SELECT room FROM gap", [], |row| row.get(0)).unwrap();
    assert_eq!(room, utterance(0, "").room);
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for n in 0..200 {
        store.record_utterance(&utterance(n, &"word ".repeat(50)), &[message("u", n)]).unwrap();
    }
    drop(store);
    let path = dir.path().join("hearth.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let size = bytes.len();
    bytes[4096..size].fill(0x55);
    std::fs::write(&path, &bytes).unwrap();
    let error = Store::open(dir.path(), ROOMY)
        .and_then(|mut store| store.record_utterance(&utterance(0, "x"), &[message("u", 0)]))
        .unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("is damaged") && error.to_string().contains(".recover"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap().len(), size);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file/below"), ROOMY).unwrap_err();
    assert!(error.to_string().contains("file/below") && error.to_string().contains("[store] dir"), "{error}");
}

#[test]
fn the_files_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let house = dir.path().join("house");
    let mut store = open(&house);
    store.record_utterance(&utterance(0, "hello"), &[]).unwrap();
    TranscriptJsonl::open(&house, TimeZone::UTC).unwrap().follow(&store).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&house), 0o700);
    let files: Vec<_> = std::fs::read_dir(&house).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

// ---- what is kept, and how long

#[test]
fn a_false_alarm_is_kept_with_the_probability_its_alert_began_at_when_the_words_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let alert = |phase, probability| Alert {
        id: Ulid::from_parts(1, 1),
        rule: "leak".into(),
        phase,
        severity: Severity::Critical,
        room: None,
        time: Timestamp::UNIX_EPOCH,
        probability: Some(probability),
        answer: None,
        evidence: Vec::new(),
    };
    let alerts = [alert(AlertPhase::New, 0.83), alert(AlertPhase::Update, 0.97)];
    let reading = ListenerTurn { digests: &[], alerts: &alerts, processed: 0, memory: "{}" };
    store.record_reading(reading, &[]).unwrap();
    for _ in 0..2 {
        store.record_false_alarm(Ulid::from_parts(1, 1), "leak", Timestamp::UNIX_EPOCH).unwrap();
    }
    store.enforce(Timestamp::now(), Keep::Nothing, 0).unwrap();
    assert_eq!(store.false_alarms().unwrap(), [("leak".to_string(), Some(0.83))]);
}

#[test]
fn many_openings_of_a_new_database_at_once_make_one_database() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (dir, start) = (dir.path(), &start);
                scope.spawn(move || {
                    start.wait();
                    open(dir).record_utterance(&utterance(n, "hello"), &[]).unwrap();
                });
            }
        });
        assert_eq!(open(dir.path()).utterances_after(0, 100).unwrap().len(), 8);
    }
}

#[test]
fn several_threads_write_to_one_database() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                let mut store = open(dir);
                for n in 0..25 {
                    store.record_utterance(&utterance(n, "hello"), &[message("u", thread * 100 + n)]).unwrap();
                }
            });
        }
    });
    let store = open(dir.path());
    assert_eq!(store.utterances_after(0, 1_000).unwrap().len(), 100);
    assert_eq!(store.waiting().unwrap().messages, 100);
}

#[test]
fn an_utterance_comes_back_as_it_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let said = utterance(7, "It's 8 o'clock; \"über\" — ok?");
    let seq = open(dir.path()).record_utterance(&said, &[]).unwrap();
    assert_eq!(open(dir.path()).utterances_after(seq - 1, 10).unwrap(), [(seq, said)]);
}

#[test]
fn a_newer_state_takes_the_place_of_an_older_one_even_when_that_is_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.enqueue(&[retained("state", "old"), message("event", "a"), retained("other", "o")]).unwrap();
    let under_way = store.outbox_after(0, 1).unwrap()[0].0;
    store.enqueue(&[retained("state", "new")]).unwrap();
    store.acknowledge(&[under_way], 0).unwrap();
    assert_eq!(payloads(&store), ["a", "o", "new"]);
    assert_eq!(store.retained().unwrap(), [retained("other", "o"), retained("state", "new")]);
    store.enqueue(&[retained("other", "")]).unwrap();
    assert_eq!(store.retained().unwrap(), [retained("state", "new")]);
    assert_eq!(store.forget_retained("sta").unwrap(), 1);
    assert_eq!(store.retained().unwrap(), []);
    assert_eq!(payloads(&store), ["a", "", ""]);
}

#[test]
fn the_bounds_give_up_the_oldest_and_count_them() {
    let dir = tempfile::tempdir().unwrap();
    let settings = OutboxLimits { outbox_max_bytes: 1_000, outbox_max_age: SignedDuration::from_hours(1) };
    let mut store = Store::open(dir.path(), settings).unwrap();
    for n in 0..30 {
        store.enqueue(&[message("topic", format!("{n:0>95}"))]).unwrap();
    }
    let waiting = store.waiting().unwrap();
    assert_eq!((waiting.messages, waiting.bytes, waiting.dropped), (10, 1_000, 20));
    assert_eq!(payloads(&store)[0], format!("{:0>95}", 20));
    store.enforce(Timestamp::now() + SignedDuration::from_hours(2), Keep::Forever, 0).unwrap();
    let waiting = store.waiting().unwrap();
    assert_eq!((waiting.messages, waiting.bytes, waiting.dropped), (0, 0, 30));
}

#[test]
fn what_was_read_is_stored_with_what_came_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    assert_eq!(store.reader().unwrap(), (0, None));
    let reading = ListenerTurn { digests: &[], alerts: &[], processed: 7, memory: "{\"a\":1}" };
    store.record_reading(reading, &[retained("summary", "s")]).unwrap();
    let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::now());
    let gap = Gap { id: Ulid::generate(), room: "hall".into(), from, to, reason: GapReason::Muted };
    store.record_gap(&gap, &[message("gap", "g")]).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.reader().unwrap(), (7, Some("{\"a\":1}".into())));
    assert_eq!(payloads(&store), ["s", "g"]);
}

#[test]
fn text_is_forgotten_when_it_may_be_and_leaves_no_trace_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let old = utterance(0, "the zebra is in the wardrobe");
    let first = store.record_utterance(&old, &[]).unwrap();
    store.record_utterance(&utterance(86_400 * 40, "the giraffe is at the door"), &[]).unwrap();
    assert_eq!(store.search("ZEBRA wardrobe", 5).unwrap(), [(first, old.clone())]);
    assert_eq!(store.search("zebra giraffe", 5).unwrap(), []);
    assert_eq!(store.search("\" OR NEAR(", 5).unwrap(), []);

    let now = old.end + SignedDuration::from_hours(24 * 41);
    assert_eq!(store.enforce(now, Keep::Days(30), 0).unwrap(), 0, "it was not read yet");
    assert_eq!(store.enforce(now, Keep::Days(30), 2).unwrap(), 1);
    assert_eq!(store.search("zebra", 5).unwrap(), []);
    assert_eq!(store.search("giraffe", 5).unwrap().len(), 1);
    assert_eq!(store.newest().unwrap(), 2);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(!found(b"zebra") && !found(b"wardrobe"), "{} still holds it", path.display());
    }
    assert_eq!(store.enforce(now, Keep::Nothing, 2).unwrap(), 1);
    assert_eq!(store.utterances_after(0, 10).unwrap(), []);
}

// ---- transcript.jsonl

fn seqs(path: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_i64().unwrap()).collect()
}

#[test]
fn the_file_of_lines_is_repaired_and_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("transcript.jsonl");
    let mut store = open(dir.path());
    let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    for n in 0..3 {
        store.record_utterance(&utterance(n, "hello"), &[]).unwrap();
        lines.follow(&store).unwrap();
    }
    drop(lines);
    for torn in ["{\"seq\":3,\"id\":\"01", "\0\0\0\0\n\0\0", "{\"seq\":3}\n"] {
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{torn}")).unwrap();
        store.record_utterance(&utterance(9, "more"), &[]).unwrap();
        let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
        lines.follow(&store).unwrap();
        lines.follow(&store).unwrap();
        assert_eq!(seqs(&path), (1..=store.newest().unwrap()).collect::<Vec<_>>());
    }
}

#[test]
fn the_file_of_lines_changes_with_the_day_and_reopens_after_it_was_moved() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        |n: usize| dir.path().join(if n == 0 { "transcript.jsonl".into() } else { format!("transcript.jsonl.{n}") });
    let mut store = open(dir.path());
    let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    for day in 0..10 {
        store.record_utterance(&utterance(86_400 * day, "good morning"), &[]).unwrap();
        lines.follow(&store).unwrap();
        lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    }
    assert_eq!(seqs(&file(0)), [10]);
    assert_eq!((seqs(&file(1)), seqs(&file(7))), (vec![9], vec![3]));
    assert!(!file(8).exists());

    std::fs::rename(file(0), dir.path().join("elsewhere")).unwrap();
    lines.reopen().unwrap();
    store.record_utterance(&utterance(86_400 * 9 + 1, "again"), &[]).unwrap();
    lines.follow(&store).unwrap();
    assert_eq!(seqs(&file(0)), [11]);

    lines.enforce(Timestamp::now() + SignedDuration::from_hours(24 * 3_000), Keep::Days(30)).unwrap();
    assert_eq!(seqs(&file(0)), Vec::<i64>::new());
    assert!((1..=7).all(|n| !file(n).exists()));
    store.record_utterance(&utterance(86_400 * 9 + 2, "still here"), &[]).unwrap();
    lines.follow(&store).unwrap();
    assert_eq!(seqs(&file(0)), [12]);
    TranscriptJsonl::remove(dir.path()).unwrap();
    assert!(!file(0).exists());
}

#[test]
fn a_database_that_begins_anew_is_followed_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut lines = TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap();
    for n in 0..5 {
        store.record_utterance(&utterance(n, "before"), &[]).unwrap();
    }
    lines.follow(&store).unwrap();
    drop(store);
    for name in ["hearth.db", "hearth.db-wal", "hearth.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    let mut store = open(dir.path());
    store.record_utterance(&utterance(100, "after"), &[]).unwrap();
    TranscriptJsonl::open(dir.path(), TimeZone::UTC).unwrap().follow(&store).unwrap();
    assert_eq!(seqs(&dir.path().join("transcript.jsonl")), [1, 2, 3, 4, 5, 1]);
}
