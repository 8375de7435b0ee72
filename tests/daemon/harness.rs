//! A hearth as a process, with its own state directory, and what it leaves behind.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hearth::audio::{self, SourceControl};
use hearth::clock::SAMPLE_RATE;
use hearth::config::{FileConfig, PlaybackPace, SourceConfig};
use hearth::event::{AudioEvent, RoomAudio};
use hearth::metrics::Metrics;
use serde_json::Value;

use super::mosquitto::{LONG, ReceivedMessage, Subscriber};

pub(crate) const HEARTH: &str = env!("CARGO_BIN_EXE_hearth");

/// The bundled household, 98 s.
pub(crate) fn household() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/household.flac")
}

/// The first `seconds` of the household as 16-bit samples at 16 kHz, one channel.
pub(crate) fn samples(seconds: usize) -> Vec<i16> {
    let source =
        ("home".into(), SourceConfig::File(FileConfig { path: household(), pace: PlaybackPace::Fast, room: None }));
    let (sender, receiver) = sync_channel(64);
    let reading = std::thread::spawn(move || {
        audio::run(&[source], Path::new(""), sender, &SourceControl::default(), &Metrics::default())
    });
    let wanted = seconds * SAMPLE_RATE as usize;
    let mut samples = Vec::new();
    while samples.len() < wanted {
        let Ok(RoomAudio { event: AudioEvent::Frame(frame), .. }) = receiver.recv() else { break };
        samples.extend(frame.samples.iter().map(|s| (s * 32767.0) as i16));
    }
    drop(receiver);
    reading.join().unwrap().unwrap();
    samples.truncate(wanted);
    samples
}

/// The first `seconds` of the household as a WAV file in `dir`.
pub(crate) fn clip(dir: &Path, seconds: usize) -> PathBuf {
    wav(dir, &samples(seconds))
}

/// 16-bit samples at 16 kHz as a WAV file in `dir`.
pub(crate) fn wav(dir: &Path, samples: &[i16]) -> PathBuf {
    let format = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let path = dir.join("clip.wav");
    let mut writer = hound::WavWriter::create(&path, format).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    path
}

/// A config that plays a file to a broker.
pub(crate) fn config(file: &Path, pace: &str, broker: &str, more: &str) -> String {
    format!(
        "[source.file]\npath = {:?}\npace = \"{pace}\"\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"{broker}\"\n{more}\n",
        file.display().to_string()
    )
}

/// A hearth that runs.
pub(crate) struct Hearth {
    child: Child,
    log: Receiver<String>,
    /// What it has said so far.
    pub(crate) said: Vec<String>,
}

impl Hearth {
    /// Starts `hearth run` with a config written to `dir`.
    pub(crate) fn run(dir: &Path, config: &str) -> Self {
        Self::run_with(dir, config, Stdio::null())
    }

    pub(crate) fn run_with(dir: &Path, config: &str, stdin: Stdio) -> Self {
        Self::run_as(dir, config, stdin, &[])
    }

    /// With variables of the environment, as a service manager sets them.
    pub(crate) fn run_as(dir: &Path, config: &str, stdin: Stdio, variables: &[(&str, &Path)]) -> Self {
        Self::spawn(dir, config, Command::new(HEARTH).arg("run").envs(variables.iter().copied()).stdin(stdin))
    }

    /// As the unit for systemd starts it.
    pub(crate) fn run_as_installed(dir: &Path, config: &str) -> Self {
        Self::spawn(dir, config, Command::new(HEARTH).args(["run", "--first-start-muted"]).stdin(Stdio::null()))
    }

    fn spawn(dir: &Path, config: &str, command: &mut Command) -> Self {
        let path = dir.join("hearth.toml");
        std::fs::write(&path, config).unwrap();
        let mut child =
            command.arg("--config").arg(&path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, log) = sync_channel(10_000);
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, log, said: Vec::new() }
    }

    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Waits until it says something with `words` in it.
    pub(crate) fn until_said(&mut self, words: &str) {
        let end = Instant::now() + LONG;
        while !self.said.iter().any(|line| line.contains(words)) {
            let left = end.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(_) => panic!("hearth never said {words:?}, but:\n{}", self.said.join("\n")),
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// As `systemctl reload` does.
    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// kill −9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; returns how it ended and everything it said.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let end = Instant::now() + 5 * LONG;
        let status = loop {
            self.said.extend(self.log.try_iter());
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "hearth does not end:\n{}", self.said.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        };
        self.said.extend(self.log.iter());
        (status, self.said.join("\n"))
    }
}

impl Drop for Hearth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a process slow while it lives: it may run for a while, then it stands still for a while.
pub(crate) struct Throttle(Option<(SyncSender<()>, JoinHandle<()>)>);

impl Throttle {
    pub(crate) fn new(process: u32, runs: Duration, stands: Duration) -> Self {
        let (stop, stopped) = sync_channel::<()>(1);
        let process = rustix::process::Pid::from_raw(process.try_into().unwrap()).unwrap();
        let throttle = std::thread::spawn(move || {
            let signal = |signal| rustix::process::kill_process(process, signal).is_ok();
            let wait = |time| stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            while signal(rustix::process::Signal::STOP)
                && wait(stands)
                && signal(rustix::process::Signal::CONT)
                && wait(runs)
            {}
            signal(rustix::process::Signal::CONT);
        });
        Self(Some((stop, throttle)))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        if let Some((stop, throttle)) = self.0.take() {
            drop(stop);
            throttle.join().unwrap();
        }
    }
}

/// The lines of `transcript.jsonl`.
pub(crate) fn transcript(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("state/transcript.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of the transcript is JSON")).collect()
}

/// Their ids.
pub(crate) fn ids(lines: &[Value]) -> Vec<String> {
    lines.iter().map(|line| line["id"].as_str().expect("an utterance has an id").to_string()).collect()
}

/// Takes messages until one is what is `wanted`. Health comes every 30 s, so a hearth that lives is never silent for long.
pub(crate) fn until(listener: &Subscriber, mut wanted: impl FnMut(&ReceivedMessage) -> bool) {
    while !wanted(&listener.next()) {}
}

/// The last word of a hearth that was not cut off.
pub(crate) fn is_farewell(heard: &ReceivedMessage) -> bool {
    heard.topic == "hearth/home/status" && heard.payload.contains("offline") && !heard.retain
}

/// A thread that a debugger holds: it stands, and the others go on.
pub(crate) struct Held(i32);

impl Held {
    pub(crate) fn hold(thread: i32) -> Self {
        Self::ask(libc::PTRACE_SEIZE, thread);
        Self::ask(libc::PTRACE_INTERRUPT, thread);
        // SAFETY: no status is asked for, so nothing is written.
        let stopped = unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) };
        assert_eq!(stopped, thread, "{}", std::io::Error::last_os_error());
        Self(thread)
    }

    fn ask(request: std::ffi::c_uint, thread: i32) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: none of these requests reads or writes memory of this process.
        let done = unsafe { libc::ptrace(request, thread, none, none) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        Self::ask(libc::PTRACE_DETACH, self.0);
    }
}

/// The thread of a process that has this name.
pub(crate) fn thread(process: u32, name: &str) -> i32 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let is_it = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = tasks.map(Result::unwrap).find(is_it).unwrap_or_else(|| panic!("there is no thread {name}"));
    task.file_name().to_str().unwrap().parse().unwrap()
}
