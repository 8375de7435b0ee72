//! What the reader does because somebody asked.
//!
//! Owns the answers' fields. Refuses to know how a request came. Invariant: every request is answered, in the same transaction
//! as what came of it.

use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use serde_json::{Map, Value, json};
use tracing::info;

use super::{Reading, notes};
use crate::clock::{self, when};
use crate::daemon::patience::patiently;
use crate::daemon::{Error, past};
use crate::door::asked::{Answer, Asked};
use crate::listener::Outcome;
use crate::mqtt::commands::Command;
use crate::mqtt::payload::{self, Stamp};

impl Reading {
    pub(super) fn answer(&mut self, asked: Asked) -> Result<(), Error> {
        let mut outcome = Outcome::default();
        let answer: Answer = match &asked.request.command {
            Command::Summarise => {
                let now = self.now.max(Timestamp::now());
                let digest = self.listener.summarise(now)?;
                let fields = fields(json!({ "text": digest.text, "words": digest.words }));
                outcome.digests.push(digest);
                Ok(fields)
            }
            Command::Ask { question, at: None } => {
                let answer = self.listener.ask(question)?;
                Ok(fields(json!({ "question": question, "text": answer.text, "probability": answer.probability })))
            }
            Command::Ask { question, at: Some(at) } => self.ask_of_then(question, at)?,
            Command::Forget(minutes) => self.forget(*minutes)?,
            Command::Interval(minutes) => {
                self.listener.set_interval(*minutes);
                let configured = self.config.digest.every_min;
                patiently(&self.closing, &self.vitals, || notes::set_interval(&mut self.store, *minutes, configured))?;
                Ok(fields(json!({ "minutes": minutes })))
            }
            Command::Snooze { rule, minutes } => {
                self.now = self.now.max(Timestamp::now());
                let until = clock::after(self.now, SignedDuration::from_secs_f64(minutes * 60.0));
                match self.listener.snooze(rule.as_deref(), self.now, until) {
                    Some(ended) => {
                        outcome = ended;
                        Ok(fields(json!({ "rule": rule, "minutes": minutes })))
                    }
                    None => Err(format!("there is no rule \"{}\"", rule.as_deref().unwrap_or_default())),
                }
            }
            Command::Acknowledge(which) => match self.listener.acknowledge(which.name()) {
                Some(rule) => Ok(fields(json!({ "rule": rule }))),
                None => Err("no such alert is on".into()),
            },
            Command::FalseAlarm(which) => match self.listener.false_alarm(which.name(), self.now) {
                Some((id, rule, ended)) => {
                    outcome = ended;
                    patiently(&self.closing, &self.vitals, || {
                        self.store.record_false_alarm(id, rule.as_str(), self.now)
                    })?;
                    info!(kind = "false_alarm", %rule, %id, "the household says that an alert of {rule} was none");
                    Ok(fields(json!({ "rule": rule, "alert": id })))
                }
                None => Err("there was no such alert".into()),
            },
            Command::Listening(_) | Command::Reload => Err("this command is not the reader's".into()),
        };
        let mut messages = Vec::from_iter(asked.message(&self.topics, &answer));
        if let Command::Interval(minutes) = asked.request.command {
            messages.push(payload::interval(&self.topics, Stamp::now(), minutes));
        }
        self.record(outcome, messages)?;
        asked.done(answer);
        Ok(())
    }

    /// Asks the state of a moment of the past.
    fn ask_of_then(&mut self, question: &str, at: &str) -> Result<Answer, Error> {
        let at = match when::moment(at, &ZonedDateTime::now()) {
            Ok(at) => at,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Self { listener, history, store, vitals, .. } = self;
        let moved = |_| vitals.reading_moved.mark();
        let asked = past::at(listener, history, store, at, moved, |then, reached| Ok((then.ask(question)?, reached)))?;
        Ok(match asked {
            Some((answer, reached)) => {
                let (text, probability) = (answer.text, answer.probability);
                Ok(fields(json!({ "question": question, "text": text, "probability": probability, "at": reached })))
            }
            None => Err(format!("no snapshot is as old as {at}")),
        })
    }
}

pub(super) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
