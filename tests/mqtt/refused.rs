//! Brokers that refuse the connection: each error names the broker and what to check.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use hearth::config::MqttConfig;
use hearth::mqtt::client::{self, ClientSettings};

use crate::harness::*;
use crate::mosquitto::{Mosquitto, Subscriber, certificates, free_address, openssl, short_lived};

#[test]
fn two_nodes_with_one_name_get_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for connect in [client::open, client::persistent_session] {
        let said = runtime.block_on(async {
            let settings = || settings(&external(broker.address));
            let ((_first, mut one), (_second, mut other)) = (connect(settings()), connect(settings()));
            assert!(matches!(one.poll().await, client::BrokerEvent::Connected { .. }));
            assert!(matches!(other.poll().await, client::BrokerEvent::Connected { .. }));
            match one.poll().await {
                client::BrokerEvent::Lost(error) => error.to_string(),
                event => panic!("the broker keeps two clients of one name: {event:?}"),
            }
        });
        assert!(said.contains("another machine has the same node name") && said.contains("hearth_home"), "{said}");
    }
}

#[test]
fn the_error_for_a_refused_password_names_user_and_address() {
    let dir = tempfile::tempdir().unwrap();
    let (passwords, secret) = (dir.path().join("passwords"), dir.path().join("secret"));
    let made =
        Process::new("mosquitto_passwd").args(["-b", "-c"]).arg(&passwords).args(["anna", "right"]).status().unwrap();
    assert!(made.success());
    let more = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &more);
    let mut mqtt =
        MqttConfig { username: Some("anna".into()), password_file: Some(secret.clone()), ..external(broker.address) };

    std::fs::write(&secret, "wrong\n").unwrap();
    let expected = format!(
        "mqtt://{} refuses the user \"anna\" with this password: check [mqtt] username and password_file",
        broker.address
    );
    assert_eq!(probe(&mqtt).unwrap_err().to_string(), expected);
    let node = PublishingNode::start(dir.path(), &mqtt, Vec::new());
    assert!(!node.metrics.connected.get());
    node.drain();

    std::fs::write(&secret, "right\r\n").unwrap();
    probe(&mqtt).unwrap();
    let shown = format!("{:?} {mqtt:?}", settings(&mqtt));
    assert!(shown.contains("anna") && !shown.contains("right"), "{shown}");
    let subscriber = Subscriber::new(broker.address, "hearth/home/status", Some(("anna", "right")));
    let node = PublishingNode::start(dir.path(), &mqtt, Vec::new());
    assert_eq!(subscriber.next().payload, "online");
    node.drain();

    mqtt.username = None;
    let error = ClientSettings::new(&mqtt, &topics(), mqtt.listen).unwrap_err();
    assert_eq!(error.to_string(), "[mqtt] password_file needs a username beside it");
    mqtt = MqttConfig { username: Some("anna".into()), password_file: Some(dir.path().join("nothing")), ..mqtt };
    let error = ClientSettings::new(&mqtt, &topics(), mqtt.listen).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("[mqtt] password_file"), "{error}");
}

#[test]
fn a_password_file_with_a_byte_order_mark_holds_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let (passwords, secret) = (dir.path().join("passwords"), dir.path().join("secret"));
    let made =
        Process::new("mosquitto_passwd").args(["-b", "-c"]).arg(&passwords).args(["anna", "right"]).status().unwrap();
    assert!(made.success());
    let more = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &more);
    let mqtt =
        MqttConfig { username: Some("anna".into()), password_file: Some(secret.clone()), ..external(broker.address) };
    std::fs::write(&secret, "\u{feff}right\r\n").unwrap();
    probe(&mqtt).unwrap();
    std::fs::write(&secret, "\u{feff}wrong\r\n").unwrap();
    assert!(probe(&mqtt).unwrap_err().to_string().contains("refuses the user"));
    // UTF-16, with its own mark.
    std::fs::write(&secret, b"\xff\xfer\0i\0g\0h\0t\0").unwrap();
    let error = ClientSettings::new(&mqtt, &topics(), mqtt.listen).unwrap_err().to_string();
    assert!(error.contains("secret") && error.contains("UTF-8"), "{error}");
}

/// A broker that answers each CONNECT packet with these bytes, and closes.
fn answers(answer: &'static [u8]) -> MqttConfig {
    let listener = TcpListener::bind(local(0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut connect = [0; 1024];
            let _ = client.read(&mut connect).and_then(|_| client.write_all(answer));
        }
    });
    external(address)
}

#[test]
fn a_broker_that_takes_mqtt_5_only_is_named_with_the_way_out() {
    // mosquitto can be told so (accept_protocol_versions 5) from version 2.1 on, which no stable Debian has; these are
    // the answers that MQTT 3.1.1 and MQTT 5 prescribe.
    for refusal in [&[0x20, 2, 0, 1][..], &[0x20, 3, 0, 0x84, 0]] {
        let error = probe(&answers(refusal)).unwrap_err().to_string();
        assert!(error.contains("refuses MQTT 3.1.1") && error.contains("accept_protocol_versions"), "{error}");
    }
    // It may also close without an answer.
    let error = probe(&answers(&[])).unwrap_err().to_string();
    assert!(error.contains("closed the connection") && error.contains("MQTT 5 only"), "{error}");
}

#[test]
fn a_refused_client_id_and_a_broker_that_is_full_are_named() {
    let error = probe(&answers(&[0x20, 2, 0, 2])).unwrap_err().to_string();
    assert!(error.contains("refuses the client id \"hearth_home\"") && error.contains("`node`"), "{error}");
    let error = probe(&answers(&[0x20, 2, 0, 3])).unwrap_err().to_string();
    assert!(error.contains("cannot serve more clients"), "{error}");
}

#[test]
fn what_answers_and_is_no_mqtt_broker_is_told_from_one_that_does_not_run() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2\r\n", &[0x30, 2, 0, 0], &[0; 9]] {
        let error = probe(&answers(answer)).unwrap_err().to_string();
        assert!(error.contains("answers, but not as an MQTT broker"), "{error}");
    }
    // A TLS alert, as OpenSSL answers to what is no TLS.
    let mqtt = answers(&[21, 3, 1, 0, 2, 2, 70]);
    let error = probe(&mqtt).unwrap_err().to_string();
    let secured = mqtt.url.to_string().replace("mqtt://", "mqtts://");
    assert!(error.contains("speaks TLS") && error.contains(&secured), "{error}");
}

#[test]
fn the_error_for_an_unreachable_broker_names_it() {
    let address = free_address();
    let error = probe(&external(address)).unwrap_err().to_string();
    assert!(error.contains(&format!("mqtt://{address} cannot be reached")), "{error}");
    assert!(error.contains("refused"), "{error}");
    let nowhere = MqttConfig { url: "mqtt://no-such-host.invalid".parse().unwrap(), ..MqttConfig::default() };
    let error = probe(&nowhere).unwrap_err().to_string();
    assert!(error.contains("mqtt://no-such-host.invalid:1883 cannot be reached"), "{error}");
}

#[test]
fn certificates_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(dir.path());
    let more = format!("certfile {}\nkeyfile {}", certificate.display(), key.display());
    // The name in the certificate resolves to this address.
    let broker = Mosquitto::start(dir.path(), local_port(), &more);
    let url = format!("mqtts://localhost:{}", broker.address.port());
    let trusting = MqttConfig { url: url.parse().unwrap(), ca_file: Some(ca.clone()), ..MqttConfig::default() };
    probe(&trusting).unwrap();

    // The wrong scheme, both ways.
    let plain = MqttConfig { url: url.replace("mqtts", "mqtt").parse().unwrap(), ..MqttConfig::default() };
    let error = probe(&plain).unwrap_err().to_string();
    assert!(error.contains("TLS") && error.contains("mqtts://"), "{error}");
    let without = Mosquitto::start(dir.path(), free_address(), "allow_anonymous true");
    let secured = format!("mqtts://{}", without.address).parse().unwrap();
    let error = probe(&MqttConfig { url: secured, ..trusting.clone() }).unwrap_err().to_string();
    assert!(error.contains("does not speak TLS") && error.contains("\"mqtt://"), "{error}");

    // Signed by another authority than the one we trust.
    let strict = MqttConfig { ca_file: Some(other_ca(dir.path())), ..trusting.clone() };
    let error = probe(&strict).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{url} is not trusted")) && error.contains("ca_file"), "{error}");

    let elsewhere =
        MqttConfig { url: format!("mqtts://127.0.0.1:{}", broker.address.port()).parse().unwrap(), ..trusting.clone() };
    let error = probe(&elsewhere).unwrap_err().to_string();
    assert!(
        error.contains("not valid for name") && error.ends_with("the name that stands in the certificate"),
        "{error}"
    );

    let more = format!("certfile {}\nkeyfile {}", short_lived(dir.path()).display(), key.display());
    let old = Mosquitto::start(dir.path(), local_port(), &more);
    let late =
        MqttConfig { url: format!("mqtts://localhost:{}", old.address.port()).parse().unwrap(), ..trusting.clone() };
    eventually("it expires", || probe(&late).is_err());
    let error = probe(&late).unwrap_err().to_string();
    assert!(error.contains("expired") && error.contains("new certificate") && error.contains("clock"), "{error}");

    std::fs::write(&ca, "no certificate").unwrap();
    let error = ClientSettings::new(&trusting, &topics(), trusting.listen).unwrap_err().to_string();
    assert!(error.contains("ca.pem") && error.contains("PEM"), "{error}");
}

fn local_port() -> SocketAddr {
    TcpListener::bind(local(0)).unwrap().local_addr().unwrap()
}

fn other_ca(dir: &Path) -> PathBuf {
    openssl(dir, "req -newkey rsa:2048 -nodes -x509 -days 2 -subj /CN=other -keyout other.key -out other.pem");
    dir.join("other.pem")
}

#[cfg(feature = "embedded-broker")]
#[test]
fn a_real_broker_that_takes_mqtt_5_only_is_named_too() {
    use std::collections::HashMap;

    use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

    let listen = free_address();
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "v5".into(), listen, tls: None, next_connection_delay_ms: 1, connections };
    let router = RouterConfig {
        max_connections: 10,
        max_outgoing_packet_count: 100,
        max_segment_size: 1 << 20,
        max_segment_count: 2,
        ..RouterConfig::default()
    };
    let config = Config { id: 0, router, v5: Some(HashMap::from([("v5".into(), server)])), ..Config::default() };
    std::thread::spawn(move || Broker::new(config).start().is_ok());
    eventually("it listens", || TcpStream::connect(listen).is_ok());
    let error = probe(&external(listen)).unwrap_err().to_string();
    assert!(error.contains("MQTT 5 only") || error.contains("refuses MQTT 3.1.1"), "{error}");
}
