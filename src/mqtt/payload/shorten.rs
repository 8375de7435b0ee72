//! Shortens a payload that is too long: its texts are cut, and the oldest entries of its lists dropped. Ids, times and names stay.

use serde::Serialize;
use serde_json::Value;

/// Marks the end of a text that was cut.
const ELLIPSIS: &str = "…";

/// A payload with its texts cut so that it has at most `max` bytes; none where that is not enough.
pub(crate) fn shortened(payload: &str, max: usize) -> Option<String> {
    let mut value = serde_json::from_str(payload).ok()?;
    shorten(&mut value, max);
    Some(to_json(&value)).filter(|shorter| shorter.len() <= max)
}

pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the payloads here have string keys and finite or absent numbers")
}

/// Cuts texts to half the length, repeatedly, then drops the oldest quarter of the longest list, until `value` fits `max`
/// bytes of JSON.
pub(super) fn shorten(value: &mut Value, max: usize) {
    /// Ids, times and names are shorter than this and are never cut.
    const SHORT: usize = 128;
    let mut longest = max / 2;
    while to_json(value).len() > max {
        if longest >= SHORT {
            cut_texts(value, longest);
            longest /= 2;
        } else {
            match longest_list(value) {
                Some(list) if !list.is_empty() => drop(list.drain(..list.len().div_ceil(4))),
                _ => return,
            }
        }
    }
}

fn cut_texts(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) if text.len() > longest => cut(text, longest),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, longest)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut_texts(field, longest)),
        _ => {}
    }
}

/// Shortens `text` to at most `keep` bytes including an ellipsis, at a character boundary.
fn cut(text: &mut String, keep: usize) {
    let end = (0..=keep.saturating_sub(ELLIPSIS.len()).min(text.len())).rfind(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text.push_str(ELLIPSIS);
}

fn longest_list(value: &mut Value) -> Option<&mut Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Object(fields) => fields.values_mut().filter_map(longest_list).max_by_key(|list| list.len()),
        _ => None,
    }
}
