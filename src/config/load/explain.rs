//! Turns serde's errors into sentences for people who write a config and no Rust.

/// Turns serde's "invalid type: string "many", expected usize" into a sentence.
fn wrong_type(message: &str) -> Option<String> {
    if message == "invalid IP address syntax" {
        return Some("an IP address is expected here, such as \"192.168.1.20\"".into());
    }
    // A list stands where a table is expected, or for one of a few words.
    if message.starts_with("invalid length ") {
        return Some("a table is expected here, not a list".into());
    }
    if message.starts_with("wanted ") || message.starts_with("expected ") {
        return Some("a word in quotes is expected here".into());
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
        ("a boolean", _) => "true or false".into(),
        ("a string" | "string" | "path string" | "a borrowed string", _) => "text in quotes".into(),
        ("f32" | "f64", _) => "a number".into(),
        ("u8", _) => format!("a whole number from 0 to {}", u8::MAX),
        ("u16", _) => format!("a whole number from 0 to {}", u16::MAX),
        ("u32", _) => format!("a whole number from 0 to {}", u32::MAX),
        ("usize" | "u64", _) => "a whole number that is not negative".into(),
        ("i8" | "i16" | "i32" | "i64" | "isize", _) => "a whole number".into(),
        ("map" | "a map", _) => "a table".into(),
        (expected, _) if expected.starts_with("struct ") => "a table".into(),
        (expected, _) if expected.starts_with("enum ") => {
            "one of the words that the documentation names, in quotes".into()
        }
        (expected, _) => expected.into(),
    };
    Some(format!("{expected} is expected here, not {found}"))
}

/// The key that an error says is missing.
pub(super) fn missing_key(message: &str) -> Option<&str> {
    message.trim().strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into a sentence with the nearest name.
pub(super) fn explain(message: &str) -> String {
    if let Some(name) = missing_key(message) {
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
