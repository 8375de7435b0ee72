//! Resume from a snapshot: what was read before a restart is still known after it.
//!
//! ```text
//! cargo run --release --example resume
//! ```
//!
//! Reads half of a household's transcript, saves the state, loads it as a new process would, reads the rest, and asks; then
//! shows that a model which read everything in one go gives the same answer.

use std::path::Path;

use anyhow::Context;
use griffin::{Model, Options, State, Tokenizer};
use hearth::listener::snapshot;

const PREAMBLE: &str = "user\nYou are listening to a household. This is the running transcript.\n";
const QUESTION: &str = "Is there smoke or fire in the house?";

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("models/recurrentgemma-nano");
    let model = Model::load(&dir, &Options::default())?;
    let tokenizer = Tokenizer::load(&dir)?;
    let said = transcript(&root.join("examples/household.jsonl"))?;
    let (before, after) = said.split_at(said.len() / 2);

    let mut state = model.state();
    model.ingest(&[tokenizer.special_tokens().bos, tokenizer.special_tokens().start_of_turn], &mut state)?;
    hear(&model, &tokenizer, PREAMBLE, &mut state)?;
    for text in before {
        hear(&model, &tokenizer, &format!(" {text}"), &mut state)?;
    }
    let path = std::env::temp_dir().join(format!("hearth-resume-{}", std::process::id()));
    let half_way = snapshot::ReadPosition { read: before.len() as i64, time: jiff::Timestamp::now() };
    snapshot::save(&path, &state, model.fingerprint(), &half_way)?;
    let size = std::fs::metadata(&path)?.len();
    println!("read {} of {} utterances, {} tokens; saved {size} bytes", before.len(), said.len(), state.tokens_read());

    let (mut resumed, mark) = snapshot::load(&path, &model)?;
    std::fs::remove_file(&path)?;
    println!("loaded at utterance {}: {} tokens", mark.read, resumed.tokens_read());
    for text in after {
        hear(&model, &tokenizer, &format!(" {text}"), &mut resumed)?;
        hear(&model, &tokenizer, &format!(" {text}"), &mut state)?;
    }
    println!("{QUESTION}");
    let answer = ask(&model, &tokenizer, &resumed)?;
    println!("  resumed from the snapshot: {answer}");
    println!("  read in one go:            {}", ask(&model, &tokenizer, &state)?);
    anyhow::ensure!(answer == ask(&model, &tokenizer, &state)?, "the two must not differ");
    Ok(())
}

/// The text of every utterance.
fn transcript(path: &Path) -> anyhow::Result<Vec<String>> {
    let lines = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = |line: &str| -> anyhow::Result<String> {
        let line: serde_json::Value = serde_json::from_str(line)?;
        Ok(line["text"].as_str().context("a line without text")?.to_owned())
    };
    lines.lines().map(text).collect()
}

fn hear(model: &Model, tokenizer: &Tokenizer, text: &str, state: &mut State) -> anyhow::Result<()> {
    Ok(model.ingest(&tokenizer.encode(text)?, state)?)
}

/// Asks a fork, so that the question leaves no trace.
fn ask(model: &Model, tokenizer: &Tokenizer, state: &State) -> anyhow::Result<String> {
    let turns = tokenizer.special_tokens();
    let mut tokens = tokenizer.encode(&format!("\n\n{QUESTION}"))?;
    tokens.push(turns.end_of_turn);
    tokens.extend(tokenizer.encode("\n")?);
    tokens.push(turns.start_of_turn);
    tokens.extend(tokenizer.encode("model\n")?);
    let mut fork = state.fork();
    let mut logits = model.read(&tokens, &mut fork)?;
    let mut answer = Vec::new();
    while logits.argmax() != turns.end_of_turn && answer.len() < 40 {
        answer.push(logits.argmax());
        logits = model.step(logits.argmax(), &mut fork)?;
    }
    let sure = 1.0
        / (1.0
            + f64::exp(
                -model
                    .read(&tokens, &mut state.fork())?
                    .log_odds(&tokenizer.encode("Yes")?[..1], &tokenizer.encode("No")?[..1]),
            ));
    Ok(format!("{} (yes: {:.1} %)", tokenizer.decode(&answer)?, 100.0 * sure))
}
