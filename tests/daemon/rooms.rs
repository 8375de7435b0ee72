//! Several rooms, from network microphones to the broker and the files.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::house::{Hearth, samples, transcript, until};
use super::mosquitto::{Listener, Mosquitto};

#[test]
fn what_each_room_says_goes_out_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Listener::new(broker.address, "hearth/home/utterance", None);
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
