//! `hearth setup` on a terminal of its own, beside a hearth that was just installed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::harness::{HEARTH, Hearth};
use super::mosquitto::LONG;
use super::muting::Home;

/// A program whose input and output are a terminal.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    fn run(command: &mut Command) -> Self {
        let (mut ours, mut its) = (0, 0);
        // SAFETY: both numbers are valid for writing, and null is allowed for the others.
        let opened = unsafe {
            libc::openpty(&mut ours, &mut its, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut())
        };
        assert_eq!(opened, 0, "there is no terminal: {}", std::io::Error::last_os_error());
        // SAFETY: openpty just opened them, and nobody else has them.
        let (ours, its) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) };
        let stdio = || Stdio::from(its.try_clone().unwrap());
        let child = command.env("TERM", "xterm").stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        let (tell, shown) = channel();
        let mut screen = ours.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails when the program has ended.
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                if tell.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys: ours, shown, text: String::new() }
    }

    /// Waits until these words are shown after what was waited for before.
    fn until(&mut self, words: &str) {
        let end = Instant::now() + LONG;
        loop {
            if let Some(at) = self.text.find(words) {
                self.text.drain(..at + words.len());
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            let more = self.shown.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("{words:?} is not shown, but {:?}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn answer(&mut self, question: &str, keys: &str) {
        self.until(question);
        self.keys.write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn setup(dir: &Path) -> Command {
    let mut command = Command::new(HEARTH);
    command.args(["setup", "--config", "hearth.toml"]).current_dir(dir);
    command
}

#[test]
fn setup_writes_the_config_and_opens_the_microphone() {
    let home = Home::start_with(Hearth::run_as_installed);
    let mut terminal = Terminal::run(&mut setup(home.dir.path()));
    terminal.until("the sources stay as they are");
    terminal.answer("Name of this room or machine", "study\r");
    terminal.answer("MQTT broker", "\r");
    terminal.answer("Its address", "\r");
    terminal.answer("User at the broker", "\r");
    // One line down, from 30 days to 7.
    terminal.answer("Keep what was said for", "\x1b[B\r");
    terminal.until("To be written into hearth.toml");
    terminal.answer("Write it?", "y\r");
    terminal.until("takes hearth in, and passes commands on");
    terminal.answer("Open the microphone now?", "y\r");
    terminal.until("It listens.");
    home.subscriber.wait_for("an open microphone", |h| h.topic == "hearth/home/listening" && h.json()["state"] == "ON");
    assert!(terminal.child.wait().unwrap().success());
    let text = std::fs::read_to_string(home.dir.path().join("hearth.toml")).unwrap();
    assert!(text.contains("node = \"study\"") && text.contains("keep = \"7 days\""), "{text}");
    assert!(text.contains("[source.wyoming]"), "{text}");
    home.end();
}

#[test]
fn setup_that_is_given_up_changes_nothing() {
    let home = Home::start_with(Hearth::run_as_installed);
    let before = std::fs::read(home.dir.path().join("hearth.toml")).unwrap();
    let mut terminal = Terminal::run(&mut setup(home.dir.path()));
    terminal.answer("Name of this room or machine", "two words\r");
    // A name that topics cannot have is asked for again.
    terminal.until("is no name");
    terminal.answer("Name of this room or machine", "study\r");
    // The choice hides the cursor, and Ctrl-C shows it again.
    terminal.until("MQTT broker");
    terminal.until("another one");
    // Before the program waits for a key, this terminal drops Ctrl-C, so it is pressed again until the program ends.
    let end = Instant::now() + LONG;
    while terminal.child.try_wait().unwrap().is_none() && Instant::now() < end {
        let _ = terminal.keys.write_all(&[3]);
        std::thread::sleep(Duration::from_millis(200));
    }
    terminal.until("\x1b[?25h");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read(home.dir.path().join("hearth.toml")).unwrap(), before);
    home.end();
}

#[test]
fn setup_writes_a_new_file_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::run(setup(dir.path()).env("ALSA_CONFIG_PATH", dir.path().join("no.sound")));
    terminal.until("No microphone is plugged in now");
    terminal.answer("Name of this room or machine", "\r");
    // The broker of its own is the default.
    terminal.answer("MQTT broker", "\r");
    terminal.answer("Keep what was said for", "\r");
    terminal.until("as a new file");
    terminal.answer("Write it?", "y\r");
    terminal.until("✗ source of home");
    terminal.until("Without a microphone hearth starts");
    terminal.answer("What now?", "\r");
    terminal.until("hearth does not run with these settings now");
    assert!(terminal.child.wait().unwrap().success());
    let text = std::fs::read_to_string(dir.path().join("hearth.toml")).unwrap();
    assert_eq!(text, include_str!("../../config/hearth.toml"));
}

#[test]
fn setup_asks_again_where_the_broker_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::run(setup(dir.path()).env("ALSA_CONFIG_PATH", dir.path().join("no.sound")));
    terminal.answer("Name of this room or machine", "\r");
    terminal.answer("MQTT broker", "\x1b[A\r");
    // An address as people write it, where nobody listens.
    terminal.answer("Its address", "127.0.0.1:1\r");
    terminal.answer("User at the broker", "\r");
    terminal.answer("Keep what was said for", "\r");
    terminal.answer("Write it?", "y\r");
    terminal.until("✗ broker");
    terminal.until("2 checks failed");
    terminal.answer("What now?", "\r");
    terminal.answer("Name of this room or machine", "\r");
    terminal.answer("MQTT broker", "\x1b[B\r");
    terminal.answer("Keep what was said for", "\r");
    terminal.answer("Write it?", "y\r");
    terminal.answer("What now?", "\r");
    terminal.until("hearth does not run with these settings now");
    assert!(terminal.child.wait().unwrap().success());
    let text = std::fs::read_to_string(dir.path().join("hearth.toml")).unwrap();
    assert!(text.contains("\nurl = \"embedded\""), "{text}");
}

#[test]
fn without_a_terminal_setup_says_what_to_do_instead() {
    let dir = tempfile::tempdir().unwrap();
    let output = setup(dir.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("needs a terminal") && said.contains("hearth unmute"), "{said}");
    assert!(!dir.path().join("hearth.toml").exists());
}
