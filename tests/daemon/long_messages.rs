//! Messages of 120 MB from anybody on the broker: they are acknowledged, and never held in memory.

use std::path::Path;
use std::time::{Duration, Instant};

use hearth::config::MqttConfig;
use hearth::event::Utterance;
use hearth::mqtt::payload;
use hearth::mqtt::topics::Topics;
use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;

use super::harness::{Hearth, transcript};
use super::mosquitto::{LONG, Mosquitto, Subscriber};

const BYTES: usize = 120_000_000;
/// By so much may the highest use of memory grow.
const MORE_KIB: u64 = 32 << 10;

/// The most memory that a process has had, in KiB.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// An utterance of another machine, and the topic on which it is told.
fn utterance(text: &str) -> (String, String) {
    let topics = Topics::new(&MqttConfig::default(), &"kitchen".parse().unwrap());
    let start = Timestamp::now() - SignedDuration::from_secs(60);
    let said = Utterance {
        id: Ulid::generate(),
        start,
        end: start + SignedDuration::from_secs(1),
        room: "kitchen".into(),
        text: text.into(),
        confidence: 0.9,
        no_speech: 0.0,
        speaker: None,
    };
    let message = payload::utterance(&topics, &said);
    (message.topic, message.payload)
}

/// A machine that reads what others hear, and the broker's side of it.
struct Reader<'a> {
    hearth: Hearth,
    dir: &'a Path,
    answers: Subscriber,
    peak_kib: u64,
}

impl<'a> Reader<'a> {
    fn start(dir: &'a Path, broker: &Mosquitto) -> Self {
        let config = format!(
            "node = \"reader\"\nrule = []\n[source.mqtt]\ntopics = [\"hearth/+/utterance\"]\nwindow_s = 0\n\
             [store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
            broker.address
        );
        let answers = Subscriber::new(broker.address, "hearth/reader/response/+", None);
        let mut hearth = Hearth::run(dir, &config);
        hearth.until_said("other machines are heard");
        let mut reader = Self { hearth, dir, answers, peak_kib: 0 };
        reader.answers_questions();
        reader.takes("Emma is in the kitchen.");
        reader.peak_kib = peak_kib(reader.hearth.id());
        reader
    }

    /// An ordinary command is carried out. It is sent until it is answered: the subscription may be still on its way.
    fn answers_questions(&self) {
        let end = Instant::now() + LONG;
        while Instant::now() < end {
            self.answers.publish("hearth/reader/request/ask", "Is there a fire?", false);
            if self.answers.try_next(Duration::from_secs(3)).is_some_and(|answer| answer.json()["status"] == "ok") {
                return;
            }
        }
        panic!("no question is answered");
    }

    /// An ordinary utterance is taken.
    fn takes(&self, text: &str) {
        let (topic, payload) = utterance(text);
        self.answers.publish(&topic, &payload, false);
        while !transcript(self.dir).iter().any(|line| line["text"] == text) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn refuses_a_long_question(&self) {
        let refused = self.answers.wait_for("a long question is refused", |answer| answer.json()["status"] == "error");
        let error = format!("a command has at most 65536 bytes, this one has {BYTES}");
        assert_eq!(refused.json()["error"], error);
    }

    /// Ends it. Returns what it logged.
    fn end(self) -> String {
        let grown = peak_kib(self.hearth.id()) - self.peak_kib;
        assert!(grown < MORE_KIB, "{grown} KiB more memory");
        self.hearth.terminate();
        let (ended, said) = self.hearth.wait();
        assert!(ended.success(), "{said}");
        assert!(!said.contains("messages wait in the outbox"), "the connection was never lost: {said}");
        assert!(!said.contains("what other machines heard waits there"), "the connection was never lost: {said}");
        said
    }
}

#[test]
fn messages_of_120_mb_are_acknowledged_and_never_held_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let mut reader = Reader::start(dir.path(), &broker);

    reader.answers.send_long("hearth/kitchen/utterance", BYTES, false);
    reader.hearth.until_said("too many to be read");
    reader.takes("Lucas is in the hall.");
    reader.answers.send_long("hearth/reader/request/ask", BYTES, false);
    reader.refuses_a_long_question();
    reader.answers_questions();
    // What is sent now is not marked as retained; it will be at the next start.
    reader.answers.publish_long("hearth/hall/utterance", BYTES);
    reader.answers.publish_long("hearth/reader/request/ask", BYTES);
    reader.refuses_a_long_question();
    reader.takes("Both are in the garden.");
    reader.answers_questions();
    let said = reader.end();
    let count = |words: &str| said.lines().filter(|line| line.contains(words)).count();
    assert_eq!(count("a message is too long"), 1, "it is named once: {said}");

    let mut reader = Reader::start(dir.path(), &broker);
    reader.hearth.until_said("too many to be read");
    reader.takes("Nobody is in the garden.");
    reader.answers_questions();
    let said = reader.end();
    let topics: Vec<_> = said.lines().filter(|line| line.contains("too many to be read")).collect();
    assert!(topics.len() == 1 && topics[0].contains("hearth/hall/utterance"), "the other was acknowledged: {topics:?}");
    let asked = Subscriber::new(broker.address, "hearth/reader/request/+", None);
    asked.publish("hearth/reader/request/mark", "", false);
    assert_eq!(asked.next().topic, "hearth/reader/request/mark", "the retained question was removed");
}
