//! The payload of a command, and the values that several commands read out of it.
//!
//! A payload is a plain value (`ON`, a number, a question) or an object `{"value": …, "transaction": …}`. The transaction, a
//! string or a number, comes back with the answer.

use serde_json::{Map, Value};

/// The longest payload, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// The longest transaction, in bytes.
const MAX_TRANSACTION_BYTES: usize = 256;
/// The longest name of a rule or an alert, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The longest name of a room, in bytes.
const MAX_ROOM_BYTES: usize = 256;

/// What is wrong with a payload of so many bytes.
pub(super) fn too_long(bytes: usize) -> String {
    format!("a command has at most {MAX_BYTES} bytes, this one has {bytes}")
}

/// A payload, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    pub(super) transaction: Option<Value>,
    pub(super) value: Value,
    /// The other fields of the object.
    pub(super) fields: Map<String, Value>,
}

impl Body {
    /// Takes a payload apart.
    ///
    /// # Errors
    /// It is too long, no UTF-8, no JSON object though it begins as one, or its transaction is neither a string nor a number.
    pub(super) fn read(payload: &[u8]) -> Result<Self, String> {
        if payload.len() > MAX_BYTES {
            return Err(too_long(payload.len()));
        }
        let text = std::str::from_utf8(payload).map_err(|_| "a command must be UTF-8 text".to_string())?.trim();
        if !text.starts_with('{') {
            return Ok(Self { value: Value::String(text.into()), ..Self::default() });
        }
        let mut fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}"))?;
        let transaction = match fields.remove("transaction") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) if id.len() > MAX_TRANSACTION_BYTES => {
                return Err(format!("a transaction has at most {MAX_TRANSACTION_BYTES} bytes"));
            }
            Some(id @ (Value::String(_) | Value::Number(_))) => Some(id),
            Some(_) => return Err("a transaction is a string or a number".into()),
        };
        Ok(Self { transaction, value: fields.remove("value").unwrap_or_default(), fields })
    }

    /// The value as a switch.
    pub(super) fn on_or_off(&self) -> Result<bool, String> {
        match &self.value {
            Value::Bool(on) => Ok(*on),
            Value::String(word) if word.eq_ignore_ascii_case("on") => Ok(true),
            Value::String(word) if word.eq_ignore_ascii_case("off") => Ok(false),
            value => Err(format!("{} is neither ON nor OFF", shown(value))),
        }
    }

    /// The value as a number of minutes from 0 to `max`.
    pub(super) fn minutes(&self, max: f64) -> Result<f64, String> {
        minutes(&self.value, max)
    }

    /// The value as the alert that is meant. A button of Home Assistant sends `PRESS` or nothing.
    pub(super) fn alert(&self) -> Result<AlertSelector, String> {
        match &self.value {
            Value::Null => Ok(AlertSelector::Newest),
            Value::String(word) if matches!(word.as_str(), "" | "PRESS" | "newest") => Ok(AlertSelector::Newest),
            value => rule_or_alert(value).map(AlertSelector::Named),
        }
    }

    /// The field `rule`, if there is one.
    pub(super) fn rule(&self) -> Result<Option<String>, String> {
        self.fields.get("rule").map(rule_or_alert).transpose()
    }

    /// The field `room`, if there is one. Only the listener worker knows whether there is such a room.
    pub(super) fn room(&self) -> Result<Option<String>, String> {
        match self.fields.get("room") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(room)) if !room.is_empty() && room.len() <= MAX_ROOM_BYTES => Ok(Some(room.clone())),
            Some(value) => Err(format!("{} is no name of a room", shown(value))),
        }
    }
}

/// Which alert a command means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertSelector {
    Newest,
    /// By its id, or by the name of its rule.
    Named(String),
}

impl AlertSelector {
    /// The id or the rule; none for the newest alert.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Newest => None,
            Self::Named(name) => Some(name),
        }
    }
}

pub(super) fn minutes(value: &Value, max: f64) -> Result<f64, String> {
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

fn rule_or_alert(value: &Value) -> Result<String, String> {
    match value {
        Value::String(name) if !name.is_empty() && name.len() <= MAX_NAME_BYTES => Ok(name.clone()),
        _ => Err(format!("{} is no name of a rule or an alert", shown(value))),
    }
}

/// A value as an error message quotes it.
pub(super) fn shown(value: &Value) -> String {
    shortened(&value.to_string())
}

/// A text as an error message quotes it: not longer than a line.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}
