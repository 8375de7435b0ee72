//! Facts and alerts of households, asked of a state that has read something else before.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::listener::ask::YesNo;
use crate::listener::reader::Reader;

/// The longest answer, in tokens.
const ANSWER: usize = 24;

/// A household: what is said there, and what is true of it.
#[derive(Debug, Deserialize)]
pub(super) struct Home {
    text: String,
    questions: Vec<AskedOfHome>,
}

#[derive(Debug, Deserialize)]
struct AskedOfHome {
    kind: String,
    question: String,
    answer: Value,
}

impl Home {
    pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Self>> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let home = |(at, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), at + 1))
        };
        text.lines().enumerate().map(home).collect()
    }
}

/// How many were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    facts: [u32; 2],
    /// Of alerts: those that are real and were seen, all that are real, all that were seen.
    alerts: [u32; 3],
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { facts: [right, facts], alerts: [hits, real, seen] } = self;
        write!(f, "facts {right} of {facts}, alerts {hits} of {real} (and {} false)", seen - hits)
    }
}

/// Asks about each household after a copy of the state has read it.
pub(super) fn answers(reader: &Reader, homes: &[Home]) -> anyhow::Result<Answers> {
    let yes_no = YesNo::new(reader)?;
    let mut all = Answers::default();
    for home in homes {
        let mut copy = reader.new_stream();
        copy.restore(reader.state().fork());
        copy.read(&home.text)?;
        for asked in &home.questions {
            match asked.kind.as_str() {
                "fact" => {
                    let (told, _) = copy.ask(&yes_no, &asked.question, ANSWER)?;
                    let known = asked.answer.as_array().map(Vec::as_slice).unwrap_or_default();
                    all.facts[0] += u32::from(known.iter().any(|answer| answer.as_str() == Some(told.text.as_str())));
                    all.facts[1] += 1;
                }
                "alert" => {
                    let question = copy.question(&asked.question)?;
                    let seen = copy.log_odds(&yes_no, &[&question])?.first().is_some_and(|odds| *odds >= 0.0);
                    let real = asked.answer.as_bool().unwrap_or_default();
                    let counted = [seen && real, real, seen];
                    all.alerts.iter_mut().zip(counted).for_each(|(sum, one)| *sum += u32::from(one));
                }
                _ => {}
            }
        }
    }
    Ok(all)
}
