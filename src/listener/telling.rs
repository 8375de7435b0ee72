//! Summaries and answers: what the model writes, and what of it is told.
//!
//! Both are checked against what was said ([`crate::grounding`]). The two steps are apart, so that `hearth judge` can score either.

use jiff::Timestamp;
use ulid::Ulid;

use super::alert::sigmoid;
use super::ask::{Answer, Generated};
use super::draft::Draft;
use super::{Listener, ListenerError, count, cut_quote};
use crate::config::WatchKind;
use crate::event::{Evidence, GroundedSentence};
use crate::grounding::{GroundedText, Talk, asks_for_particulars, nearest, with_quotes};
use crate::watcher::WatchScores;

/// The longest summary, or part of one, and the longest answer to a person, in tokens.
pub(super) const SUMMARY_TOKENS: usize = 128;
const ANSWER_TOKENS: usize = 128;
/// A model that tells a summary in parts reads at most so many of the last words again: forty minutes of talk without a pause.
const MAX_SUMMARY_WORDS: usize = 6_000;

/// A sentence tells of an event from these log-odds on that the watcher gives to its words. Of the summaries by hand of the exchanges kept
/// from training, 3 in 1,000 are dropped with it (7 with 2, 26 with 0); of sentences about an event that rest on other talk, nine in ten.
pub(super) const TELLS_OF_EVENT: f64 = 4.0;

/// An answer that is being written.
pub(crate) struct AnswerDraft {
    pub(crate) draft: Draft,
    question: String,
    /// What had been said when it began.
    talk: Vec<Evidence>,
}

impl Listener {
    /// Begins the summary of the talk from `from` on, which the model writes in one part or more.
    pub(super) fn begin_summary(&self, from: Timestamp) -> Result<Draft, ListenerError> {
        let Some(words) = self.reader.prompt.summary_words else {
            return Draft::answer(&self.reader, self.summary.clone(), SUMMARY_TOKENS);
        };
        // This model only tells what was said last: it reads the talk once more, and is asked after every so many words.
        let said = last_words(self.talk.since(from), MAX_SUMMARY_WORDS);
        let said = said.iter().map(|one| (one.text.clone(), self.several_rooms.then(|| one.room.clone()))).collect();
        Ok(Draft::in_parts(&self.reader, self.summary.clone(), SUMMARY_TOKENS, words.get(), said))
    }

    /// What may be told of a summary that covers the talk from `from` on, up to the utterance `last`.
    pub(super) fn check_summary(&self, from: Timestamp, last: Option<Ulid>, parts: &[Generated]) -> GroundedText {
        let talk = Talk::new(self.talk.between(from, last));
        let mut told = GroundedText::default();
        for written in parts {
            told.append(self.ground(&talk, written, ""));
        }
        count(&self.checked, &told);
        told
    }

    /// What of a text that the model wrote about `talk` rests on what was said. `question`: what it answers; empty for none.
    pub(super) fn ground(&self, talk: &Talk, written: &Generated, question: &str) -> GroundedText {
        let mut told = talk.ground(&written.text, written.ended, self.reader.check_options(question));
        told.drop_unless(|sentence| self.its_events_were_heard(sentence, talk.utterances()));
        told
    }

    /// A sentence that tells of a fire, a leak and so on may only be told where the watcher suspects the same event in the utterances
    /// that the sentence rests on, or in one beside them: "The back door was left open" shares its words with "Somebody is rattling the
    /// back door".
    fn its_events_were_heard(&self, sentence: &GroundedSentence, talk: &[Evidence]) -> bool {
        let Some(watcher) = &self.watcher else { return true };
        let of_sentence = watcher.score(&[&sentence.text]);
        let mut told =
            WatchKind::ALL.into_iter().filter(|kind| watcher.log_odds(*kind, &of_sentence) >= TELLS_OF_EVENT);
        let rests_on = |one: &Evidence| sentence.evidence.iter().any(|quote| quote.utterance == one.utterance);
        let Some(first) = talk.iter().position(rests_on) else { return true };
        let last = talk.iter().rposition(rests_on).unwrap_or(first);
        let said: Vec<&str> = talk.iter().map(|one| one.text.as_str()).collect();
        let said = &said[first.saturating_sub(1)..(last + 2).min(said.len())];
        let heard = (1..=said.len()).map(|end| watcher.score(&said[..end])).reduce(WatchScores::max);
        told.all(|kind| heard.is_some_and(|heard| watcher.suggests(kind, &heard)))
    }

    /// What is told of the talk from `from` on, up to the utterance `last`: the model's summary, and quotes where it has none.
    pub(super) fn tell(&self, from: Timestamp, last: Option<Ulid>, parts: &[Generated]) -> Vec<GroundedSentence> {
        let prompt = &self.reader.prompt;
        let told = self.check_summary(from, last, parts).sentences;
        // A model that tells all at once leaves out what matters less. One that tells in parts should have told something of each.
        if !told.is_empty() && prompt.summary_words.is_none() {
            return told;
        }
        with_quotes(told, self.talk.between(from, last), &prompt.quote)
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
        let mut answer = self.begin_answer(question)?;
        while answer.draft.advance()? {}
        Ok(self.check_answer(answer))
    }

    /// Begins the answer to a question, of the state as it is now.
    pub(crate) fn begin_answer(&self, question: &str) -> Result<AnswerDraft, ListenerError> {
        let draft = self.reader.begin_answer(&self.yes_no, question, ANSWER_TOKENS)?;
        Ok(AnswerDraft { draft, question: question.into(), talk: self.talk.all().to_vec() })
    }

    /// What is told of an answer that is written; it may have been begun with a state of the past.
    pub(crate) fn finish_answer(&self, answer: AnswerDraft) -> Answer {
        self.check_answer(answer).1
    }

    fn check_answer(&self, AnswerDraft { draft, question, talk }: AnswerDraft) -> (Generated, Answer) {
        let (mut parts, log_odds) = draft.into_parts();
        let written = parts.pop().expect("an answer is one part");
        let grounded = self.ground(&Talk::new(&talk), &written, &question);
        count(&self.checked, &grounded);
        let prompt = &self.reader.prompt;
        let text = grounded.text();
        let evidence: Vec<Evidence> = grounded.sentences.into_iter().flat_map(|sentence| sentence.evidence).collect();
        // A request ("Summarize the day.") has no words that could be looked for. Whether something is so may be told in other words
        // than the question's, and then only the model can know.
        let is_particular = question.trim_end().ends_with('?') && asks_for_particulars(&question);
        let prefers_quotes = prompt.quotes_answers && is_particular;
        let may_tell = if prefers_quotes { log_odds.is_some() && !evidence.is_empty() } else { !text.is_empty() };
        let quotes = if may_tell && !prefers_quotes { Vec::new() } else { nearest(&question, &talk) };
        let is_written = may_tell && quotes.is_empty();
        let (text, evidence) = if !quotes.is_empty() {
            let quoted: Vec<&str> = quotes.iter().map(|quote| quote.text.as_str()).collect();
            (prompt.nearest.replace("{text}", &quoted.join(" ")), quotes)
        } else if may_tell {
            (text, evidence)
        } else {
            (prompt.not_said.clone(), Vec::new())
        };
        let evidence = evidence.into_iter().map(cut_quote).collect();
        (written, Answer { text, is_written, probability: log_odds.map(sigmoid), evidence })
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

#[cfg(test)]
mod tests;
