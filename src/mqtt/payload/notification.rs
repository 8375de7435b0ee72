//! An alert as text for a phone.

use crate::event::{Alert, AlertPhase, Severity};

/// A longer message is cut: phones show no more.
const MAX_CHARS: usize = 400;

/// The title and the message that a phone can show as they are.
pub(super) fn notification(alert: &Alert) -> (String, String) {
    let mut title = readable(&alert.rule);
    if let Some(room) = &alert.room {
        title = format!("{title}, {room}");
    }
    match (alert.phase, alert.severity) {
        (AlertPhase::End, _) => title.push_str(": over"),
        (_, Severity::Critical) => title = format!("Critical: {title}"),
        (..) => {}
    }
    // Numbers may have to be left out of the message.
    if let Some(probability) = alert.probability.filter(|_| alert.phase != AlertPhase::End) {
        title = format!("{title} ({:.0} %)", probability * 100.0);
    }
    (title, message(alert))
}

/// The model's sentence, then what was said.
fn message(alert: &Alert) -> String {
    let sentence = alert.answer.as_deref().map(without_yes).unwrap_or_default();
    let said: Vec<&str> = alert.evidence.iter().map(|evidence| evidence.text.as_str()).collect();
    let mut parts = Vec::new();
    if !sentence.is_empty() {
        parts.push(within(sentence, MAX_CHARS));
    }
    if !said.is_empty() {
        parts.push(format!("“{}”", within(&said.join(" … "), MAX_CHARS)));
    }
    parts.join(" ")
}

/// "Yes. The tap drips." becomes "The tap drips."
fn without_yes(answer: &str) -> &str {
    answer.strip_prefix("Yes").unwrap_or(answer).trim_start_matches(['.', ',', ' '])
}

/// At most so many characters, cut between words: a part of a name would not be recognized as what is to be left out.
fn within(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.into(),
        Some((end, _)) => format!("{} …", text[..end].rsplit_once(' ').map_or("", |(whole, _)| whole)),
    }
}

/// The display name of a rule: `left_on` becomes "Left on".
pub(crate) fn readable(name: &str) -> String {
    let mut text = name.replace(['_', '-'], " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ulid::Ulid;

    use super::*;
    use crate::event::Evidence;

    fn alert(said: &[&str]) -> Alert {
        let evidence = said.iter().map(|text| Evidence {
            utterance: Ulid::nil(),
            time: Timestamp::UNIX_EPOCH,
            room: "home".into(),
            text: (*text).into(),
        });
        Alert {
            id: Ulid::nil(),
            rule: "left_on".into(),
            phase: AlertPhase::New,
            severity: Severity::Warning,
            room: None,
            time: Timestamp::UNIX_EPOCH,
            probability: Some(0.987),
            answer: None,
            evidence: evidence.collect(),
        }
    }

    #[test]
    fn a_phone_shows_what_it_is_the_sentence_the_words_and_how_likely_it_is() {
        let first = alert(&["I left the iron on.", "Again."]);
        assert_eq!(notification(&first), ("Left on (99 %)".into(), "“I left the iron on. … Again.”".into()));
        let answered =
            Alert { answer: Some("Yes. The iron is on.".into()), severity: Severity::Critical, ..first.clone() };
        assert_eq!(
            notification(&Alert { room: Some("kitchen".into()), ..answered }),
            ("Critical: Left on, kitchen (99 %)".into(), "The iron is on. “I left the iron on. … Again.”".into())
        );
        let over = Alert { phase: AlertPhase::End, evidence: Vec::new(), severity: Severity::Critical, ..first };
        assert_eq!(notification(&over), ("Left on: over".into(), String::new()));
    }

    #[test]
    fn long_talk_is_cut_between_words() {
        let (_, message) = notification(&alert(&["secret ".repeat(100).trim()]));
        assert_eq!(message, format!("“{} …”", ["secret"; 57].join(" ")));
        assert_eq!(notification(&alert(&[&"ä".repeat(401)])).1, "“ …”");
    }
}
