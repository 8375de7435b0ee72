//! Who may command: the access list of docs/mqtt.md in a real mosquitto, and `[mqtt] commands`.

use std::path::Path;
use std::process::Command;

use super::harness::{Hearth, config, household};
use super::mosquitto::{Mosquitto, Subscriber, free_address};

/// The lines of the access list in docs/mqtt.md.
fn documented_list() -> String {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mqtt.md")).unwrap();
    let (_, after) = docs.split_once("## Who may do what").expect("docs/mqtt.md says who may do what");
    let section = after.split("\n## ").next().unwrap();
    let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(lines.contains(&"user hearth"), "{lines:?}");
    lines.join("\n") + "\n"
}

#[test]
fn with_the_documented_access_list_hearth_works_and_a_display_may_only_read() {
    let dir = tempfile::tempdir().unwrap();
    let (list, passwords) = (dir.path().join("acl"), dir.path().join("passwords"));
    std::fs::write(&list, documented_list()).unwrap();
    std::fs::write(&passwords, "").unwrap();
    for user in ["hearth", "homeassistant", "display"] {
        let made = Command::new("mosquitto_passwd").arg("-b").arg(&passwords).args([user, "secret"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let more = format!("allow_anonymous false\npassword_file {}\nacl_file {}", passwords.display(), list.display());
    let broker = Mosquitto::start(dir.path(), free_address(), &more);
    let home_assistant = Subscriber::new(broker.address, "#", Some(("homeassistant", "secret")));
    let display = Subscriber::new(broker.address, "hearth/home/#", Some(("display", "secret")));
    std::fs::write(dir.path().join("password"), "secret").unwrap();
    let login = "username = \"hearth\"\npassword_file = \"password\"\ncommands = [\"ask\", \"listening\"]";
    let hearth =
        Hearth::run(dir.path(), &config(&household(), "real-time", &format!("mqtt://{}", broker.address), login));
    home_assistant.wait_for("the announcement", |h| h.topic.starts_with("homeassistant/device/hearth_home"));
    home_assistant.wait_for("the birth", |h| h.topic == "hearth/home/status" && h.payload == "online" && !h.retain);

    display.publish("hearth/home/listening/set", "OFF", false);
    display.publish("hearth/home/request/forget", "10", false);
    let ask = || home_assistant.publish("hearth/home/request/ask", "Is there a fire?", false);
    ask();
    let mut answered = 0;
    while answered < 2 {
        let heard = home_assistant.next();
        assert_ne!(heard.topic, "hearth/home/response/forget", "a display may not command");
        assert!(heard.topic != "hearth/home/listening" || heard.json()["state"] == "ON", "{heard:?}");
        if heard.topic == "hearth/home/response/ask" {
            assert_eq!(heard.json()["status"], "ok", "{heard:?}");
            answered += 1;
            // What the display sent before this is long through.
            (answered < 2).then(ask);
        }
    }
    home_assistant.publish("hearth/home/request/forget", "10", false);
    let refused = home_assistant.on("hearth/home/response/forget").json();
    assert!(refused["error"].as_str().unwrap().contains("[mqtt] commands"), "{refused}");
    while let Some(seen) = display.try_next(std::time::Duration::ZERO) {
        assert!(
            ["hearth/home/alert", "hearth/home/summary", "hearth/home/summaries"].contains(&&*seen.topic),
            "{seen:?}"
        );
    }
    hearth.terminate();
    let (status, said) = hearth.wait();
    assert!(status.success(), "{said}");
}
