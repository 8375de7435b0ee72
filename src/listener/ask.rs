//! Questions and their answers. Each is asked of a fork, so it changes nothing that another question could notice.

use super::ListenerError;
use super::alert::sigmoid;
use super::asking_steps::AskingStep;
use super::draft::Draft;
use super::pace::Work;
use super::reader::Reader;
use super::shared_starts;
use crate::event::Evidence;
use crate::grounding::CheckOptions;
use griffin::{CHUNK, Logits, State};

/// A question, as the tokens that close the user's turn and open the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    tokens: Vec<u32>,
}

impl Question {
    /// The tokens that are read after a fork's own.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

/// The model's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub text: String,
    /// The model wrote the text. Else it is a quote, or says that it was not said.
    pub is_written: bool,
    /// The model's probability of yes; none for a question that is not a yes/no question.
    pub probability: Option<f64>,
    /// The utterances that the text rests on, oldest first.
    pub evidence: Vec<Evidence>,
}

/// What a model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    pub text: String,
    /// It came to its end, and was not cut off.
    pub ended: bool,
}

/// The tokens with which an answer of yes, and of no, can begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YesNo {
    yes: Vec<u32>,
    no: Vec<u32>,
}

impl YesNo {
    /// Takes the first token of each word of the prompt. A token that begins words of both kinds, such as a lone space,
    /// distinguishes nothing and is left out.
    ///
    /// # Errors
    /// No token is left for yes or for no, or a word cannot be tokenized.
    pub fn new(reader: &Reader) -> Result<Self, ListenerError> {
        let first = |words: &[String]| -> Result<Vec<u32>, ListenerError> {
            let tokens = words.iter().map(|word| Ok(reader.encode(word)?.first().copied()));
            let mut tokens: Vec<u32> = tokens.filter_map(Result::transpose).collect::<Result<_, ListenerError>>()?;
            tokens.sort_unstable();
            tokens.dedup();
            Ok(tokens)
        };
        let (yes, no) = (first(&reader.prompt.yes)?, first(&reader.prompt.no)?);
        let own = |key, words: &[String], mine: &[u32], other: &[u32]| {
            let own: Vec<u32> = mine.iter().filter(|token| !other.contains(token)).copied().collect();
            if own.is_empty() { Err(ListenerError::NoWord { key, words: words.join(", ") }) } else { Ok(own) }
        };
        Ok(Self { yes: own("yes", &reader.prompt.yes, &yes, &no)?, no: own("no", &reader.prompt.no, &no, &yes)? })
    }

    /// ln(P(yes) / P(no)). Other tokens cancel out.
    pub(super) fn log_odds(&self, logits: &Logits) -> f64 {
        logits.log_odds(&self.yes, &self.no)
    }

    /// The tokens of yes, then those of no.
    fn words(&self) -> Vec<u32> {
        [&self.yes[..], &self.no].concat()
    }

    /// The same, from the predictions for [`YesNo::words`] alone.
    fn log_odds_of_words(&self, logits: Vec<f32>) -> f64 {
        let words: Vec<u32> = (0..logits.len() as u32).collect();
        let (yes, no) = words.split_at(self.yes.len());
        Logits::new(logits).log_odds(yes, no)
    }
}

impl Reader {
    /// Tokenizes a question.
    ///
    /// # Errors
    /// The text cannot be tokenized.
    pub fn question(&self, question: &str) -> Result<Question, ListenerError> {
        let turns = self.tokenizer.special_tokens();
        let mut tokens = self.encode(&self.prompt.question(question))?;
        tokens.push(turns.end_of_turn);
        tokens.extend(self.encode("\n")?);
        tokens.push(turns.start_of_turn);
        tokens.extend(self.encode("model\n")?);
        Ok(Question { tokens })
    }

    /// The log-odds of yes for each question; nothing is generated. The questions are asked of forks in one batch, so that the
    /// weights are read from memory once for all.
    ///
    /// # Errors
    /// The model cannot read the tokens.
    pub(crate) fn log_odds(&self, yes_no: &YesNo, questions: &[&Question]) -> Result<Vec<f64>, ListenerError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let questions: Vec<_> = questions.iter().map(|question| question.tokens()).collect();
        let mut stages = if self.steps.uses(AskingStep::SharedStarts) {
            shared_starts::stages(&questions, self.asking_slice())
        } else {
            shared_starts::apart(&questions)
        };
        let last = stages.pop().expect("there is one at least");
        let mut parents = vec![self.fork()?];
        for stage in stages {
            let mut forks: Vec<_> = stage.iter().map(|branch| parents[branch.parent].fork()).collect();
            let mut rest: Vec<_> = stage.iter().map(|branch| branch.of(&questions)).collect();
            while rest.iter().any(|tokens| !tokens.is_empty()) {
                self.ask_slice(&mut forks, &mut rest, 0)?;
            }
            parents = forks;
        }
        let mut forks: Vec<_> = last.iter().map(|branch| parents[branch.parent].fork()).collect();
        let mut rest: Vec<_> = last.iter().map(|branch| branch.of(&questions)).collect();
        // The last pass reads as much as the others, for it costs as much.
        let share = self.share(rest.len());
        while rest.iter().any(|tokens| tokens.len() > share) {
            self.ask_slice(&mut forks, &mut rest, share)?;
        }
        let mut streams: Vec<(&mut State, &[u32])> = forks.iter_mut().zip(rest.iter().copied()).collect();
        let left = rest.iter().map(|tokens| tokens.len()).sum();
        if !self.steps.uses(AskingStep::LastToken) {
            let logits = self.pace.slice(Work::Asking, left, || self.model.read_all_rows(&mut streams))?;
            return Ok(logits.iter().map(|logits| yes_no.log_odds(logits)).collect());
        }
        let words = yes_no.words();
        let logits = self.pace.slice(Work::Asking, left, || self.model.read_all_for(&mut streams, &words))?;
        Ok(logits.into_iter().map(|logits| yes_no.log_odds_of_words(logits)).collect())
    }

    /// The most tokens of the next pass through the weights, which is a slice.
    fn asking_slice(&self) -> usize {
        self.pace.tokens(Work::Asking).min(CHUNK)
    }

    /// The most tokens of each of so many streams in the next pass.
    fn share(&self, streams: usize) -> usize {
        (self.asking_slice() / streams).max(1)
    }

    /// Each fork reads on by its share, as far as it has more than `leave` tokens to read.
    fn ask_slice(&self, forks: &mut [State], rest: &mut [&[u32]], leave: usize) -> Result<(), ListenerError> {
        let reading = rest.iter().filter(|tokens| tokens.len() > leave).count();
        let share = self.share(reading.max(1));
        let mut streams: Vec<(&mut State, &[u32])> = Vec::with_capacity(reading);
        for (fork, rest) in forks.iter_mut().zip(rest) {
            let (slice, left) = rest.split_at(share.min(rest.len().saturating_sub(leave)));
            *rest = left;
            if !slice.is_empty() {
                streams.push((fork, slice));
            }
        }
        let count = streams.iter().map(|(_, tokens)| tokens.len()).sum();
        self.pace.slice(Work::Asking, count, || self.model.ingest_all(&mut streams))
    }

    /// How many tokens are read to ask all `questions` at once.
    pub(super) fn asking_tokens(&self, questions: &[&Question]) -> usize {
        let questions: Vec<_> = questions.iter().map(|question| question.tokens()).collect();
        shared_starts::tokens(&shared_starts::stages(&questions, CHUNK))
    }

    /// What the model writes in answer to any question, with the probability of yes where that applies.
    ///
    /// # Errors
    /// As [`Reader::question`], and the model cannot read the tokens, or they are not UTF-8.
    pub fn ask(
        &self,
        yes_no: &YesNo,
        question: &str,
        max_tokens: usize,
    ) -> Result<(Generated, Option<f64>), ListenerError> {
        let (mut parts, odds) = self.begin_answer(yes_no, question, max_tokens)?.finish()?;
        Ok((parts.pop().expect("an answer is one part"), odds.map(sigmoid)))
    }

    /// Begins what [`Reader::ask`] writes.
    pub(super) fn begin_answer(
        &self,
        yes_no: &YesNo,
        question: &str,
        max_tokens: usize,
    ) -> Result<Draft, ListenerError> {
        let prepared = self.question(question)?;
        if reads_as_yes_no(question) {
            Draft::answer_with_odds(self, prepared, max_tokens, yes_no.clone())
        } else {
            Draft::answer(self, prepared, max_tokens)
        }
    }

    /// How this model's text is checked against what was said. `question` is what it answers.
    pub(super) fn check_options<'a>(&'a self, question: &'a str) -> CheckOptions<'a> {
        CheckOptions { someone: &self.prompt.someone, names_persons: self.prompt.names_persons, question }
    }
}

/// Whether a question can be answered by yes or no: it begins with one of the usual words, and is no request ("can you …").
pub(crate) fn reads_as_yes_no(question: &str) -> bool {
    const FIRST: [&str; 27] = [
        "is", "are", "am", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could", "will", "would",
        "shall", "should", "may", "might", "must", "isn't", "aren't", "wasn't", "weren't", "don't", "doesn't",
        "didn't",
    ];
    const REQUEST: [&str; 4] = ["can", "could", "will", "would"];
    let question = question.to_lowercase().replace('’', "'");
    let mut words = question.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    FIRST.contains(&first) && !(REQUEST.contains(&first) && second == "you")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ListenerConfig};

    #[test]
    fn questions_that_are_asked_together_are_answered_as_if_each_was_asked_alone() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recurrentgemma-nano");
        for (weights, tolerance) in [(griffin::Quantization::F32, 1e-3), (griffin::Quantization::Q4K, 0.05)] {
            let mut reader = Reader::open(&model, &ListenerConfig { weights, ..ListenerConfig::default() }).unwrap();
            let yes_no = YesNo::new(&reader).unwrap();
            reader.read("Oh no, there is smoke in the kitchen! Did you take your pills?").unwrap();
            let rules = Config::default().rules;
            let mut questions: Vec<_> = rules.iter().filter_map(|rule| rule.question.as_deref()).collect();
            questions.extend([
                "Is there a fire?",
                "Is",
                "Is someone at the door or in the hallway, and did the bell ring?",
            ]);
            let questions: Vec<_> = questions.iter().map(|text| reader.question(text).unwrap()).collect();
            let questions: Vec<_> = questions.iter().collect();
            let apart: usize = questions.iter().map(|question| question.tokens().len()).sum();
            assert!(reader.asking_tokens(&questions) < apart, "nothing is shared");
            let before = reader.state().tensors();
            let together = reader.log_odds(&yes_no, &questions).unwrap();
            for (question, odds) in questions.iter().zip(together) {
                let alone = reader.log_odds(&yes_no, &[question]).unwrap()[0];
                let whole = reader.model.read(question.tokens(), &mut reader.fork().unwrap()).unwrap();
                let whole = yes_no.log_odds(&whole);
                let seen = [odds, alone, whole];
                assert!((odds - alone).abs() < tolerance, "{seen:?}");
                // With quantized weights the head rounds its inputs, and here it does not.
                assert!(
                    (odds - whole).abs() < tolerance.max(0.3 * f64::from(weights == griffin::Quantization::Q4K)),
                    "{seen:?}"
                );
            }
            assert_eq!(reader.state().tensors(), before);
        }
    }

    #[test]
    fn yes_no_questions_are_distinguished_from_others() {
        for question in ["Is there a fire?", "did anyone call", "  Has Emma left?", "Isn’t it late?", "Can Jack drive?"]
        {
            assert!(reads_as_yes_no(question), "{question}");
        }
        for question in
            ["Who called?", "Can you summarize it?", "Would you list them?", "Summarize.", "", "Isolde called?"]
        {
            assert!(!reads_as_yes_no(question), "{question}");
        }
    }
}
