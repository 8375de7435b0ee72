//! What the reader does because somebody asked.
//!
//! Owns the answers' fields. Refuses to know how a request came. Invariant: every request is answered, in the same transaction
//! as what came of it.

use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use serde_json::{Map, Value, json};
use tracing::info;

use super::{ListenerWorker, settings_store, state_at};
use crate::api::pending_command::{CommandOutcome, PendingCommand};
use crate::clock::{self, human_time};
use crate::event::{Digest, in_room};
use crate::listener::ListenerOutcome;
use crate::mqtt::commands::Command;
use crate::mqtt::payload::{self, MessageHeader};
use crate::services::Error;
use crate::services::store_retry::retry_until_stored;

impl ListenerWorker {
    pub(super) fn answer(&mut self, asked: PendingCommand) -> Result<(), Error> {
        let mut outcome = ListenerOutcome::default();
        let answer: CommandOutcome = match &asked.request.command {
            Command::Summarise { room } => {
                let now = self.now.max(Timestamp::now());
                self.listeners.summarise(room.as_deref(), now)?.map(|digests| {
                    let words: usize = digests.iter().map(|digest| digest.words).sum();
                    let lines: Vec<_> = digests.iter().map(Digest::line).collect();
                    let answer = fields(json!({ "text": lines.join("\n"), "words": words }));
                    outcome.digests = digests;
                    answer
                })
            }
            Command::Ask { question, at, room } => self.ask(question, room.as_deref(), at.as_deref())?,
            Command::Forget(minutes) => self.forget(*minutes)?,
            Command::Interval(minutes) => {
                self.listeners.set_interval(*minutes);
                let configured = self.config.digest.every_min;
                retry_until_stored(&self.closing, &self.metrics, || {
                    settings_store::set_interval(&mut self.store, *minutes, configured)
                })?;
                Ok(fields(json!({ "minutes": minutes })))
            }
            Command::Snooze { rule, minutes } => {
                self.now = self.now.max(Timestamp::now());
                let until = clock::after(self.now, SignedDuration::from_secs_f64(minutes * 60.0));
                match self.listeners.snooze(rule.as_deref(), self.now, until) {
                    Some(ended) => {
                        outcome = ended;
                        Ok(fields(json!({ "rule": rule, "minutes": minutes })))
                    }
                    None => Err(format!("there is no rule \"{}\"", rule.as_deref().unwrap_or_default())),
                }
            }
            Command::Acknowledge(which) => match self.listeners.acknowledge(which.name()) {
                Some(rule) => Ok(fields(json!({ "rule": rule }))),
                None => Err("no such alert is on".into()),
            },
            Command::FalseAlarm(which) => match self.listeners.false_alarm(which.name(), self.now) {
                Some((id, rule, ended)) => {
                    outcome = ended;
                    retry_until_stored(&self.closing, &self.metrics, || {
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
            messages.push(payload::interval(&self.topics, MessageHeader::now(), minutes));
        }
        self.record(outcome, messages)?;
        asked.answer(answer);
        Ok(())
    }

    /// Asks the state of a room, or of the house, of now or of a moment of the past.
    fn ask(&mut self, question: &str, room: Option<&str>, at: Option<&str>) -> Result<CommandOutcome, Error> {
        let at = match at.map(|at| human_time::parse(at, &ZonedDateTime::now())).transpose() {
            Ok(at) => at,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let asked = match self.listeners.asked(room) {
            Ok(asked) => asked,
            Err(reason) => return Ok(Err(reason)),
        };
        let Self { listeners, store, metrics, .. } = self;
        let (mut answers, mut reached) = (Vec::new(), None);
        for room in asked {
            let answer = match at {
                None => Some(listeners.of(room.as_deref()).0.ask(question)?),
                Some(at) => state_at::at(
                    listeners,
                    store,
                    room.as_deref(),
                    at,
                    |_| metrics.reading_heartbeat.beat(),
                    |then, until| {
                        reached = reached.max(Some(until));
                        then.ask(question)
                    },
                )?,
            };
            answers.extend(answer.map(|answer| (room, answer)));
            metrics.reading_heartbeat.beat();
        }
        if let (Some(at), true) = (at, answers.is_empty()) {
            return Ok(Err(format!("no snapshot is as old as {at}")));
        }
        let lines: Vec<_> = answers.iter().map(|(room, answer)| in_room(room.as_deref(), &answer.text)).collect();
        let probability = answers.iter().filter_map(|(_, answer)| answer.probability).reduce(f64::max);
        let mut fields = fields(json!({ "question": question, "text": lines.join("\n"), "probability": probability }));
        fields.extend(reached.map(|reached| ("at".to_string(), json!(reached))));
        Ok(Ok(fields))
    }
}

pub(super) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
