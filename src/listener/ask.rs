//! Questions and their answers. Each is asked of a fork, so it changes nothing that another question could notice.

use super::ListenerError;
use super::alert::sigmoid;
use super::draft::Draft;
use super::pace::Work;
use super::reader::Reader;
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
        let mut forks = questions.iter().map(|_| self.fork()).collect::<Result<Vec<_>, _>>()?;
        // Each pass through the weights is a slice. The last reads as much as the others, for it costs as much.
        let mut rest: Vec<_> = questions.iter().map(|question| question.tokens()).collect();
        loop {
            let share = (self.pace.tokens(Work::Asking).min(CHUNK) / questions.len()).max(1);
            let lengths: Vec<_> = rest.iter().map(|tokens| share.min(tokens.len().saturating_sub(share))).collect();
            let count = lengths.iter().sum();
            if count == 0 {
                let mut streams: Vec<(&mut State, &[u32])> = forks.iter_mut().zip(rest.iter().copied()).collect();
                let left = rest.iter().map(|tokens| tokens.len()).sum();
                let logits = self.pace.slice(Work::Asking, left, || self.model.read_all(&mut streams))?;
                return Ok(logits.iter().map(|logits| yes_no.log_odds(logits)).collect());
            }
            let mut streams: Vec<(&mut State, &[u32])> = Vec::with_capacity(forks.len());
            for ((fork, rest), length) in forks.iter_mut().zip(&mut rest).zip(lengths) {
                let (slice, left) = rest.split_at(length);
                streams.push((fork, slice));
                *rest = left;
            }
            self.pace.slice(Work::Asking, count, || self.model.ingest_all(&mut streams))?;
        }
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
    use super::*;

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
