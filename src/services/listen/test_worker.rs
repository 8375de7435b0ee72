//! A listener with a real database and the bundled model, as the tests of this service need it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use ulid::Ulid;

use super::{ListenInputs, ListenerWorker};
use crate::config::{Config, Rule, from_text};
use crate::event::Utterance;
use crate::listener::Listener;
use crate::listener::pace::WorkClock;
use crate::metrics::Metrics;
use crate::services::Context;

pub(super) fn config(more: &str) -> Config {
    from_text(&format!("[source.stdin]\nrate = 16000\n{more}")).unwrap()
}

/// Long after anything was said.
struct QuietClock;

impl WorkClock for QuietClock {
    fn now(&self) -> Duration {
        Duration::from_secs(3_600)
    }
}

/// A listener as after a start, on what is in `dir`.
pub(super) fn start(dir: &TempDir, config: &Config) -> ListenerWorker {
    start_with(dir, config, &[], Arc::new(QuietClock))
}

pub(super) fn start_with(dir: &TempDir, config: &Config, rules: &[Rule], clock: Arc<dyn WorkClock>) -> ListenerWorker {
    let context = Context::open(config.clone(), dir.path(), Arc::new(Metrics::default())).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
    let listener = Listener::open(&model, &config.listener, &config.digest, rules).unwrap();
    let (rules, _) = tokio::sync::watch::channel(Vec::new());
    ListenerWorker::open(context, ListenInputs { listener, rules, clock }).unwrap()
}

/// Sentences of invented households.
pub(super) fn sentences() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/households.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let homes = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    homes
        .flat_map(|home| home["text"].as_str().unwrap().split_inclusive(". ").map(String::from).collect::<Vec<_>>())
        .filter(|said| said.split_whitespace().count() > 3)
        .collect()
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// Stores utterances, one in ten seconds from `second` on, and lets the listener read them.
pub(super) fn say(worker: &mut ListenerWorker, second: i64, texts: &[String]) {
    say_in(worker, "home", second, texts);
}

pub(super) fn say_in(worker: &mut ListenerWorker, room: &str, second: i64, texts: &[String]) {
    for (text, n) in texts.iter().zip(0..) {
        worker.store.record_utterance(&said(room, second + 10 * n, text), &[]).unwrap();
    }
    worker.catch_up().unwrap();
}

/// An utterance of three seconds.
pub(super) fn said(room: &str, second: i64, text: &str) -> Utterance {
    let (id, start) = (Ulid::generate(), at(second));
    let (room, text, end) = (room.into(), text.into(), start + SignedDuration::from_secs(3));
    Utterance { id, start, end, room, text, confidence: 0.9, no_speech: 0.0, speaker: None }
}

/// Lets time pass until nothing is left to do for a renewal.
pub(super) fn rest(worker: &mut ListenerWorker) {
    worker.last_heard = Duration::ZERO;
    loop {
        worker.write_slice().unwrap();
        worker.renew().unwrap();
        if !worker.is_writing() && !worker.is_renewing() {
            return;
        }
    }
}

pub(super) fn tensors(worker: &mut ListenerWorker) -> Vec<griffin::StateTensor> {
    tensors_of(worker, None)
}

pub(super) fn tensors_of(worker: &mut ListenerWorker, room: Option<&str>) -> Vec<griffin::StateTensor> {
    worker.listeners.get_mut(room).0.state().tensors()
}

pub(super) fn age(worker: &mut ListenerWorker) -> u64 {
    worker.listeners.get_mut(None).0.state().tokens_read()
}
