//! Questions, asked of forks.
//!
//! Owns the frame of a question, the words for yes and no, the generation of an answer. Refuses to alter the live state: it
//! only ever sees forks. Invariant: asking changes nothing that another question could notice.

use super::ListenerError;
use super::alert::sigmoid;
use super::reader::Reader;
use griffin::{Logits, State};

/// A question as the tokens that end a fork's user turn and open the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    tokens: Vec<u32>,
}

impl Question {
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

/// What the model says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub text: String,
    /// Of yes; for questions that read as yes/no.
    pub probability: Option<f64>,
}

/// Tokens that begin an answer of yes and of no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YesNo {
    yes: Vec<u32>,
    no: Vec<u32>,
}

impl YesNo {
    /// The first token of each of the prompt's words; a token that begins words of both kinds (a space of its own, say) tells
    /// nothing and does not count.
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

    /// ln(P(yes) / P(no)): what else the model might say cancels out.
    fn log_odds(&self, logits: &Logits) -> f64 {
        logits.log_odds(&self.yes, &self.no)
    }
}

impl Reader {
    /// Prepares a question.
    pub fn question(&self, question: &str) -> Result<Question, ListenerError> {
        let turns = self.tokenizer.special_tokens();
        let mut tokens = self.encode(&self.prompt.question(question))?;
        tokens.push(turns.end_of_turn);
        tokens.extend(self.encode("\n")?);
        tokens.push(turns.start_of_turn);
        tokens.extend(self.encode("model\n")?);
        Ok(Question { tokens })
    }

    /// Log-odds of yes to each of some questions, without generating anything. They are put to forks of one state side by
    /// side, so that the weights are read once for all.
    pub fn log_odds(&self, yes_no: &YesNo, questions: &[&Question]) -> Result<Vec<f64>, ListenerError> {
        let mut forks = questions.iter().map(|_| self.fork()).collect::<Result<Vec<_>, _>>()?;
        let mut streams: Vec<_> = forks.iter_mut().zip(questions.iter().map(|q| q.tokens())).collect();
        Ok(self.model.read_all(&mut streams)?.iter().map(|logits| yes_no.log_odds(logits)).collect())
    }

    /// The model's own words, at most `max_tokens` of them; the same every time.
    pub fn answer(&self, question: &Question, max_tokens: usize) -> Result<String, ListenerError> {
        let (logits, fork) = self.put(question)?;
        self.generate(logits, fork, max_tokens)
    }

    /// Asks whatever somebody wants to know.
    pub fn ask(&self, yes_no: &YesNo, question: &str, max_tokens: usize) -> Result<Answer, ListenerError> {
        let (logits, fork) = self.put(&self.question(question)?)?;
        let probability = reads_as_yes_no(question).then(|| sigmoid(yes_no.log_odds(&logits)));
        Ok(Answer { text: self.generate(logits, fork, max_tokens)?, probability })
    }

    fn put(&self, question: &Question) -> Result<(Logits, State), ListenerError> {
        let mut fork = self.fork()?;
        let logits = self.model.read(&question.tokens, &mut fork)?;
        Ok((logits, fork))
    }

    fn generate(&self, mut logits: Logits, mut fork: State, max_tokens: usize) -> Result<String, ListenerError> {
        let turns = self.tokenizer.special_tokens();
        let mut tokens = Vec::new();
        while tokens.len() < max_tokens {
            let token = logits.argmax();
            if token == turns.end_of_turn || token == turns.eos {
                break;
            }
            tokens.push(token);
            if tokens.len() < max_tokens {
                self.model.step_into(token, &mut fork, &mut logits)?;
            }
        }
        Ok(self.tokenizer.decode(&tokens)?.trim().to_string())
    }
}

/// Whether a question can be answered by yes or no: it begins as such questions do, and does not ask for a favour.
pub fn reads_as_yes_no(question: &str) -> bool {
    const FIRST: [&str; 27] = [
        "is", "are", "am", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could", "will", "would",
        "shall", "should", "may", "might", "must", "isn't", "aren't", "wasn't", "weren't", "don't", "doesn't",
        "didn't",
    ];
    const FAVOUR: [&str; 4] = ["can", "could", "will", "would"];
    let question = question.to_lowercase().replace('’', "'");
    let mut words = question.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    FIRST.contains(&first) && !(FAVOUR.contains(&first) && second == "you")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_no_questions_are_told_from_others() {
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
