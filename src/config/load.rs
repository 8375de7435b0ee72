//! Reads a config and reports every problem at once, each with its line and column.
//!
//! serde stops at the first error. So the entry with the error is removed from the parsed table and the rest is read again, until it
//! succeeds; then the rules that span several keys are checked.

mod explain;
mod merge;
mod rules;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::explain::{explain, missing_key};
use super::Config;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the config {path}: {source}; name another with --config")]
    Read { path: PathBuf, source: std::io::Error },
    /// Each problem with the file that it is in.
    #[error("{}", list(.0))]
    Invalid(Vec<(PathBuf, ConfigProblem)>),
}

impl ConfigError {
    pub(crate) fn invalid(path: &Path, problems: Vec<ConfigProblem>) -> Self {
        Self::Invalid(problems.into_iter().map(|problem| (path.into(), problem)).collect())
    }
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

fn list(problems: &[(PathBuf, ConfigProblem)]) -> String {
    let line =
        |(path, p): &(PathBuf, ConfigProblem)| format!("{}:{}:{}: {}", path.display(), p.line, p.column, p.message);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Reads the config at `path`; its folder becomes [`Config::base`], which relative paths start from.
///
/// # Errors
/// The file cannot be read, or is no valid config.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path)?;
    located(from_text(&text).map_err(|problems| ConfigError::invalid(path, problems))?, path)
}

/// As [`load`], with the settings of the file `defaults` where the one at `path` has none: what is no table there is taken whole from one
/// of them. Relative paths in both start from the folder of `path`.
///
/// # Errors
/// A file cannot be read, or they are no valid config together.
pub fn load_over(path: &Path, defaults: &Path) -> Result<Config, ConfigError> {
    let beneath = read(defaults)? + "\n";
    let lines = beneath.matches('\n').count();
    let in_its_file = |problem: ConfigProblem| match problem.line.checked_sub(lines) {
        Some(line @ 1..) => (path.into(), ConfigProblem { line, ..problem }),
        _ => (defaults.into(), problem),
    };
    let config = from_texts(&beneath, &read(path)?)
        .map_err(|problems| ConfigError::Invalid(problems.into_iter().map(in_its_file).collect()))?;
    let absolute =
        std::path::absolute(defaults).map_err(|source| ConfigError::Read { path: defaults.into(), source })?;
    Ok(Config { defaults: Some(absolute), ..located(config, path)? })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.into(), source };
    let bytes = std::fs::read(path).map_err(read)?;
    String::from_utf8(bytes).map_err(|e| read(std::io::Error::new(std::io::ErrorKind::InvalidData, e.utf8_error())))
}

fn located(config: Config, path: &Path) -> Result<Config, ConfigError> {
    let absolute = std::path::absolute(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let base = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(Config { base, file: Some(absolute), ..config })
}

/// Reads a config from its text.
///
/// # Errors
/// All problems, in the order of their lines.
pub fn from_text(text: &str) -> Result<Config, Vec<ConfigProblem>> {
    from_texts("", text)
}

/// As [`from_text`], with the settings of `beneath` where `text` has none. Lines are counted from the first of `beneath` on, which ends with a
/// line break where it is not empty.
fn from_texts(beneath: &str, text: &str) -> Result<Config, Vec<ConfigProblem>> {
    let both = format!("{beneath}{text}");
    let at = |span: Option<Range<usize>>, message| at(&both, span.map_or(beneath.len(), |span| span.start), message);
    // Blanks in place of what is beneath: so spans of either are those of the same place in both.
    let own = " ".repeat(beneath.len()) + text;
    let (mut table, mut syntax) = DeTable::parse_recoverable(beneath);
    let (over, more) = DeTable::parse_recoverable(&own);
    syntax.extend(more);
    merge::put_over(table.get_mut(), over.into_inner());
    let mut problems: Vec<_> = syntax.iter().map(|e| at(e.span(), e.message().to_string())).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let whole = table.clone();
    // Keys that were removed because their value was wrong.
    let mut removed = Vec::new();
    let config = loop {
        let error = match Config::deserialize(toml::Deserializer::from(table.clone())) {
            Ok(config) => break Some(config),
            Err(error) => error,
        };
        let missing = missing_key(error.message());
        // The second error of a value that was wrong.
        let known = missing.and_then(|key| removed.iter().position(|gone| gone == key));
        match known {
            Some(at) => drop(removed.swap_remove(at)),
            None => problems.push(at(error.span(), explain(error.message()))),
        }
        // With a name in its place, the rest of the rule is still read, and so are the other rules.
        if missing == Some("name") && rules::name_unnamed(table.get_mut()) {
            continue;
        }
        let Some(gone) = error.span().and_then(|span| remove(table.get_mut(), &span)) else { break None };
        removed.push(gone);
    };
    for (path, message) in config.iter().flat_map(Config::validate) {
        let path = rules::written_path(&whole, &table, &path);
        problems.push(at(span_of(&whole, &path), message));
    }
    problems.sort_by_key(|p| (p.line, p.column));
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn at(text: &str, start: usize, message: String) -> ConfigProblem {
    let before = &text[..start.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    ConfigProblem { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, message }
}

/// Removes the innermost entry that `span` points at from `table`, and returns its key; none if there is none.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let hit = table
        .iter()
        .find(|(key, value)| key.span() == *span || within(span, &value.span()) || covers(value.get_ref(), span))
        .map(|(key, _)| key.clone());
    let key = hit?;
    let value = table.get_mut(&key).expect("the key was just found");
    let inside = if value.span() == *span { None } else { remove_inside(value.get_mut(), span) };
    // A table that becomes empty is removed too: an empty `[source]` would be a second problem that nobody wrote.
    if inside.is_none() || value.get_ref().as_table().is_some_and(|t| t.is_empty()) {
        table.remove(&key);
    }
    Some(inside.unwrap_or_else(|| key.get_ref().to_string()))
}

fn remove_inside(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(array) => {
            let index = array.iter().position(|v| within(span, &v.span()) || covers(v.get_ref(), span))?;
            let mut items: Vec<_> = array.iter().cloned().collect();
            let inside = if items[index].span() == *span { None } else { remove_inside(items[index].get_mut(), span) };
            if inside.is_none() {
                items.remove(index);
            }
            *array = items.into_iter().collect();
            Some(inside.unwrap_or_else(|| index.to_string()))
        }
        _ => None,
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
