//! What a person does with a hearth that runs from a terminal: `hearth mute`, `unmute`, `pause`, `watch`, `search`, `history`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use serde_json::Value;

use super::bad_input::{hearth, refuses, write};
use super::harness::{HEARTH, Hearth, config, household};
use super::mosquitto::{LONG, Mosquitto, free_address};

/// A config of a hearth that hears and reads nothing.
fn deaf() -> String {
    format!(
        "[source.wyoming]\nlisten = \"{}\"\n[listener]\nenabled = false\n[store]\ndir = \"state\"\n[mqtt]\nlisten = \"{}\"\n",
        free_address(),
        free_address()
    )
}

const CONFIG: [&str; 2] = ["--config", "hearth.toml"];

fn done(dir: &Path, arguments: &[&str]) -> String {
    let output = hearth(dir, &[arguments, &CONFIG].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// `hearth watch`, whose lines are read as they come.
struct Watching {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Watching {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(HEARTH)
            .arg("watch")
            .args(CONFIG)
            .args(more)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, lines) = sync_channel(10_000);
        std::thread::spawn(move || stdout.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line with `words` in it.
    fn until(&mut self, words: &str) -> String {
        let end = Instant::now() + LONG;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("never {words:?}, but:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// As Ctrl-C does.
    fn interrupt(mut self) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success(), "Ctrl-C is the way to end it");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_microphone_is_closed_paused_and_opened_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let microphones = free_address();
    let settings = format!(
        "[source.wyoming]\nlisten = \"{microphones}\"\n[listener]\nenabled = false\n[store]\ndir = \"state\"\n[mqtt]\nlisten = \"{}\"\n",
        free_address()
    );
    write(dir.path(), "hearth.toml", &settings);
    for command in [&["mute"][..], &["unmute"], &["pause", "30m"], &["watch"]] {
        refuses(dir.path(), &[command, &CONFIG].concat(), 1, &["hearth: no hearth answers at", "is it running?"]);
    }
    let mut running = Hearth::run(dir.path(), &settings);
    running.until_said("hearth is up");
    let status = || done(dir.path(), &["status"]);
    let mut watching = Watching::start(dir.path(), &[]);
    // No network microphone has connected.
    let open = "waiting for the source of sound";
    watching.until(open);

    assert!(done(dir.path(), &["mute"]).starts_with("muted: nothing is heard until `hearth unmute`"));
    watching.until("muted");
    assert!(status().contains("hears    muted"), "{}", status());
    refuses(dir.path(), &["pause", "5m", CONFIG[0], CONFIG[1]], 1, &["the microphone is closed already"]);
    assert_eq!(done(dir.path(), &["unmute"]), "listening\n");
    watching.until(open);
    assert!(done(dir.path(), &["pause", "1h30m"]).starts_with("paused until 20"));
    watching.until("paused until");
    assert!(status().contains("hears    paused until"), "{}", status());
    assert_eq!(done(dir.path(), &["pause", "0"]), "no pause is on\n");
    watching.until(open);
    refuses(dir.path(), &["pause", "2d", CONFIG[0], CONFIG[1]], 1, &["2880.0 is no number of minutes from 0 to 1440"]);
    refuses(dir.path(), &["pause", "soon", CONFIG[0], CONFIG[1]], 2, &["\"soon\" is no length of time"]);

    // Of a hearth with another state directory nothing is muted.
    write(dir.path(), "other.toml", "[store]\ndir = \"other\"\n");
    refuses(dir.path(), &["mute", "--config", "other.toml"], 1, &["no hearth"]);
    assert!(status().contains(open));
    watching.interrupt();
    running.terminate();
    assert!(running.wait().0.success());

    // A machine that only reads has no microphone to mute.
    let broker = Mosquitto::anywhere(dir.path());
    let reads = format!(
        "[source.mqtt]\ntopics = [\"hearth/+/utterance\"]\n[store]\ndir = \"reads\"\n[mqtt]\nurl = \"mqtt://{}\"\n",
        broker.address
    );
    let mut running = Hearth::run(dir.path(), &reads);
    running.until_said("hearth is up");
    refuses(dir.path(), &["mute", CONFIG[0], CONFIG[1]], 1, &["has no microphone"]);
}

#[test]
fn watch_shows_what_happens_waits_while_hearth_is_stopped_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let soon = "[digest]\nevery_min = 0\nmin_words = 12\nquiet_min = 0.07\n";
    let settings = config(&household(), "real-time", &format!("mqtt://{}", broker.address), soon);
    let mut running = Hearth::run(dir.path(), &settings);
    running.until_said("hearth is up");
    let mut watching = Watching::start(dir.path(), &[]);
    let mut lines = Watching::start(dir.path(), &["--json"]);
    watching.until("following hearth at home");
    let said = watching.until("Good morning, Emma");
    let time = said.split("  ").next().unwrap();
    assert!(time.len() == 8 && time.as_bytes()[2] == b':' && !said.contains('\x1b'), "{said:?}");
    let scene: Value = serde_json::from_str(&lines.until("Good morning, Emma")).unwrap();
    assert!(scene["scene"]["utterance"]["room"] == "home" || scene["recent"]["utterances"].is_array(), "{scene}");
    let alert = watching.until("ALERT    medicine");
    assert!(alert.contains(" % “") && alert.contains("heart pills"), "{alert}");
    // They see the same while the daemon runs as after it.
    assert!(done(dir.path(), &["search", "pills"]).contains("heart pills"));
    let history = done(dir.path(), &["history"]);
    assert!(history.contains("ALERT    medicine") && history.contains("Good morning, Emma"), "{history}");
    assert!(done(dir.path(), &["export", "--format", "vtt"]).contains("Good morning, Emma"));
    watching.until("summary  ");

    assert!(done(dir.path(), &["forget", "1m"]).contains("are forgotten, by the hearth that runs"));
    watching.until("forget   what was said since");
    assert!(!done(dir.path(), &["export"]).contains("Good morning"));
    running.terminate();
    assert!(running.wait().0.success());
    watching.until("it has ended; waiting until it runs again");
    let mut running = Hearth::run(dir.path(), &settings);
    running.until_said("hearth is up");
    watching.until("it runs again");
    watching.until("Good morning, Emma");
    watching.interrupt();
    lines.interrupt();
}

#[test]
fn eight_watch_at_once_and_others_can_still_ask() {
    let dir = tempfile::tempdir().unwrap();
    let settings = deaf();
    let mut running = Hearth::run(dir.path(), &settings);
    running.until_said("hearth is up");
    let mut watching: Vec<_> = (0..8).map(|_| Watching::start(dir.path(), &["--json"])).collect();
    for one in &mut watching {
        one.until("\"status\"");
    }
    refuses(dir.path(), &["watch", CONFIG[0], CONFIG[1]], 1, &["too many are watching already"]);
    assert!(done(dir.path(), &["status"]).contains("hears    "));
    watching.pop().unwrap().interrupt();
    let mut again = Watching::start(dir.path(), &["--json"]);
    again.until("\"status\"");
    watching.into_iter().chain([again]).for_each(Watching::interrupt);
}

#[test]
fn status_of_another_config_is_not_that_of_the_hearth_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let settings = deaf();
    // Where systemd has the socket of the system's hearth, which every command finds.
    let socket = dir.path().join("run");
    std::fs::create_dir(&socket).unwrap();
    let mut running = Hearth::run_as(dir.path(), &settings, Stdio::null(), &[("RUNTIME_DIRECTORY", &socket)]);
    running.until_said("hearth is up");
    std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
    std::fs::write(dir.path().join("other.toml"), "[store]\ndir = \"elsewhere\"\n").unwrap();
    let status = |config: &str| {
        let mut command = Command::new(HEARTH);
        command.args(["status", "--config", config]).current_dir(dir.path()).env("RUNTIME_DIRECTORY", &socket);
        command.output().unwrap()
    };
    let own = status("hearth.toml");
    assert!(own.status.success() && String::from_utf8_lossy(&own.stdout).contains("hears    "), "{own:?}");
    let other = status("other.toml");
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(1) && other.stdout.is_empty(), "{other:?}");
    assert!(told.contains("no hearth runs with") && told.contains("elsewhere") && told.contains("state"), "{told}");
    running.terminate();
    assert!(running.wait().0.success());
}
