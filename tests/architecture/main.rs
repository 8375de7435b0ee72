//! The structure of the source: imports go one way, a dependency has one owner, a type name is used once, and a file that the
//! documentation names is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Who may use a dependency: one module or file.
const OWNERS: &[(&str, &str)] = &[
    ("alsa", "audio/capture"),
    ("cpal", "audio/capture"),
    ("symphonia", "audio/file"),
    ("rubato", "audio/resample"),
    ("earshot", "audio/vad"),
    ("whisper_rs", "asr/whisper"),
    ("whisper_bias", "asr/whisper"),
    ("plotters", "cli/bench/plot"),
    ("rumqttc", "mqtt/client"),
    ("rumqttd", "mqtt/broker"),
    ("rusqlite", "store"),
    ("candle_core", "speakers"),
    ("candle_nn", "speakers"),
    ("realfft", "speakers"),
    ("safetensors", "watcher"),
    ("crc32fast", "watcher"),
    ("half", "watcher"),
    ("ureq", "models/fetch"),
    ("systemd_journal_logger", "journal"),
    ("sd_notify", "app/systemd"),
    ("axum", "api/web"),
    ("clap_complete", "cli/manpages"),
    ("clap_mangen", "cli/manpages"),
    ("prometheus_client", "api/openmetrics"),
    ("dialoguer", "cli/setup"),
    ("toml_edit", "cli/setup"),
    ("hmac", "webhook/signature"),
    ("base64", "webhook/signature"),
    ("hyper_rustls", "webhook/client"),
];

/// Type names that may be used more than once: `hearth bench` has arguments with and without its feature.
const COMMON_NAMES: &[&str] = &["BenchArgs"];

struct SourceFile {
    /// Below the folder of sources, without its ending.
    name: String,
    text: String,
}

impl SourceFile {
    /// The text without lines of comments.
    fn code(&self) -> String {
        self.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }
}

fn files_ending_in(wanted: &str, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            files_ending_in(wanted, &path, found);
        } else if path.extension().is_some_and(|ending| ending == wanted) {
            found.push(path);
        }
    }
}

/// The source files below a folder of this repository.
fn sources(folder: &str) -> Vec<SourceFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths = Vec::new();
    files_ending_in("rs", &folder, &mut paths);
    assert!(!paths.is_empty(), "no source file was found in {}", folder.display());
    let mut files = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&folder).expect("it lies in the folder").with_extension("");
        let text = fs::read_to_string(&path).expect("a source file is text");
        files.push(SourceFile { name: name.display().to_string(), text });
    }
    files
}

/// The layer of each module, from the table in the documentation of the crate (`src/lib.rs`).
fn layers() -> BTreeMap<String, u32> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(lib).expect("the crate has a root");
    let row = Regex::new(r"(?m)^//! \| (\d+) \| \[?`(\w+)`\]? \|").expect("it is a pattern");
    row.captures_iter(&text)
        .map(|row| (row[2].to_string(), row[1].parse().expect("the pattern takes digits only")))
        .collect()
}

/// The modules that a piece of code names: after `crate::` (or `hearth::` in main), also inside braces.
fn modules_named(code: &str) -> Vec<String> {
    let end = |c: char| !c.is_alphanumeric() && c != '_';
    let mut named = Vec::new();
    for marker in ["crate::", "hearth::"] {
        for (at, _) in code.match_indices(marker) {
            let rest = &code[at + marker.len()..];
            let items = match rest.strip_prefix('{').and_then(|rest| rest.split_once("};")) {
                Some((group, _)) => group.split(',').collect(),
                None => vec![rest],
            };
            named.extend(items.into_iter().map(|item| item.trim().split(end).next().unwrap_or_default().to_string()));
        }
    }
    named
}

#[test]
fn imports_go_to_lower_layers_only() {
    let layers = layers();
    assert!(layers.len() > 20, "the table in src/lib.rs has only {} rows", layers.len());
    let mut wrong = Vec::new();
    for file in sources("src") {
        let module = file.name.split('/').next().expect("a path has a first part");
        if module == "lib" {
            continue;
        }
        let own = layers.get(module).unwrap_or_else(|| panic!("{module} is not in the table in src/lib.rs: add it"));
        for named in modules_named(&file.code()) {
            if named != module && layers.get(&named).is_some_and(|other| other >= own) {
                wrong.push(format!("src/{}.rs uses crate::{named}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "imports of the same or a higher layer:\n{}", wrong.join("\n"));
}

#[test]
fn a_dependency_has_one_owner() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let code = file.code();
        for (dependency, owner) in OWNERS {
            let uses = code.contains(&format!("{dependency}::")) || code.contains(&format!("use {dependency};"));
            if uses && !file.name.starts_with(owner) {
                wrong.push(format!("src/{}.rs uses {dependency}, which belongs to {owner}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let all = ["src", "crates/griffin/src", "crates/whisper-bias/src"].into_iter().flat_map(sources);
    let silent: Vec<_> = all.filter(|file| !file.text.starts_with("//!")).map(|file| file.name).collect();
    assert!(silent.is_empty(), "files that do not begin with //!: {silent:?}");
}

#[test]
fn a_type_name_is_used_once_in_a_crate() {
    let definition = Regex::new(r"(?m)^(?:pub(?:\([a-z :]+\))? )?(?:struct|enum|trait|union|type) (\w+)");
    let definition = definition.expect("it is a pattern");
    let mut wrong = Vec::new();
    for folder in ["src", "crates/griffin/src", "crates/whisper-bias/src"] {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in sources(folder) {
            for found in definition.captures_iter(&file.text) {
                places.entry(found[1].to_string()).or_default().push(file.name.clone());
            }
        }
        for (name, files) in places {
            if files.len() > 1 && !COMMON_NAMES.contains(&name.as_str()) {
                wrong.push(format!("{name} in {folder}: {}", files.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "type names that are used more than once:\n{}", wrong.join("\n"));
}

/// Every file of text that people read or write: sources, documentation, settings, units.
fn written_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "Makefile", "Cargo.toml", "deny.toml"]
            .map(|file| root.join(file))
            .to_vec();
    let folders = [
        ("docs", "md"),
        ("src", "rs"),
        ("tests", "rs"),
        ("fuzz", "rs"),
        ("benches", "rs"),
        ("crates/griffin", "rs"),
        ("crates/griffin", "md"),
        ("crates/whisper-bias", "rs"),
        ("config", "toml"),
        ("systemd", "service"),
    ];
    for (folder, ending) in folders {
        files_ending_in(ending, &root.join(folder), &mut files);
    }
    // Samples of an older hearth stay as they were written, and this file has the words that are looked for.
    files.retain(|file| {
        !file.starts_with(root.join("tests/fixtures")) && !file.starts_with(root.join("tests/architecture"))
    });
    files
}

#[test]
fn spelling_is_american() {
    // `request/summarise` is a topic that stays.
    let stems = [
        "analyse",
        "behaviour",
        "colour",
        "favour",
        "generalis",
        "initialis",
        "licence",
        "maximis",
        "minimis",
        "neighbour",
        "normalis",
        "optimis",
        "organis",
        "quantis",
        "recognis",
        "serialis",
        "synchronis",
        "tokenis",
    ];
    let british = Regex::new(&format!(r"(?i)\b(?:de|re|un)?(?:{})\w*", stems.join("|"))).expect("it is a pattern");
    let mut wrong = Vec::new();
    for file in written_files() {
        let text = fs::read_to_string(&file).expect("a source file is text");
        wrong.extend(british.find_iter(&text).map(|word| format!("{}: {}", file.display(), word.as_str())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_path_that_comments_and_documentation_name_is_there() {
    let path =
        Regex::new(r"(?:^|[^\w./-])((?:src|crates|docs|tests|tools|training|benches|examples|systemd)/[\w./-]*\w)");
    let path = path.expect("it is a pattern");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    let mut wrong = Vec::new();
    // A changelog tells of what was there.
    for file in written_files().iter().filter(|file| !file.ends_with("CHANGELOG.md")) {
        let text = fs::read_to_string(file).expect("a source file is text");
        let is_code = file.extension().is_some_and(|ending| ending == "rs");
        for line in text.lines().filter(|line| !is_code || line.trim_start().starts_with("//")) {
            for found in path.captures_iter(line) {
                named += 1;
                let below = [root.to_path_buf(), root.join("crates/griffin")];
                let is_there = below.iter().map(|folder| folder.join(&found[1]));
                if !is_there.into_iter().any(|path| path.exists() || path.with_extension("rs").exists()) {
                    wrong.push(format!("{}: {}", file.display(), &found[1]));
                }
            }
        }
    }
    assert!(named > 100, "only {named} paths were found: the pattern is wrong");
    assert!(wrong.is_empty(), "what is named is not there:\n{}", wrong.join("\n"));
}
