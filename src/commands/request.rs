//! A command with its transaction, read from a message or from an object, and its answer.

use serde_json::{Map, Value};

use super::body::{self, Body, shortened};
use super::{Command, LIST, ListedCommand, Reply, name};
use crate::event::Message;
use crate::mqtt::payload::{self, MessageHeader};
use crate::mqtt::topics::Topics;

/// The name under which a command that does not exist is answered, so that nobody outside decides on our topics.
const UNKNOWN: &str = "unknown";

/// What came of a command: its reply, or why it was not carried out.
pub(crate) type CommandAnswer = Result<Reply, String>;

/// A command, and what its sender calls it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub command: Command,
    pub transaction: Option<Value>,
}

impl Request {
    /// The message that answers it on `response/<command>`.
    pub fn response(&self, topics: &Topics, stamp: MessageHeader, answer: &CommandAnswer) -> Message {
        let answer = answer.as_ref().map_err(String::as_str);
        payload::response(topics, stamp, self.command.name(), self.transaction.as_ref(), answer)
    }

    /// The object that answers it over the control socket and the page.
    pub(crate) fn answer(&self, answer: &CommandAnswer) -> Map<String, Value> {
        payload::answer(self.command.name(), self.transaction.as_ref(), answer.as_ref().map_err(String::as_str))
    }
}

/// A command that was not understood.
#[derive(Clone, Debug, PartialEq)]
pub struct InvalidCommand {
    /// The name under which it is answered.
    pub command: &'static str,
    pub transaction: Option<Value>,
    pub error: String,
}

impl InvalidCommand {
    fn unknown(transaction: Option<Value>, error: String) -> Self {
        Self { command: UNKNOWN, transaction, error }
    }

    /// Its payload cannot be read.
    fn unreadable(listed: Option<&ListedCommand>, error: String) -> Self {
        let command = listed.map_or(UNKNOWN, |listed| name(listed.path));
        Self { command, transaction: None, error }
    }

    /// The message that answers it on `response/<command>`.
    pub fn response(&self, topics: &Topics, stamp: MessageHeader) -> Message {
        payload::response(topics, stamp, self.command, self.transaction.as_ref(), self.error())
    }

    /// The object that answers it over the control socket and the page.
    pub(crate) fn answer(&self) -> Map<String, Value> {
        payload::answer(self.command, self.transaction.as_ref(), self.error())
    }

    fn error(&self) -> Result<&Reply, &str> {
        Err(&self.error)
    }
}

/// Reads a message. None when it is no command of this machine, or a retained message, which is an old command.
pub fn parse(topics: &Topics, topic: &str, payload: &[u8], retained: bool) -> Option<Result<Request, InvalidCommand>> {
    let (path, listed) = listed(topics, topic, retained)?;
    Some(match (Body::read(payload), listed) {
        (Ok(body), Some(listed)) => read(listed, body),
        (Ok(body), None) => {
            Err(InvalidCommand::unknown(body.transaction, format!("there is no command {}", shortened(path))))
        }
        (Err(error), listed) => Err(InvalidCommand::unreadable(listed, error)),
    })
}

/// What is answered to a command whose payload was so long that it was dropped. None when it is no command, as with [`parse`].
pub(crate) fn too_long(topics: &Topics, topic: &str, bytes: usize, retained: bool) -> Option<InvalidCommand> {
    let (_, listed) = listed(topics, topic, retained)?;
    Some(InvalidCommand::unreadable(listed, body::too_long(bytes)))
}

/// The path of a command, and the command if there is one with this path. None when the topic is not one of commands.
fn listed<'a>(topics: &Topics, topic: &'a str, retained: bool) -> Option<(&'a str, Option<&'static ListedCommand>)> {
    let path = topics.path(topic)?;
    let named = path.strip_suffix("/set").or(path.strip_prefix("request/"))?;
    if retained || named.contains('/') {
        return None;
    }
    Some((path, LIST.iter().find(|listed| listed.path == path)))
}

/// Reads a command from an object that names it, `{"command": "ask", "value": …}`, as the control socket and the page send it.
///
/// # Errors
/// It is no command.
pub(crate) fn parse_object(object: &[u8]) -> Result<Request, InvalidCommand> {
    let mut body = Body::read(object).map_err(|error| InvalidCommand::unknown(None, error))?;
    let Some(Value::String(named)) = body.fields.remove("command") else {
        let error = "a command is an object with a \"command\"";
        return Err(InvalidCommand::unknown(body.transaction, error.into()));
    };
    match LIST.iter().find(|listed| name(listed.path) == named) {
        Some(listed) => read(listed, body),
        None => Err(InvalidCommand::unknown(body.transaction, format!("there is no command {}", shortened(&named)))),
    }
}

fn read(listed: &ListedCommand, body: Body) -> Result<Request, InvalidCommand> {
    match (listed.parse)(&body) {
        Ok(command) => Ok(Request { command, transaction: body.transaction }),
        Err(error) => Err(InvalidCommand { command: name(listed.path), transaction: body.transaction, error }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ulid::Ulid;

    use super::*;
    use crate::commands::acknowledge::AcknowledgeReply;
    use crate::commands::ask::AskReply;
    use crate::commands::false_alarm::FalseAlarmReply;
    use crate::commands::forget::ForgetReply;
    use crate::commands::interval::IntervalReply;
    use crate::commands::listening::ListeningReply;
    use crate::commands::pause::PauseReply;
    use crate::commands::reload::ReloadReply;
    use crate::commands::renew::RenewReply;
    use crate::commands::reset_rule::ResetRuleReply;
    use crate::commands::snooze::SnoozeReply;
    use crate::commands::summarize::SummarizeReply;

    /// What is answered to `object` when its command replied this.
    fn answer(object: &str, reply: Reply) -> Value {
        Value::Object(parse_object(object.as_bytes()).unwrap().answer(&Ok(reply)))
    }

    #[test]
    fn each_answer_has_the_fields_of_its_reply_beside_command_status_and_transaction() {
        let time = "2026-01-01T12:00:00Z";
        let at = Some(time.parse().unwrap());
        let rule: crate::config::Name = "leak".parse().unwrap();
        let ask = |at| {
            Reply::Ask(AskReply {
                question: "q".into(),
                text: "t".into(),
                model: "m".into(),
                evidence: Vec::new(),
                probability: Some(0.5),
                at,
            })
        };
        let expected = [
            (
                r#"{"command": "listening", "value": "ON", "transaction": 7}"#,
                Reply::Listening(ListeningReply { listening: true }),
                json!({ "listening": true, "transaction": 7 }),
            ),
            (
                r#"{"command": "pause", "value": 60}"#,
                Reply::Pause(PauseReply { minutes: 60.0, paused_until: at }),
                json!({ "minutes": 60.0, "paused_until": time }),
            ),
            (
                r#"{"command": "interval", "value": 5}"#,
                Reply::Interval(IntervalReply { minutes: 5.0 }),
                json!({ "minutes": 5.0 }),
            ),
            (
                r#"{"command": "summarise"}"#,
                Reply::Summarize(SummarizeReply { text: "t".into(), words: 3 }),
                json!({ "text": "t", "words": 3 }),
            ),
            (
                r#"{"command": "ask", "value": "q"}"#,
                ask(None),
                json!({ "question": "q", "text": "t", "model": "m", "evidence": [], "probability": 0.5 }),
            ),
            (
                r#"{"command": "ask", "value": "q", "at": "2h"}"#,
                ask(at),
                json!({ "question": "q", "text": "t", "model": "m", "evidence": [], "probability": 0.5, "at": time }),
            ),
            (
                r#"{"command": "forget", "value": 10}"#,
                Reply::Forget(ForgetReply {
                    minutes: 10.0,
                    since: time.into(),
                    utterances: 2,
                    from: at,
                    to: None,
                    confirm: None,
                }),
                json!({ "minutes": 10.0, "since": time, "utterances": 2, "from": time, "to": null }),
            ),
            (
                r#"{"command": "snooze", "value": 5}"#,
                Reply::Snooze(SnoozeReply { rule: None, minutes: 5.0 }),
                json!({ "rule": null, "minutes": 5.0 }),
            ),
            (
                r#"{"command": "acknowledge"}"#,
                Reply::Acknowledge(AcknowledgeReply { rule: rule.clone() }),
                json!({ "rule": "leak" }),
            ),
            (
                r#"{"command": "false_alarm"}"#,
                Reply::FalseAlarm(FalseAlarmReply { rule, alert: Ulid::nil() }),
                json!({ "rule": "leak", "alert": Ulid::nil().to_string() }),
            ),
            (
                r#"{"command": "reset_rule", "value": "leak"}"#,
                Reply::ResetRule(ResetRuleReply { rules: ["leak".to_string()].into() }),
                json!({ "rules": ["leak"] }),
            ),
            (r#"{"command": "renew"}"#, Reply::Renew(RenewReply { states: 1 }), json!({ "states": 1 })),
            (
                r#"{"command": "reload"}"#,
                Reply::Reload(ReloadReply { rules: vec!["leak".into()], every_min: 15.0, needs_restart: Vec::new() }),
                json!({ "rules": ["leak"], "every_min": 15.0, "needs_restart": [] }),
            ),
        ];
        for (object, reply, mut fields) in expected {
            fields["status"] = "ok".into();
            fields["command"] = parse_object(object.as_bytes()).unwrap().command.name().into();
            assert_eq!(answer(object, reply), fields);
        }
    }
}
