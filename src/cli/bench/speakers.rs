//! `hearth bench speakers FOLDER`: how well people are told by their voices, over pieces of speech that `tools/voice_pieces.py` makes.
//!
//! Everybody of a part is enrolled, and each piece is told by that. Then the same with the speaker of the piece taken out: a stranger, whom
//! no name is right for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::hearing::replay::frames;
use crate::cli::output::stdout;
use crate::clock::SAMPLE_RATE;
use crate::event::{StoredVoice, Voiceprint};
use crate::speakers::VoiceEncoder;
use crate::speakers::recognition::{KnownVoice, Recognized, known, ranked, recognize};

/// Measure who is told by the voice.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchSpeakersArgs {
    /// A folder with a pieces.tsv and its recordings, as tools/voice_pieces.py makes it
    folder: PathBuf,
    /// Write each try to this file, one line of JSON each
    #[arg(long, value_name = "FILE.jsonl")]
    tries: Option<PathBuf>,
}

/// A line of pieces.tsv.
#[derive(Deserialize)]
struct Piece {
    file: PathBuf,
    /// Thresholds are chosen on one part, and judged on another one.
    part: String,
    speaker: String,
    condition: String,
    seconds: String,
    /// The speaker is enrolled by it.
    enrolls: bool,
}

/// What became of the tries of one kind.
#[derive(Default)]
struct Outcome {
    right: usize,
    wrong: usize,
    none: usize,
    /// Of strangers.
    named: usize,
    unnamed: usize,
}

/// One try, for choosing thresholds.
#[derive(Serialize)]
struct Try<'a> {
    part: &'a str,
    condition: &'a str,
    seconds: &'a str,
    speaker: &'a str,
    unity: f32,
    /// The two names that are most alike to it.
    first: Option<(&'a str, f32)>,
    second: Option<(&'a str, f32)>,
    stranger: bool,
}

/// # Errors
/// The folder cannot be read, or the encoder is damaged.
pub(crate) fn run(args: BenchSpeakersArgs) -> anyhow::Result<()> {
    let encoder = VoiceEncoder::find(Path::new(""))?;
    let table = args.folder.join("pieces.tsv");
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .from_path(&table)
        .with_context(|| format!("{} cannot be read; tools/voice_pieces.py makes it", table.display()))?;
    let pieces: Vec<Piece> = reader.deserialize().collect::<Result<_, _>>().context("pieces.tsv is damaged")?;
    ensure!(!pieces.is_empty(), "{} lists nothing", table.display());
    let mut tries = args.tries.as_deref().map(File::create).transpose()?.map(BufWriter::new);
    let (mut spent_s, mut heard_s) = (0.0, 0.0);
    let mut voices = Vec::new();
    for piece in &pieces {
        let samples: Vec<f32> =
            frames(&args.folder.join(&piece.file))?.iter().flat_map(|frame| frame.samples).collect();
        let began = Instant::now();
        voices.push(encoder.voiceprint(&samples)?);
        spent_s += began.elapsed().as_secs_f64();
        heard_s += samples.len() as f64 / f64::from(SAMPLE_RATE);
    }
    let mut outcomes: BTreeMap<(&str, &str, &str), Outcome> = BTreeMap::new();
    let heard = || pieces.iter().zip(&voices).filter_map(|(piece, voice)| Some((piece, voice.as_ref()?)));
    for (piece, voice) in heard().filter(|(piece, _)| !piece.enrolls) {
        let enrolled = enrolled(heard().filter(|(other, _)| other.enrolls && other.part == piece.part), &encoder);
        let others: Vec<KnownVoice> = enrolled.iter().filter(|known| known.name != piece.speaker).cloned().collect();
        let outcome = outcomes.entry((&piece.part, &piece.condition, &piece.seconds)).or_default();
        let is_enrolled = others.len() < enrolled.len();
        for (people, stranger) in [(&enrolled, false), (&others, true)] {
            if !stranger && !is_enrolled {
                continue;
            }
            let told = match recognize(voice, people, &[]) {
                Recognized::Known(speaker) => Some(speaker.name),
                Recognized::New | Recognized::Nobody => None,
            };
            match (told, stranger) {
                (Some(name), false) if name == piece.speaker => outcome.right += 1,
                (Some(_), false) => outcome.wrong += 1,
                (None, false) => outcome.none += 1,
                (Some(_), true) => outcome.named += 1,
                (None, true) => outcome.unnamed += 1,
            }
            if let Some(file) = &mut tries {
                let ranked = ranked(&voice.embedding, people);
                let Piece { part, condition, seconds, speaker, .. } = piece;
                let (first, second) = (ranked.first().copied(), ranked.get(1).copied());
                let line = Try { part, condition, seconds, speaker, unity: voice.unity, first, second, stranger };
                writeln!(file, "{}", serde_json::to_string(&line)?)?;
            }
        }
    }
    report(&outcomes)?;
    let ms = 1e3 * spent_s / heard_s;
    writeln!(stdout(), "\n{ms:.1} ms for a second of speech, {heard_s:.0} s in {} pieces", pieces.len())?;
    Ok(())
}

fn enrolled<'a>(heard: impl Iterator<Item = (&'a Piece, &'a Voiceprint)>, encoder: &VoiceEncoder) -> Vec<KnownVoice> {
    let stored = |(piece, voice): (&Piece, &Voiceprint)| StoredVoice {
        speaker: Some(piece.speaker.clone()),
        model: voice.model.clone(),
        embedding: Some(voice.embedding.clone()),
        seconds: voice.seconds,
    };
    known(&heard.map(stored).collect::<Vec<_>>(), encoder.model()).0
}

fn report(outcomes: &BTreeMap<(&str, &str, &str), Outcome>) -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(
        out,
        "| part | condition | seconds | enrolled: right | wrong name | no name | tries | strangers: named | tries |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for ((part, condition, seconds), outcome) in outcomes {
        let Outcome { right, wrong, none, named, unnamed } = outcome;
        let (known, strangers) = (right + wrong + none, named + unnamed);
        let share = |n: &usize, all: usize| format!("{:.1} %", 100.0 * *n as f64 / all.max(1) as f64);
        writeln!(
            out,
            "| {part} | {condition} | {seconds} | {} | {} | {} | {known} | {} | {strangers} |",
            share(right, known),
            share(wrong, known),
            share(none, known),
            share(named, strangers)
        )?;
    }
    Ok(())
}
