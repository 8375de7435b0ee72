//! Whether what is told is true, where everything that happened is known.

use serde::Serialize;

use super::material::HouseholdEvent;

/// Counts over some texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct TruthCounts {
    pub(super) texts: usize,
    /// Texts with at least one sentence, all of which are true.
    pub(super) wholly_true: usize,
    pub(super) sentences: usize,
    pub(super) true_sentences: usize,
    /// What could be told, and what of it was told.
    pub(super) events: usize,
    pub(super) told_events: usize,
}

impl TruthCounts {
    /// Counts the sentences of one text: `truth` is everything that is true, `events` what should be told.
    pub(super) fn add(&mut self, sentences: &[String], truth: &[HouseholdEvent], events: &[HouseholdEvent]) {
        let says_event =
            |sentence: &String, event: &HouseholdEvent| event.wordings().iter().any(|truth| says(sentence, truth));
        let is_true = |sentence: &&String| truth.iter().any(|event| says_event(sentence, event));
        let right = sentences.iter().filter(is_true).count();
        let mut different: Vec<&HouseholdEvent> = Vec::new();
        for event in events {
            if !different.contains(&event) {
                different.push(event);
            }
        }
        let told = |event: &&&HouseholdEvent| sentences.iter().any(|sentence| says_event(sentence, event));
        self.texts += 1;
        self.wholly_true += usize::from(!sentences.is_empty() && right == sentences.len());
        self.sentences += sentences.len();
        self.true_sentences += right;
        self.events += different.len();
        self.told_events += different.iter().filter(told).count();
    }
}

/// Whether a sentence says what `truth` says, word by word, where "someone" may stand for a name. A name may be two words: "Uncle Joe".
fn says(sentence: &str, truth: &str) -> bool {
    let (sentence, truth) = (words(sentence), words(truth));
    let same = |truth: &[String]| {
        let alike = |(a, b): (&String, &String)| a == b || a == "someone" || (a == "someone's" && b.ends_with("'s"));
        truth.len() == sentence.len() && sentence.iter().zip(truth).all(alike)
    };
    same(&truth) || truth.get(1..).is_some_and(same)
}

/// Whether an answer is one of the right ones, word by word.
pub(super) fn is_answer(answer: &str, right: &str) -> bool {
    words(answer) == words(right)
}

/// Whether a text holds every word of an answer, however far apart. Words of one or two letters count only where there is no other.
pub(super) fn holds(text: &str, answer: &str) -> bool {
    let (text, answer) = (words(text), words(answer));
    let long = answer.iter().filter(|word| word.chars().count() > 2);
    let wanted: Vec<&String> = if long.clone().count() > 0 { long.collect() } else { answer.iter().collect() };
    wanted.into_iter().all(|word| text.contains(word))
}

/// The words of a text in lower case, without marks.
fn words(text: &str) -> Vec<String> {
    let word = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(word).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn someone_stands_for_a_name_and_for_nothing_else() {
        assert!(says("Someone forgot to take the pills.", "Uncle Joe forgot to take the pills."));
        assert!(says("someone's birthday is Friday", "Adam's birthday is Friday."));
        assert!(says("The lamp is expected Friday.", "The lamp is expected Friday."));
        for (sentence, truth) in [
            ("Sarah forgot to take the pills.", "Uncle Joe forgot to take the pills."),
            ("The lamp is expected Monday.", "The lamp is expected Friday."),
            ("The lamp is expected.", "The lamp is expected Friday."),
            ("", "The lamp is expected Friday."),
            ("The lamp.", ""),
        ] {
            assert!(!says(sentence, truth), "{sentence} / {truth}");
        }
        assert!(is_answer("at half past seven", "At half past seven.") && !is_answer("At seven.", "At eight."));
        let quote = "What comes nearest: “When is it? Thursday at 2, he says.”";
        assert!(holds(quote, "Thursday at 2.") && !holds(quote, "At 3."));
        assert!(holds(quote, "2.") && !holds(quote, "Friday."));
    }

    #[test]
    fn what_is_told_is_counted_once_and_what_is_false_too() {
        let event = |texts: &[&str]| HouseholdEvent::Any(texts.iter().map(|text| (*text).into()).collect());
        let events = [
            event(&["Ava came to the door."]),
            event(&["They need tea.", "The list is tea."]),
            event(&["Ava came to the door."]),
        ];
        let mut counts = TruthCounts::default();
        let sentences = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect::<Vec<_>>();
        counts.add(
            &sentences(&["Someone came to the door.", "The list is tea.", "There is a fire."]),
            &events,
            &events,
        );
        counts.add(&[], &events, &events);
        counts.add(&sentences(&["The list is tea."]), &events, &events);
        let wanted =
            TruthCounts { texts: 3, wholly_true: 1, sentences: 4, true_sentences: 3, events: 6, told_events: 3 };
        assert_eq!(counts, wanted);
    }
}
