//! Reads what a model is judged on: a folder of `*.jsonl` and `*.txt`.
//!
//! The keys of a line tell what it is: an exchange ("t"), a household's own question ("question"), or a household ("text"). A text file is
//! harmless talk. docs/judge.md describes the form. An error names the file and the line.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, bail, ensure};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::ask::transcript;
use crate::config::WatchKind;

/// An exchange of some utterances, and what is true after it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    /// The kinds of event that it must raise.
    pub(super) k: Vec<WatchKind>,
    /// Utterances, separated by "|".
    t: String,
    /// A true summary, which no program can compare with another.
    #[serde(default, rename = "s")]
    _summary: String,
    /// Questions with their answers.
    #[serde(default)]
    pub(super) q: Vec<(String, String)>,
    /// Calm talk before it, an utterance each.
    #[serde(default)]
    pub(super) before: Vec<String>,
    /// Questions that were not answered.
    #[serde(default)]
    pub(super) not_said: Vec<String>,
    /// Thresholds are chosen on half 0 and judged on half 1.
    pub(super) half: Option<u8>,
    /// Where it comes from; by default where it was read.
    #[serde(default)]
    pub(super) file: String,
    pub(super) line: Option<u64>,
}

/// A yes/no question of a household's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnQuestion {
    pub(super) question: String,
    /// Other wordings, which are not asked.
    #[serde(default, rename = "also")]
    _also: Vec<String>,
    /// Exchanges after which the answer is yes, and no.
    #[serde(default)]
    pub(super) yes: Vec<String>,
    #[serde(default)]
    pub(super) no: Vec<String>,
    #[serde(default)]
    pub(super) before: Vec<String>,
    #[serde(default, rename = "half")]
    _half: Option<u8>,
}

/// A transcript whose content is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Household {
    text: String,
    #[serde(default, rename = "words")]
    _words: usize,
    #[serde(default)]
    pub(super) questions: Vec<HouseholdQuestion>,
    /// Everything that is worth telling.
    #[serde(default)]
    pub(super) told: Vec<HouseholdEvent>,
}

/// Something that is worth telling, in one or more wordings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum HouseholdEvent {
    One(String),
    Any(Vec<String>),
}

impl HouseholdEvent {
    pub(super) fn wordings(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Any(texts) => texts,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum HouseholdQuestion {
    Alert {
        question: String,
        answer: bool,
    },
    /// Any of the answers is right.
    Fact {
        question: String,
        answer: Vec<String>,
    },
    /// The sentences that a summary should name.
    Summary {
        question: String,
        answer: Vec<HouseholdEvent>,
    },
}

/// Everything in a folder.
#[derive(Debug, Default)]
pub(super) struct Material {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) questions: Vec<OwnQuestion>,
    pub(super) households: Vec<Household>,
    /// The name of a text file, and its utterances: talk in which nothing happens.
    pub(super) harmless: Vec<(String, Vec<String>)>,
}

impl Exchange {
    pub(super) fn utterances(&self) -> Vec<&str> {
        utterances(&self.t)
    }
}

impl Household {
    pub(super) fn utterances(&self) -> Vec<&str> {
        transcript::sentences(&self.text).collect()
    }
}

/// The utterances of an exchange.
pub(super) fn utterances(text: &str) -> Vec<&str> {
    text.split('|').map(str::trim).filter(|text| !text.is_empty()).collect()
}

impl Material {
    /// Reads a folder; a file is read alone.
    ///
    /// # Errors
    /// A file cannot be read, a line has another form, or there is nothing to judge.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut material = Self::default();
        for path in files(folder)? {
            if path.extension().is_some_and(|ending| ending == "txt") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                material.harmless.push((name, transcript::read(&path)?));
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
                material.add(line, &path, number).with_context(|| format!("{}:{number}", path.display()))?;
            }
        }
        let lines = material.exchanges.len() + material.questions.len() + material.households.len();
        let nothing = lines + material.harmless.len() == 0;
        ensure!(!nothing, "{} holds nothing to judge a model on: docs/judge.md says what to write", folder.display());
        Ok(material)
    }

    fn add(&mut self, line: &str, path: &Path, number: u64) -> anyhow::Result<()> {
        static SLOT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{[a-z0-9]+\}").expect("it is a pattern"));
        if let Some(slot) = SLOT.find(line) {
            bail!("{} must be filled in first; `python training/filled.py FOLDER` does that", slot.as_str());
        }
        let value: Value = serde_json::from_str(line).context("this is not JSON")?;
        if value.get("t").is_some() {
            let mut exchange: Exchange = serde_json::from_value(value).context("this is no exchange")?;
            ensure!(!exchange.utterances().is_empty(), "\"t\" holds no words");
            ensure!(exchange.half.is_none_or(|half| half < 2), "\"half\" must be 0 or 1");
            if exchange.file.is_empty() {
                exchange.file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                exchange.line = Some(number);
            }
            self.exchanges.push(exchange);
        } else if value.get("question").is_some() {
            let question: OwnQuestion =
                serde_json::from_value(value).context("this is no question of a household's")?;
            let all = question.yes.iter().chain(&question.no);
            ensure!(all.clone().count() > 0, "neither \"yes\" nor \"no\" holds an exchange");
            ensure!(all.into_iter().all(|text| !utterances(text).is_empty()), "an exchange holds no words");
            self.questions.push(question);
        } else if value.get("text").is_some() {
            let household: Household = serde_json::from_value(value).context("this is no household")?;
            ensure!(!household.utterances().is_empty(), "\"text\" holds no words");
            self.households.push(household);
        } else {
            bail!("it has none of the keys \"t\", \"question\" and \"text\": docs/judge.md says what to write");
        }
        Ok(())
    }

    /// Keeps at most `most` of each, evenly spread.
    pub(super) fn thin(&mut self, most: usize) {
        fn thin<T>(all: &mut Vec<T>, most: usize) {
            let count = all.len();
            let mut index = 0;
            all.retain(|_| {
                index += 1;
                count <= most || index * most / count > (index - 1) * most / count
            });
        }
        thin(&mut self.exchanges, most);
        thin(&mut self.questions, most);
        thin(&mut self.households, most);
        self.harmless.iter_mut().for_each(|(_, said)| said.truncate(most));
    }

    /// The words that will be read, for a progress bar.
    pub(super) fn words(&self) -> u64 {
        // "|" stands between utterances.
        let count = |text: &str| text.split_whitespace().filter(|word| *word != "|").count() as u64;
        let all = |texts: &[String]| texts.iter().map(|text| count(text)).sum::<u64>();
        let exchanges = self.exchanges.iter().map(|one| count(&one.t) + all(&one.before));
        let questions = self.questions.iter().map(|one| {
            let times = (one.yes.len() + one.no.len()) as u64;
            all(&one.yes) + all(&one.no) + times * all(&one.before)
        });
        let households = self.households.iter().map(|one| count(&one.text));
        exchanges.chain(questions).chain(households).chain(self.harmless.iter().map(|(_, said)| all(said))).sum()
    }
}

/// The files of a folder in the order of their names.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(vec![folder.into()]);
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "jsonl" || ending == "txt") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Material> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jsonl"), text).unwrap();
        Material::read(dir.path())
    }

    #[test]
    fn a_line_is_what_its_keys_say() {
        let text = r#"{"k":["fire"],"t":"Smoke! | Get out.","s":"","q":[["Where?","That was not said."]]}

{"question":"Is it late?","also":["Late?"],"yes":["It is one. | Go to bed."],"no":[]}
{"text":"Hello. I fell.","words":3,"questions":[{"kind":"alert","question":"Is someone hurt?","answer":true}],"told":["Someone fell."]}"#;
        let found = read(text).unwrap();
        assert_eq!(found.exchanges[0].utterances(), ["Smoke!", "Get out."]);
        assert_eq!((found.exchanges[0].file.as_str(), found.exchanges[0].line), ("a.jsonl", Some(1)));
        assert_eq!((found.questions.len(), found.households[0].utterances().len(), found.words()), (1, 2, 12));
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_wrong() {
        let error = |line: &str| format!("{:#}", read(&format!("\n{line}\n")).unwrap_err());
        for (line, what) in [
            ("{", "a.jsonl:2: this is not JSON"),
            (r#"{"t":"a","k":["flood"]}"#, "unknown variant `flood`"),
            (r#"{"t":"{p}, come","k":[]}"#, "a.jsonl:2: {p} must be filled in first"),
            (r#"{"t":" | ","k":[]}"#, "\"t\" holds no words"),
            (r#"{"t":"a","k":[],"half":2}"#, "0 or 1"),
            (r#"{"t":"a","k":[],"x":2}"#, "unknown field `x`"),
            (r#"{"question":"Is it?"}"#, "neither \"yes\" nor \"no\""),
            (r#"{"kind":"a"}"#, "none of the keys"),
        ] {
            assert!(error(line).contains(what), "{line}: {}", error(line));
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(Material::read(empty.path()).unwrap_err().to_string().contains("holds nothing to judge"));
    }

    #[test]
    fn a_part_is_spread_evenly() {
        let lines: String = (0..10).map(|n| format!("{{\"t\":\"{n}\",\"k\":[]}}\n")).collect();
        let mut found = read(&lines).unwrap();
        found.thin(20);
        assert_eq!(found.exchanges.len(), 10);
        found.thin(3);
        let kept: Vec<_> = found.exchanges.iter().map(|one| one.t.as_str()).collect();
        assert_eq!(kept, ["3", "6", "9"]);
    }
}
