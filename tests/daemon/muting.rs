//! While listening is off, nothing that hearth shows says otherwise: not on the page, in status, over MQTT or in the metrics.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{HEARTH, Hearth};
use super::mosquitto::{LONG, Mosquitto, Subscriber, free_address};

fn status(dir: &Path) -> Value {
    let output =
        Command::new(HEARTH).args(["status", "--json", "--config", "hearth.toml"]).current_dir(dir).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: never");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A hearth that hears by network microphones alone, and its page.
pub(super) struct Home {
    pub(super) dir: tempfile::TempDir,
    pub(super) subscriber: Subscriber,
    hearth: Hearth,
    microphones: SocketAddr,
    _broker: Mosquitto,
}

impl Home {
    fn start() -> Self {
        Self::start_with(Hearth::run)
    }

    pub(super) fn start_with(run: impl Fn(&Path, &str) -> Hearth) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::anywhere(dir.path());
        let subscriber = Subscriber::new(broker.address, "hearth/#", None);
        let (microphones, page) = (free_address(), free_address());
        let text = format!(
            "[source.wyoming]\nlisten = \"{microphones}\"\n[listener]\nenabled = false\n[store]\ndir = \"state\"\n\
             [mqtt]\nurl = \"mqtt://{}\"\n[page]\nlisten = \"{page}\"\n",
            broker.address
        );
        let mut hearth = run(dir.path(), &text);
        hearth.until_said("hearth is up");
        subscriber.wait_for("the birth", |h| h.topic.ends_with("/status") && h.payload == "online" && !h.retain);
        Self { dir, subscriber, hearth, microphones, _broker: broker }
    }

    fn switch(&self, to: &str) {
        self.subscriber.publish("hearth/home/listening/set", to, false);
        self.subscriber.wait_for("the switch", |h| h.topic == "hearth/home/listening" && h.json()["state"] == to);
    }

    fn metrics(&self) -> String {
        let shown = status(self.dir.path());
        let (base, token) = shown["page"].as_str().unwrap().split_once("#token=").unwrap();
        let request = ureq::get(format!("{base}metrics")).header("authorization", format!("Bearer {token}"));
        request.call().unwrap().into_body().read_to_string().unwrap()
    }

    pub(super) fn end(self) {
        self.hearth.terminate();
        let (ended, said) = self.hearth.wait();
        assert!(ended.success(), "{said}");
    }
}

#[test]
fn an_installed_hearth_begins_muted_and_then_keeps_what_was_chosen() {
    let home = Home::start_with(Hearth::run_as_installed);
    home.subscriber
        .wait_for("a closed microphone", |h| h.topic == "hearth/home/listening" && h.json()["state"] == "OFF");
    assert_eq!(status(home.dir.path())["hears"]["listening"], false);
    home.switch("ON");
    let Home { dir, hearth, _broker, .. } = home;
    hearth.terminate();
    let said = hearth.wait().1;
    assert!(said.contains("this is the first start, so the microphone is closed"), "{said}");
    let text = std::fs::read_to_string(dir.path().join("hearth.toml")).unwrap();
    let mut again = Hearth::run_as_installed(dir.path(), &text);
    again.until_said("hearth is up");
    wait_until("it listens again", || status(dir.path())["hears"]["listening"] == true);
    again.terminate();
    let (ended, said) = again.wait();
    assert!(ended.success() && !said.contains("first start"), "{said}");
}

#[test]
fn listening_follows_the_switch_though_no_network_microphone_streams() {
    let home = Home::start();
    for (to, listening) in [("OFF", false), ("ON", true), ("OFF", false)] {
        home.switch(to);
        assert_eq!(status(home.dir.path())["hears"]["listening"], listening, "after {to}");
        assert!(home.metrics().contains(&format!("hearth_listening {}.0", u8::from(listening))), "{}", home.metrics());
    }
    let health = home.subscriber.wait_for("health", |h| h.topic == "hearth/home/health" && !h.retain).json();
    assert_eq!(health["listening"], false, "{health}");
    home.end();
}

/// Loud sound, a tenth of a second at a time, until it is told to stop.
fn stream_sound(to: SocketAddr, stop: &AtomicBool) {
    // The daemon is up before its source listens.
    let end = Instant::now() + LONG;
    let mut stream = loop {
        match TcpStream::connect(to) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "{to}: {error}"),
        }
        thread::sleep(Duration::from_millis(50));
    };
    let mut payload = Vec::new();
    (0..1_600).for_each(|n| payload.extend((((f64::from(n) * 0.2).sin() * 16_000.0) as i16).to_le_bytes()));
    let data = json!({ "rate": 16_000, "width": 2, "channels": 1 }).to_string();
    let header = json!({ "type": "audio-chunk", "data_length": data.len(), "payload_length": payload.len() });
    let event = [header.to_string().as_bytes(), b"\n", data.as_bytes(), &payload].concat();
    while !stop.load(Ordering::SeqCst) && stream.write_all(&event).is_ok() {
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn no_level_is_shown_while_listening_is_off() {
    let home = Home::start();
    let stop = Arc::new(AtomicBool::new(false));
    let (told, to) = (stop.clone(), home.microphones);
    let microphone = thread::spawn(move || stream_sound(to, &told));
    let level = || status(home.dir.path())["hears"]["rooms"]["home"]["level_db"].as_f64().unwrap_or(-120.0);
    wait_until("sound is heard", || level() > -30.0);
    home.switch("OFF");
    assert_eq!(level(), -120.0);
    assert!(home.metrics().contains("hearth_level_db{room=\"home\"} -120.0"), "{}", home.metrics());
    let health = home
        .subscriber
        .wait_for("health", |h| h.topic == "hearth/home/health" && !h.retain && h.json()["listening"] == false)
        .json();
    assert_eq!(health["rooms"]["home"]["level_db"], -120.0, "{health}");
    home.switch("ON");
    wait_until("sound is heard again", || level() > -30.0);
    stop.store(true, Ordering::SeqCst);
    microphone.join().unwrap();
    home.end();
}
