//! Several rooms, from network microphones to the broker and the files.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use hearth::config::Config;
use hearth::event::Utterance;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use ulid::Ulid;

use super::house::{HEARTH, Hearth, samples, transcript, until};
use super::mosquitto::{Mosquitto, Subscriber};

#[test]
fn what_each_room_says_goes_out_with_its_name() {
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

/// Puts on disk what a hearth would have heard, some minutes ago.
fn furnish(dir: &Path) {
    let mut store = Store::open(&dir.join("state"), OutboxLimits::from(&Config::default().store)).unwrap();
    for (room, minutes, text) in TALK {
        let start = Timestamp::now() - SignedDuration::from_mins(minutes);
        let (id, end) = (Ulid::generate(), start + SignedDuration::from_secs(3));
        let (room, text) = (room.into(), text.into());
        let utterance = Utterance { id, start, end, room, text, confidence: 0.9, no_speech: 0.0 };
        store.record_utterance(&utterance, &[]).unwrap();
    }
}

#[test]
fn each_room_has_a_state_that_outlives_a_kill_and_forgets() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "hearth/home/#", None);
    furnish(dir.path());
    let config = format!(
        "[source.stdin]\nrate = 16000\n[listener]\nstates = \"room\"\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
        broker.address
    );
    let run = || {
        let mut hearth = Hearth::run_with(dir.path(), &config, Stdio::piped());
        let stdin = hearth.stdin();
        hearth.until_said("hearth is up");
        listener.wait_for("the birth", |h| h.topic.ends_with("/status") && h.payload == "online" && !h.retain);
        (hearth, stdin)
    };
    let hurt = "Is someone hurt or calling for help?";
    // A hearth that was killed may send its last answer again: ours is the one with our transaction.
    let transaction = std::cell::Cell::new(0);
    let ask = |room: Option<&str>| {
        transaction.set(transaction.get() + 1);
        let body = json!({ "value": hurt, "room": room, "transaction": transaction.get() }).to_string();
        listener.publish("hearth/home/request/ask", &body, false);
        let ours = |answer: &serde_json::Value| answer["transaction"] == transaction.get();
        listener.wait_for("the answer", |h| h.topic == "hearth/home/response/ask" && ours(&h.json())).json()
    };
    let probability = |room| ask(Some(room))["probability"].as_f64().unwrap();

    let (hearth, stdin) = run();
    listener.wait_for("the alert", |h| {
        h.topic.ends_with("/rule/help") && h.json()["state"] == "ON" && h.json()["room"] == "kitchen"
    });
    assert!(probability("kitchen") > 0.5 && probability("living room") < 0.5);
    let of_all = ask(None);
    let text = of_all["text"].as_str().unwrap();
    assert!(
        text.contains("kitchen: ") && text.contains("\nliving room: ") && of_all["probability"].as_f64().unwrap() > 0.5,
        "{of_all}"
    );
    assert!(ask(Some("attic"))["error"].as_str().unwrap().contains("kitchen, living room"));
    listener.publish("hearth/home/request/summarise", "", false);
    listener.wait_for("each room's summary", |h| h.topic == "hearth/home/summary/living%20room");
    hearth.kill();
    drop(stdin);

    // Killed before there was a snapshot, and stopped with one of each.
    for kept in [false, true] {
        let (hearth, stdin) = run();
        assert!(probability("kitchen") > 0.5 && probability("living room") < 0.5, "with snapshots: {kept}");
        // What is shown does not begin empty.
        let output = Command::new(HEARTH)
            .args(["status", "--json", "--config", "hearth.toml"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["hears"]["last"]["text"], TALK[3].2, "{shown}");
        assert!(shown["summary"]["text"].as_str().unwrap().starts_with("living room: "), "{shown}");
        assert_eq!(
            (&shown["alerts"][0]["rule"], &shown["alerts"][0]["room"]),
            (&json!("help"), &json!("kitchen")),
            "{shown}"
        );
        hearth.terminate();
        drop(stdin);
        let (status, said) = hearth.wait();
        assert!(status.success() && said.matches("went on from").count() == if kept { 2 } else { 0 }, "{said}");
    }
    let cli = |room: &str| {
        let args = ["ask", hurt, "--json", "--room", room, "--config", "hearth.toml"];
        let output = Command::new(HEARTH).args(args).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let line = cli("kitchen");
    assert!(line["yes"] == true && line["room"] == "kitchen", "{line}");

    let (hearth, stdin) = run();
    listener.publish("hearth/home/request/forget", "10", false);
    assert_eq!(listener.on("hearth/home/response/forget").json()["utterances"], 2);
    assert!(probability("kitchen") < 0.5 && probability("living room") < 0.5);
    assert_eq!(super::forgetting::holding(&dir.path().join("state"), "ankle"), Vec::<String>::new());
    assert_eq!(super::forgetting::holding(&dir.path().join("state"), "bicycle"), Vec::<String>::new());
    hearth.terminate();
    drop(stdin);
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    assert_eq!(cli("kitchen")["yes"], false);
}
