//! What `hearth judge` needs to see of a listener, beside what the daemon sees: the parts before they become an alert or a text.

use super::ask::{Answer, Generated, Question};
use super::{Listener, ListenerError};
use crate::config::WatchKind;
use crate::grounding::sentences_of;
use crate::watcher::WatchScores;

/// The sentences of a summary.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JudgedSummary {
    /// As the model wrote them.
    pub(crate) written: Vec<String>,
    /// Those that are told, as they are told.
    pub(crate) told: Vec<String>,
}

impl Listener {
    /// Another listener on the same weights, with the same rules, that has heard nothing yet.
    pub(crate) fn fresh(&self) -> Self {
        Self { several_rooms: self.several_rooms, room: None, ..self.for_room("") }
    }

    /// What the watcher makes of the utterances that were heard since the last call of [`Listener::consider`].
    pub(crate) fn watcher_scores(&self) -> Option<WatchScores> {
        self.watched
    }

    /// What the event model says of the kinds that the watcher suspects in them, in log-odds of yes.
    pub(crate) fn judge_events(&self) -> Vec<(WatchKind, f64)> {
        let Some((scores, watcher)) = self.watched.zip(self.watcher.as_ref()) else { return Vec::new() };
        self.event_answers(watcher, &scores, &self.unasked, |_| true)
    }

    /// Prepares a question.
    pub(crate) fn prepare(&self, question: &str) -> Result<Question, ListenerError> {
        self.reader.question(question)
    }

    /// The model's log-odds of yes to each question.
    pub(crate) fn log_odds(&self, questions: &[Question]) -> Result<Vec<f64>, ListenerError> {
        self.reader.log_odds(&self.yes_no, &questions.iter().collect::<Vec<_>>())
    }

    /// The model's own answer to a question, and what is told of it.
    pub(crate) fn judge_answer(&self, question: &str) -> Result<(String, Answer), ListenerError> {
        let (Generated { text, .. }, answer) = self.write_answer(question)?;
        Ok((text, answer))
    }

    /// A summary of everything since the last digest; it stays pending.
    pub(crate) fn judge_summary(&self) -> Result<JudgedSummary, ListenerError> {
        let Some(from) = self.pending.from() else { return Ok(JudgedSummary::default()) };
        let (parts, _) = self.begin_summary(from)?.finish()?;
        let told = self.check_summary(from, None, &parts).sentences.into_iter().map(|sentence| sentence.text).collect();
        let written = parts.iter().flat_map(|part| sentences_of(&part.text)).map(String::from).collect();
        Ok(JudgedSummary { written, told })
    }

    /// The text that stands for an answer where nothing that was said answers the question.
    pub(crate) fn not_said(&self) -> &str {
        &self.reader.prompt.not_said
    }
}
