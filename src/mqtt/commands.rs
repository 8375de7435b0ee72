//! What the household may ask for over MQTT.
//!
//! Owns the parsing of commands. Refuses to know who carries them out, and how many are too many: see [`super::desk`].
//! Invariant: every command is answered on `response/<command>`, a bad one with what was wrong with it (one that does not
//! exist on `response/unknown`, so that nobody can make topics up); a retained one is an old one, and is ignored.
//!
//! A payload is a plain word (`ON`, `OFF`, a number, a question) or an object `{"value": …, "transaction": …}`; the
//! transaction, a string or a number, comes back with the answer.

use serde_json::{Map, Value};

use super::topics::Topics;

/// No command is longer, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// No question is longer: it is read into a fork of the state, token by token.
const MAX_QUESTION_CHARS: usize = 2_000;
/// The longest interval between summaries: a day.
const MAX_INTERVAL_MIN: f64 = 1_440.0;
/// The longest time a rule is silenced for: a week.
const MAX_SNOOZE_MIN: f64 = 10_080.0;
/// The longest time that is forgotten at once: a month.
const MAX_FORGET_MIN: f64 = 44_640.0;
/// No name of a rule or an alert is longer.
const MAX_NAME_BYTES: usize = 64;
/// No name of a room is longer.
const MAX_ROOM_BYTES: usize = 256;
/// The name by which a command that does not exist is answered.
const UNKNOWN: &str = "unknown";

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Open or close the microphone.
    Listening(bool),
    /// Minutes between summaries; 0 is never.
    Interval(f64),
    /// Summarise now; one room, or the house.
    Summarise { room: Option<String> },
    /// Answer a question; of the state of a moment, as people say it, or of now; of one room, or the house.
    Ask { question: String, at: Option<String>, room: Option<String> },
    /// Forget what was said in so many last minutes.
    Forget(f64),
    /// Silence a rule, or all of them, for some minutes; 0 ends that.
    Snooze { rule: Option<String>, minutes: f64 },
    /// Somebody knows of an alert.
    Acknowledge(Which),
    /// An alert was none.
    FalseAlarm(Which),
    /// Read rules and schedules from the config file again.
    Reload,
}

/// Which alert is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Newest,
    /// By its id, or by its rule.
    Named(String),
}

impl Which {
    /// The id or the rule; none for the newest.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Newest => None,
            Self::Named(name) => Some(name),
        }
    }
}

impl Command {
    /// The word its answer goes by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Listening(_) => "listening",
            Self::Interval(_) => "interval",
            Self::Summarise { .. } => "summarise",
            Self::Ask { .. } => "ask",
            Self::Forget(_) => "forget",
            Self::Snooze { .. } => "snooze",
            Self::Acknowledge(_) => "acknowledge",
            Self::FalseAlarm(_) => "false_alarm",
            Self::Reload => "reload",
        }
    }
}

/// Reads a command out of its payload.
type Read = fn(&Body) -> Result<Command, String>;

/// Every command's topic below `<base>/<node>/`, and what its value says.
const COMMANDS: [(&str, Read); 9] = [
    ("listening/set", |body| on_or_off(&body.value).map(Command::Listening)),
    ("interval/set", |body| minutes(&body.value, MAX_INTERVAL_MIN).map(Command::Interval)),
    ("request/summarise", |body| Ok(Command::Summarise { room: room(body)? })),
    ("request/ask", |body| {
        let at = body.rest.get("at").filter(|at| !at.is_null()).map(moment).transpose()?;
        Ok(Command::Ask { question: question(&body.value)?, at, room: room(body)? })
    }),
    ("request/forget", |body| match minutes(body.rest.get("minutes").unwrap_or(&body.value), MAX_FORGET_MIN)? {
        minutes if minutes > 0.0 => Ok(Command::Forget(minutes)),
        _ => Err("nothing is forgotten in no time: give minutes".into()),
    }),
    ("request/snooze", |body| {
        let rule = body.rest.get("rule").map(name).transpose()?;
        Ok(Command::Snooze { rule, minutes: minutes(&body.value, MAX_SNOOZE_MIN)? })
    }),
    ("request/acknowledge", |body| which(&body.value).map(Command::Acknowledge)),
    ("request/false_alarm", |body| which(&body.value).map(Command::FalseAlarm)),
    ("request/reload", |_| Ok(Command::Reload)),
];

/// What to subscribe to in order to hear the commands there are alone: what lies at others does not come with them.
pub fn each(topics: &Topics) -> impl Iterator<Item = String> {
    COMMANDS.iter().map(move |(path, _)| topics.below(path))
}

/// A command, and what the asker calls it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub command: Command,
    pub transaction: Option<Value>,
}

/// A command that was not understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The word its answer goes by.
    pub command: String,
    pub transaction: Option<Value>,
    pub error: String,
}

/// Reads a message; none when it is no command of ours, or a retained one.
pub fn parse(topics: &Topics, topic: &str, payload: &[u8], retained: bool) -> Option<Result<Request, Refusal>> {
    let path = topics.path(topic)?;
    let name = path.strip_suffix("/set").or(path.strip_prefix("request/"))?;
    if retained || name.contains('/') {
        return None;
    }
    let known = COMMANDS.iter().find(|(known, _)| *known == path);
    let refuse = |transaction, error| {
        let command = known.map_or(UNKNOWN, |_| name).into();
        Some(Err(Refusal { command, transaction, error }))
    };
    let body = match body(payload) {
        Ok(body) => body,
        Err(error) => return refuse(None, error),
    };
    let Some((_, read)) = known else {
        return refuse(body.transaction, format!("there is no command {}", short(path)));
    };
    match read(&body) {
        Ok(command) => Some(Ok(Request { command, transaction: body.transaction })),
        Err(error) => refuse(body.transaction, error),
    }
}

/// Reads a command from an object that names it, `{"command": "ask", "value": …}`: what MQTT has in the topic stands in the object.
///
/// # Errors
/// It is no command; who asked is told what was wrong with it.
pub fn parse_object(object: &[u8]) -> Result<Request, Refusal> {
    let refuse = |command: &str, transaction, error| Refusal { command: command.into(), transaction, error };
    let mut body = body(object).map_err(|error| refuse(UNKNOWN, None, error))?;
    let Some(Value::String(name)) = body.rest.remove("command") else {
        return Err(refuse(UNKNOWN, body.transaction, "a command is an object with a \"command\"".into()));
    };
    let is_it = |path: &str| path.strip_suffix("/set").or(path.strip_prefix("request/")) == Some(&name);
    let Some((_, read)) = COMMANDS.iter().find(|(path, _)| is_it(path)) else {
        return Err(refuse(UNKNOWN, body.transaction, format!("there is no command {}", short(&name))));
    };
    match read(&body) {
        Ok(command) => Ok(Request { command, transaction: body.transaction }),
        Err(error) => Err(refuse(&name, body.transaction, error)),
    }
}

/// A payload, taken apart.
struct Body {
    transaction: Option<Value>,
    value: Value,
    /// What else the object holds.
    rest: Map<String, Value>,
}

fn body(payload: &[u8]) -> Result<Body, String> {
    if payload.len() > MAX_BYTES {
        return Err(format!("a command has at most {MAX_BYTES} bytes, this one has {}", payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| "a command must be UTF-8 text".to_string())?.trim();
    if !text.starts_with('{') {
        return Ok(Body { transaction: None, value: Value::String(text.into()), rest: Map::new() });
    }
    let mut rest: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}"))?;
    let transaction = match rest.remove("transaction") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if id.len() > 256 => return Err("a transaction has at most 256 bytes".into()),
        Some(id @ (Value::String(_) | Value::Number(_))) => Some(id),
        Some(_) => return Err("a transaction is a string or a number".into()),
    };
    Ok(Body { transaction, value: rest.remove("value").unwrap_or_default(), rest })
}

fn on_or_off(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(on) => Ok(*on),
        Value::String(word) if word.eq_ignore_ascii_case("on") => Ok(true),
        Value::String(word) if word.eq_ignore_ascii_case("off") => Ok(false),
        _ => Err(format!("{} is neither ON nor OFF", shown(value))),
    }
}

fn minutes(value: &Value, max: f64) -> Result<f64, String> {
    let minutes = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(word) => word.parse().ok(),
        _ => None,
    };
    match minutes {
        Some(minutes) if (0.0..=max).contains(&minutes) => Ok(minutes),
        _ => Err(format!("{} is no number of minutes from 0 to {max}", shown(value))),
    }
}

/// A button says `PRESS` or nothing.
fn which(value: &Value) -> Result<Which, String> {
    match value {
        Value::Null => Ok(Which::Newest),
        Value::String(word) if matches!(word.as_str(), "" | "PRESS" | "newest") => Ok(Which::Newest),
        value => name(value).map(Which::Named),
    }
}

fn name(value: &Value) -> Result<String, String> {
    match value {
        Value::String(name) if !name.is_empty() && name.len() <= MAX_NAME_BYTES => Ok(name.clone()),
        _ => Err(format!("{} is no name of a rule or an alert", shown(value))),
    }
}

/// What it means only whoever knows what time it is can tell.
fn moment(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if text.len() <= MAX_NAME_BYTES => Ok(text.clone()),
        _ => Err(format!("{} is no time", shown(value))),
    }
}

/// Which room is meant, if one is; whether there is such a room only the reader can tell.
fn room(body: &Body) -> Result<Option<String>, String> {
    match body.rest.get("room") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(room)) if !room.is_empty() && room.len() <= MAX_ROOM_BYTES => Ok(Some(room.clone())),
        Some(value) => Err(format!("{} is no name of a room", shown(value))),
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

fn shown(value: &Value) -> String {
    short(&value.to_string())
}

/// A text as an error quotes it: not longer than a line.
fn short(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}
