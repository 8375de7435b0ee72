//! Network microphones over the Wyoming protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use hearth::config::WyomingConfig;
use hearth::event::{AudioGap, GapReason};
use serde_json::{Value, json};

use super::*;

/// Long enough for any machine. A test that waits for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A Wyoming source, and what it delivers.
struct Server {
    address: SocketAddr,
    received: Receiver<RoomAudio>,
    control: Arc<SourceControl>,
    metrics: Arc<Metrics>,
    running: Option<std::thread::JoinHandle<Result<(), audio::AudioError>>>,
}

impl Server {
    fn open(rooms: &[(&str, &str)]) -> Self {
        // The port is free again here. That another process takes it before the next line is unlikely.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let rooms = rooms.iter().map(|(address, room)| (address.parse().unwrap(), room.parse().unwrap())).collect();
        let source = ("home".into(), SourceConfig::Wyoming(WyomingConfig { listen: address, room: None, rooms }));
        let (sender, received) = sync_channel(10_000);
        let control = Arc::new(SourceControl::default());
        let metrics = Arc::new(Metrics::default());
        let shared = (control.clone(), metrics.clone());
        let run = move || audio::run(&[source], Path::new(""), sender, &shared.0, &shared.1);
        Self { address, received, control, metrics, running: Some(std::thread::spawn(run)) }
    }

    fn connect(&self) -> TcpStream {
        let end = Instant::now() + TIMEOUT;
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The next event that is not a frame: its room, how many frames came before it, and the event.
    fn next(&self) -> (String, usize, AudioEvent) {
        let mut frames = 0;
        loop {
            let RoomAudio { room, event } = self.received.recv_timeout(TIMEOUT).unwrap();
            match event {
                AudioEvent::Frame(_) => frames += 1,
                other => return (room.to_string(), frames, other),
            }
        }
    }

    fn rooms(&self) -> Vec<String> {
        self.metrics.rooms.each().iter().map(|(name, _)| name.to_string()).collect()
    }

    fn until_rooms(&self, rooms: &[&str]) {
        let end = Instant::now() + TIMEOUT;
        while self.rooms() != rooms {
            assert!(Instant::now() < end, "{:?} and not {rooms:?}", self.rooms());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control.stop();
        let ended = self.running.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn event(kind: &str, data: Value, payload: &[u8]) -> Vec<u8> {
    let data = data.to_string();
    let header =
        json!({ "type": kind, "version": "1.8.0", "data_length": data.len(), "payload_length": payload.len() });
    [header.to_string().as_bytes(), b"\n", data.as_bytes(), payload].concat()
}

fn format(rate: u32, width: u32, channels: u32) -> Value {
    json!({ "rate": rate, "width": width, "channels": channels, "timestamp": null })
}

fn answer(stream: &mut TcpStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// Waits until the other side has closed the connection.
fn until_closed(mut stream: TcpStream) {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("the connection is still open: {other:?}"),
    }
}

#[test]
fn satellites_deliver_audio_in_parallel_each_for_its_room() {
    let server = Server::open(&[]);
    let mut kitchen = server.connect();
    kitchen.write_all(&event("describe", json!({}), &[])).unwrap();
    let info = answer(&mut kitchen);
    assert_eq!((&info["type"], &info["data"]["asr"][0]["name"]), (&json!("info"), &json!("hearth")));
    kitchen.write_all(&event("ping", json!({ "text": "hello" }), &[])).unwrap();
    assert_eq!(answer(&mut kitchen), json!({ "type": "pong", "data": { "text": "hello" } }));
    kitchen.write_all(&event("info", json!({ "satellite": { "name": "s1", "area": "Kitchen" } }), &[])).unwrap();
    kitchen.write_all(&event("audio-start", format(16_000, 2, 1), &[])).unwrap();
    server.until_rooms(&["kitchen"]);
    // A second at 16 kHz, in chunks that end within a sample.
    let second: Vec<u8> = (0..16_000i16).flat_map(|n| (n % 100 * 100).to_le_bytes()).collect();
    for chunk in second.chunks(1_023) {
        kitchen.write_all(&event("audio-chunk", format(16_000, 2, 1), chunk)).unwrap();
    }

    // A satellite without a name and without an audio-start: a second at 48 kHz, 24 bits, 6 channels.
    let mut unnamed = server.connect();
    for _ in 0..10 {
        unnamed.write_all(&event("audio-chunk", format(48_000, 3, 6), &[0; 4_800 * 18])).unwrap();
    }
    unnamed.write_all(&event("audio-stop", json!({}), &[])).unwrap();
    kitchen.write_all(&event("audio-stop", json!({}), &[])).unwrap();

    let (mut counts, mut ends) = (std::collections::BTreeMap::<String, usize>::new(), 0);
    while ends < 2 {
        let RoomAudio { room, event } = server.received.recv_timeout(TIMEOUT).unwrap();
        match event {
            AudioEvent::Frame(_) => *counts.entry(room.to_string()).or_default() += 1,
            AudioEvent::End => ends += 1,
            AudioEvent::Gap(gap) => panic!("{gap:?}"),
        }
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("home".into(), 63), ("kitchen".into(), 63)]);
    assert_eq!(server.rooms(), ["home", "kitchen"]);
    drop(kitchen);
    server.until_rooms(&["home"]);
}

#[test]
fn invalid_input_ends_only_the_connection_it_came_from() {
    let server = Server::open(&[]);
    let mut steady = server.connect();
    let second = event("audio-chunk", format(16_000, 2, 1), &[1; 32_000]);
    steady.write_all(&second).unwrap();
    server.until_rooms(&["home"]);
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: hearth\r\n\r\n".to_vec(),
        b"{\"type\": \"audio-chunk\", \"payload_length\": 18446744073709551615}\n".to_vec(),
        vec![b'x'; 100_000],
        vec![0xff; 100],
        event("audio-chunk", format(0, 2, 1), &[0; 100]),
        event("audio-start", format(16_000, 16, 1), &[]),
        event("audio-start", json!({}), &[]),
        event("audio-start", format(1, 2, 1), &[]),
    ] {
        let mut client = server.connect();
        // It may be gone before all is written.
        let _ = client.write_all(&garbage);
        let _ = client.shutdown(std::net::Shutdown::Write);
        until_closed(client);
    }
    // A satellite disconnects in the middle of a chunk: its segment is ended, and when it is back, a gap is reported.
    let mut leaving = server.connect();
    leaving.write_all(&event("info", json!({ "satellite": { "name": "hall" } }), &[])).unwrap();
    leaving.write_all(&second).unwrap();
    server.until_rooms(&["hall", "home"]);
    leaving.write_all(&second[..20_000]).unwrap();
    drop(leaving);
    server.until_rooms(&["home"]);
    let mut back = server.connect();
    back.write_all(&event("info", json!({ "satellite": { "name": "hall" } }), &[])).unwrap();
    back.write_all(&second).unwrap();
    let of_the_hall = || loop {
        if let (room, _, audio) = server.next()
            && room == "hall"
        {
            return audio;
        }
    };
    assert_eq!(of_the_hall(), AudioEvent::End);
    let AudioEvent::Gap(AudioGap { from, to, reason }) = of_the_hall() else { panic!("no gap") };
    assert!(from < to && reason == GapReason::DeviceLost);

    steady.write_all(&event("ping", json!({ "text": "still here" }), &[])).unwrap();
    assert_eq!(answer(&mut steady)["data"]["text"], "still here");
}

#[test]
fn a_satellite_gets_the_room_of_its_address_and_unknown_addresses_are_refused() {
    let server = Server::open(&[("127.0.0.1", "nursery")]);
    let mut known = server.connect();
    known.write_all(&event("info", json!({ "satellite": { "name": "liar" } }), &[])).unwrap();
    known.write_all(&event("audio-start", format(16_000, 2, 1), &[])).unwrap();
    server.until_rooms(&["nursery"]);
    let mut twin = server.connect();
    twin.write_all(&event("audio-start", format(16_000, 2, 1), &[])).unwrap();
    server.until_rooms(&["nursery", "nursery-2"]);

    let strict = Server::open(&[("192.0.2.1", "nursery")]);
    until_closed(strict.connect());

    let (sender, _received) = sync_channel(1);
    let taken =
        ("home".into(), SourceConfig::Wyoming(WyomingConfig { listen: server.address, ..WyomingConfig::default() }));
    let error =
        audio::run(&[taken], Path::new(""), sender, &SourceControl::default(), &Metrics::default()).unwrap_err();
    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
}

#[test]
fn audio_of_a_satellite_is_discarded_while_listening_is_off() {
    let server = Server::open(&[]);
    server.control.set_listening(false);
    let mut client = server.connect();
    let second = event("audio-chunk", format(16_000, 2, 1), &[1; 32_000]);
    client.write_all(&second).unwrap();
    assert_eq!(server.next(), ("home".into(), 0, AudioEvent::End));
    server.control.set_listening(true);
    client.write_all(&second).unwrap();
    let (_, frames, audio) = server.next();
    assert!(frames == 0 && matches!(audio, AudioEvent::Gap(gap) if gap.reason == GapReason::Muted));
}

fn named(name: &str) -> Vec<u8> {
    event("info", json!({ "satellite": { "name": name } }), &[])
}

#[test]
fn a_microphone_that_lost_power_comes_back_as_its_own_room() {
    let server = Server::open(&[]);
    let second = event("audio-chunk", format(16_000, 2, 1), &[1; 32_000]);
    let mut attic = server.connect();
    attic.write_all(&[named("attic"), second.clone()].concat()).unwrap();
    let mut without_power = server.connect();
    without_power.write_all(&[named("hall"), second.clone()].concat()).unwrap();
    server.until_rooms(&["attic", "hall"]);

    // It may be back before its old connection counts as silent, and then it has another room until that is known.
    let mut back = server.connect();
    back.write_all(&named("hall")).unwrap();
    let end = Instant::now() + TIMEOUT;
    let mut gap = None;
    while gap.is_none() {
        assert!(Instant::now() < end, "{:?}", server.rooms());
        back.write_all(&event("audio-chunk", format(16_000, 2, 1), &[1; 3_200])).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let of_the_hall = |sound: RoomAudio| (&*sound.room == "hall").then_some(sound.event);
        gap = server.received.try_iter().filter_map(of_the_hall).find(|audio| matches!(audio, AudioEvent::Gap(_)));
    }
    assert!(matches!(gap, Some(AudioEvent::Gap(AudioGap { from, to, reason: GapReason::DeviceLost })) if from < to));
    server.until_rooms(&["attic", "hall"]);
    until_closed(without_power);

    attic.write_all(&event("ping", json!({ "text": "I had nothing to say" }), &[])).unwrap();
    assert_eq!(answer(&mut attic)["type"], "pong", "another microphone at the same address keeps its place");
}

#[test]
fn silent_connections_do_not_keep_a_microphone_out() {
    let server = Server::open(&[]);
    let chunk = event("audio-chunk", format(16_000, 2, 1), &[1; 3_200]);
    let mut kitchen = server.connect();
    kitchen.write_all(&[named("kitchen"), chunk.clone()].concat()).unwrap();
    let mut silent: Vec<TcpStream> = (0..15).map(|_| server.connect()).collect();
    let end = Instant::now() + TIMEOUT;
    while server.rooms() != ["hall", "kitchen"] {
        assert!(Instant::now() < end, "{:?}", server.rooms());
        // Messages without sound do not hold a place.
        silent.iter_mut().for_each(|stream| drop(stream.write_all(&event("ping", json!({ "text": "" }), &[]))));
        kitchen.write_all(&chunk).unwrap();
        let mut hall = server.connect();
        let _ = hall.write_all(&[named("hall"), chunk.clone()].concat());
        std::thread::sleep(Duration::from_millis(300));
    }
    kitchen.write_all(&event("ping", json!({ "text": "still here" }), &[])).unwrap();
    assert_eq!(answer(&mut kitchen)["data"]["text"], "still here");
}

#[test]
fn a_message_that_drips_in_does_not_hold_a_connection() {
    let server = Server::open(&[]);
    let mut client = server.connect();
    let begun = event("audio-chunk", format(16_000, 2, 1), &[1; 32_000]);
    client.write_all(&begun[..1_000]).unwrap();
    let end = Instant::now() + TIMEOUT;
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    loop {
        assert!(Instant::now() < end, "the connection is still open");
        match client.read(&mut [0; 16]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => break,
        }
        let _ = client.write_all(&[1]);
    }
}

/// A connection whose other side has no power is closed by the system only if it asks from time to time.
#[test]
fn the_system_is_told_to_ask_whether_a_silent_satellite_is_still_there() {
    let server = Server::open(&[]);
    let client = server.connect();
    let (ours, theirs) = (server.address.port(), client.local_addr().unwrap().port());
    let end = Instant::now() + TIMEOUT;
    loop {
        // Columns of proc(5): number, local and remote address, state, queues, timer. Timer 2 is the one of keep-alive.
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let timer = sockets.lines().find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let of_the_server =
                columns[1].ends_with(&format!(":{ours:04X}")) && columns[2].ends_with(&format!(":{theirs:04X}"));
            of_the_server.then(|| columns[5][..2].to_owned())
        });
        if timer.as_deref() == Some("02") {
            break;
        }
        assert!(Instant::now() < end, "{timer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
