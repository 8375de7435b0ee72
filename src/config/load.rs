//! Reads a config and reports every problem at once, each with its line and column.
//!
//! serde stops at the first error. So the entry with the error is removed from the parsed table and the rest is read again, until it
//! succeeds; then the rules that span several keys are checked.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the config {path}: {source}; name another with --config")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}", list(path, problems))]
    Invalid { path: PathBuf, problems: Vec<ConfigProblem> },
}

/// One thing that is wrong in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Both count from 1; columns are characters.
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

fn list(path: &Path, problems: &[ConfigProblem]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|p| format!("{}:{}:{}: {}", path.display(), p.line, p.column, p.message)).collect();
    lines.join("\n")
}

/// Reads the config at `path`; its folder becomes [`Config::base`], which relative paths start from.
///
/// # Errors
/// The file cannot be read, or is no valid config.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let read = |source| ConfigError::Read { path: path.into(), source };
    let bytes = std::fs::read(path).map_err(read)?;
    let text = String::from_utf8(bytes)
        .map_err(|e| read(std::io::Error::new(std::io::ErrorKind::InvalidData, e.utf8_error())))?;
    let mut config = from_text(&text).map_err(|problems| ConfigError::Invalid { path: path.into(), problems })?;
    let absolute = std::path::absolute(path).map_err(read)?;
    config.base = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
    config.file = Some(absolute);
    Ok(config)
}

/// Reads a config from its text.
///
/// # Errors
/// All problems, in the order of their lines.
pub fn from_text(text: &str) -> Result<Config, Vec<ConfigProblem>> {
    let (mut table, syntax) = DeTable::parse_recoverable(text);
    let mut problems: Vec<_> = syntax.iter().map(|e| at(text, e.span(), e.message().to_string())).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let whole = table.clone();
    let config = loop {
        match Config::deserialize(toml::Deserializer::from(table.clone())) {
            Ok(config) => break Some(config),
            Err(error) => {
                problems.push(at(text, error.span(), explain(error.message())));
                let removed = error.span().is_some_and(|span| remove(table.get_mut(), &span));
                if !removed {
                    break None;
                }
            }
        }
    };
    for (path, message) in config.iter().flat_map(Config::validate) {
        problems.push(at(text, span_of(&whole, &path), message));
    }
    problems.sort_by_key(|p| (p.line, p.column));
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn at(text: &str, span: Option<Range<usize>>, message: String) -> ConfigProblem {
    let before = &text[..span.map_or(0, |s| s.start).min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    ConfigProblem { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, message }
}

/// Turns serde's "invalid type: string "many", expected usize" into a sentence.
fn wrong_type(message: &str) -> Option<String> {
    if message == "invalid IP address syntax" {
        return Some("an IP address is expected here, such as \"192.168.1.20\"".into());
    }
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let text = found.strip_prefix("string ");
    let found = match (text, found) {
        (Some(text), _) => format!("the text {text}"),
        (_, "sequence") => "a list".into(),
        (_, "map") => "a table".into(),
        // "integer `5`", "boolean `true`"
        (_, found) => found.split_once(" `").map_or(found, |(_, value)| value.trim_end_matches('`')).into(),
    };
    let expected = match (expected, text) {
        ("a sequence", Some(text)) => format!("a list in brackets ([{text}])"),
        ("a sequence", None) => "a list in brackets".into(),
        ("a string", _) => "text in quotes".into(),
        ("a boolean", _) => "true or false".into(),
        ("f64", _) => "a number".into(),
        ("u32", _) => format!("a whole number from 0 to {}", u32::MAX),
        ("usize" | "u64", _) => "a whole number that is not negative".into(),
        (expected, _) if expected.starts_with("struct ") => "a table".into(),
        (expected, _) => expected.into(),
    };
    Some(format!("{expected} is expected here, not {found}"))
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into a sentence with the nearest name.
fn explain(message: &str) -> String {
    if let Some(name) = message.trim().strip_prefix("missing field `").and_then(|m| m.strip_suffix('`')) {
        return format!("the key \"{name}\" is missing here");
    }
    if let Some(told) = wrong_type(message.trim()) {
        return told;
    }
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((found, known)) = names.split_first().filter(|_| message.starts_with("unknown ")) else {
        return message.trim().to_string();
    };
    let kind = if message.starts_with("unknown variant") { "value" } else { "key" };
    let nearest = known.iter().map(|name| (strsim::jaro_winkler(found, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness > 0.8 => format!("unknown {kind} \"{found}\": did you mean \"{name}\"?"),
        _ => format!("unknown {kind} \"{found}\": known here are {}", known.join(", ")),
    }
}

/// Removes the innermost entry that `span` points at from `table`; false if there is none.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let hit = table
        .iter()
        .find(|(key, value)| key.span() == *span || within(span, &value.span()) || covers(value.get_ref(), span))
        .map(|(key, _)| key.clone());
    let Some(key) = hit else { return false };
    let value = table.get_mut(&key).expect("the key was just found");
    let whole = value.span() == *span || !remove_inside(value.get_mut(), span);
    // A table that becomes empty is removed too: an empty `[source]` would be a second problem that nobody wrote.
    if whole || value.get_ref().as_table().is_some_and(|t| t.is_empty()) {
        table.remove(&key);
    }
    true
}

fn remove_inside(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(array) => {
            let Some(index) = array.iter().position(|v| within(span, &v.span()) || covers(v.get_ref(), span)) else {
                return false;
            };
            let mut items: Vec<_> = array.iter().cloned().collect();
            if items[index].span() == *span || !remove_inside(items[index].get_mut(), span) {
                items.remove(index);
            }
            *array = items.into_iter().collect();
            true
        }
        _ => false,
    }
}

/// A table written as `[a.b]` has only the span of its header, so its entries are examined one by one.
fn covers(value: &DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => {
            table.iter().any(|(k, v)| k.span() == *span || within(span, &v.span()) || covers(v.get_ref(), span))
        }
        DeValue::Array(array) => array.iter().any(|v| within(span, &v.span()) || covers(v.get_ref(), span)),
        _ => false,
    }
}

fn within(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The span of the value at a path such as `rule.2.exit`, or of the nearest thing above it that is written down.
fn span_of(table: &Spanned<DeTable<'_>>, path: &str) -> Option<Range<usize>> {
    let mut steps = path.split('.');
    let first = steps.next()?;
    let (_, mut value) = table.get_ref().iter().find(|(key, _)| key.get_ref() == first)?;
    for step in steps {
        let next = match value.get_ref() {
            DeValue::Table(table) => match table.iter().find(|(key, _)| key.get_ref() == step) {
                Some((_, found)) => Some(found),
                // An array of tables that is written once, as a table.
                None => step.parse::<usize>().ok().map(|_| value),
            },
            DeValue::Array(array) => step.parse().ok().and_then(|i: usize| array.get(i)),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => break,
        }
    }
    Some(value.span())
}
