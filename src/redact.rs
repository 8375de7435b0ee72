//! Removes names and numbers from what leaves this process.
//!
//! The database and `transcript.jsonl`, which only this user can read, keep the whole text; everything that is sent to a broker or shown
//! on the web page passes through here. The replacement does not show what it replaced, and nothing else of a text changes.
//!
//! Names are the configured words, in any case, with or without accents, with any apostrophe or hyphen or none, and with an `s` at the
//! end. Numbers are everything written in digits, and English number words ("four four one seven", "a hundred and twenty", "fours")
//! except "one" by itself; ordinals, halves and quarters stay.

use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;

use crate::fold::Folded;

use crate::config::PrivacyConfig;
use crate::event::Message;

/// The replacements.
const NAME: &str = "[name]";
const NUMBER: &str = "[number]";

/// The fields of messages that hold what people said, or what a model derived from it.
const SPOKEN: [&str; 4] = ["text", "answer", "question", "message"];
/// The field that holds who spoke: the number of a voice without a name is not a number that was said.
const SPEAKER: &str = "speaker";
/// The fields of interim messages.
const INTERIM: [&str; 2] = ["committed", "tentative"];

/// Applies the settings of `[privacy]`.
#[derive(Clone, Debug)]
pub struct Redactor {
    names: Option<Regex>,
    numbers: Option<Regex>,
}

impl Redactor {
    /// Prepares the settings.
    pub fn new(privacy: &PrivacyConfig) -> Self {
        let words = |name: &String| {
            let folded = Folded::new(name).text;
            let parts = folded.split(|between: char| between.is_whitespace() || "'-".contains(between));
            parts.filter(|part| !part.is_empty()).map(regex::escape).collect::<Vec<_>>().join(r"[\s'-]*")
        };
        // Longer names first, so that "Anna Maria" is found before "Anna".
        let mut names: Vec<_> = privacy.redact.iter().map(words).filter(|name| !name.is_empty()).collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        let names = (!names.is_empty()).then(|| {
            let any = format!(r"(?i)(?:\b|^)(?:{})(?:e?s)?(?:\b|$)", names.join("|"));
            Regex::new(&any).expect("words that are escaped are an expression")
        });
        Self { names, numbers: privacy.redact_numbers.then(numbers) }
    }

    fn redacts(&self) -> bool {
        self.names.is_some() || self.numbers.is_some()
    }

    /// The text without names and numbers.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if let Some(names) = &self.names {
            text = replace(names, text, |_| Some(NAME));
        }
        if let Some(numbers) = &self.numbers {
            text = replace(numbers, text, |found| (!found.eq_ignore_ascii_case("one")).then_some(NUMBER));
            // A name that a number was joined to stands alone now.
            if let Some(names) = &self.names {
                text = replace(names, text, |_| Some(NAME));
            }
        }
        text
    }

    /// The text without names.
    fn name<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.names {
            Some(names) => replace(names, Cow::Borrowed(text), |_| Some(NAME)),
            None => Cow::Borrowed(text),
        }
    }

    /// The message, redacted.
    pub fn message<'a>(&self, message: &'a Message) -> Cow<'a, Message> {
        if !self.redacts()
            || !SPOKEN.iter().chain(&INTERIM).chain([&SPEAKER]).any(|field| message.payload.contains(field))
        {
            return Cow::Borrowed(message);
        }
        let Ok(mut payload) = serde_json::from_str::<Value>(&message.payload) else { return Cow::Borrowed(message) };
        self.fields(&mut payload);
        Cow::Owned(Message { payload: payload.to_string(), ..message.clone() })
    }

    /// Any JSON value, redacted.
    pub(crate) fn value(&self, mut value: Value) -> Value {
        if self.redacts() {
            self.fields(&mut value);
        }
        value
    }

    /// Redacts an interim message. A name may begin in the committed words and end in the tentative ones, so both are redacted as one
    /// text, which is then divided where it first differs from the redacted committed words.
    fn interim(&self, committed: &mut Value, tentative: &mut Value) {
        let text = |value: &Value| match value {
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            value => value.as_str().unwrap_or_default().to_string(),
        };
        let (sure, unsure) = (text(committed), text(tentative));
        let (sure, all) = (self.text(&sure).into_owned(), format!("{sure} {unsure}"));
        let all = self.text(&all);
        let both = sure.split_whitespace().zip(all.split_whitespace()).take_while(|(a, b)| a == b).count();
        let (sure, unsure): (Vec<_>, Vec<_>) = all.split_whitespace().enumerate().partition(|(at, _)| *at < both);
        let words = |part: Vec<(usize, &str)>| part.into_iter().map(|(_, word)| word.to_string()).collect::<Vec<_>>();
        let sure = words(sure);
        *committed = if committed.is_array() { sure.into() } else { sure.join(" ").into() };
        *tentative = words(unsure).join(" ").into();
    }

    fn fields(&self, payload: &mut Value) {
        match payload {
            Value::Object(fields) => {
                if let [Some(committed), Some(tentative)] = INTERIM.map(|key| fields.get(key).cloned()) {
                    let (mut committed, mut tentative) = (committed, tentative);
                    self.interim(&mut committed, &mut tentative);
                    fields.extend(INTERIM.map(String::from).into_iter().zip([committed, tentative]));
                }
                for (key, value) in fields {
                    match value {
                        Value::String(name) if key == SPEAKER => *name = self.name(name).into_owned(),
                        Value::String(text) if SPOKEN.contains(&key.as_str()) => *text = self.text(text).into_owned(),
                        value => self.fields(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fields(item)),
            _ => {}
        }
    }
}

/// Replaces what `pattern` finds in the text as it is compared; what is not found stays as it was written.
fn replace<'a>(
    pattern: &Regex,
    text: Cow<'a, str>,
    replacement: impl Fn(&str) -> Option<&'static str>,
) -> Cow<'a, str> {
    let folded = Folded::new(&text);
    let (mut replaced, mut end) = (String::new(), 0);
    for found in pattern.find_iter(&folded.text).filter(|found| !found.is_empty()) {
        let Some(replacement) = replacement(found.as_str()) else { continue };
        let written = folded.written(found.range());
        // Two things found in one character are replaced once.
        replaced.push_str(text.get(end..written.start).unwrap_or_default());
        if written.end > end {
            replaced.push_str(replacement);
            end = written.end;
        }
    }
    if end == 0 {
        return text;
    }
    replaced.push_str(&text[end..]);
    Cow::Owned(replaced)
}

/// Matches a run of numbers, with the separators and words inside of it.
fn numbers() -> Regex {
    let words = "one|(?:zeroe?|nought|naught|two|three|four|five|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|\
                 sixteen|seventeen|eighteen|nineteen|hundred|thousand|million|billion|trillion|dozen)s?|six(?:es)?|\
                 (?:twent|thirt|fou?rt|fift|sixt|sevent|eight|ninet)(?:y|ies)";
    let number = format!(r"(?:\d+|\b(?:{words})\b)");
    let between = r"[\s.,:;/+()'-]*(?:\b(?:and|oh|o|point|double|triple|a)[\s-]+)*";
    Regex::new(&format!(r"(?i)(?:\b(?:double|triple|a)[\s-]+)?{number}(?:{between}{number})*"))
        .expect("the expression is valid")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redactor(numbers: bool, names: &[&str]) -> Redactor {
        let redact = names.iter().map(ToString::to_string).collect();
        Redactor::new(&PrivacyConfig { redact_numbers: numbers, redact, ..PrivacyConfig::default() })
    }

    #[test]
    fn numbers_go_in_digits_and_in_words() {
        let redactor = redactor(true, &[]);
        for (said, left) in [
            ("The code is 4417.", "The code is [number]."),
            ("Call 555-1234 or +49 (30) 1234.5", "Call [number] or +[number]"),
            ("the code is four four oh seven", "the code is [number]"),
            ("double four, one seven, thanks", "[number], thanks"),
            ("A hundred and twenty euros", "[number] euros"),
            ("Twenty-one pills at 10:30am", "[number] pills at [number]am"),
            (
                "No one of us. The first one, half past, a quarter.",
                "No one of us. The first one, half past, a quarter.",
            ),
            ("Someone is at the tenth often.", "Someone is at the tenth often."),
            ("One two", "[number]"),
            ("two fours and a nought", "[number]"),
            ("It was sixes, then zeros; in the twenties.", "It was [number], then [number]; in the [number]."),
            ("Twenty–one, or ４４, or 1½.", "[number], or [number], or [number]."),
            ("Six\u{ad}teen dozen", "[number]"),
            ("Weight is a tense thing; sixth, fourth, eighth.", "Weight is a tense thing; sixth, fourth, eighth."),
            ("", ""),
        ] {
            assert_eq!(redactor.text(said), left);
        }
    }

    #[test]
    fn names_go_whole_and_in_any_case() {
        let redactor = redactor(false, &["Anna", "Anna Maria", "O'Neill", "Café Zoë", " "]);
        for (said, left) in [
            ("ANNA, annA and Anna's cat", "[name], [name] and [name]'s cat"),
            ("Anna  Maria met Annabel", "[name] met Annabel"),
            ("o'neill at Café zoë at 5", "[name] at [name] at 5"),
        ] {
            assert_eq!(redactor.text(said), left);
        }
    }

    #[test]
    fn names_go_however_they_are_written() {
        let redactor = redactor(false, &["O'Brien", "Anna Maria", "Zo\u{eb}", "Jean-Luc", "Strauß"]);
        for (said, left) in [
            ("O’Brien, O'Brien, O Brien, OBRIEN, Oʼbrien", "[name], [name], [name], [name], [name]"),
            ("the O’Briens and O’Brien’s", "the [name] and [name]’s"),
            ("Anna-Maria, Anna‑Maria, Annamaria", "[name], [name], [name]"),
            ("Zoe\u{308} and Zo\u{eb} and Zoe", "[name] and [name] and [name]"),
            ("Jean Luc, Jean\u{a0}Luc, Jean–Luc", "[name], [name], [name]"),
            ("Strauss and STRAUẞ", "[name] and [name]"),
            ("An\u{ad}na Maria stays “here” – naïve", "[name] stays “here” – naïve"),
            ("Annabel Marian, obrieny", "Annabel Marian, obrieny"),
        ] {
            assert_eq!(redactor.text(said), left);
        }
    }

    #[test]
    fn of_a_message_only_what_was_spoken_changes() {
        let payload = r#"{"id":"01KDWPVNG00000000000000001","answer":"Anna took 2.","evidence":[{"text":"Anna, 4417","time":"2026-01-01T12:00:00Z"}],"rule":"Anna","probability":0.9}"#;
        let message = Message::plain("hearth/anna/alert", payload, true);
        let left = redactor(true, &["anna"]).message(&message).into_owned();
        let (payload, before): (Value, Value) =
            (serde_json::from_str(&left.payload).unwrap(), serde_json::from_str(payload).unwrap());
        assert_eq!(payload["answer"], "[name] took [number].");
        assert_eq!(payload["evidence"][0]["text"], "[name], [number]");
        for field in ["id", "rule", "probability"] {
            assert_eq!(payload[field], before[field]);
        }
        assert_eq!((left.topic.as_str(), left.retain), ("hearth/anna/alert", true));
        let said = redactor(true, &["anna"]).value(json!([{ "speaker": "Anna" }, { "speaker": "voice 2" }]));
        assert_eq!(said, json!([{ "speaker": "[name]" }, { "speaker": "voice 2" }]));
        assert!(matches!(redactor(false, &[]).message(&message), Cow::Borrowed(_)));
        let plain = Message { payload: "online".into(), ..message };
        assert_eq!(*redactor(true, &["online"]).message(&plain), plain);
    }

    #[test]
    fn of_what_is_being_said_no_name_stands_half_in_one_part_and_half_in_the_other() {
        let redactor = redactor(true, &["Anna Maria"]);
        let left = |committed: Value, tentative: &str| {
            let value = redactor.value(json!({ "hypothesis": { "committed": committed, "tentative": tentative } }));
            (value["hypothesis"]["committed"].clone(), value["hypothesis"]["tentative"].clone())
        };
        let both = |committed: Value, tentative: &str| (committed, Value::from(tentative));
        assert_eq!(left(json!(["Is", "Anna", "Maria", "in?"]), "No"), both(json!(["Is", "[name]", "in?"]), "No"));
        assert_eq!(left(json!(["Is", "Anna"]), "Maria in"), both(json!(["Is"]), "[name] in"));
        assert_eq!(left(json!("Is Anna"), "Maria in"), both(json!("Is"), "[name] in"), "as it goes over MQTT");
        // One by one each "one" is a word; side by side they are a number.
        assert_eq!(left(json!(["code", "one"]), "one"), both(json!(["code"]), "[number]"));
        assert_eq!(left(json!(["It", "is", "4", "4"]), "1 7"), both(json!(["It", "is", "[number]"]), ""));
        assert_eq!(left(json!([]), ""), both(json!([]), ""));
        let message = Message::plain("hearth/home/interim", r#"{"committed":"Anna","tentative":"Maria"}"#, false);
        assert!(!redactor.message(&message).payload.contains("Maria"));
    }

    proptest! {
        #[test]
        fn no_digit_and_no_name_is_left(text in ".*") {
            let left = redactor(true, &["emma"]).text(&text).into_owned();
            prop_assert!(!left.contains(|c: char| c.is_ascii_digit()));
            prop_assert!(!Regex::new(r"(?i)\bemma\b").unwrap().is_match(&left));
        }
    }
}
