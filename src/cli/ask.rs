//! `hearth ask`: answers questions about what was said, from the stored state or from a transcript in a file.
//!
//! The same listener as in the daemon is used. Standard output holds the answers and nothing else; a daemon that runs is not disturbed.

pub(super) mod transcript;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use jiff::{Timestamp, ZonedDateTime};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::output::stdout;
use super::run::{existing_state_dir, read_config};
use super::terminal::{hint, local};
use crate::clock::human_time;
use crate::config;
use crate::event::{Evidence, Utterance};
use crate::listener::snapshot_store::SnapshotStore;
use crate::listener::{Listener, Listeners};
use crate::models;
use crate::services::listen::state_at;
use crate::store::Store;
use griffin::Quantization;

/// Asks the state of the daemon on this machine, of now or of a time in the past; or, with --text, a state that has read a transcript.
#[derive(Debug, clap::Args)]
pub(crate) struct AskArgs {
    /// A transcript to ask about instead: text, one utterance a line, or transcript.jsonl; "-" reads standard input
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Ask the state of then: "18:00", "yesterday 18:00", "2026-03-01", "2h" (ago), or RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "text")]
    at: Option<String>,
    /// Ask the state of one room, where each has its own; by default each room is asked
    #[arg(long, value_name = "ROOM", conflicts_with = "text")]
    room: Option<String>,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    config: Option<PathBuf>,
    /// Questions; one that the model answers by yes or no also gets its probability
    #[arg(required = true, value_name = "QUESTION")]
    questions: Vec<String>,
    /// One line of JSON for each answer
    #[arg(long)]
    json: bool,
    /// With --text: a bundled model's name, a directory in Hugging Face layout, or a GGUF file
    #[arg(long, value_name = "MODEL", requires = "text")]
    model: Option<PathBuf>,
    /// With --text: how the weights are held in memory: auto, f32, q8_0 or q4_k
    #[arg(long, value_name = "FORM", default_value = "auto", value_parser = weights, requires = "text")]
    weights: Quantization,
}

/// One answer, as `--json` prints it.
#[derive(Debug, Serialize)]
struct AnswerLine<'a> {
    question: &'a str,
    /// The room whose state was asked; null when all rooms share one.
    room: Option<&'a str>,
    /// The model that answers.
    model: &'a str,
    answer: &'a str,
    /// The utterances that the answer rests on.
    evidence: &'a [Evidence],
    /// Probability of yes; null for a question that cannot be answered by yes or no.
    probability: Option<f64>,
    /// The probability is at least one half.
    yes: Option<bool>,
    /// Tokens that the state had read, with those of the preamble.
    tokens: u64,
    /// The time up to which it had read; null for a transcript in a file.
    at: Option<Timestamp>,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, is not UTF-8 or holds no text; a question is empty; the model cannot be loaded; there is no state as old.
pub(crate) fn run(args: AskArgs) -> anyhow::Result<()> {
    for question in &args.questions {
        ensure!(!question.trim().is_empty(), "a question is empty; ask in words");
    }
    match &args.text {
        Some(text) => {
            let said: Vec<_> = transcript::read(text)?.iter().map(|text| utterance(text)).collect();
            let mut settings = config::ListenerConfig { weights: args.weights, ..Default::default() };
            if let Some(model) = &args.model {
                settings.model.clone_from(model);
            }
            let dir = models::resolve(&settings.model, Path::new("."))?;
            models::verify(&dir)?;
            let mut listener = Listener::open(&dir, &settings, &config::DigestConfig::default(), &[])?;
            listener.replay(&said)?;
            answer(&args, &listener, &models::title(&settings.model), None, None)
        }
        None => ask_stored_state(&args),
    }
}

/// Asks the state of a certain time: a snapshot, and the text that was stored after it.
fn ask_stored_state(args: &AskArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let now = ZonedDateTime::now();
    let at = args.at.as_deref().map_or(Ok(now.timestamp()), |at| human_time::parse(at, &now))?;
    let dir = existing_state_dir(&config)?;
    let store = Store::open_read_only(&dir, (&config.store).into())?;
    let title = models::title(&config.listener.model);
    let model = models::find(&config.listener.model, &config.base)?;
    let listener = Listener::open(&model, &config.listener, &config::DigestConfig::default(), &[])?;
    let listener = listener.in_several_rooms(config.several_rooms());
    let history = SnapshotStore::read_only(&dir);
    let mut listeners = Listeners::new(listener, config.listener.states, history.clone())?;
    let mut answered = false;
    for room in listeners.states_for(args.room.as_deref()).map_err(anyhow::Error::msg)? {
        let room = room.as_deref();
        let told = |then: &mut Listener, reached| Ok(answer(args, then, &title, room, Some(reached)));
        if let Some(told) = state_at::at(&mut listeners, &store, room, at, told)? {
            told?;
            answered = true;
        }
    }
    if answered {
        return Ok(());
    }
    let kept: Vec<_> = history.all()?.iter().map(SnapshotStore::list).collect::<Result<_, _>>()?;
    let oldest = kept.into_iter().flatten().map(|kept| kept.header.mark.time).min();
    match oldest {
        Some(oldest) => {
            bail!("no snapshot of this model is as old as {}; the oldest of all is of {}", local(at), local(oldest))
        }
        None => {
            bail!(
                "{} holds no snapshot of the model's state yet. hearth saves one every {} minutes while it runs, and when it ends: ask \
                 again then, or ask the hearth that runs now, on its page or over MQTT (request/ask)",
                dir.display(),
                config.listener.snapshot_min
            )
        }
    }
}

/// Answers each question from a fork of the listener's state.
fn answer(
    args: &AskArgs,
    listener: &Listener,
    model: &str,
    room: Option<&str>,
    at: Option<Timestamp>,
) -> anyhow::Result<()> {
    let tokens = listener.state().tokens_read();
    match at {
        Some(at) => hint(&format!("the state of {} is asked; {model} answers", local(at))),
        None => hint(&format!("{model} answers")),
    }
    let mut out = stdout();
    for question in &args.questions {
        let answer = listener.ask(question)?;
        let (text, probability) = (answer.text.as_str(), answer.probability);
        if args.json {
            let yes = probability.map(|p| p >= 0.5);
            let line = AnswerLine {
                question,
                room,
                model,
                answer: text,
                evidence: &answer.evidence,
                probability,
                yes,
                tokens,
                at,
            };
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        } else {
            let room = room.map(|room| format!("{room}: ")).unwrap_or_default();
            // Beside a quote, the probability of a model that did not answer would be taken for the answer.
            match probability.filter(|_| answer.is_written) {
                Some(p) => writeln!(out, "{room}{question} → {text} (yes {:.0} %)", p * 100.0)?,
                None => writeln!(out, "{room}{question} → {text}")?,
            }
        }
    }
    Ok(())
}

pub(super) fn weights(text: &str) -> Result<Quantization, String> {
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;
    Quantization::deserialize(IntoDeserializer::<Error>::into_deserializer(text)).map_err(|error| error.to_string())
}

/// An utterance without a time.
fn utterance(text: &str) -> Utterance {
    Utterance {
        id: Ulid::nil(),
        start: Timestamp::UNIX_EPOCH,
        end: Timestamp::UNIX_EPOCH,
        room: String::new(),
        text: text.into(),
        confidence: 1.0,
        no_speech: 0.0,
        speaker: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_the_names_of_the_config() {
        assert_eq!(weights("q4_k"), Ok(Quantization::Q4K));
        assert!(weights("q5").unwrap_err().contains("unknown variant `q5`, expected one of `auto`, `f32`"));
    }
}
