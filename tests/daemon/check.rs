//! `hearth check` tries what a config names, also beside the hearth that runs with it.

use std::path::Path;
use std::process::Command;

use super::bad_input::{hearth, refuses, write};
use super::harness::{Hearth, clip, config, household};
use super::mosquitto::{Mosquitto, free_address};

#[test]
fn check_probes_what_a_valid_config_names() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::anywhere(dir.path());
    let file = clip(dir.path(), 4);
    write(dir.path(), "good.toml", config(&file, "fast", &format!("mqtt://{}", broker.address), ""));
    let output = hearth(dir.path(), &["check", "--config", "good.toml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.lines().all(|l| l.starts_with('✓')), "{said}");

    let silent = free_address();
    write(dir.path(), "away.toml", config(Path::new("none.wav"), "fast", &format!("mqtt://{silent}"), ""));
    refuses(
        dir.path(),
        &["check", "--config", "away.toml"],
        78,
        &["none.wav", &silent.to_string(), "cannot be reached"],
    );
}

#[test]
fn addresses_of_the_running_hearth_are_no_error_and_those_of_another_program_are() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, page, microphones) = (free_address(), free_address(), free_address());
    let rest = format!(
        "[mqtt]\nlisten = \"{broker}\"\n[page]\nlisten = \"{page}\"\n[listener]\nenabled = false\n\
         [source.wyoming]\nlisten = \"{microphones}\"\n"
    );
    let settings = format!("[store]\ndir = \"state\"\n{rest}");
    write(dir.path(), "hearth.toml", &settings);
    let lines = || {
        let output = hearth(dir.path(), &["check", "--config", "hearth.toml"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let before = lines();
    for told in [format!("page: can listen on {page}"), format!("embedded, can listen on {broker}")] {
        assert!(before.contains(&told), "{before}");
    }
    let mut running = Hearth::run(dir.path(), &settings);
    running.until_said("hearth is up");
    let process = running.id();
    let said = lines();
    for address in [broker, page, microphones] {
        let told = format!("{address} is used by the hearth that runs (process {process})");
        assert!(said.contains(&told), "{told}: {said}");
    }
    // To a hearth with another state directory it is another program.
    write(dir.path(), "other.toml", format!("[store]\ndir = \"other\"\n{rest}"));
    let words = [broker, page, microphones].map(|address| format!("{address} is used by another program"));
    refuses(dir.path(), &["check", "--config", "other.toml"], 78, &words.each_ref().map(String::as_str));
    running.terminate();
    let (ended, said) = running.wait();
    assert!(ended.success(), "{said}");
}

#[test]
fn a_password_that_is_missing_is_named_and_found_beside_the_config() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    let made =
        Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&users).args(["anna", "right"]).status().unwrap();
    assert!(made.success());
    let broker = Mosquitto::start(
        dir.path(),
        free_address(),
        &format!("allow_anonymous false\npassword_file {}", users.display()),
    );
    let more = "username = \"anna\"\n[listener]\nenabled = false\n";
    write(dir.path(), "hearth.toml", config(&household(), "fast", &format!("mqtt://{}", broker.address), more));
    let words = ["refuses the user \"anna\" without a password", "mqtt.password beside the config", "password_file"];
    refuses(dir.path(), &["check", "--config", "hearth.toml"], 78, &words);
    write(dir.path(), "mqtt.password", "right\n");
    let output = hearth(dir.path(), &["check", "--config", "hearth.toml"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_network_needs_a_password_for_the_embedded_broker() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_address().port();
    let more = format!("listen = \"0.0.0.0:{port}\"\nusername = \"anna\"\n[listener]\nenabled = false\n");
    write(dir.path(), "hearth.toml", config(&household(), "fast", "embedded", &more));
    for command in ["check", "run"] {
        refuses(dir.path(), &[command, "--config", "hearth.toml"], 78, &["only with a password", "mqtt.password"]);
    }
    write(dir.path(), "mqtt.password", "right\n");
    let output = hearth(dir.path(), &["check", "--config", "hearth.toml"]);
    assert!(output.status.success(), "{output:?}");
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn check_leaves_no_file_behind() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let more = format!("listen = \"{address}\"\n[listener]\nenabled = false\n");
    write(dir.path(), "hearth.toml", config(&household(), "fast", "embedded", &more));
    let check = || {
        let before = files(dir.path());
        let output = hearth(dir.path(), &["check", "--config", "hearth.toml"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(files(dir.path()), before);
        String::from_utf8(output.stdout).unwrap()
    };
    let said = check();
    assert!(said.contains("state, which hearth makes when it starts"), "{said}");
    let running = Hearth::run(dir.path(), &std::fs::read_to_string(dir.path().join("hearth.toml")).unwrap());
    assert!(running.wait().0.success());
    assert!(dir.path().join("state/hearth.db").exists() && !dir.path().join("state/hearth.db-wal").exists());
    let said = check();
    assert!(said.contains("state\n") && !said.contains("makes"), "{said}");

    // As it is when hearth cannot start.
    write(dir.path(), "state/hearth.db", "no database, but longer than the header of one: ".repeat(9));
    refuses(dir.path(), &["check", "--config", "hearth.toml"], 78, &["state directory", "is no hearth database"]);
    write(dir.path(), "file.toml", "[store]\ndir = \"hearth.toml/state\"\n[listener]\nenabled = false\n");
    refuses(dir.path(), &["check", "--config", "file.toml"], 78, &["hearth.toml/state", "cannot be made"]);
}
