//! Summaries and answers: what the model writes, and what of it is told.
//!
//! Both are checked against what was said ([`crate::grounding`]). The two steps are apart, so that `hearth judge` can score either.

use jiff::Timestamp;

use super::ask::{Answer, Generated};
use super::{Listener, ListenerError, count, cut_quotes};
use crate::event::Evidence;
use crate::grounding::{GroundedText, Talk};

/// The longest summary, or part of one, and the longest answer to a person, in tokens.
const SUMMARY_TOKENS: usize = 128;
const ANSWER_TOKENS: usize = 128;
/// A model that tells a summary in parts reads at most so many of the last words again: forty minutes of talk without a pause.
const MAX_SUMMARY_WORDS: usize = 6_000;

impl Listener {
    /// What the model tells of the talk, as far as it was said from `from` on.
    pub(super) fn tell(&self, from: Timestamp) -> Result<GroundedText, ListenerError> {
        Ok(self.check_summary(from, &self.write_summary(from)?))
    }

    /// The summary as the model writes it, in one part or more.
    pub(super) fn write_summary(&self, from: Timestamp) -> Result<Vec<Generated>, ListenerError> {
        let Some(words) = self.reader.prompt.summary_words else {
            return Ok(vec![self.reader.answer(&self.summary, SUMMARY_TOKENS)?]);
        };
        // This model only tells what was said last: it reads the talk once more, and is asked after every so many words.
        let mut again = self.reader.new_stream();
        let (mut read, mut parts) = (0, Vec::new());
        let said = last_words(self.talk.since(from), MAX_SUMMARY_WORDS);
        for (index, quote) in said.iter().enumerate() {
            again.read_in(&quote.text, self.several_rooms.then_some(quote.room.as_str()))?;
            read += quote.text.split_whitespace().count();
            if read >= words.get() || index + 1 == said.len() {
                read = 0;
                parts.push(again.answer(&self.summary, SUMMARY_TOKENS)?);
            }
        }
        Ok(parts)
    }

    /// What may be told of a summary that covers the talk from `from` on.
    pub(super) fn check_summary(&self, from: Timestamp, parts: &[Generated]) -> GroundedText {
        let talk = Talk::new(self.talk.since(from));
        let mut told = GroundedText::default();
        for written in parts {
            told.append(talk.ground(&written.text, written.ended, self.reader.check_options("")));
        }
        count(&self.checked, &told);
        told
    }

    /// Answers a question from a fork of the state. What was not said is no answer.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub fn ask(&self, question: &str) -> Result<Answer, ListenerError> {
        Ok(self.write_answer(question)?.1)
    }

    /// What the model writes in answer to a question, and what is told of it.
    pub(super) fn write_answer(&self, question: &str) -> Result<(Generated, Answer), ListenerError> {
        let (written, probability) = self.reader.ask(&self.yes_no, question, ANSWER_TOKENS)?;
        let grounded =
            Talk::new(self.talk.all()).ground(&written.text, written.ended, self.reader.check_options(question));
        count(&self.checked, &grounded);
        let text = if grounded.sentences.is_empty() { self.reader.prompt.not_said.clone() } else { grounded.text() };
        let evidence = grounded.sentences.into_iter().map(cut_quotes).flat_map(|sentence| sentence.evidence).collect();
        Ok((written, Answer { text, probability, evidence }))
    }
}

/// The last utterances that have at most `words` words together; one at least.
fn last_words(said: &[Evidence], words: usize) -> &[Evidence] {
    let mut left = words;
    let fits = |one: &&Evidence| {
        let words = one.text.split_whitespace().count();
        let fits = words <= left;
        left = left.saturating_sub(words);
        fits
    };
    let count = said.iter().rev().take_while(fits).count().max(1);
    &said[said.len().saturating_sub(count)..]
}
