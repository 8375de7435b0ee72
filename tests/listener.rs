//! The listener with the real nano: what it hears, what it tells, and that asking changes nothing.

use std::path::{Path, PathBuf};

use hearth::config::{self, Config};
use hearth::event::{Alert, AlertPhase, Digest, DigestReason, Utterance};
use hearth::listener::{Listener, Outcome};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use ulid::Ulid;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn open() -> Listener {
    open_with(&Config::default())
}

fn open_with(config: &Config) -> Listener {
    Listener::open(&root("models/recurrentgemma-nano"), &config.listener, &config.digest, &config.rules).unwrap()
}

/// Ten in the evening of some day, and `seconds` later.
fn at(seconds: f64) -> Timestamp {
    let origin: Timestamp = "2026-03-01T22:00:00Z".parse().unwrap();
    origin + SignedDuration::from_secs_f64(seconds)
}

fn said(start: f64, end: f64, text: &str) -> Utterance {
    Utterance {
        id: Ulid::generate(),
        start: at(start),
        end: at(end),
        room: "home".into(),
        text: text.into(),
        confidence: 0.9,
        no_speech: 0.0,
    }
}

/// The household of the demo, as it was written.
fn household() -> Vec<Utterance> {
    #[derive(Deserialize)]
    struct Line {
        start: f64,
        end: f64,
        text: String,
    }
    let text = std::fs::read_to_string(root("examples/household.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    lines.map(|line| said(line.start, line.end, &line.text)).collect()
}

/// Hears and considers each utterance, then the end.
fn follow(listener: &mut Listener, talk: &[Utterance]) -> Outcome {
    let mut all = Outcome::default();
    for utterance in talk {
        listener.hear(utterance).unwrap();
        add(&mut all, listener.consider(utterance.end).unwrap());
    }
    add(&mut all, listener.finish(talk.last().unwrap().end).unwrap());
    all
}

fn add(all: &mut Outcome, more: Outcome) {
    all.alerts.extend(more.alerts);
    all.digests.extend(more.digests);
    all.readings.extend(more.readings);
}
