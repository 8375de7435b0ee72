//! A broker that takes only short packets: `hearth check` says so before, and a running hearth names what is too long.

use std::process::{Command, Output};

use serde_json::Value;

use super::harness::{HEARTH, Hearth, clip, config, household};
use super::mosquitto::{Mosquitto, Subscriber, free_address};

fn check(dir: &std::path::Path) -> Output {
    Command::new(HEARTH).args(["check", "--config", "hearth.toml"]).current_dir(dir).output().unwrap()
}

#[test]
fn check_tells_the_limit_of_the_broker_and_what_it_means() {
    let dir = tempfile::tempdir().unwrap();
    let file = clip(dir.path(), 4);
    for (limit, works) in [(4096, true), (1500, false)] {
        let broker = Mosquitto::start(dir.path(), free_address(), &format!("max_packet_size {limit}"));
        let text = config(&file, "fast", &format!("mqtt://{}", broker.address), "");
        std::fs::write(dir.path().join("hearth.toml"), text).unwrap();
        let output = check(dir.path());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.success(), works, "{said}");
        let line = said.lines().find(|line| line.contains(&format!("packets of at most {limit} bytes"))).unwrap();
        let means = if works { "the announcement to Home Assistant, of " } else { "max_packet_size" };
        assert!(line.contains(means), "{line}");
    }
}

#[test]
fn what_is_too_long_for_the_broker_is_named_with_its_length_and_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path(), free_address(), "max_packet_size 4096");
    let listener = Subscriber::new(broker.address, "#", None);
    let text = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
    let hearth = Hearth::run(dir.path(), &text);
    listener.on("hearth/home/utterance");
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let device = "homeassistant/device/hearth_home/config";
    let named = lines.iter().find(|line| line["limit"] == 4096 && line["topic"] == device);
    assert!(named.is_some_and(|line| line["bytes"].as_u64() > Some(4096)), "{said}");
}
