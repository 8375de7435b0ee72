//! What `hearth models` tells of a watcher: its kinds of event, its thresholds and its tensors.
//!
//! Only the header of the file is read: its length in 8 bytes, then JSON. [`Watcher::load`] says whether the rest is whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use indicatif::HumanCount;
use serde_json::{Map, Value};

use super::table;
use crate::watcher::{FILE, Watcher};

/// No watcher has a longer header, in bytes.
const MAX_HEADER: u64 = 1 << 20;

/// Whether a file is a watcher, by its name or by what its header says.
pub(super) fn is_one(path: &Path) -> bool {
    let named = path.file_name().is_some_and(|name| name == FILE);
    let safetensors = path.extension().is_some_and(|extension| extension == "safetensors");
    path.is_file() && (named || safetensors && header(path).is_ok_and(|header| layout(&header).is_ok()))
}

/// The forms of the weights, such as "F16, F32".
pub(super) fn forms(path: &Path) -> anyhow::Result<String> {
    Watcher::load(path)?;
    let header = header(path)?;
    let mut forms: Vec<&str> = tensors(&header).filter_map(|tensor| tensor["dtype"].as_str()).collect();
    forms.sort_unstable();
    forms.dedup();
    Ok(forms.join(", "))
}

/// Its size, its settings, and the thresholds of each kind.
pub(super) fn describe(path: &Path) -> anyhow::Result<String> {
    Watcher::load(path)?;
    let header = header(path)?;
    let size = |tensor: &Value| list(&tensor["shape"]).iter().filter_map(Value::as_u64).product::<u64>();
    let layout = layout(&header)?;
    let (low, high) = (list(&layout["low"]), list(&layout["high"]));
    let threshold = |of: &[Value], at: usize| of.get(at).map(Value::to_string).unwrap_or_default();
    let mut rows = vec![["kind", "a question from", "an alert from"].map(String::from)];
    rows.extend(
        list(&layout["kinds"])
            .iter()
            .enumerate()
            .map(|(at, kind)| [kind.as_str().unwrap_or_default().into(), threshold(&low, at), threshold(&high, at)]),
    );
    let numbers =
        |key: &str, between: &str| list(&layout[key]).iter().map(Value::to_string).collect::<Vec<_>>().join(between);
    Ok(format!(
        "{} parameters; sequences of {} words and of {} characters; the last {} words are scored\n\n{}",
        HumanCount(tensors(&header).map(size).sum()),
        numbers("words", " to "),
        numbers("chars", " to "),
        numbers("windows", ", "),
        table(&rows)
    ))
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn header(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let read = || -> std::io::Result<(u64, Vec<u8>)> {
        let mut file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        let mut text = Vec::new();
        file.take(length.min(MAX_HEADER)).read_to_end(&mut text)?;
        Ok((length, text))
    };
    let (length, text) = read().with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(length <= MAX_HEADER, "the header of {} is too long", path.display());
    serde_json::from_slice(&text).with_context(|| format!("the header of {} is not JSON", path.display()))
}

fn tensors(header: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    header.iter().filter(|(name, _)| *name != "__metadata__").map(|(_, tensor)| tensor)
}

/// What the header says of the watcher.
fn layout(header: &Map<String, Value>) -> anyhow::Result<Value> {
    let text = header.get("__metadata__").and_then(|all| all["watcher"].as_str());
    Ok(serde_json::from_str(text.ok_or_else(|| anyhow!("its header has no \"watcher\""))?)?)
}
