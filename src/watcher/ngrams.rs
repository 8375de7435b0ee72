//! What a watcher counts in a text: n-grams of words and of characters, each hashed into a bucket. `training/watcher.py` counts the same.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// How often each bucket was met in a text.
pub(super) type BucketCounts = BTreeMap<usize, u32>;

/// Which n-grams count, and into how many buckets they are hashed.
pub(super) struct NgramHasher {
    /// The least and the greatest number of words in an n-gram, and of characters.
    pub(super) words: (usize, usize),
    pub(super) chars: (usize, usize),
    pub(super) buckets: usize,
}

impl NgramHasher {
    pub(super) fn word_grams(&self, words: &[String]) -> BucketCounts {
        let mut counts = BTreeMap::new();
        for n in self.words.0..=self.words.1 {
            for gram in words.windows(n) {
                *counts.entry(self.bucket(&format!("w{}", gram.join(" ")))).or_default() += 1;
            }
        }
        counts
    }

    /// The n-grams within each word and the spaces around it.
    pub(super) fn char_grams(&self, words: &[String]) -> BucketCounts {
        let mut counts = BTreeMap::new();
        for word in words {
            let word: Vec<char> = format!(" {word} ").chars().collect();
            for n in self.chars.0..=self.chars.1 {
                for gram in word.windows(n) {
                    let gram: String = std::iter::once(&'c').chain(gram).collect();
                    *counts.entry(self.bucket(&gram)).or_default() += 1;
                }
            }
        }
        counts
    }

    fn bucket(&self, gram: &str) -> usize {
        crc32fast::hash(gram.as_bytes()) as usize % self.buckets
    }
}

/// How many of the last utterances have together at most `most` words; the newest in any case.
pub(super) fn fitting(talk: &[&str], most: usize) -> usize {
    let mut total = 0;
    let fits = |(at, text): &(usize, &&str)| {
        total += text.split_whitespace().count();
        *at == 0 || total <= most
    };
    talk.iter().rev().enumerate().take_while(fits).count()
}

/// The last utterances of together at most `most` words.
pub(super) fn window(talk: &[&str], most: usize) -> String {
    talk[talk.len() - fitting(talk, most)..].join(" ")
}

/// Words in lower case and without accents: runs of letters, digits and apostrophes.
pub(super) fn words(text: &str) -> Vec<String> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}']+").expect("it is a pattern"));
    let plain: String = text.replace('’', "'").nfkd().filter(|c| canonical_combining_class(*c) == 0).collect();
    WORD.find_iter(&plain.to_lowercase()).map(|word| word.as_str().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_utterance_is_scored_however_long_it_is() {
        assert_eq!(window(&["a b", "c d", "e f g"], 5), "c d e f g");
        assert_eq!(window(&["a b", "c d e f"], 2), "c d e f");
        assert_eq!(window(&[], 2), "");
        assert_eq!(words("Don’t ﬁx Ünal's 2nd_Öfen!"), ["don't", "fix", "unal's", "2nd", "ofen"]);
    }
}
