//! The numbers and times of day of a text, whether in figures or in English words: "half past seven" is 7:30, "twelve hundred" is 1200.
//!
//! Where several readings are possible ("seven thirty", "ten to four") all of them are given: a text is taken to say each.

use std::ops::Range;

use super::word_lists::FUNCTION;
use super::words::TextWord;
use crate::number_words::{TENS, UNITS};

/// A number or a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Value {
    Number(u64),
    /// Minutes since noon or midnight: morning and evening are not told apart.
    Time(u16),
}

/// Words that stand together as one number or time, with all their readings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) words: Range<usize>,
    pub(super) readings: Vec<Value>,
    /// Of two numbers that may be one time ("ten thirty", "ten to four"): what they are together and alone.
    pub(super) pair: Option<Pair>,
}

/// Two numbers side by side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) together: Value,
    /// Their words and readings.
    pub(super) alone: [(Range<usize>, Vec<Value>); 2],
}

const MINUTES_OF_HALF_DAY: u64 = 12 * 60;

fn time(hour: u64, minute: u64) -> Option<Value> {
    (hour <= 24 && minute < 60).then(|| Value::Time(((hour * 60 + minute) % MINUTES_OF_HALF_DAY) as u16))
}

fn unit(word: &str) -> Option<u64> {
    UNITS.iter().position(|unit| *unit == word).map(|n| n as u64)
}

fn ten(word: &str) -> Option<u64> {
    TENS.iter().position(|ten| *ten == word).map(|n| n as u64 * 10 + 20)
}

/// The day of a date: "third", "twentieth". "First" and "second" mean other things more often.
fn ordinal(word: &str) -> Option<u64> {
    const ORDINALS: [&str; 17] = [
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "eleventh",
        "twelfth",
        "thirteenth",
        "fourteenth",
        "fifteenth",
        "sixteenth",
        "seventeenth",
        "eighteenth",
        "nineteenth",
    ];
    let position = ORDINALS.iter().position(|ordinal| *ordinal == word).map(|n| n as u64 + 3);
    position.or_else(|| ten(&format!("{}y", word.strip_suffix("ieth")?)))
}

/// Numbers of other languages, without accents. Those that mean something else in English are left out.
const ELSEWHERE: [(u64, &str); 22] = [
    (2, "zwei zwo deux dos twee"),
    (3, "drei trois tres tre drie"),
    (4, "vier quatre cuatro quattro"),
    (5, "funf cinq cinco cinque vijf"),
    (6, "sechs seis zes"),
    (7, "sieben sept siete sette zeven"),
    (8, "acht huit ocho otto"),
    (9, "neun neuf nueve nove negen"),
    (10, "zehn dix diez dieci tien"),
    (11, "elf onze undici"),
    (12, "zwolf douze doce dodici twaalf"),
    (13, "dreizehn treize trece tredici dertien"),
    (14, "vierzehn quatorze catorce quattordici veertien"),
    (15, "funfzehn quinze quindici vijftien"),
    (16, "sechzehn seize sedici zestien"),
    (20, "zwanzig vingt veinte venti twintig"),
    (30, "dreissig trente treinta trenta dertig"),
    (40, "vierzig quarante cuarenta quaranta veertig"),
    (50, "funfzig cinquante cincuenta cinquanta vijftig"),
    (60, "sechzig soixante sesenta sessanta zestig"),
    (100, "hundert ciento cento honderd"),
    (1_000, "tausend mille duizend"),
];

fn elsewhere(word: &str) -> Option<u64> {
    ELSEWHERE.iter().find(|(_, words)| words.split(' ').any(|one| one == word)).map(|(number, _)| *number)
}

fn scale(word: &str) -> Option<u64> {
    match word {
        "hundred" => Some(100),
        "thousand" => Some(1_000),
        "million" => Some(1_000_000),
        _ => None,
    }
}

/// A number in figures: 7, 1,200, 3rd, 7pm, 10kg.
fn figures(word: &str) -> Option<u64> {
    let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
    // "1,5" is not 15.
    if digits.split([',', '\'']).skip(1).any(|group| group.len() != 3) {
        return None;
    }
    let digits: String = digits.split([',', '\'']).collect();
    (!digits.is_empty() && digits.len() < 19).then(|| digits.parse().ok()).flatten()
}

/// A time in figures: 7:30, 19.30, 7:30pm.
fn clock(word: &str) -> Option<Value> {
    let word = word.trim_end_matches(|c: char| c.is_alphabetic());
    let (hour, minute) = word.split_once([':', '.'])?;
    (minute.len() == 2).then(|| time(hour.parse().ok()?, minute.parse().ok()?)).flatten()
}

/// One number that begins at a word, in figures or words, and how many words it takes.
fn number_at(words: &[TextWord]) -> Option<(u64, usize)> {
    let first = words.first()?.text.as_str();
    if let Some(number) = figures(first) {
        return Some((number, 1));
    }
    if let Some(number) = ordinal(first).or_else(|| elsewhere(first)) {
        return Some((number, 1));
    }
    let begins = unit(first).is_some() || ten(first).is_some() || scale(first).is_some();
    let article = first == "a" && words.get(1).is_some_and(|next| scale(&next.text).is_some());
    if !begins && !article {
        return None;
    }
    let (mut total, mut part, mut taken) = (0_u64, u64::from(article), usize::from(article));
    // What may follow: after "twenty" only a unit below ten, after a unit only a scale.
    let mut limit = u64::MAX;
    while let Some(word) = words.get(taken).map(|word| word.text.as_str()) {
        if let Some(size) = scale(word) {
            part = part.max(1).saturating_mul(size);
            if size >= 1_000 {
                total = total.saturating_add(part);
                part = 0;
            }
            limit = size;
        } else if let Some(value) = ten(word).or_else(|| unit(word)).filter(|value| *value < limit) {
            part = part.saturating_add(value);
            limit = if value >= 20 { 10 } else { 1 };
        } else if let Some(value) = day_after_ten(word).filter(|_| limit == 10) {
            part = part.saturating_add(value);
            limit = 1;
        } else if !(word == "and" && (100..u64::MAX).contains(&limit) && next_is_small(&words[taken + 1..])) {
            break;
        }
        taken += 1;
    }
    Some((total.saturating_add(part), taken))
}

/// The end of "twenty-first".
fn day_after_ten(word: &str) -> Option<u64> {
    match word {
        "first" => Some(1),
        "second" => Some(2),
        _ => ordinal(word).filter(|day| *day < 10),
    }
}

fn next_is_small(words: &[TextWord]) -> bool {
    words.first().is_some_and(|word| unit(&word.text).is_some() || ten(&word.text).is_some())
}

/// All numbers and times of the words, in order.
pub(super) fn numbers(words: &[TextWord]) -> Vec<Number> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        match read(words, at) {
            Some(number) => {
                at = number.words.end;
                found.push(number);
            }
            None => at += 1,
        }
    }
    found
}

/// Whether the number that ends before the word `end` tells how many of something: "seven eggs", not "seven o'clock".
pub(super) fn counts_things(text: &str, found: &[TextWord], end: usize) -> bool {
    let Some(next) = found.get(end) else { return false };
    let beside = &text[found[end - 1].written.end..next.written.start] == " ";
    let hours = matches!(next.text.as_str(), "heures" | "horas");
    beside && !hours && next.text.len() > 3 && next.text.ends_with('s') && !FUNCTION.contains(next.text.as_str())
}

fn read(words: &[TextWord], at: usize) -> Option<Number> {
    let text = |index: usize| words.get(index).map(|word| word.text.as_str());
    let number = |end: usize, readings: Vec<Value>| Some(Number { words: at..end, readings, pair: None });
    match text(at)? {
        "noon" | "midday" | "midnight" => return number(at + 1, vec![Value::Time(0)]),
        "dozen" => return number(at + 1, vec![Value::Number(12)]),
        // Minutes before or after the hour, and the numbers themselves.
        before @ ("half" | "quarter") if matches!(text(at + 1), Some("past" | "to")) => {
            let minutes = if before == "half" { 30 } else { 15 };
            if let Some((hour, taken)) = number_at(&words[at + 2..]) {
                return number(at + 2 + taken, relative(text(at + 1)?, minutes, hour).into_iter().collect());
            }
        }
        _ => {}
    }
    if let Some(time) = clock(text(at)?) {
        let Value::Time(minutes) = time else { return None };
        let mut readings = vec![time];
        // 7:00 is 7, too.
        if minutes % 60 == 0 {
            readings.extend(figures_before_colon(text(at)?).map(Value::Number));
        }
        return number(at + 1, readings);
    }
    let (value, taken) = number_at(&words[at..])?;
    // "One" is a pronoun more often than a number.
    if taken == 1 && text(at) == Some("one") {
        return None;
    }
    let end = at + taken;
    if let Some(word @ ("past" | "to")) = text(end)
        && let Some((hour, taken)) = number_at(&words[end + 1..])
        && let Some(time) = relative(word, value, hour)
    {
        return Some(pair(time, (at..end, value), (end + 1..end + 1 + taken, hour)));
    }
    if let Some((minutes, more)) = number_at(&words[end..])
        && let Some(time) = time(value, minutes).filter(|_| value > 0 && minutes > 0)
    {
        return Some(pair(time, (at..end, value), (end..end + more, minutes)));
    }
    number(end, alone(value))
}

/// A number, which may be a full hour.
fn alone(value: u64) -> Vec<Value> {
    [Some(Value::Number(value)), time(value, 0).filter(|_| value > 0)].into_iter().flatten().collect()
}

fn pair(together: Value, first: (Range<usize>, u64), second: (Range<usize>, u64)) -> Number {
    let words = first.0.start..second.0.end;
    let alone = [(first.0, alone(first.1)), (second.0, alone(second.1))];
    let readings = alone.iter().flat_map(|(_, readings)| readings).copied().chain([together]).collect();
    Number { words, readings, pair: Some(Pair { together, alone }) }
}

fn figures_before_colon(word: &str) -> Option<u64> {
    word.split([':', '.']).next()?.parse().ok()
}

fn relative(word: &str, minutes: u64, hour: u64) -> Option<Value> {
    if minutes == 0 || minutes >= 60 || hour == 0 || hour > 24 {
        return None;
    }
    if word == "past" { time(hour, minutes) } else { time(hour - 1, 60 - minutes) }
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn readings(text: &str) -> Vec<Value> {
        numbers(&words(text)).into_iter().flat_map(|number| number.readings).collect()
    }

    #[test]
    fn the_same_time_in_words_and_figures_is_one_time() {
        let half_past_seven = Value::Time(450);
        for text in ["half past seven", "7:30", "at 7.30", "19:30", "seven thirty", "half past 7", "thirty past seven"]
        {
            assert!(readings(text).contains(&half_past_seven), "{text}: {:?}", readings(text));
        }
        for text in ["quarter to nine", "8:45", "eight forty-five", "15 to nine"] {
            assert!(readings(text).contains(&Value::Time(525)), "{text}: {:?}", readings(text));
        }
        for text in ["noon", "midnight", "12:00", "at twelve", "12 pm"] {
            assert!(readings(text).contains(&Value::Time(0)), "{text}: {:?}", readings(text));
        }
    }

    #[test]
    fn the_same_number_in_words_and_figures_is_one_number() {
        for (text, number) in [
            ("twelve hundred euros", 1200),
            ("1,200 euros", 1200),
            ("a hundred and twenty", 120),
            ("twenty-two", 22),
            ("two thousand and five", 2005),
            ("the 3rd", 3),
            ("a dozen eggs", 12),
            ("seven", 7),
            ("7pm", 7),
            ("three million", 3_000_000),
            ("the twenty-first", 21),
            ("on the third", 3),
            ("the thirtieth", 30),
            ("10kg", 10),
            ("fünf", 5),
        ] {
            assert!(readings(text).contains(&Value::Number(number)), "{text}: {:?}", readings(text));
        }
    }

    #[test]
    fn numbers_that_stand_side_by_side_stay_apart() {
        assert_eq!(readings("one of them"), []);
        assert_eq!(readings("1,5 and 39.5"), []);
        let both = readings("ten to four");
        assert!(
            both.contains(&Value::Number(10)) && both.contains(&Value::Number(4)) && both.contains(&Value::Time(230))
        );
        assert!(!readings("five six").contains(&Value::Number(11)));
        assert_eq!(readings("99999999999999999999999 and half past"), []);
        assert!(readings("a hundred and fifty people, two dogs").contains(&Value::Number(2)));
    }
}
