//! `hearth models` as a person uses it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use super::{here, nano_dir, tiny_dir};

fn hearth<S: AsRef<OsStr>>(args: &[S]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.args(args).env("HEARTH_MODELS", here("models")).output().unwrap()
}

/// What it wrote; it must have succeeded.
fn done<S: AsRef<OsStr>>(args: &[S]) -> String {
    let output = hearth(args);
    let (out, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{error}");
    out
}

/// What it said on standard error; it must have failed.
fn refused<S: AsRef<OsStr>>(args: &[S]) -> String {
    let output = hearth(args);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn quantize(out: &Path, more: &[&str]) -> Vec<String> {
    let mut args = vec!["models".to_string(), "quantize".into(), "recurrentgemma-nano".into()];
    args.push(out.display().to_string());
    args.extend(more.iter().map(|arg| arg.to_string()));
    args
}

#[test]
fn a_model_is_quantized_listed_shown_verified_and_talked_to() {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("nano.gguf");
    let text = work.path().join("text.txt");
    std::fs::write(&text, "The kettle is on. Milk is needed, and bread. The kettle is on again.").unwrap();
    let path = out.to_str().unwrap();
    let table = done(&quantize(&out, &["--type", "q4_k", "--perplexity", text.to_str().unwrap()]));
    for part in ["embedding", "mlp", "recurrent", "gates", "attention", "4.50", "8.50", "relative error", "perplexity"]
    {
        assert!(table.contains(part), "{table} should say {part}");
    }
    let list = done(&["models", "list", work.path().to_str().unwrap()]);
    assert!(
        list.contains("nano.gguf  GGUF file") && list.contains("q4_k, q8_0") && list.contains("not listed"),
        "{list}"
    );
    let show = done(&["models", "show", path]);
    assert!(show.contains("5,334,272 parameters") && show.contains("hearth.recipe"), "{show}");
    assert!(show.contains("mlp           3,538,944   1.99 MB    q4_k"), "{show}");
    assert!(done(&["models", "verify", path]).contains("is a whole GGUF file"));
    let prompt = ["--max-tokens", "8", "--weights", "auto", "--model"];
    let generate = |model: &str| done(&[&["generate", "The kettle"], &prompt[..], &[model]].concat());
    assert!(!generate(path).trim().is_empty());
    let transcript = work.path().join("said.txt");
    std::fs::write(&transcript, "We need milk.\n").unwrap();
    let ask = ["ask", "--json", "--model", path, "--text", transcript.to_str().unwrap(), "Is milk needed?"];
    assert!(done(&ask).contains("\"probability\":"));
    let config = work.path().join("hearth.toml");
    let text = "[source.stdin]\n[listener]\nmodel = \"./nano.gguf\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(&config, text).unwrap();
    let told = hearth(&["check", "--config", config.to_str().unwrap()]);
    let told = String::from_utf8(told.stdout).unwrap();
    let line = format!("✓ reading model: {}", work.path().join("./nano.gguf").display());
    assert!(told.contains(&line), "{told}");
}

#[test]
fn bundled_models_are_listed_and_verified() {
    let list = done(&["models", "list", here("models").to_str().unwrap()]);
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap().to_string();
    assert!(
        line("recurrentgemma-nano").contains("checkpoint") && line("recurrentgemma-nano").ends_with("ok"),
        "{list}"
    );
    assert!(line("whisper-tiny.en-q5_1.bin").contains("Whisper model"), "{list}");
    let watcher = line("watcher.safetensors");
    assert!(watcher.contains("watcher  ") && watcher.contains("F16, F32") && watcher.ends_with("ok"), "{list}");
    assert!(done(&["models", "verify", "watcher.safetensors"]).contains("is a whole watcher, as SHA256SUMS lists it"));
    let shown = done(&["models", "show", "watcher.safetensors"]);
    assert!(
        shown.contains(" parameters; ") && shown.contains("an alert from") && shown.contains("medicine"),
        "{shown}"
    );
    assert!(done(&["models", "verify", "recurrentgemma-nano"]).contains("as SHA256SUMS lists it"));
    assert!(done(&["models", "verify", "whisper-tiny.en-q5_1.bin"]).contains("is a whole Whisper model"));
}

#[test]
fn what_cannot_be_done_is_told_with_the_way_out() {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("nano.gguf");
    std::fs::write(&out, "mine").unwrap();
    let path = out.to_str().unwrap();
    assert!(refused(&quantize(&out, &[])).contains("exists already; choose another name, or use --force"));
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    assert!(refused(&["models", "quantize", path, "x.gguf"]).contains("is no directory in Hugging Face layout"));
    assert!(refused(&["models", "show", path]).contains("it is no GGUF file"));
    assert!(refused(&["models", "verify", path]).contains("it is no GGUF file"));
    assert!(refused(&["generate", "--model", path, "x"]).contains("it is no GGUF file"));
    assert!(refused(&["models", "verify", work.path().to_str().unwrap()]).contains("is no model"));
    let watcher = work.path().join("watcher.safetensors");
    std::fs::write(&watcher, "mine").unwrap();
    assert!(refused(&["models", "verify", watcher.to_str().unwrap()]).contains("is not a watcher"));
    assert!(refused(&["models", "list", "/nonexistent"]).contains("cannot list /nonexistent"));
    assert!(refused(&quantize(&out, &["--force", "--perplexity", "/nonexistent"])).contains("cannot be read as text"));
    let bare = tiny_dir().display().to_string();
    let text = work.path().join("t.txt");
    std::fs::write(&text, "text").unwrap();
    let other = work.path().join("tiny.gguf").display().to_string();
    let args = ["models", "quantize", &bare, &other, "--perplexity", text.to_str().unwrap()];
    assert!(refused(&args).contains("has no tokenizer.json"));
    done(&quantize(&out, &["--force"]));
    assert!(done(&["models", "verify", path]).contains("whole"));
}

#[test]
fn a_directory_with_a_damaged_model_says_so() {
    let work = tempfile::tempdir().unwrap();
    let model = work.path().join("nano");
    std::fs::create_dir(&model).unwrap();
    let mut sums = String::new();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "calibration.json"] {
        std::fs::copy(nano_dir().join(file), model.join(file)).unwrap();
    }
    for line in std::fs::read_to_string(here("models/SHA256SUMS")).unwrap().lines() {
        if let Some((hash, file)) = line.split_once("  recurrentgemma-nano/")
            && file != "prompt.json"
        {
            sums += &format!("{hash}  nano/{file}\n");
        }
    }
    std::fs::write(work.path().join("SHA256SUMS"), sums).unwrap();
    let list = || done(&["models", "list", work.path().to_str().unwrap()]);
    assert!(list().trim_end().ends_with("ok"), "{}", list());
    std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
    assert!(list().contains("tokenizer.json is damaged"), "{}", list());
    assert!(refused(&["models", "verify", model.to_str().unwrap()]).contains("tokenizer.json is not what"));
}

#[test]
fn killed_at_any_moment_it_leaves_no_half_file_under_the_name() {
    for moment in 0..6 {
        let work = tempfile::tempdir().unwrap();
        let out = work.path().join("nano.gguf");
        let part = work.path().join("nano.gguf.part");
        let mut child = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .args(quantize(&out, &["--type", "q4_k"]))
            .env("HEARTH_MODELS", here("models"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Until so many bytes are there, or all.
        let enough = || part.metadata().is_ok_and(|part| part.len() >= moment << 19) || out.exists();
        while !enough() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if out.exists() {
            assert!(done(&["models", "verify", out.to_str().unwrap()]).contains("whole"));
        }
        // What is left of it is in nobody's way.
        done(&quantize(&out, &["--force"]));
        assert!(!part.exists());
    }
}
