//! What the household may ask for over MQTT.
//!
//! Owns the parsing of commands. Refuses to know who carries them out. Invariant: every command is answered on
//! `response/<command>`, a bad one with what was wrong with it; a retained one is an old one, and is ignored.
//!
//! A payload is a plain word (`ON`, `OFF`, a number, a question) or an object `{"value": …, "transaction": …}`; the
//! transaction, a string or a number, comes back with the answer.

use serde_json::Value;

use super::topics::Topics;

/// No command is longer, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// No question is longer: it is read into a fork of the state, token by token.
const MAX_QUESTION_CHARS: usize = 2_000;
/// The longest interval between summaries: a day.
const MAX_MINUTES: f64 = 1_440.0;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Open or close the microphone.
    Listening(bool),
    /// Minutes between summaries; 0 is never.
    Interval(f64),
    /// Summarise now.
    Summarise,
    /// Answer a question.
    Ask(String),
}

impl Command {
    /// The word its answer goes by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Listening(_) => "listening",
            Self::Interval(_) => "interval",
            Self::Summarise => "summarise",
            Self::Ask(_) => "ask",
        }
    }
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
    /// The last word of its topic, for the answer's.
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
    let known = matches!(path, "listening/set" | "interval/set" | "request/summarise" | "request/ask");
    let (transaction, value) = match body(payload) {
        Ok(body) => body,
        Err(error) => return Some(Err(Refusal { command: name.into(), transaction: None, error })),
    };
    let command = match name {
        _ if !known => Err(format!("there is no command {path}")),
        "listening" => on_or_off(&value).map(Command::Listening),
        "interval" => minutes(&value).map(Command::Interval),
        "summarise" => Ok(Command::Summarise),
        _ => question(&value).map(Command::Ask),
    };
    Some(match command {
        Ok(command) => Ok(Request { command, transaction }),
        Err(error) => Err(Refusal { command: name.into(), transaction, error }),
    })
}

/// The transaction and the value of a payload.
fn body(payload: &[u8]) -> Result<(Option<Value>, Value), String> {
    if payload.len() > MAX_BYTES {
        return Err(format!("a command has at most {MAX_BYTES} bytes, this one has {}", payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| "a command must be UTF-8 text".to_string())?.trim();
    if !text.starts_with('{') {
        return Ok((None, Value::String(text.into())));
    }
    let mut fields: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}"))?;
    let transaction = match fields.remove("transaction") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if id.len() > 256 => return Err("a transaction has at most 256 bytes".into()),
        Some(id @ (Value::String(_) | Value::Number(_))) => Some(id),
        Some(_) => return Err("a transaction is a string or a number".into()),
    };
    Ok((transaction, fields.remove("value").unwrap_or_default()))
}

fn on_or_off(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(on) => Ok(*on),
        Value::String(word) if word.eq_ignore_ascii_case("on") => Ok(true),
        Value::String(word) if word.eq_ignore_ascii_case("off") => Ok(false),
        _ => Err(format!("{} is neither ON nor OFF", shown(value))),
    }
}

fn minutes(value: &Value) -> Result<f64, String> {
    let minutes = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(word) => word.parse().ok(),
        _ => None,
    };
    match minutes {
        Some(minutes) if (0.0..=MAX_MINUTES).contains(&minutes) => Ok(minutes),
        _ => Err(format!("{} is no number of minutes from 0 to {MAX_MINUTES}", shown(value))),
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

/// A value as an error quotes it: not longer than a line.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
