//! Bad input gets a sentence that names the thing and the way out, and the right exit code; never a panic.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::harness::{HEARTH, clip, config, household};

/// Runs hearth with the working directory `dir` and a home of its own.
pub(crate) fn hearth(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(HEARTH)
        .args(arguments)
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("STATE_DIRECTORY")
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs hearth, which must fail with `code` and say all of `words`.
pub(crate) fn refuses(dir: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = hearth(dir, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "hearth {arguments:?} said {said}");
    for word in words {
        assert!(said.contains(word), "hearth {arguments:?} does not say {word:?}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

pub(crate) fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(dir.join(name), content).unwrap();
}

#[test]
fn a_closed_output_pipe_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(HEARTH).args(["models", "list"]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_broken_config_ends_with_78_and_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "bad.toml", "node = \"a b\"\n[asr]\nthread = 2\n[digest]\nevery_min = -1\n");
    for command in ["run", "check"] {
        let words =
            ["bad.toml:1:8:", "bad.toml:3:1:", "did you mean \"threads\"", "bad.toml:5:13:", "0 to 1440 minutes"];
        refuses(dir.path(), &[command, "--config", "bad.toml"], 78, &words);
    }
    refuses(dir.path(), &["run", "--config", "none.toml"], 78, &["none.toml", "--config"]);
    write(dir.path(), "latin1.toml", b"node = \"caf\xe9\"\n");
    refuses(dir.path(), &["check", "--config", "latin1.toml"], 78, &["latin1.toml", "utf-8"]);
}

#[test]
fn models_that_are_missing_or_broken_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = |text: &str, words: &[&str]| {
        write(dir.path(), "hearth.toml", config(&household(), "fast", "mqtt://127.0.0.1:1", text));
        refuses(dir.path(), &["run", "--config", "hearth.toml"], 78, words);
    };
    run("[asr]\nmodel = \"no-such-model.bin\"", &["no-such-model.bin", "HEARTH_MODELS"]);
    write(dir.path(), "text.bin", "this is no model");
    run("[asr]\nmodel = \"./text.bin\"", &["text.bin", "ggml"]);
    run("[asr]\nlanguage = \"de\"", &["English", "de"]);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    run("[listener]\nmodel = \"./empty\"", &["config.json"]);

    // A bundled model whose bytes are not what SHA256SUMS says.
    let models = dir.path().join("models/recurrentgemma-nano");
    std::fs::create_dir_all(&models).unwrap();
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for file in ["config.json", "model.safetensors", "tokenizer.json", "prompt.json", "calibration.json"] {
        std::fs::copy(bundled.join("recurrentgemma-nano").join(file), models.join(file)).unwrap();
    }
    std::fs::copy(bundled.join("SHA256SUMS"), dir.path().join("models/SHA256SUMS")).unwrap();
    write(&models, "prompt.json", "{}");
    run("[listener]\nmodel = \"./models/recurrentgemma-nano\"", &["prompt.json", "SHA256SUMS"]);
}

#[test]
fn audio_files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "empty.wav", "");
    write(dir.path(), "text.wav", "this is no sound at all, only words");
    let wav = std::fs::read(clip(dir.path(), 4)).unwrap();
    write(dir.path(), "header.wav", &wav[..44]);
    for (file, words) in [
        ("none.wav", ["none.wav", "No such file"]),
        ("empty.wav", ["empty.wav", "empty"]),
        ("text.wav", ["text.wav", "WAV"]),
        ("header.wav", ["header.wav", "no sound"]),
        (".", ["folder", "recording"]),
    ] {
        // All recordings in a folder are transcribed.
        if file != "." {
            refuses(dir.path(), &["transcribe", file], 1, &words);
            let alone = String::from_utf8(hearth(dir.path(), &["transcribe", file]).stderr).unwrap();
            assert_eq!(alone.lines().count(), 1, "one sentence, and no line of a library: {alone}");
        }
        write(dir.path(), "hearth.toml", config(Path::new(file), "fast", "mqtt://127.0.0.1:1", ""));
        refuses(dir.path(), &["run", "--config", "hearth.toml"], 1, &words);
        refuses(dir.path(), &["check", "--config", "hearth.toml"], 78, &words);
    }
    // One cut short is heard as far as it goes, and that is said.
    write(dir.path(), "short.wav", &wav[..44 + 3 * 32_000 + 1]);
    let output = hearth(dir.path(), &["transcribe", "short.wav"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Emma"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("short.wav"), "{output:?}");
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_transcribed() {
    let dir = tempfile::tempdir().unwrap();
    clip(dir.path(), 4);
    let output = hearth(dir.path(), &["transcribe", "--json", "none.wav", "clip.wav"]);
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_slice(output.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(line["file"], "clip.wav");
    assert!(
        line["text"].as_str().unwrap().contains("Emma") && line["start"].is_number() && line["confidence"].is_number()
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    // Not even root can make a directory there.
    let text =
        config(&household(), "fast", "mqtt://127.0.0.1:1", "").replace("dir = \"state\"", "dir = \"/proc/hearth\"");
    write(dir.path(), "hearth.toml", text);
    for command in [&["run"][..], &["check"], &["forget", "10m"], &["ask", "Who called?"]] {
        let arguments = [command, &["--config", "hearth.toml"]].concat();
        let code = if command == ["check"] { 78 } else { 1 };
        refuses(dir.path(), &arguments, code, &["/proc/hearth"]);
    }
}

#[test]
fn two_hearths_do_not_share_a_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let text = config(&household(), "real-time", "mqtt://127.0.0.1:1", "[listener]\nenabled = false\n");
    let mut first = super::harness::Hearth::run(dir.path(), &text);
    first.until_said("hearth is up");
    refuses(dir.path(), &["run", "--config", "hearth.toml"], 1, &["another hearth", "[store] dir"]);
    first.terminate();
    let (status, said) = first.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn a_config_without_its_option_is_told_how_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "my.toml", "");
    for command in [&["run"][..], &["check"], &["status"], &["rules", "list"]] {
        refuses(dir.path(), &[command, &["my.toml"]].concat(), 2, &["named with --config", "`--config my.toml`"]);
    }
    let other = hearth(dir.path(), &["models", "fetch", "one", "two"]);
    assert!(!String::from_utf8_lossy(&other.stderr).contains("--config"), "{other:?}");
}

#[test]
fn a_question_before_the_first_snapshot_is_told_when_to_ask() {
    let dir = tempfile::tempdir().unwrap();
    let silent = super::mosquitto::free_address();
    let text = config(&household(), "real-time", &format!("mqtt://{silent}"), "");
    let mut first = super::harness::Hearth::run(dir.path(), &text);
    first.until_said("hearth is up");
    let words = ["holds no snapshot", "every 5 minutes", "request/ask"];
    refuses(dir.path(), &["ask", "--config", "hearth.toml", "Who called?"], 1, &words);
}
