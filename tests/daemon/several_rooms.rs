//! Several rooms, from network microphones to the broker and the files.

use std::cell::Cell;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use hearth::config::Config;
use hearth::event::Utterance;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use ulid::Ulid;

use super::harness::{HEARTH, Hearth, samples, transcript, until};
use super::mosquitto::{Mosquitto, Subscriber};

#[test]
fn utterances_of_network_microphones_are_published_with_their_room() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/utterance", None);
    let text = format!(
        "[source.wyoming]\nlisten = \"127.0.0.1:0\"\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
        broker.address
    );
    let mut hearth = Hearth::run(dir.path(), &text);
    let words = "network microphones may connect";
    hearth.until_said(words);
    let address = address(hearth.said.iter().find(|line| line.contains(words)).unwrap());
    let rooms = ["hall", "kitchen"];
    // One after the other: what two say at once may be given up on a machine that is busy with something else.
    let mut clients = Vec::new();
    for room in rooms {
        clients.push(microphone(address, room));
        until(&listener, |message| {
            let heard = message.json();
            heard["room"] == room && heard["text"].to_string().contains("dinner")
        });
    }
    drop(clients);
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let lines = transcript(dir.path());
    assert!(rooms.iter().all(|room| lines.iter().filter(|line| line["room"] == *room).count() >= 2), "{lines:?}");
}

fn address(line: &str) -> SocketAddr {
    let at = line.find("127.0.0.1:").unwrap_or_else(|| panic!("no address in {line}"));
    let end = line[at..].find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').map_or(line.len(), |end| at + end);
    line[at..end].parse().unwrap()
}

/// Eight seconds of the household from a satellite in `room`.
fn microphone(address: SocketAddr, room: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    writeln!(stream, "{{\"type\": \"info\", \"data\": {{\"satellite\": {{\"name\": \"{room}\"}}}}}}").unwrap();
    let format = "{\"rate\": 16000, \"width\": 2, \"channels\": 1}";
    for chunk in samples(8).chunks(1024) {
        let payload: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        writeln!(stream, "{{\"type\": \"audio-chunk\", \"data\": {format}, \"payload_length\": {}}}", payload.len())
            .unwrap();
        stream.write_all(&payload).unwrap();
    }
    writeln!(stream, "{{\"type\": \"audio-stop\"}}").unwrap();
    stream
}

const TALK: [(&str, i64, &str); 4] = [
    ("kitchen", 30, "The plumber is coming tomorrow at ten."),
    ("living room", 29, "Good evening. What a nice day it was."),
    ("kitchen", 5, "Help! I fell in the bathroom. My ankle hurts so much. I can't get up."),
    ("living room", 4, "Lucas likes the red bicycle."),
];

/// Stores what a hearth would have heard, some minutes ago.
fn store_talk(dir: &Path) {
    let mut store = Store::open(&dir.join("state"), OutboxLimits::from(&Config::default().store)).unwrap();
    for (room, minutes, text) in TALK {
        let start = Timestamp::now() - SignedDuration::from_mins(minutes);
        let (id, end) = (Ulid::generate(), start + SignedDuration::from_secs(3));
        let (room, text) = (room.into(), text.into());
        let utterance = Utterance { id, start, end, room, text, confidence: 0.9, no_speech: 0.0, speaker: None };
        store.record_utterance(&utterance, &[]).unwrap();
    }
}

const HURT: &str = "Is someone hurt or calling for help?";

/// A hearth with a state for each room, and what is asked of it over MQTT.
struct RoomStates {
    dir: tempfile::TempDir,
    config: String,
    subscriber: Subscriber,
    questions: Cell<u32>,
    _broker: Mosquitto,
}

impl RoomStates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::anywhere(dir.path());
        let subscriber = Subscriber::new(broker.address, "hearth/home/#", None);
        store_talk(dir.path());
        let config = format!(
            "[source.stdin]\nrate = 16000\n[listener]\nstates = \"room\"\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
            broker.address
        );
        Self { dir, config, subscriber, questions: Cell::new(0), _broker: broker }
    }

    fn run(&self) -> (Hearth, ChildStdin) {
        let mut hearth = Hearth::run_with(self.dir.path(), &self.config, Stdio::piped());
        let stdin = hearth.stdin();
        hearth.until_said("hearth is up");
        self.subscriber.wait_for("the birth", |h| h.topic.ends_with("/status") && h.payload == "online" && !h.retain);
        (hearth, stdin)
    }

    /// A hearth that was killed may send its last answer again: ours is the one with our transaction.
    fn ask(&self, room: Option<&str>) -> Value {
        let transaction = self.questions.get() + 1;
        self.questions.set(transaction);
        let body = json!({ "value": HURT, "room": room, "transaction": transaction }).to_string();
        self.subscriber.publish("hearth/home/request/ask", &body, false);
        let ours = |answer: &Value| answer["transaction"] == transaction;
        self.subscriber.wait_for("the answer", |h| h.topic == "hearth/home/response/ask" && ours(&h.json())).json()
    }

    fn probability(&self, room: &str) -> f64 {
        self.ask(Some(room))["probability"].as_f64().unwrap()
    }

    fn assert_only_the_kitchen_calls_for_help(&self) {
        assert!(self.probability("kitchen") > 0.5 && self.probability("living room") < 0.5);
    }

    /// Runs a subcommand of the program, which prints JSON.
    fn command(&self, arguments: &[&str]) -> Value {
        let output = Command::new(HEARTH)
            .args(arguments)
            .args(["--json", "--config", "hearth.toml"])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn ask_on_the_command_line(&self, room: &str) -> Value {
        self.command(&["ask", HURT, "--room", room])
    }
}

fn end(hearth: Hearth, stdin: ChildStdin) -> String {
    hearth.terminate();
    drop(stdin);
    let (status, log) = hearth.wait();
    assert!(status.success(), "{log}");
    log
}

#[test]
fn each_room_is_asked_alerted_and_summarized_by_its_name() {
    let house = RoomStates::new();
    let (hearth, stdin) = house.run();
    house.subscriber.wait_for("the alert", |h| {
        h.topic.ends_with("/rule/help") && h.json()["state"] == "ON" && h.json()["room"] == "kitchen"
    });
    house.assert_only_the_kitchen_calls_for_help();
    let all = house.ask(None);
    let text = all["text"].as_str().unwrap();
    assert!(text.contains("kitchen: ") && text.contains("\nliving room: "), "{all}");
    assert!(all["probability"].as_f64().unwrap() > 0.5, "{all}");
    assert!(house.ask(Some("attic"))["error"].as_str().unwrap().contains("kitchen, living room"));
    house.subscriber.publish("hearth/home/request/summarise", "", false);
    house.subscriber.wait_for("each room's summary", |h| h.topic == "hearth/home/summary/living%20room");
    end(hearth, stdin);
    let answer = house.ask_on_the_command_line("kitchen");
    assert!(answer["yes"] == true && answer["room"] == "kitchen", "{answer}");
}

#[test]
fn the_state_of_each_room_outlives_a_kill_and_a_restart() {
    let house = RoomStates::new();
    let (hearth, stdin) = house.run();
    house.assert_only_the_kitchen_calls_for_help();
    house.subscriber.publish("hearth/home/request/summarise", "", false);
    house.subscriber.wait_for("each room's summary", |h| h.topic == "hearth/home/summary/living%20room");
    hearth.kill();
    drop(stdin);
    // Killed before there was a snapshot, and stopped with one of each room.
    for snapshots in [0, 2] {
        let (hearth, stdin) = house.run();
        house.assert_only_the_kitchen_calls_for_help();
        // The live view does not begin empty.
        let shown = house.command(&["status"]);
        assert_eq!(shown["hears"]["last"]["text"], TALK[3].2, "{shown}");
        assert!(shown["summary"]["text"].as_str().unwrap().starts_with("living room: "), "{shown}");
        let alert = &shown["alerts"][0];
        assert_eq!((&alert["rule"], &alert["room"]), (&json!("help"), &json!("kitchen")), "{shown}");
        let log = end(hearth, stdin);
        assert_eq!(log.matches("the last snapshot is restored").count(), snapshots, "{log}");
    }
}

#[test]
fn the_state_of_each_room_forgets() {
    let house = RoomStates::new();
    let (hearth, stdin) = house.run();
    house.assert_only_the_kitchen_calls_for_help();
    house.subscriber.publish("hearth/home/request/forget", "10", false);
    assert_eq!(house.subscriber.on("hearth/home/response/forget").json()["utterances"], 2);
    assert!(house.probability("kitchen") < 0.5 && house.probability("living room") < 0.5);
    let state = house.dir.path().join("state");
    for word in ["ankle", "bicycle"] {
        assert_eq!(super::forgetting::holding(&state, word), Vec::<String>::new());
    }
    end(hearth, stdin);
    assert_eq!(house.ask_on_the_command_line("kitchen")["yes"], false);
}
