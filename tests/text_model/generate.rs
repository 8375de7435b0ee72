//! `hearth generate`.

use std::io::{Error, ErrorKind, Write};

use clap::Parser;
use hearth::cli::generate;

use super::nano_dir;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: generate::GenerateArgs,
}

fn args(more: &[&str]) -> Result<generate::GenerateArgs, clap::Error> {
    let nano = nano_dir();
    let all = ["generate", "--model", nano.to_str().unwrap()].into_iter().chain(more.iter().copied());
    Cli::try_parse_from(all).map(|cli| cli.args)
}

const TALK: &str = "You are listening to a household. This is the running transcript.\n The doorbell rang. Anna, can you \
                    get it? It is Peter, come in!\n\nIs someone at the door?";

/// Counts what is written and flushed.
#[derive(Default)]
struct Watched {
    text: Vec<u8>,
    flushes: usize,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.flushes += 1;
        Ok(())
    }
}

#[test]
fn a_chat_is_answered_as_it_comes_and_ends_with_its_turn() {
    let mut out = Watched::default();
    let times = generate::write(&args(&["--chat", TALK]).unwrap(), &mut out).unwrap().unwrap();
    let text = String::from_utf8(out.text).unwrap();
    assert!(text.starts_with("Yes."), "{text:?}");
    assert!(text.ends_with('\n') && !text.contains("turn"), "{text:?}");
    assert!(out.flushes > 2, "each piece is flushed");
    assert!(times.contains("a second"), "{times}");
}

#[test]
fn the_same_seed_writes_the_same_text() {
    let text = |seed: &str| {
        let more = [
            "--temperature",
            "1",
            "--top-k",
            "50",
            "--top-p",
            "0.95",
            "--max-tokens",
            "30",
            "--seed",
            seed,
            " Good morning",
        ];
        let mut out = Vec::new();
        generate::write(&args(&more).unwrap(), &mut out).unwrap();
        out
    };
    assert_eq!(text("3"), text("3"));
    assert_ne!(text("3"), text("4"));
}

#[test]
fn a_closed_output_ends_it_quietly() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(Error::from(ErrorKind::BrokenPipe))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(generate::write(&args(&["--chat", TALK]).unwrap(), &mut Closed).unwrap().is_none());
}

#[test]
fn arguments_out_of_range_are_refused() {
    for more in [
        ["--temperature", "-1"],
        ["--temperature", "hot"],
        ["--top-p", "1.5"],
        ["--weights", "q2"],
        ["--max-tokens", "x"],
    ] {
        assert!(args(&[more[0], more[1], "hello"]).is_err(), "{more:?}");
    }
    let mut other = args(&["hello"]).unwrap();
    other.model = "/nonexistent".into();
    let error = format!("{:#}", generate::write(&other, &mut Vec::new()).unwrap_err());
    assert!(error.contains("there is no model at /nonexistent"), "{error}");
    let empty = generate::write(&args(&["--chat", " "]).unwrap(), &mut Vec::new()).unwrap_err();
    assert!(empty.to_string().contains("the prompt is empty"), "{empty}");
}
