//! Completions, manual pages and the options that all subcommands share.

use super::*;

fn plain(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearth")).args(args).output().unwrap()
}

#[test]
fn completions_are_those_of_the_shell_and_bash_takes_them() {
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef hearth"), ("fish", "complete -c hearth")] {
        let script = lines(&plain(&["completions", shell])).join("\n");
        assert!(script.contains(word) && script.contains("transcribe"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("hearth.bash");
    fs::write(&script, plain(&["completions", "bash"]).stdout).unwrap();
    let ask =
        "source \"$0\"; COMP_WORDS=(hearth exp); COMP_CWORD=1; _hearth hearth exp hearth; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", ask]).arg(&script).output().unwrap();
    assert_eq!(lines(&output), ["export"]);
    let wrong = plain(&["completions", "tcl"]);
    assert!(wrong.status.code() == Some(2) && String::from_utf8_lossy(&wrong.stderr).contains("bash"), "{wrong:?}");
}

#[test]
fn a_manual_page_is_printed_for_every_subcommand() {
    let page = lines(&plain(&["man"])).join("\n");
    assert!(page.contains(".TH hearth 1") && page.contains("hearth\\-export(1)"), "{page}");
    let page = lines(&plain(&["man", "models", "fetch"])).join("\n");
    assert!(page.contains(".TH hearth-models-fetch 1") && page.contains("\\-\\-to"), "{page}");
    for (args, words) in [
        (&["man", "dance"][..], "there is no `hearth dance`; there are: run, status"),
        (&["man", "search", "all"], "`hearth search` has no subcommands"),
    ] {
        let output = plain(args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(words) && !told.contains("manpages"), "{told}");
    }
}

/// Runs hearth on a terminal, as `script` of util-linux makes one, and answers what it asks.
fn on_a_terminal(dir: &Path, line: &str, answer: &str, variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let mut child = Command::new("script")
        .args(["-qec", &format!("{} {line} --config hearth.toml", env!("CARGO_BIN_EXE_hearth")), "/dev/null"])
        .current_dir(dir)
        .env("TZ", "UTC")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (String::from_utf8_lossy(&output.stdout).replace('\r', ""), output.status.code())
}

#[test]
fn colors_are_for_terminals_and_no_color_switches_them_off() {
    let dir = sample();
    assert!(!lines(&run(dir.path(), &["search", "smoke"]))[0].contains('\x1b'));
    let (shown, code) = on_a_terminal(dir.path(), "search smoke", "", &[]);
    assert!(
        code == Some(0) && shown.contains("\x1b[2m2026-11-29 01:2") && shown.contains("\x1b[0m  Oh no"),
        "{shown:?}"
    );
    let (shown, _) = on_a_terminal(dir.path(), "search smoke", "", &[("NO_COLOR", "1")]);
    assert!(!shown.contains('\x1b') && shown.contains("home  Oh no"), "{shown:?}");
}

#[test]
fn forget_asks_on_a_terminal_before_it_deletes() {
    let dir = sample();
    let all = || lines(&run(dir.path(), &["search", "the"])).len();
    let before = all();
    // The sample is brought up to date first, as the service does at its start.
    assert!(run(dir.path(), &["rules", "reset", "fire"]).status.success());
    for answer in ["n\n", "\n", "perhaps\n"] {
        let (shown, code) = on_a_terminal(dir.path(), "forget 2026-11-29", answer, &[]);
        assert!(code == Some(1) && shown.contains("nothing was deleted"), "{shown}");
        assert!(
            shown.contains("said since 2026-11-29 00:00:00 for good, 18 utterances and what came of them"),
            "{shown}"
        );
        assert_eq!(all(), before);
    }
    // A minute is asked about, too; and nothing was said in it.
    let (shown, code) = on_a_terminal(dir.path(), "forget 1m", "y\n", &[]);
    assert!(code == Some(0) && shown.contains("for good, 0 utterances"), "{shown}");
    assert_eq!(all(), before);
    let elsewhere = run(dir.path(), &["forget", "2026-11-29"]);
    let told = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(elsewhere.status.code() == Some(1) && told.contains("repeat the command with --yes"), "{told}");
    let (shown, code) = on_a_terminal(dir.path(), "forget 2026-11-29 --yes", "", &[]);
    assert!(code == Some(0) && shown.starts_with("18 utterances since 2026-11-29 00:00:00 are forgotten"), "{shown}");
    assert_eq!(all(), 0);
}
