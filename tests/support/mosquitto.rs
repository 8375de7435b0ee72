//! A real mosquitto on a free address, and a client that listens to it.
#![allow(dead_code, reason = "each test target uses a part of it")]

pub(crate) mod faulty_broker;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

/// Nothing here takes so long unless it is broken.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A free loopback address. Each has an IP address of its own, so no other test and no outgoing connection can take it
/// while a broker is down.
pub(crate) fn free_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let ip = Ipv4Addr::new(127, 2 + high % 250, low, COUNT.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Runs openssl in `dir`.
pub(crate) fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(dir).args(arguments.split(' ')).output();
    let output = output.expect("these tests need openssl: apt-get install openssl");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate authority, and the certificate and key of a broker on `localhost`.
pub(crate) fn certificates(dir: &Path) -> [PathBuf; 3] {
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost").unwrap();
    let new = "req -newkey rsa:2048 -nodes";
    openssl(dir, &format!("{new} -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem"));
    openssl(dir, &format!("{new} -subj /CN=localhost -keyout broker.key -out broker.csr"));
    openssl(
        dir,
        "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out broker.pem",
    );
    ["ca.pem", "broker.pem", "broker.key"].map(|name| dir.join(name))
}

/// A second certificate for the broker of [`certificates`], which expires within a second.
pub(crate) fn short_lived(dir: &Path) -> PathBuf {
    let made =
        "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 0 -extfile names -out expires.pem";
    openssl(dir, made);
    dir.join("expires.pem")
}

/// A broker; it is killed when this is dropped.
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Mosquitto {
    /// Starts one on a free address.
    pub(crate) fn anywhere(dir: &Path) -> Self {
        Self::start(dir, free_address(), "")
    }

    /// Starts one on `address`; `more` are lines of its configuration. Returns when it listens.
    pub(crate) fn start(dir: &Path, address: SocketAddr, more: &str) -> Self {
        let config = dir.join("mosquitto.conf");
        let anonymous = if more.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let (ip, port) = (address.ip(), address.port());
        let text = format!("listener {port} {ip}\n{anonymous}persistence false\nuser root\nlog_dest stderr\n{more}\n");
        std::fs::write(&config, text).unwrap();
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or("mosquitto");
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need mosquitto: apt-get install mosquitto");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("mosquitto ended: {said}")).unwrap();
            said.push_str(&line);
            said.push('\n');
            if line.contains(" running") {
                break;
            }
        }
        // Read the rest of its log too: it would block when the pipe is full.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { address, child }
    }

    /// `kill -9`: no DISCONNECT is sent, nothing is saved.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.end();
    }
}

/// A message as a subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedMessage {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) retain: bool,
}

impl ReceivedMessage {
    /// The payload's JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|error| panic!("{}: {error}: {}", self.topic, self.payload))
    }
}

/// A subscriber that connects again by itself, and publishes too.
pub(crate) struct Subscriber {
    pub(crate) address: SocketAddr,
    client: Client,
    received: Receiver<ReceivedMessage>,
    subscribed: Receiver<()>,
}

impl Subscriber {
    /// Subscribes to `filter` at the broker on `address`. QoS 0: mosquitto then passes a message on before it acknowledges it, where with
    /// QoS 1 it would keep most of a burst in memory and lose it when it is killed.
    pub(crate) fn new(address: SocketAddr, filter: &str, login: Option<(&str, &str)>) -> Self {
        let name = format!("subscriber-{}", ulid::Ulid::generate());
        let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(1 << 20, 1 << 20);
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let (client, mut connection) = Client::new(options, 64);
        let (messages, received) = channel();
        let (subscriptions, subscribed) = channel();
        let (again, filter) = (client.clone(), filter.to_owned());
        thread::spawn(move || {
            for event in connection.iter() {
                if !Self::take(event, &again, &filter, &messages, &subscriptions) {
                    return;
                }
            }
        });
        let subscriber = Self { address, client, received, subscribed };
        subscriber.wait_until_subscribed();
        subscriber
    }

    fn take(
        event: Result<Event, rumqttc::ConnectionError>,
        client: &Client,
        filter: &str,
        messages: &Sender<ReceivedMessage>,
        subscribed: &Sender<()>,
    ) -> bool {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => client.try_subscribe(filter, QoS::AtMostOnce).is_ok(),
            Ok(Event::Incoming(Packet::SubAck(_))) => subscribed.send(()).is_ok(),
            Ok(Event::Incoming(Packet::Publish(publish))) => messages
                .send(ReceivedMessage {
                    topic: publish.topic,
                    payload: String::from_utf8_lossy(&publish.payload).into(),
                    retain: publish.retain,
                })
                .is_ok(),
            Ok(_) => true,
            Err(_) => {
                // The broker is away; no need to burn a core until it is back.
                thread::sleep(Duration::from_millis(5));
                true
            }
        }
    }

    /// Waits for the next subscription, the one after a reconnect too.
    pub(crate) fn wait_until_subscribed(&self) {
        self.subscribed.recv_timeout(LONG).expect("the broker takes a subscriber");
    }

    pub(crate) fn publish(&self, topic: &str, payload: &str, retain: bool) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
    }

    /// Leaves a message of so many bytes at the broker, more than this client itself would take.
    pub(crate) fn publish_long(&self, topic: &str, bytes: usize) {
        self.send_long(topic, bytes, true);
    }

    /// Publishes a message of so many bytes.
    pub(crate) fn send_long(&self, topic: &str, bytes: usize, retain: bool) {
        let mut options = MqttOptions::new(
            format!("long-{}", ulid::Ulid::generate()),
            self.address.ip().to_string(),
            self.address.port(),
        );
        options.set_max_packet_size(1 << 20, 2 * bytes);
        let (client, mut connection) = Client::new(options, 4);
        client.publish(topic, QoS::AtLeastOnce, retain, vec![b'x'; bytes]).unwrap();
        let acknowledged = |event| matches!(event, Ok(Event::Incoming(Packet::PubAck(_))));
        assert!(connection.iter().any(acknowledged), "the broker takes a long message");
    }

    /// The next message.
    pub(crate) fn next(&self) -> ReceivedMessage {
        self.received.recv_timeout(LONG).expect("a message arrives")
    }

    /// The next message, if one comes within `time`.
    pub(crate) fn try_next(&self, time: Duration) -> Option<ReceivedMessage> {
        self.received.recv_timeout(time).ok()
    }

    /// The next message for which `wanted` is true; others are passed over.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&ReceivedMessage) -> bool) -> ReceivedMessage {
        let end = Instant::now() + LONG;
        let mut passed = Vec::new();
        while let Ok(message) = self.received.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if wanted(&message) {
                return message;
            }
            passed.push(message.topic);
        }
        panic!("{what} never came; others: {passed:?}");
    }

    /// The next message on `topic`.
    pub(crate) fn on(&self, topic: &str) -> ReceivedMessage {
        self.wait_for(topic, |message| message.topic == topic)
    }
}
