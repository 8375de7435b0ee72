//! Who may connect and command: a password and a certificate, the access list that is shipped in a real mosquitto, lists that lack one
//! permission, and `[mqtt] commands`.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::{HEARTH, Hearth, config, household};
use super::mosquitto::{Mosquitto, Subscriber, certificates, free_address};
use super::several_machines::{folder, reads};

/// The access list that is shipped.
fn shipped_list() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/mosquitto.acl")).unwrap()
}

/// The shipped list, in which hearth may do `these` with its own topics.
fn list_with(these: &[&str]) -> String {
    const OWN: &str = "topic readwrite hearth/home/#\n";
    let shipped = shipped_list();
    assert!(shipped.contains(OWN), "{shipped}");
    shipped.replace(OWN, &these.iter().map(|line| format!("topic {line}\n")).collect::<String>())
}

/// A broker with this access list, for three users with one password.
fn broker_with(dir: &Path, access_list: &str) -> Mosquitto {
    broker_at(dir, free_address(), access_list)
}

fn broker_at(dir: &Path, address: SocketAddr, access_list: &str) -> Mosquitto {
    let (list, passwords) = (dir.join("acl"), dir.join("passwords"));
    std::fs::write(&list, access_list).unwrap();
    std::fs::write(&passwords, "").unwrap();
    for user in ["hearth", "homeassistant", "display"] {
        let made = Command::new("mosquitto_passwd").arg("-b").arg(&passwords).args([user, "secret"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    std::fs::write(dir.join("password"), "secret").unwrap();
    let more = format!("allow_anonymous false\npassword_file {}\nacl_file {}", passwords.display(), list.display());
    Mosquitto::start(dir, address, &more)
}

/// A config of a hearth whose standard input is silent.
fn hears_nothing(broker: SocketAddr) -> String {
    format!(
        "[source.stdin]\nrate = 16000\n[listener]\nenabled = false\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://{broker}\"\n{LOGIN}\n"
    )
}

const LOGIN: &str = "username = \"hearth\"\npassword_file = \"password\"";

/// What `hearth <command>` prints with the config in `dir`, and whether it succeeded.
fn hearth(dir: &Path, command: &str) -> (bool, String) {
    let output = Command::new(HEARTH).arg(command).arg("--config").arg(dir.join("hearth.toml")).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_an_access_list_lacks_is_told_by_log_status_health_and_check() {
    // mosquitto says nothing of what its list forbids: the subscription, or what is published, succeeds.
    let (all, set, request) = ("hearth/home/#", "hearth/home/+/set", "hearth/home/request/+");
    let told =
        ["hearth/home/status", "hearth/home/health", "hearth/home/response/+"].map(|topic| format!("write {topic}"));
    let writes = |more: &str| -> Vec<String> {
        [format!("read {all}"), format!("write {more}")].into_iter().chain(told.clone()).collect()
    };
    let reads = |more: &str| vec![format!("write {all}"), format!("read {more}")];
    let lists = [
        (reads(set), "read hearth/home/request/probe"),
        (reads(request), "read hearth/home/probe/set"),
        (writes(set), "write hearth/home/request/probe"),
        (writes(request), "write hearth/home/probe/set"),
    ];
    std::thread::scope(|scope| {
        for (list, lacks) in &lists {
            scope.spawn(move || lacks_one(&list_with(&list.iter().map(String::as_str).collect::<Vec<_>>()), lacks));
        }
    });
}

/// hearth with an access list that lacks one permission.
fn lacks_one(list: &str, lacks: &str) {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker_with(dir.path(), list);
    let home_assistant = Subscriber::new(broker.address, "hearth/home/health", Some(("homeassistant", "secret")));
    let mut hearth_runs = Hearth::run_with(dir.path(), &hears_nothing(broker.address), Stdio::piped());
    hearth_runs.until_said("commands over MQTT do not come through");
    let needed = format!("must let hearth {lacks}");
    let warning = hearth_runs.said.last().unwrap();
    assert!(warning.contains(&format!("{needed},")) && warning.contains("access list"), "{lacks}: {warning}");
    let health =
        home_assistant.wait_for("health says what is missing", |heard| !heard.json()["commands_needed"].is_null());
    assert_eq!(health.json()["commands_needed"], lacks);
    assert_eq!(health.json()["commands_ok"], false);
    let (_, told) = hearth(dir.path(), "status");
    assert!(told.contains("connected to") && told.contains(&format!("{needed}\n")), "{told}");
    hearth_runs.terminate();
    let (ended, said) = hearth_runs.wait();
    assert!(ended.success(), "{said}");

    let (good, told) = hearth(dir.path(), "check");
    assert!(!good && told.contains("does not pass commands on") && told.contains(&format!("{needed},")), "{told}");
}

#[test]
fn commands_come_through_again_after_the_broker_was_away_and_its_list_was_mended() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker_with(dir.path(), &list_with(&["write hearth/home/#", "read hearth/home/+/set"]));
    let address = broker.address;
    let mut hearth_runs = Hearth::run_with(dir.path(), &hears_nothing(address), Stdio::piped());
    hearth_runs.until_said("commands over MQTT do not come through");
    broker.kill();
    let _broker = broker_at(dir.path(), address, &shipped_list());
    hearth_runs.until_said("commands come through");
    let home_assistant = Subscriber::new(address, "hearth/home/health", Some(("homeassistant", "secret")));
    let health = home_assistant.wait_for("commands come through", |heard| heard.json()["commands_ok"] == true);
    assert!(health.json()["commands_needed"].is_null(), "{}", health.payload);
    hearth_runs.terminate();
    let (status, said) = hearth_runs.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn with_the_shipped_access_list_hearth_works_and_a_display_may_only_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker_with(dir.path(), &shipped_list());
    let home_assistant = Subscriber::new(broker.address, "#", Some(("homeassistant", "secret")));
    let display = Subscriber::new(broker.address, "hearth/home/#", Some(("display", "secret")));
    let settings = format!("{LOGIN}\ncommands = [\"ask\", \"listening\"]");
    let hearth_runs =
        Hearth::run(dir.path(), &config(&household(), "real-time", &format!("mqtt://{}", broker.address), &settings));
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
            assert_eq!(heard.json()["model"], "recurrentgemma-nano (demo model)", "{heard:?}");
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
    home_assistant.wait_for("health says that commands come through", |heard| {
        heard.topic == "hearth/home/health" && heard.json()["commands_ok"] == true
    });
    let (good, told) = hearth(dir.path(), "check");
    assert!(good && told.contains("passes commands on"), "{told}");
    hearth_runs.terminate();
    let (status, said) = hearth_runs.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn a_private_certificate_and_a_password_from_systemd_are_enough_to_connect() {
    let dir = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(dir.path());
    let (users, secrets) = (dir.path().join("users"), folder(dir.path(), "secrets"));
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&users).args(["anna", "Tr0ub4dor"]).status();
    assert!(made.unwrap().success());
    std::fs::write(secrets.join("mqtt"), "Tr0ub4dor\n").unwrap();
    let safe = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!(
        "allow_anonymous false\npassword_file {}\nlistener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        users.display(),
        safe.port(),
        certificate.display(),
        key.display()
    );
    let broker = Mosquitto::start(dir.path(), free_address(), &more);
    let listener = Subscriber::new(broker.address, "hearth/reader/#", Some(("anna", "Tr0ub4dor")));
    let text = reads(broker.address, 1).replace(
        &format!("mqtt://{}\"", broker.address),
        &format!("mqtts://localhost:{}\"\nca_file = {:?}\nusername = \"anna\"", safe.port(), ca.display().to_string()),
    );
    let text = text + "[log]\nlevel = \"trace\"\n";
    let mut hearth = Hearth::run_as(dir.path(), &text, Stdio::null(), &[("CREDENTIALS_DIRECTORY", &secrets)]);
    assert_eq!(listener.on("hearth/reader/status").payload, "online");
    hearth.until_said("other machines are heard");
    hearth.terminate();
    let (status, log) = hearth.wait();
    assert!(status.success() && !log.contains("Tr0ub4dor"), "{log}");
}
