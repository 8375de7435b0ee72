//! The house keeps its order: imports go one way, and a dependency has one owner.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. A room may use what lies below it; rooms on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["atomic_file", "clock", "percent_encode", "process", "metrics"],
    &["event"],
    &["config", "live"],
    &["redact"],
    &["models"],
    &["listener", "audio", "asr", "mqtt", "store", "journal"],
    &["commands"],
    &["supervisor", "api"],
    &["daemon", "retention"],
    &["services"],
    &["app"],
    &["cli"],
    &["main"],
];

/// Who may use a dependency: the one room or file whose affair it is.
const OWNERS: &[(&str, &str)] = &[
    ("alsa", "audio/capture"),
    ("cpal", "audio/capture"),
    ("symphonia", "audio/file"),
    ("rubato", "audio/resample"),
    ("earshot", "audio/vad"),
    ("whisper_rs", "asr/whisper"),
    ("plotters", "cli/bench/plot"),
    ("rumqttc", "mqtt/client"),
    ("rumqttd", "mqtt/broker"),
    ("rusqlite", "store"),
    ("ureq", "models/fetch"),
    ("systemd_journal_logger", "journal"),
    ("sd_notify", "app/systemd"),
    ("axum", "api/web"),
    ("clap_complete", "cli/manpages"),
    ("clap_mangen", "cli/manpages"),
    ("prometheus_client", "api/openmetrics"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Each source file as (path below `src` without its ending, code without comments).
fn files() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    assert!(found.len() > 30, "only {} files were found", found.len());
    let code = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source file is text");
        text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    let name =
        |path: &PathBuf| path.strip_prefix(&src).expect("it lies in src").with_extension("").display().to_string();
    found.iter().map(|path| (name(path), code(path))).collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// The rooms that a piece of code names: after `crate::` (or `hearth::` in main), also inside braces.
fn rooms_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for marker in ["crate::", "hearth::"] {
        for (at, _) in code.match_indices(marker) {
            let rest = &code[at + marker.len()..];
            let group = rest.strip_prefix('{').and_then(|r| r.split_once("};")).map(|(inside, _)| inside);
            for item in group.unwrap_or(rest).split(if group.is_some() { ',' } else { '\0' }) {
                let end = |c: char| !c.is_alphanumeric() && c != '_';
                named.push(item.trim().split(end).next().unwrap_or_default().to_string());
            }
        }
    }
    named
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        let room = file.split('/').next().expect("a path has a first part");
        let Some(own) = floor(room) else {
            assert_eq!(room, "lib", "src/{file}.rs stands on no floor: add it to FLOORS");
            continue;
        };
        for named in rooms_named(&code) {
            let Some(other) = floor(&named) else { continue };
            if other >= own && named != room {
                wrong.push(format!("src/{file}.rs uses crate::{named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that run back:\n{}", wrong.join("\n"));
}

#[test]
fn a_dependency_has_one_owner() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        for (dependency, owner) in OWNERS {
            let uses = code.contains(&format!("{dependency}::")) || code.contains(&format!("use {dependency};"));
            if uses && !file.starts_with(owner) {
                wrong.push(format!("src/{file}.rs uses {dependency}, which belongs to {owner}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    let silent = |path: &&PathBuf| !fs::read_to_string(path).expect("a source file is text").starts_with("//!");
    let silent: Vec<_> = found.iter().filter(silent).collect();
    assert!(silent.is_empty(), "files without a first word: {silent:?}");
}
