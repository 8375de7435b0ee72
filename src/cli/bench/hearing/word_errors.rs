//! Word errors: normalizes the spelling of two texts and aligns them.
//!
//! Both texts are normalized in the same way, so that a difference in spelling does not count as an error.

use crate::number_words::{TENS, UNITS};

/// Sounds of hesitation. Some references write them, and Whisper leaves them out.
const FILLERS: [&str; 8] = ["uh", "um", "hm", "hmm", "mm", "mmm", "mhm", "uhm"];

/// Abbreviations and their full forms.
const ABBREVIATIONS: [(&str, &str); 8] = [
    ("mr", "mister"),
    ("mrs", "missus"),
    ("dr", "doctor"),
    ("okay", "ok"),
    ("%", "percent"),
    ("&", "and"),
    ("cannot", "can not"),
    ("gonna", "going to"),
];

/// The words of a text without case, punctuation, hesitation and sounds described in brackets, and with numbers as they are spoken.
pub(crate) fn normalize(text: &str) -> Vec<String> {
    let mut depth = 0usize;
    let outside = text.chars().filter(|c| {
        depth += usize::from(matches!(c, '[' | '('));
        let keep = depth == 0;
        depth = depth.saturating_sub(usize::from(matches!(c, ']' | ')')));
        keep
    });
    let plain = outside.flat_map(char::to_lowercase).map(|c| match c {
        '’' | '\'' => '\'',
        '%' | '&' => c,
        c if c.is_alphanumeric() => c,
        // "1,000" and "9.30" are one number and two.
        ',' => '\u{1}',
        _ => ' ',
    });
    let text: String = plain.collect();
    let text = text.replace('&', " & ").replace('%', " % ");
    let joined = join_thousands(&text);
    let words = joined.split_whitespace().map(|word| word.trim_matches('\'')).filter(|word| !word.is_empty());
    let words = words.flat_map(|word| match ABBREVIATIONS.iter().find(|(short, _)| *short == word) {
        Some((_, full)) => full.split(' ').map(str::to_owned).collect(),
        None => spoken(word),
    });
    words.filter(|word| !FILLERS.contains(&word.as_str())).collect()
}

/// A comma between thousands joins the digits, any other comma divides words.
fn join_thousands(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let digit = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(char::is_ascii_digit);
    let joins = |at: usize| digit(at.checked_sub(1)) && (1..=3).all(|n| digit(Some(at + n)));
    let kept = chars.iter().enumerate().filter_map(|(at, c)| match c {
        '\u{1}' if joins(at) => None,
        '\u{1}' => Some(' '),
        c => Some(*c),
    });
    kept.collect()
}

/// A number as it is spoken, years in pairs of digits. Other words are left as they are.
fn spoken(word: &str) -> Vec<String> {
    match word.parse::<u64>() {
        Ok(year) if (1_100..2_000).contains(&year) && word.len() == 4 && year % 100 >= 10 => {
            [number(year / 100), number(year % 100)].concat()
        }
        Ok(n) if n < 1_000_000 && !(word.len() > 1 && word.starts_with('0')) => number(n),
        _ => vec![word.to_owned()],
    }
}

fn number(n: u64) -> Vec<String> {
    let one = |word: &str| vec![word.to_owned()];
    let with_rest = |mut words: Vec<String>, rest: u64| {
        if rest > 0 {
            words.extend(number(rest));
        }
        words
    };
    match n {
        0..20 => one(UNITS[n as usize]),
        20..100 => with_rest(one(TENS[(n / 10 - 2) as usize]), n % 10),
        100..1_000 => with_rest([number(n / 100), one("hundred")].concat(), n % 100),
        _ => with_rest([number(n / 1_000), one("thousand")].concat(), n % 1_000),
    }
}

/// The alignment of two lists of words with the fewest errors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alignment {
    /// Words that are substituted, deleted or inserted.
    pub(crate) errors: usize,
    /// Positions of the words that are the same in both lists.
    pub(crate) same: Vec<(usize, usize)>,
}

/// Aligns what was said with what was written (Levenshtein distance).
pub(crate) fn align<S: AsRef<str>>(said: &[S], written: &[S]) -> Alignment {
    let width = written.len() + 1;
    let mut costs = vec![0u32; (said.len() + 1) * width];
    for at in 0..costs.len() {
        let i = at / width;
        let j = at % width;
        costs[at] = match (i, j) {
            (0, j) => j as u32,
            (i, 0) => i as u32,
            (i, j) => {
                let differ = u32::from(said[i - 1].as_ref() != written[j - 1].as_ref());
                let across = costs[at - width - 1] + differ;
                across.min(costs[at - 1] + 1).min(costs[at - width] + 1)
            }
        };
    }
    let mut same = Vec::new();
    let mut i = said.len();
    let mut j = written.len();
    while i > 0 && j > 0 {
        let at = i * width + j;
        let equal = said[i - 1].as_ref() == written[j - 1].as_ref();
        if costs[at] == costs[at - width - 1] + u32::from(!equal) {
            if equal {
                same.push((i - 1, j - 1));
            }
            i -= 1;
            j -= 1;
        } else if costs[at] == costs[at - 1] + 1 {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    same.reverse();
    Alignment { errors: costs[costs.len() - 1] as usize, same }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        normalize(text).join(" ")
    }

    #[test]
    fn a_different_spelling_is_not_an_error() {
        assert_eq!(folded("Mr. Hale, don’t—you, uh, [Music] know?"), "mister hale don't you know");
        assert_eq!(
            folded("It's 2,250 o'clock, 'twas 42%"),
            "it's two thousand two hundred fifty o'clock twas forty two percent"
        );
        assert_eq!(
            folded("In 1865, 7 of 10; not 007, 9.30"),
            "in eighteen sixty five seven of ten not 007 nine thirty"
        );
        assert_eq!(folded("1900 2024"), "one thousand nine hundred two thousand twenty four");
        assert_eq!(folded("(laughs) ... "), "");
    }

    #[test]
    fn an_alignment_has_the_fewest_errors_and_pairs_equal_words() {
        let split = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        let alignment = align(&split("the cat on the mat"), &split("the fat cat on a mat"));
        assert_eq!(alignment.errors, 2);
        assert_eq!(alignment.same, [(0, 0), (1, 2), (2, 3), (4, 5)]);
        assert_eq!(align(&[], &split("a b")).errors, 2);
        assert_eq!(align::<&str>(&[], &[]), Alignment::default());
    }
}
