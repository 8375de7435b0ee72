//! hearth under a service manager: what it is told, what it reads again, what the journal gets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hearth::clock::SAMPLE_RATE;

use super::harness::{HEARTH, Hearth, Held, clip, config, household, thread, until, wav};
use super::mosquitto::{LONG, Mosquitto, Subscriber, free_address};

/// A service manager's end of the notify socket.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { socket }
    }

    /// The next thing it is told, if anything is within `time`.
    fn told(&self, time: Duration) -> Option<String> {
        let end = Instant::now() + time;
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(n) => return Some(String::from_utf8(buffer[..n].to_vec()).unwrap()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
            if Instant::now() > end {
                return None;
            }
        }
    }

    fn until_told(&self, what: &str) -> String {
        let end = Instant::now() + LONG;
        while Instant::now() < end {
            if let Some(told) = self.told(LONG).filter(|told| told.contains(what)) {
                return told;
            }
        }
        panic!("the service manager was never told {what}")
    }

    /// What it is told until it was told nothing of `what` for `time`.
    fn until_silent(&self, what: &str, time: Duration) {
        let (end, mut last) = (Instant::now() + LONG, Instant::now());
        while last.elapsed() < time {
            assert!(Instant::now() < end, "the service manager is told {what} for ever");
            if self.told(Duration::from_millis(200)).is_some_and(|told| told.contains(what)) {
                last = Instant::now();
            }
        }
    }
}

#[test]
fn systemd_is_notified_until_a_service_is_stuck() {
    let dir = tempfile::tempdir().unwrap();
    let notify = dir.path().join("notify");
    let manager = Manager::new(&notify);
    // Two minutes in which a part that moves has nothing else to do.
    let silence = wav(dir.path(), &vec![0; 120 * SAMPLE_RATE as usize]);
    let settings = config(&silence, "real-time", "embedded", &format!("listen = \"{}\"", free_address()));
    let watched = [("NOTIFY_SOCKET", notify.as_path()), ("WATCHDOG_USEC", Path::new("3000000"))];
    let hearth = Hearth::run_as(dir.path(), &settings, Stdio::null(), &watched);
    manager.until_told("READY=1");
    assert!(manager.until_told("STATUS=").contains("listening"));
    // A house with one source runs it on the thread of all.
    let parts = [("capture", "home"), ("transcribe", "transcribe"), ("listen", "listen")];
    for (thread_name, _) in parts {
        manager.until_told("WATCHDOG=1");
        let part = thread(hearth.id(), thread_name);
        let held = Held::hold(part);
        // The watchdog's time has passed: systemd would end it now.
        manager.until_silent("WATCHDOG=1", Duration::from_secs(4));
        drop(held);
    }
    manager.until_told("WATCHDOG=1");
    hearth.terminate();
    manager.until_told("STOPPING=1");
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "{said}");
    for (_, part) in parts {
        assert!(said.contains(&format!("{part} has not made progress for 6 s")), "{part}:\n{said}");
    }
}

#[test]
fn hearth_is_ready_before_a_network_microphone_connects() {
    let dir = tempfile::tempdir().unwrap();
    let notify = dir.path().join("notify");
    let manager = Manager::new(&notify);
    let settings = format!(
        "[source.wyoming]\nlisten = \"127.0.0.1:0\"\n[store]\ndir = \"state\"\n[mqtt]\nlisten = \"{}\"\n",
        free_address()
    );
    let hearth = Hearth::run_as(dir.path(), &settings, Stdio::null(), &[("NOTIFY_SOCKET", notify.as_path())]);
    // Before that it says what it waits for.
    assert!(manager.until_told("STATUS=").contains("waiting for a microphone"));
    manager.until_told("READY=1");
    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "{said}");
}

#[test]
fn a_source_that_pauses_is_not_stuck() {
    let dir = tempfile::tempdir().unwrap();
    let notify = dir.path().join("notify");
    let manager = Manager::new(&notify);
    let satellites = free_address();
    let settings = format!(
        "[source.wyoming]\nlisten = \"{satellites}\"\nroom = \"kitchen\"\n[source.stdin]\nroom = \"attic\"\n\
         [store]\ndir = \"state\"\n[mqtt]\nlisten = \"{}\"\n",
        free_address()
    );
    let watched = [("NOTIFY_SOCKET", notify.as_path()), ("WATCHDOG_USEC", Path::new("1000000"))];
    let (reader, mut attic) = std::io::pipe().unwrap();
    let hearth = Hearth::run_as(dir.path(), &settings, Stdio::from(reader), &watched);
    manager.until_told("READY=1");
    let second = [0; 32_000];
    attic.write_all(&second).unwrap();
    let mut kitchen = TcpStream::connect(satellites).unwrap();
    let format = r#""data":{"rate":16000,"width":2,"channels":1}"#;
    let chunk = format!("{{\"type\":\"audio-chunk\",{format},\"payload_length\":{}}}\n", second.len());
    kitchen.write_all(&[chunk.as_bytes(), &second, b"{\"type\":\"audio-stop\"}\n"].concat()).unwrap();
    // Both are still there, and say nothing for three times as long as a part may stand still.
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        assert!(manager.told(LONG).is_some());
    }
    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "{said}");
    assert!(!said.contains("has not made progress"), "{said}");
    assert!(said.contains("nothing comes on standard input any more"), "{said}");
}

#[test]
fn a_reload_changes_rules_and_keeps_the_state_and_a_mistake_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let listener = Subscriber::new(broker.address, "#", None);
    let settings = config(&household(), "real-time", &format!("mqtt://{}", broker.address), "");
    let mut hearth = Hearth::run(dir.path(), &settings);
    let told = |what: &str, topic: &str, holds: &dyn Fn(&serde_json::Value) -> bool| {
        listener.wait_for(what, |h| h.topic == topic && !h.payload.is_empty() && holds(&h.json())).json()
    };
    listener.on("hearth/home/utterance");
    let file = dir.path().join("hearth.toml");
    let rule = "[[rule]]\nname = \"courier\"\npattern = \"courier\"\n[digest]\nevery_min = 7\n";

    std::fs::write(&file, format!("{settings}\n[[rule]]\nname = \"courier\"\npattern = \"(\"\n")).unwrap();
    hearth.hang_up();
    hearth.until_said("nothing has changed");

    std::fs::write(&file, format!("{settings}\n{rule}")).unwrap();
    hearth.hang_up();
    // The reader and the publisher tell of it side by side, in any order.
    let (mut info, mut rule_told, mut interval_told) = (None, false, false);
    until(&listener, |h| {
        match h.topic.as_str() {
            _ if h.payload.is_empty() => {}
            "hearth/home/info" => info = Some(h.json()).filter(|info| info["rules"][0] == "courier").or(info.take()),
            "hearth/home/rule/courier" => rule_told = true,
            "hearth/home/interval" => interval_told |= h.json()["minutes"] == 7.0,
            _ => {}
        }
        info.is_some() && rule_told && interval_told
    });
    assert_eq!(info.expect("it was told")["rules"].as_array().unwrap().len(), 1);

    // What the household asked for holds, until that file says something new.
    listener.publish("hearth/home/interval/set", "3", false);
    told("the wish", "hearth/home/interval", &|interval| interval["minutes"] == 3.0);

    // By a command, with a setting that takes a restart.
    std::fs::write(&file, format!("{settings}\n{rule}[asr]\nhot_words = [\"Emma\"]\n")).unwrap();
    listener.publish("hearth/home/request/reload", "", false);
    let answer = told("the answer", "hearth/home/response/reload", &|_| true);
    assert_eq!((&answer["rules"][0], &answer["needs_restart"][0]), (&"courier".into(), &"asr".into()), "{answer}");

    // The reader does one thing after the other: when it has answered this, it has read the rules again.
    listener.publish("hearth/home/request/acknowledge", "", false);
    told("an answer", "hearth/home/response/acknowledge", &|_| true);
    let interval = Subscriber::new(broker.address, "hearth/home/interval", None).on("hearth/home/interval").json();
    assert_eq!(interval["minutes"], 3.0, "{interval}");

    // What was heard before is known, and what comes is heard: the new rule fires.
    let alert = told("the alert", "hearth/home/alert", &|alert| alert["rule"] == "courier");
    assert!(alert["evidence"][0]["text"].as_str().unwrap().contains("courier"), "{alert}");
    let health = told("health", "hearth/home/health", &|health| health["tokens"].as_u64() > Some(20));
    assert!(health["utterances"].as_u64().unwrap() >= 2, "{health}");
    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "{said}");
}

/// A record of the journal's native protocol: `KEY=value` lines, or the key, a newline, the length and the value.
fn record(mut datagram: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !datagram.is_empty() {
        let line = datagram.iter().position(|b| *b == b'\n').expect("a field ends with a newline");
        let text = std::str::from_utf8(&datagram[..line]).unwrap();
        if let Some((key, value)) = text.split_once('=') {
            fields.insert(key.into(), value.into());
            datagram = &datagram[line + 1..];
        } else {
            let (length, rest) = datagram[line + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            fields.insert(text.into(), String::from_utf8(rest[..length].to_vec()).unwrap());
            datagram = &rest[length + 1..];
        }
    }
    fields
}

#[test]
fn journal_records_have_fields_to_search_by() {
    // In a mount namespace of its own, where our socket is the journal's.
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        let user = if rustix::process::getuid().is_root() { "--mount" } else { "--mount --map-root-user" };
        command.args(user.split(' ')).args(["sh", "-ec", script]);
        command
    };
    let dir = tempfile::tempdir().unwrap();
    let journal = UnixDatagram::bind(dir.path().join("socket")).unwrap();
    journal.set_read_timeout(Some(LONG)).unwrap();
    let more = format!("listen = \"{}\"\n[log]\nformat = \"journal\"", free_address());
    let file = dir.path().join("hearth.toml");
    let clip = clip(dir.path(), 8);
    std::fs::write(&file, config(&clip, "fast", "embedded", &more)).unwrap();
    let script = format!(
        "mkdir -p '{run}/systemd/journal'; mount --rbind '{run}' /run; \
         touch /run/systemd/journal/socket; mount --bind '{dir}/socket' /run/systemd/journal/socket; exec '{HEARTH}' run --config '{file}'",
        run = dir.path().join("run").display(),
        dir = dir.path().display(),
        file = file.display()
    );
    let mut hearth = namespace(&script).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut records = Vec::new();
    while !records.iter().any(|r: &BTreeMap<String, String>| r["MESSAGE"] == "closed") {
        match journal.recv(&mut buffer) {
            // The first is empty: is a journal there?
            Ok(0) => {}
            Ok(n) => records.push(record(&buffer[..n])),
            Err(_) => {
                hearth.kill().unwrap();
                let said = hearth.wait_with_output().unwrap();
                panic!("the journal got only {records:?}; {}", String::from_utf8_lossy(&said.stderr));
            }
        }
    }
    assert!(hearth.wait().unwrap().success());
    assert!(
        records.iter().all(|r| r["SYSLOG_IDENTIFIER"] == "hearth" && "34567".contains(&r["PRIORITY"])),
        "{records:?}"
    );
    let listening = records.iter().find(|r| r["MESSAGE"].starts_with("the model that reads along")).unwrap();
    assert!(listening["MODEL"].contains("nano") && listening["MS"].parse::<u64>().is_ok(), "{listening:?}");
}

#[test]
fn the_unit_is_sandboxed_and_can_still_open_the_sound_card() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/hearth.service");
    // 15 of 100: what is left is the network at home, and the sound card.
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze is there: `make deps` installs it");
    let table = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{table}{}", String::from_utf8_lossy(&judged.stderr));
    let text = std::fs::read_to_string(&unit).unwrap();
    for needed in [
        "Type=notify",
        "DeviceAllow=char-alsa rw",
        "SupplementaryGroups=audio",
        "RestartPreventExitStatus=78",
        "LimitCORE=0",
    ] {
        assert!(text.lines().any(|line| line == needed), "{needed}");
    }
}
