//! A text that the model is writing, slice by slice.
//!
//! It is written from a copy of the state: what is read meanwhile does not change it. It comes to the same text however often it is
//! interrupted.

use std::collections::VecDeque;
use std::time::Duration;

use griffin::{Generation, Sampler, Sampling};

use super::ListenerError;
use super::ask::{Generated, Question, YesNo};
use super::pace::Work;
use super::reader::Reader;

/// See the module.
pub(crate) struct Draft {
    /// A stream of its own, on the same weights.
    reader: Reader,
    question: Question,
    /// The longest part, in tokens.
    most: usize,
    /// The talk that is read before the parts.
    talk: Option<DraftTalk>,
    writing: Option<Generation>,
    parts: Vec<Generated>,
    /// Whose log-odds are taken from the first answer, and what they are.
    yes_no: Option<YesNo>,
    log_odds: Option<f64>,
}

/// Talk that is read again; after every so many words a part is written.
struct DraftTalk {
    words: usize,
    /// What was said, and where if the model is told; oldest first.
    said: VecDeque<(String, Option<String>)>,
    /// Words that were read since the last part.
    read: usize,
    /// Tokens of the current utterance that are not read yet.
    unread: VecDeque<u32>,
}

impl Draft {
    /// The answer to a question, of the state as it is now.
    pub(super) fn answer(reader: &Reader, question: Question, most: usize) -> Result<Self, ListenerError> {
        let writing = Some(generation(reader, &question, most)?);
        Ok(Self { writing, ..Self::new(reader, question, most) })
    }

    /// The same, with the log-odds of yes.
    pub(super) fn answer_with_odds(
        reader: &Reader,
        question: Question,
        most: usize,
        yes_no: YesNo,
    ) -> Result<Self, ListenerError> {
        Ok(Self { yes_no: Some(yes_no), ..Self::answer(reader, question, most)? })
    }

    /// The answers of a new stream that reads `said`, one after every `words`.
    pub(super) fn in_parts(
        reader: &Reader,
        question: Question,
        most: usize,
        words: usize,
        said: VecDeque<(String, Option<String>)>,
    ) -> Self {
        let talk = Some(DraftTalk { words, said, read: 0, unread: VecDeque::new() });
        Self { talk, ..Self::new(reader, question, most) }
    }

    fn new(reader: &Reader, question: Question, most: usize) -> Self {
        Self {
            reader: reader.new_stream(),
            question,
            most,
            talk: None,
            writing: None,
            parts: Vec::new(),
            yes_no: None,
            log_odds: None,
        }
    }

    /// Goes on by a slice. False when there is nothing left to write.
    pub(super) fn advance(&mut self) -> Result<bool, ListenerError> {
        let Self { reader, writing, yes_no, log_odds, parts, .. } = self;
        if let Some(text) = writing {
            let turns = reader.tokenizer.special_tokens();
            let ends = |token| token == turns.end_of_turn || token == turns.eos;
            let reads = !text.is_writing();
            let tokens = reader.pace.tokens(Work::Writing);
            let takes = if reads { tokens.min(self.question.tokens().len()) } else { 1 };
            reader.pace.slice(Work::Writing, takes, || text.advance(&reader.model, tokens, ends))?;
            if reads && log_odds.is_none() {
                *log_odds = yes_no.as_ref().zip(text.prediction()).map(|(yes_no, logits)| yes_no.log_odds(logits));
            }
            if text.is_finished() {
                let ended = text.has_ended();
                parts.push(Generated { text: reader.tokenizer.decode(text.tokens())?.trim().to_string(), ended });
                *writing = None;
            }
            return Ok(true);
        }
        let Some(talk) = &mut self.talk else { return Ok(false) };
        if talk.unread.is_empty() {
            let Some((text, room)) = talk.said.pop_front() else { return Ok(false) };
            talk.unread = reader.utterance(&text, room.as_deref())?.into();
            talk.read += text.split_whitespace().count();
        }
        let slice = reader.pace.tokens(Work::Writing).min(talk.unread.len());
        let tokens: Vec<u32> = talk.unread.drain(..slice).collect();
        reader.ingest(&tokens, Work::Writing)?;
        let ends_part = talk.read >= talk.words || talk.said.is_empty();
        if talk.unread.is_empty() && ends_part {
            talk.read = 0;
            self.writing = Some(generation(&self.reader, &self.question, self.most)?);
        }
        Ok(true)
    }

    /// Goes on for about so long. False when there is nothing left to write.
    pub(crate) fn advance_for(&mut self, slice: Duration) -> Result<bool, ListenerError> {
        let began = self.reader.pace.now();
        while self.advance()? {
            if self.reader.pace.now() - began >= slice {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes all of it.
    pub(super) fn finish(mut self) -> Result<(Vec<Generated>, Option<f64>), ListenerError> {
        while self.advance()? {}
        Ok(self.into_parts())
    }

    /// What was written, and the log-odds of yes where they were asked for.
    pub(super) fn into_parts(self) -> (Vec<Generated>, Option<f64>) {
        (self.parts, self.log_odds)
    }
}

/// The likeliest answer: the same question gives the same text.
fn generation(reader: &Reader, question: &Question, most: usize) -> Result<Generation, ListenerError> {
    Ok(Generation::new(reader.fork()?, question.tokens().to_vec(), Sampler::new(Sampling::default()), most))
}
