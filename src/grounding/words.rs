//! Cuts a text into sentences and words, as they are compared: lower case, without accents, with one kind of apostrophe.

use std::ops::Range;

use crate::fold::Folded;

/// A word of a text. "Anna-Maria" is two words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextWord {
    /// Lower case, without accents, and without the `'s` of a possessive.
    pub(super) text: String,
    /// It is written with a capital.
    pub(super) capital: bool,
    /// It ends in `'s`.
    pub(super) possessive: bool,
    /// The bytes it takes in the text as written.
    pub(super) written: Range<usize>,
}

/// Abbreviations after which a full stop ends no sentence.
const ABBREVIATIONS: [&str; 11] = ["mr", "mrs", "ms", "dr", "st", "prof", "vs", "e.g", "i.e", "approx", "ca"];

/// The words of a text, in order.
pub(super) fn words(text: &str) -> Vec<TextWord> {
    let folded = Folded::new(text);
    let mut found = Vec::new();
    let mut start = None;
    let characters: Vec<(usize, char)> = folded.text.char_indices().collect();
    for (index, &(at, character)) in characters.iter().enumerate() {
        let beside = |other: Option<&(usize, char)>, test: fn(char) -> bool| other.is_some_and(|(_, c)| test(*c));
        let before = index.checked_sub(1).and_then(|index| characters.get(index));
        let after = characters.get(index + 1);
        let inside = character.is_alphanumeric()
            || (character == '\'' && start.is_some() && beside(after, char::is_alphanumeric))
            || (matches!(character, ':' | '.' | ',')
                && beside(before, |c| c.is_ascii_digit())
                && beside(after, |c| c.is_ascii_digit()));
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(begin)) => {
                found.push(word(&folded, begin..at));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(begin) = start {
        found.push(word(&folded, begin..folded.text.len()));
    }
    // Two words may come from one character, such as a ligature: then the second takes no bytes of its own.
    let mut end = 0;
    for word in &mut found {
        word.written = word.written.start.max(end)..word.written.end.max(end);
        end = word.written.end;
    }
    found
}

fn word(folded: &Folded, part: Range<usize>) -> TextWord {
    let text = &folded.text[part.clone()];
    let bare = text.strip_suffix("'s").or_else(|| text.strip_suffix("'S")).filter(|bare| !bare.is_empty());
    TextWord {
        capital: text.chars().next().is_some_and(char::is_uppercase),
        possessive: bare.is_some(),
        text: bare.unwrap_or(text).to_lowercase(),
        written: folded.written(part),
    }
}

/// A word without the `s` of a plural, so that "pills" is "pill".
pub(super) fn singular(word: &str) -> String {
    word.strip_suffix('s').filter(|rest| rest.len() > 2 && !rest.ends_with('s')).unwrap_or(word).to_string()
}

/// Whether two words are likely forms of one: their first letters are the same.
pub(super) fn is_form_of(spoken: &str, word: &str) -> bool {
    let common = spoken.chars().zip(word.chars()).take_while(|(a, b)| a == b).count();
    let (short, long) = {
        let (a, b) = (spoken.chars().count(), word.chars().count());
        (a.min(b), a.max(b))
    };
    spoken == word || (common >= 4 && common + 3 >= long) || (common == short && short >= 3 && long - short <= 3)
}

/// A sentence of a text: its bytes, and whether it has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) written: Range<usize>,
    /// It ends with a mark that ends sentences.
    pub(super) ended: bool,
}

/// The sentences of a text. A line is at least one; marks of a list at its beginning do not belong to it.
pub(super) fn sentences(text: &str) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut start = 0;
    let characters: Vec<(usize, char)> = text.char_indices().collect();
    let mut index = 0;
    while index < characters.len() {
        let (at, character) = characters[index];
        if character == '\n' {
            push(&mut found, text, start..at, false);
            start = at + 1;
        } else if is_end(character) {
            // "?!", "...", and a closing quotation mark belong to the sentence.
            while characters.get(index + 1).is_some_and(|(_, next)| is_end(*next) || "\"'”’)»".contains(*next)) {
                index += 1;
            }
            let end = characters.get(index + 1).map_or(text.len(), |(at, _)| *at);
            let followed = characters.get(index + 1).is_none_or(|(_, next)| next.is_whitespace());
            let full_width = matches!(character, '。' | '！' | '？');
            let goes_on = character == '.'
                && (is_abbreviation(&text[start..at]) || (is_hour(&text[start..at]) && begins_small(&text[end..])));
            if full_width || (followed && !goes_on) {
                push(&mut found, text, start..end, true);
                start = end;
            }
        }
        index += 1;
    }
    push(&mut found, text, start..text.len(), false);
    found
}

fn is_end(character: char) -> bool {
    matches!(character, '.' | '!' | '?' | '…' | '。' | '！' | '？')
}

/// Whether a full stop after `text` belongs to its last word: "Mr.", or an initial.
fn is_abbreviation(text: &str) -> bool {
    let last = text.rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default();
    let initial = last.chars().count() == 1 && last.chars().all(char::is_uppercase) && last != "I";
    initial || ABBREVIATIONS.contains(&last.to_lowercase().as_str())
}

/// Whether `text` ends with "p.m" or "a.m". Its full stop may end the sentence, too.
fn is_hour(text: &str) -> bool {
    let last = text.rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default().to_lowercase();
    last.ends_with("p.m") || last.ends_with("a.m")
}

/// Whether a text goes on with a small letter or a digit.
fn begins_small(text: &str) -> bool {
    text.trim_start().starts_with(|c: char| c.is_lowercase() || c.is_numeric())
}

fn push(found: &mut Vec<Sentence>, text: &str, part: Range<usize>, ended: bool) {
    let begin = text[part.clone()].trim_start_matches(|c: char| c.is_whitespace() || "-*•–".contains(c));
    let start = part.end - begin.len();
    let end = start + begin.trim_end().len();
    if text[start..end].chars().any(char::is_alphanumeric) {
        found.push(Sentence { written: start..end, ended });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_without_case_accents_and_possessives() {
        let found = words("Zoë’s Anna-Maria won't, at 7:30.");
        let texts: Vec<_> = found.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["zoe", "anna", "maria", "won't", "at", "7:30"]);
        assert!(found[0].possessive && found[0].capital && !found[3].capital);
        assert_eq!(found[0].written, 0..8);
    }

    #[test]
    fn sentences_end_where_a_reader_would_end_them() {
        let texts = |text: &'static str| -> Vec<(&str, bool)> {
            sentences(text).into_iter().map(|found| (&text[found.written], found.ended)).collect()
        };
        assert_eq!(
            texts("Mr. Hale called at 7.30 today. Was it late?! \"Yes.\" And then"),
            [
                ("Mr. Hale called at 7.30 today.", true),
                ("Was it late?!", true),
                ("\"Yes.\"", true),
                ("And then", false)
            ]
        );
        assert_eq!(
            texts("- Milk is out\n- The J. Smith parcel came.\n\n…"),
            [("Milk is out", false), ("The J. Smith parcel came.", true)]
        );
        assert_eq!(texts("火事です。助けて！"), [("火事です。", true), ("助けて！", true)]);
        assert_eq!(texts("It is at 3 p.m. on Friday."), [("It is at 3 p.m. on Friday.", true)]);
        assert_eq!(texts("It is at 3 p.m. Emma goes."), [("It is at 3 p.m.", true), ("Emma goes.", true)]);
        assert_eq!(texts(""), []);
    }
}
