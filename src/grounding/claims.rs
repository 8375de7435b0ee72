//! What a sentence claims: its names, numbers, times, days and items of lists, each of which must have been said.

use std::collections::HashSet;
use std::ops::Range;

use super::numbers::{Number, Value, counts_things, numbers};
use super::talk::{Said, Talk};
use super::word_lists::{COMMON_WORDS, DAY, FUNCTION, NAME, has_content};
use super::words::{TextWord, singular};

/// A word or number of a sentence that must have been said.
pub(super) struct Claim {
    /// The bytes of the sentence it takes.
    pub(super) written: Range<usize>,
    /// One of these must have been said.
    pub(super) any: Vec<Said>,
    pub(super) kind: ClaimKind,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum ClaimKind {
    /// Written with a capital where a person could be named.
    Person {
        possessive: bool,
    },
    Other,
}

impl Talk<'_> {
    /// What a sentence claims: names, numbers, times, days.
    pub(super) fn claims(&self, text: &str, found: &[TextWord], asked: &HashSet<String>) -> Vec<Claim> {
        let all = numbers(found);
        let in_numbers: HashSet<usize> = all.iter().flat_map(|number| number.words.clone()).collect();
        let mut claims = self.number_claims(text, found, all, asked);
        let others = |index: &usize| !in_numbers.contains(index) && !asked.contains(&singular(&found[*index].text));
        for index in (0..found.len()).filter(others) {
            self.word_claim(text, found, index, &mut claims);
        }
        claims.sort_by_key(|claim| claim.written.start);
        claims
    }

    fn number_claims(&self, text: &str, found: &[TextWord], all: Vec<Number>, asked: &HashSet<String>) -> Vec<Claim> {
        let mut claims = Vec::new();
        for number in all {
            // "Ten thirty" was not said where "ten" was: it must have been said as a time, or both of its numbers.
            let parts = match number.pair {
                Some(pair) if !self.said.contains_key(&Said::Value(pair.together)) => pair.alone.to_vec(),
                Some(pair) => vec![(number.words, vec![pair.together])],
                None if is_time(text, found, &number.words) => {
                    let times = |reading: &Value| matches!(reading, Value::Time(_));
                    let readings: Vec<_> = number.readings.iter().copied().filter(times).collect();
                    vec![(number.words, if readings.is_empty() { number.readings } else { readings })]
                }
                None => vec![(number.words, number.readings)],
            };
            for (part, readings) in parts {
                if part.clone().all(|index| asked.contains(&singular(&found[index].text))) {
                    continue;
                }
                let written = found[part.start].written.start..found[part.end - 1].written.end;
                let words = readings.iter().flat_map(|reading| small_number(*reading));
                let words: Vec<_> = words.map(|word| Said::Word((*word).into())).collect();
                let any = readings.into_iter().map(Said::Value).chain(words).collect();
                claims.push(Claim { written, any, kind: ClaimKind::Other });
            }
        }
        claims
    }

    /// Adds what one word claims, if anything. A second name of a person joins the claim of the first.
    fn word_claim(&self, text: &str, found: &[TextWord], index: usize, claims: &mut Vec<Claim>) {
        let word = &found[index];
        // What holds digits and is no number that is understood, such as 39.5, must stand there as it is.
        let is_day = DAY.contains(word.text.as_str())
            || DAY.contains(singular(&word.text).as_str())
            || word.text.contains(|c: char| c.is_numeric());
        let is_item = is_list_item(text, found, index);
        let is_name = word.capital && !is_pronoun(&word.text) && (index > 0 || !self.begins_sentences(&word.text));
        let times =
            index.checked_sub(1).and_then(|before| part_of_time(&found[before].text, &word.text)).unwrap_or(&[]);
        let is_day = is_day || !times.is_empty();
        if !is_day && !is_name && !is_item {
            return;
        }
        let before = index.checked_sub(1).map(|before| &found[before]);
        // "Uncle Joe" is one person.
        let joined = claims.last_mut().filter(|last| {
            is_name
                && matches!(last.kind, ClaimKind::Person { possessive: false })
                && before.is_some_and(|before| before.written.end == last.written.end)
                && text[last.written.end..word.written.start].trim_matches([' ', '.', '-']).is_empty()
        });
        let mut any = vec![Said::Word(singular(&word.text))];
        any.extend(times.iter().map(|word| Said::Word((*word).into())));
        if let Some(last) = joined {
            // Each part must have been said; the rarer one decides.
            let places = |said: &[Said]| said.iter().map(|said| self.said.get(said).map_or(0, Vec::len)).sum::<usize>();
            if places(&any) < places(&last.any) {
                last.any = any;
            }
            last.written.end = word.written.end;
            last.kind = ClaimKind::Person { possessive: word.possessive };
            return;
        }
        let person = is_name && !is_day && could_be_person(&word.text, before);
        let kind = if person { ClaimKind::Person { possessive: word.possessive } } else { ClaimKind::Other };
        claims.push(Claim { written: word.written.clone(), any, kind });
    }

    /// Whether a word at the beginning of a sentence needs no proof: it is no name.
    fn begins_sentences(&self, word: &str) -> bool {
        let said_small = || {
            let places = self.said.get(&Said::Word(singular(word)));
            places.is_some_and(|places| places.iter().any(|place| !self.words[*place].capital))
        };
        !NAME.contains(word) && (COMMON_WORDS.contains(word) || FUNCTION.contains(word) || said_small())
    }
}

/// Whether a number of a sentence tells a time of day: "at 7".
fn is_time(text: &str, found: &[TextWord], number: &Range<usize>) -> bool {
    let before = number.start.checked_sub(1).map(|before| found[before].text.as_str());
    matches!(before, Some("at" | "until" | "till")) && !counts_things(text, found, number.end)
}

/// Of a part of the day or the week, the words of which one must have been said.
fn part_of_time(before: &str, word: &str) -> Option<&'static [&'static str]> {
    match word {
        "morning" => Some(&["morning"]),
        "afternoon" => Some(&["afternoon"]),
        "evening" => Some(&["evening", "tonight", "night"]),
        "weekend" => Some(&["weekend", "saturday", "sunday"]),
        "week" if matches!(before, "next" | "last" | "this") => Some(&["week"]),
        "month" if matches!(before, "next" | "last" | "this") => Some(&["month"]),
        "year" if matches!(before, "next" | "last" | "this") => Some(&["year"]),
        _ => None,
    }
}

/// Words for numbers that are not read as such, because they mean other things, too.
fn small_number(value: Value) -> &'static [&'static str] {
    match value {
        Value::Number(1) => &["one", "first", "once"],
        Value::Number(2) => &["second", "twice", "couple", "pair"],
        _ => &[],
    }
}

fn is_pronoun(word: &str) -> bool {
    matches!(word, "i" | "i'm" | "i'll" | "i've" | "i'd")
}

/// Whether a word with a capital could be a person: not after "in", "the" and the like.
fn could_be_person(word: &str, before: Option<&TextWord>) -> bool {
    const PLACES: [&str; 12] = ["in", "at", "on", "near", "the", "a", "an", "to", "into", "towards", "of", "called"];
    !DAY.contains(word) && !before.is_some_and(|before| PLACES.contains(&before.text.as_str()))
}

/// Whether a word ends an item of a list ("milk, toilet paper and flour"), or begins the last: each item must have been said.
fn is_list_item(text: &str, found: &[TextWord], index: usize) -> bool {
    let word = &found[index];
    if word.text.chars().count() < 3 || FUNCTION.contains(word.text.as_str()) || !text.contains(',') {
        return false;
    }
    let between = |at: usize| found.get(at + 1).map_or("", |next| &text[found[at].written.end..next.written.start]);
    let is_and = |at: Option<usize>| {
        at.and_then(|at| found.get(at)).is_some_and(|word| matches!(word.text.as_str(), "and" | "or"))
    };
    between(index).contains(',') || is_and(Some(index + 1)) || is_and(index.checked_sub(1))
}

/// The words of a sentence that should have been said in some form: not those of the question, nor those that are claims.
pub(super) fn content(found: &[TextWord], asked: &HashSet<String>, claims: &[Claim]) -> Vec<String> {
    let claimed = |word: &TextWord| claims.iter().any(|claim| claim.written.contains(&word.written.start));
    let counts = |word: &&TextWord| has_content(&word.text) && !asked.contains(&singular(&word.text)) && !claimed(word);
    found.iter().filter(counts).map(|word| word.text.clone()).collect()
}

/// The text with the claim's person replaced.
pub(super) fn soften(text: &str, claim: &Claim, someone: &str) -> String {
    let ClaimKind::Person { possessive } = claim.kind else { return text.into() };
    let mut word = someone.to_string();
    if claim.written.start == 0
        && let Some(first) = word.chars().next()
    {
        word = first.to_uppercase().chain(word.chars().skip(1)).collect();
    }
    let possessive = if possessive { "'s" } else { "" };
    format!("{}{word}{possessive}{}", &text[..claim.written.start], &text[claim.written.end..])
}
