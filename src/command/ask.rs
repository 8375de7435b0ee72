//! `hearth ask`: questions about a transcript that lies in a file.
//!
//! Owns how a transcript file becomes utterances and how answers are printed. Refuses to know how a model reads: the
//! transcript goes through the same listener as in the daemon. Invariant: standard output holds answers and nothing else.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::config::{self, Weights};
use crate::event::Utterance;
use crate::listener::Listener;
use crate::models;

/// Asks about a transcript: reads it into a fresh state as the daemon would, and answers each question from a fork.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The transcript: text, one utterance a line, or transcript.jsonl; "-" reads standard input
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Questions; one that can be answered by yes or no also gets its probability
    #[arg(required = true, value_name = "QUESTION")]
    questions: Vec<String>,
    /// One line of JSON for each answer
    #[arg(long)]
    json: bool,
    /// A bundled model's name, a directory in Hugging Face layout, or a GGUF file
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// How the weights are held in memory: auto, f32, q8_0 or q4_k
    #[arg(long, value_name = "FORM", default_value = "auto", value_parser = weights)]
    weights: Weights,
}

/// One answer, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    question: &'a str,
    answer: &'a str,
    /// Of yes; null for a question that cannot be answered by yes or no.
    probability: Option<f64>,
    /// The probability is at least one half.
    yes: Option<bool>,
    /// Tokens of the transcript, its preamble included, that the state had read.
    tokens: u64,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, is not UTF-8 or holds no text; a question is empty; the model cannot be loaded.
pub fn run(args: Args) -> anyhow::Result<()> {
    for question in &args.questions {
        ensure!(!question.trim().is_empty(), "a question is empty; ask in words");
    }
    let utterances = transcript(&args.text)?;
    let mut settings = config::Listener { weights: args.weights, ..Default::default() };
    if let Some(model) = args.model {
        settings.model = model;
    }
    let dir = models::resolve(&settings.model, Path::new("."))?;
    models::verify(&dir)?;
    let mut listener = Listener::open(&dir, &settings, &config::Digest::default(), &[])?;
    for text in &utterances {
        listener.hear(&utterance(text))?;
    }
    let tokens = listener.state().tokens_read();
    let mut out = std::io::stdout().lock();
    for question in &args.questions {
        let answer = listener.ask(question)?;
        let (text, probability) = (answer.text.as_str(), answer.probability);
        let written = if args.json {
            let yes = probability.map(|p| p >= 0.5);
            let line = Line { question, answer: text, probability, yes, tokens };
            writeln!(out, "{}", serde_json::to_string(&line)?)
        } else {
            match probability {
                Some(p) => writeln!(out, "{question} → {text} (yes {:.0} %)", p * 100.0),
                None => writeln!(out, "{question} → {text}"),
            }
        };
        // Whoever reads may have read enough.
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(())
}

fn weights(text: &str) -> Result<Weights, String> {
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;
    Weights::deserialize(IntoDeserializer::<Error>::into_deserializer(text)).map_err(|error| error.to_string())
}

/// The utterances of a transcript file, in order.
fn transcript(path: &Path) -> anyhow::Result<Vec<String>> {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("the transcript {name} cannot be read"))?;
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            bail!("{name} is not UTF-8 text: line {line}, byte {}; convert it first", error.valid_up_to());
        }
    };
    let utterances = utterances(text).with_context(|| format!("{name} is no transcript"))?;
    ensure!(!utterances.is_empty(), "{name} holds no text: there is nothing to ask about");
    Ok(utterances)
}

/// Plain text by lines and sentences, or the `text` of each line of JSON.
fn utterances(text: &str) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Said {
        text: Option<String>,
    }
    let mut found = Vec::new();
    let json = text.trim_start().starts_with('{');
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        if json {
            // A line without text is a gap or the like: nothing that was said.
            let said: Said = serde_json::from_str(line).with_context(|| format!("line {number} is not JSON"))?;
            found.extend(said.text.filter(|text| !text.trim().is_empty()));
        } else {
            found.extend(sentences(line).map(str::to_string));
        }
    }
    Ok(found)
}

/// Cuts a line behind each ".", "!" or "?" that a space follows, so that a transcript on one line is read in pieces as
/// short as utterances are.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim();
    std::iter::from_fn(move || {
        let ends = rest.char_indices().zip(rest.chars().skip(1));
        let cut = ends.into_iter().find(|((_, c), next)| matches!(c, '.' | '!' | '?') && next.is_whitespace());
        let (head, tail) = cut.map_or((rest, ""), |((at, _), _)| rest.split_at(at + 1));
        rest = tail.trim_start();
        (!head.is_empty()).then_some(head)
    })
}

/// An utterance of no particular time: nothing here looks at a clock.
fn utterance(text: &str) -> Utterance {
    Utterance {
        id: Ulid::nil(),
        start: Timestamp::UNIX_EPOCH,
        end: Timestamp::UNIX_EPOCH,
        room: String::new(),
        text: text.into(),
        confidence: 1.0,
        no_speech: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_is_cut_at_lines_and_sentence_ends() {
        let read = utterances("Good morning. How are you?  Fine!\r\n\n At 7.30 sharp... ok\n").unwrap();
        assert_eq!(read, ["Good morning.", "How are you?", "Fine!", "At 7.30 sharp...", "ok"]);
    }

    #[test]
    fn lines_of_json_give_their_text_and_a_broken_one_its_number() {
        let read =
            utterances("{\"text\": \"Hello. You.\", \"start\": 1}\n{\"gap\": true}\n{\"text\": \" \"}\n").unwrap();
        assert_eq!(read, ["Hello. You."]);
        let problem = utterances("{\"text\": \"a\"}\n\n{\"text\": \n").unwrap_err();
        assert_eq!(problem.to_string(), "line 3 is not JSON");
    }

    #[test]
    fn a_file_that_cannot_be_asked_about_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            transcript(&path).unwrap_err().to_string()
        };
        assert!(transcript(&dir.path().join("none.txt")).unwrap_err().to_string().contains("none.txt cannot be read"));
        assert!(file("empty.txt", b" \n").ends_with("empty.txt holds no text: there is nothing to ask about"));
        assert!(file("latin.txt", b"a\nb\nGr\xfc\xdfe").contains("latin.txt is not UTF-8 text: line 3, byte 6"));
    }

    #[test]
    fn weights_have_the_names_of_the_config() {
        assert_eq!(weights("q4_k"), Ok(Weights::Q4K));
        assert!(weights("q5").unwrap_err().contains("unknown variant `q5`, expected one of `auto`, `f32`"));
    }

    proptest! {
        #[test]
        fn cutting_sentences_loses_nothing(line in "[a-z .!?é…]{0,60}") {
            let again = sentences(&line).collect::<Vec<_>>().join(" ");
            let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
            prop_assert_eq!(words(&again), words(&line));
        }
    }
}
