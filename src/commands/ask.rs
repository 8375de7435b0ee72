//! `request/ask`: a question to the state of now, or of an earlier time.

use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;
use serde_json::{Value, json};

use super::body::shown;
use super::{Body, CommandError, Definition, Done, ListenerPart};
use crate::clock::human_time;
use crate::event::{Evidence, in_room};
use crate::models;
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// The longest question, in characters: it is read token by token before it is answered.
const MAX_QUESTION_CHARS: usize = 2_000;
/// The longest time as a person writes it, in bytes.
const MAX_TIME_BYTES: usize = 64;

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub question: String,
    /// The time whose state is asked, as a person writes it; none for now.
    pub at: Option<String>,
    /// None: all rooms.
    pub room: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AskReply {
    pub question: String,
    /// A line for each state that was asked.
    pub text: String,
    /// What the model that answers is called.
    pub model: String,
    /// The utterances that the text rests on.
    pub evidence: Vec<Evidence>,
    /// The highest probability of "yes"; none for a question that cannot be answered by yes or no.
    pub probability: Option<f64>,
    /// The time up to which the state that was asked had heard; only where a time was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Definition for Ask {
    const PATH: &'static str = "request/ask";
    const DOCUMENTATION: &'static str = "a question, up to 2000 characters. With `\"at\"` beside `\"value\"` (`\"18:00\"`, \
        `\"yesterday 18:00\"`, a date, `\"2h\"`, RFC 3339) the state of that time is asked, and `at` in the answer is the time up to \
        which that state had heard. Where each room has a state, `\"room\"` says which is asked; without it each answers on a line \
        of its own, with the highest probability of all. `model` in the answer names the model";
    type Reply = AskReply;

    fn parse(body: &Body) -> Result<Self, String> {
        let at = body.fields.get("at").filter(|at| !at.is_null()).map(time).transpose()?;
        Ok(Self { question: question(&body.value)?, at, room: body.room()? })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        // With a state that is empty the field is empty, too; without one Home Assistant shows it as "unknown".
        let text = json!({
            "p": "text", "name": "Ask", "ic": "mdi:chat-question", "cmd_t": topics.command(Self::PATH),
            "stat_t": topics.status(), "val_tpl": "{{ '' }}", "min": 0, "max": 255,
        });
        vec![Entity { key: "ask", needs: Needs::Listener, config: text }]
    }
}

impl Ask {
    pub(super) fn run<L: ListenerPart>(&self, listener: &mut L) -> Result<Done<AskReply>, CommandError<L::Error>> {
        let at = match &self.at {
            Some(at) => Some(human_time::parse(at, &ZonedDateTime::now()).map_err(CommandError::refused)?),
            None => None,
        };
        let rooms = listener.listeners().states_for(self.room.as_deref()).map_err(CommandError::Refused)?;
        let mut lines = Vec::new();
        let mut evidence = Vec::new();
        let mut probability = None;
        let mut heard_until = None;
        for room in &rooms {
            let room = room.as_deref();
            let begun = match at {
                None => {
                    Some(listener.listeners().get_mut(room).0.begin_answer(&self.question).map_err(L::Error::from)?)
                }
                Some(at) => listener.with_state_at(room, at, |state, until| {
                    heard_until = heard_until.max(Some(until));
                    state.begin_answer(&self.question)
                })?,
            };
            if let Some(mut begun) = begun {
                listener.write(&mut begun.draft)?;
                let answer = listener.listeners().get_mut(room).0.finish_answer(begun);
                lines.push(in_room(room, &answer.text));
                evidence.extend(answer.evidence);
                probability = probability.into_iter().chain(answer.probability).reduce(f64::max);
            }
        }
        match at {
            Some(at) if lines.is_empty() => Err(CommandError::Refused(format!("no snapshot is as old as {at}"))),
            _ => Ok(Done::new(AskReply {
                question: self.question.clone(),
                text: lines.join("\n"),
                model: models::title(&listener.config().listener.model),
                evidence,
                probability,
                at: heard_until,
            })),
        }
    }
}

fn question(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err("the question is empty".into()),
        Value::String(text) if text.chars().count() > MAX_QUESTION_CHARS => {
            Err(format!("a question has at most {MAX_QUESTION_CHARS} characters"))
        }
        Value::String(text) => Ok(text.trim().into()),
        _ => Err(format!("{} is no question", shown(value))),
    }
}

/// What the words mean depends on when they are carried out.
fn time(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.len() <= MAX_TIME_BYTES => Ok(text.clone()),
        _ => Err(format!("{} is no time", shown(value))),
    }
}
