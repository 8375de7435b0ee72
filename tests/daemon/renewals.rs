//! A state that is renewed while hearth is killed, or while its disk is full: it is the former one or the fresh one, and what is told is true.

use std::ffi::c_void;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use hearth::config::Config;
use hearth::event::Utterance;
use hearth::store::{OutboxLimits, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use ulid::Ulid;

use super::harness::{HEARTH, Hearth, thread};
use super::mosquitto::LONG;

/// Twenty more than a fresh state reads, so that it has read fewer tokens than the one that it replaces.
const UTTERANCES: i64 = 520;
const TALK: [&str; 4] = [
    "The plumber is coming tomorrow at ten, and someone has to be home.",
    "We need milk, eggs and tomatoes.",
    "What should we make for dinner tonight?",
    "Remember, you have a dentist appointment on Thursday.",
];

/// Stores talk of the last hours.
fn store_talk(dir: &Path) {
    let mut store = Store::open(&dir.join("state"), OutboxLimits::from(&Config::default().store)).unwrap();
    let begin = Timestamp::now() - SignedDuration::from_secs(10 * UTTERANCES + 60);
    for n in 0..UTTERANCES {
        let (id, start) = (Ulid::generate(), begin + SignedDuration::from_secs(10 * n));
        let (room, text) = ("home".into(), TALK[n as usize % TALK.len()].into());
        let end = start + SignedDuration::from_secs(3);
        let said = Utterance { id, start, end, room, text, confidence: 0.9, no_speech: 0.0, speaker: None };
        store.record_utterance(&said, &[]).unwrap();
    }
}

/// A hearth that hears nothing more, and whose broker is away: its messages stay where they are.
fn run(dir: &Path) -> (Hearth, ChildStdin) {
    let text = "rule = []\n[source.stdin]\nrate = 16000\n[store]\ndir = \"state\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n\
                [listener]\nrenew = \"never\"\n[digest]\nmin_words = 100000\n";
    let mut hearth = Hearth::run_with(dir, text, Stdio::piped());
    let stdin = hearth.stdin();
    hearth.until_said("hearth is up");
    (hearth, stdin)
}

fn state(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new(HEARTH)
        .arg("state")
        .args(arguments)
        .args(["--config", "hearth.toml"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The age of the state in tokens, and how often it was renewed.
fn shown(dir: &Path) -> (u64, u64) {
    let json: Value = serde_json::from_str(&state(dir, &["--json"])).unwrap();
    (json["tokens"].as_u64().unwrap(), json["state"]["renewal"]["count"].as_u64().unwrap())
}

fn ask(dir: &Path, sql: &str) -> i64 {
    let database = rusqlite::Connection::open(dir.join("state/hearth.db")).unwrap();
    database.busy_timeout(LONG).unwrap();
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn told(dir: &Path) -> i64 {
    ask(dir, "SELECT count(*) FROM outbox WHERE topic LIKE '%/renewed'")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + 3 * LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A hearth that has read everything and was ended.
fn furnish(dir: &Path) {
    store_talk(dir);
    let (hearth, _stdin) = run(dir);
    until("not all is read", || {
        ask(dir, "SELECT coalesce((SELECT value FROM meta WHERE key = 'processed'), 0)") == UTTERANCES
    });
    hearth.terminate();
    let (ended, said) = hearth.wait();
    assert!(ended.success(), "{said}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What changes files or makes them last.
const STEPS: [libc::c_long; 8] = [
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
];
#[cfg(target_arch = "x86_64")]
const OLD_STEPS: [libc::c_long; 2] = [libc::SYS_rename, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const OLD_STEPS: [libc::c_long; 0] = [];

/// A thread whose calls of the system are followed one by one.
struct Followed(i32);

impl Followed {
    fn new(thread: i32) -> Self {
        let followed = Self(thread);
        followed.ask(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD as usize);
        followed.ask(libc::PTRACE_INTERRUPT, 0);
        while !followed.has_stopped() {}
        followed
    }

    fn ask(&self, request: std::ffi::c_uint, data: usize) {
        // SAFETY: none of these requests reads or writes memory of this process.
        let done = unsafe { libc::ptrace(request, self.0, std::ptr::null_mut::<c_void>(), data) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// Whether the thread has come to a stop.
    fn has_stopped(&self) -> bool {
        let mut status = 0;
        // SAFETY: the status is an integer of this function.
        let stopped = unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL | libc::WNOHANG) };
        assert!(stopped >= 0, "{}", std::io::Error::last_os_error());
        assert!(stopped == 0 || libc::WIFSTOPPED(status), "the thread has ended");
        stopped > 0
    }

    /// Lets the thread go on until it is about to take a step. False where it is `done` before that.
    fn takes_step(&self, mut done: impl FnMut() -> bool) -> bool {
        loop {
            self.ask(libc::PTRACE_SYSCALL, 0);
            let mut looked = Instant::now();
            while !self.has_stopped() {
                if looked.elapsed() > Duration::from_millis(50) {
                    if done() {
                        return false;
                    }
                    looked = Instant::now();
                }
                std::thread::yield_now();
            }
            // SAFETY: it is a struct of integers.
            let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
            let (size, at) = (std::mem::size_of_val(&info), (&raw mut info).cast::<c_void>());
            // SAFETY: the kernel writes at most `size` bytes to the struct.
            let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, self.0, size, at) };
            assert!(got > 0, "{}", std::io::Error::last_os_error());
            if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                // SAFETY: `op` says which part of the union is there.
                let called = unsafe { info.u.entry.nr } as libc::c_long;
                if STEPS.contains(&called) || OLD_STEPS.contains(&called) {
                    return true;
                }
            }
        }
    }
}

impl Followed {
    /// Follows it no more.
    fn let_go(self) {
        self.ask(libc::PTRACE_DETACH, 0);
        std::mem::forget(self);
    }
}

impl Drop for Followed {
    /// Whoever follows a thread that was killed must learn of its end before its process is gone.
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: the status is an integer of this function.
        while unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) } == self.0 && libc::WIFSTOPPED(status) {}
    }
}

/// Killed at each call of the system by which the listener changes a file, from the request to its end.
#[test]
fn kill_minus_nine_at_every_step_of_a_renewal_leaves_the_former_state_or_the_fresh_one() {
    let before = tempfile::tempdir().unwrap();
    furnish(before.path());
    let (mut former, mut fresh, mut step, mut outcomes) = (0, 0, 0, [0, 0]);
    let mut is_over = false;
    while !is_over {
        step += 1;
        let dir = tempfile::tempdir().unwrap();
        copy(&before.path().join("state"), &dir.path().join("state"));
        let (hearth, _stdin) = run(dir.path());
        until("the state is not restored", || shown(dir.path()).0 > 0);
        former = shown(dir.path()).0;
        let listening = Followed::new(thread(hearth.id(), "listen"));
        let asking = std::thread::spawn({
            let dir = dir.path().to_path_buf();
            // It may get no answer from one that is killed.
            move || {
                drop(Command::new(HEARTH).args(["state", "renew", "--config", "hearth.toml"]).current_dir(dir).output())
            }
        });
        let note = "SELECT count(*) FROM meta WHERE key = 'renewing' AND value != ''";
        let done = || told(dir.path()) == 1 && ask(dir.path(), note) == 0;
        // Where it is done before the step is reached, nothing is left to interrupt.
        is_over = (0..step).any(|_| !listening.takes_step(done));
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(hearth.id() as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        drop(listening);
        hearth.kill();
        asking.join().unwrap();

        let (hearth, _stdin) = run(dir.path());
        until("the state is not restored", || shown(dir.path()).0 > 0);
        let (tokens, count) = shown(dir.path());
        println!("killed at step {step}: {tokens} tokens, renewed {count} times, told {}", told(dir.path()));
        assert_eq!(told(dir.path()), count as i64, "step {step}");
        assert_eq!(tokens == former, count == 0, "step {step}: {tokens}");
        fresh = tokens;
        outcomes[count as usize] += 1;
        hearth.kill();
        assert_eq!(ask(dir.path(), note), 0, "step {step}: what was noted is settled");
    }
    assert!(fresh < former && outcomes[0] > 3 && outcomes[1] > 1, "{former} {fresh} {outcomes:?}");
}

mod needs_root {
    use super::super::disk_faults::Mounted;
    use super::*;

    /// Writes until nothing more fits.
    fn fill(path: &Path) {
        let mut filler = std::fs::File::create(path).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        while filler.write_all(&[0]).is_ok() {}
    }

    /// Gives `bytes` of a full disk back.
    fn leave(filler: &Path, bytes: u64) {
        let length = std::fs::metadata(filler).unwrap().len();
        std::fs::File::options().write(true).open(filler).unwrap().set_len(length - bytes).unwrap();
    }

    fn snapshots(dir: &Path) -> Vec<PathBuf> {
        let mut all: Vec<_> =
            std::fs::read_dir(dir.join("state/snapshots")).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }

    #[test]
    #[ignore = "needs root, to mount a small file system: make test-root"]
    fn a_disk_too_small_for_a_second_state_keeps_the_former_one_and_says_so_until_there_is_space() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("state");
        let _mounted = Mounted::new(state_dir.clone(), &["-t", "tmpfs", "-o", "size=16m", "hearth"]);
        furnish(dir.path());
        let (mut hearth, _stdin) = run(dir.path());
        until("the state is not restored", || shown(dir.path()).0 > 0);
        let (former, kept) = (shown(dir.path()), snapshots(dir.path()));
        // Space for the database, and for less than a state; then for nothing.
        let filler = state_dir.join("filler");
        for left in [40_960, 0] {
            fill(&filler);
            leave(&filler, left);
            assert!(state(dir.path(), &["renew"]).contains("a fresh state is read"));
            until("it is not said that the fresh state cannot be saved", || {
                state(dir.path(), &[]).contains("it could not be saved, which needs space on the disk")
            });
            assert_eq!((shown(dir.path()), snapshots(dir.path())), (former, kept.clone()), "{left} bytes");
        }
        hearth.until_said("the fresh state cannot be saved, so the former one stays");
        assert_eq!(told(dir.path()), 0);
        // Whoever has made space asks again and need not wait.
        std::fs::remove_file(&filler).unwrap();
        state(dir.path(), &["renew"]);
        until("it is not renewed", || shown(dir.path()).1 == 1);
        until("the renewal is not told", || told(dir.path()) == 1);
        assert!(shown(dir.path()).0 < former.0);
        hearth.terminate();
        let (ended, said) = hearth.wait();
        assert!(ended.success(), "{said}");
        let (_hearth, _stdin) = run(dir.path());
        until("the state is not restored", || shown(dir.path()).0 > 0);
        assert_eq!((shown(dir.path()).1, told(dir.path())), (1, 1));
    }

    /// The disk becomes full right after the fresh state was saved: what came of it is told from memory, and stored when there is space, or by
    /// the next start.
    #[test]
    #[ignore = "needs root, to mount a small file system: make test-root"]
    fn a_disk_that_is_full_when_the_fresh_state_is_saved_forgets_no_renewal() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("state");
        let _mounted = Mounted::new(state_dir.clone(), &["-t", "tmpfs", "-o", "size=16m", "hearth"]);
        furnish(dir.path());
        let (hearth, _stdin) = run(dir.path());
        until("the state is not restored", || shown(dir.path()).0 > 0);
        let (former, kept, filler) = (shown(dir.path()).0, snapshots(dir.path()).len(), state_dir.join("filler"));
        let listening = Followed::new(thread(hearth.id(), "listen"));
        let asking = std::thread::spawn({
            let dir = dir.path().to_path_buf();
            move || drop(state(&dir, &["renew"]))
        });
        // The snapshot has its name: whatever the listener writes next finds no space.
        while snapshots(dir.path()).iter().filter(|path| path.extension().is_some_and(|it| it == "snapshot")).count()
            == kept
        {
            assert!(listening.takes_step(|| false));
        }
        fill(&filler);
        listening.let_go();
        asking.join().unwrap();
        until("the fresh state is not shown", || shown(dir.path()).1 == 1);
        assert_eq!(told(dir.path()), 0, "the disk is full");
        hearth.kill();
        std::fs::remove_file(&filler).unwrap();
        let (_hearth, _stdin) = run(dir.path());
        until("the state is not restored", || shown(dir.path()).0 > 0);
        let (tokens, count) = shown(dir.path());
        assert!(tokens < former && count == 1, "{tokens} {count}");
        assert_eq!(told(dir.path()), 1);
    }
}
