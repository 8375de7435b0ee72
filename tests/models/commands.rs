//! `hearth models fetch` as a command: what it prints, and that it never prints the token.

use std::process::{Command, Output};

use hearth::models::fetch::catalog;

use super::hub::{Faults, Hub};

fn hearth(arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.env_remove("HF_TOKEN").env_remove("HF_ENDPOINT").env("HF_HOME", "/nowhere").args(["models", "fetch"]);
    command.args(arguments).envs(token.map(|token| ("HF_TOKEN", token))).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_command_prints_the_path_of_the_model_and_never_the_token() {
    let files: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors", b"w")];
    let hub = Hub::start(&files, Faults { token: Some("hf_right".into()), ..Faults::default() });
    let dir = tempfile::tempdir().unwrap();
    let (to, endpoint) = (dir.path().to_str().unwrap(), hub.endpoint());
    let arguments = ["recurrentgemma-2b-it", "--to", to, "--endpoint", &endpoint];
    let done = hearth(&arguments, Some("hf_right"));
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), format!("{to}/recurrentgemma-2b-it\n"));
    for said in
        ["config.json: 2 B", "model.safetensors: complete and verified", "[listener] model = ", "Gemma Terms of Use"]
    {
        assert!(text(&done.stderr).contains(said), "{}", text(&done.stderr));
    }
    for token in [Some("hf_wrong"), None] {
        let refused = hearth(&arguments, token);
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stdout.is_empty() && !text(&refused.stderr).contains("hf_"), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains("recurrentgemma-2b-it was not fetched: "), "{}", text(&refused.stderr));
    }
    // A file goes before the variable.
    let path = dir.path().join("token");
    std::fs::write(&path, "hf_right\n").unwrap();
    let done = hearth(&[&arguments[..], &["--token-file", path.to_str().unwrap()]].concat(), Some("hf_wrong"));
    assert!(done.status.success(), "{}", text(&done.stderr));
}

#[test]
fn the_command_lists_what_can_be_fetched_and_refuses_other_names() {
    let listed = hearth(&[], None);
    assert!(listed.status.success());
    assert_eq!(text(&listed.stdout).lines().count(), catalog::entries().count());
    let unknown = hearth(&["whisper-tiny.fr"], None);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("there is no model named \"whisper-tiny.fr\""), "{}", text(&unknown.stderr));
}
