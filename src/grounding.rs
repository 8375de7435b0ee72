//! Keeps a model's sentences to what was said.
//!
//! A language model writes sentences that nobody could have learned from the talk: names, hours and things of its own. Every summary,
//! answer and sentence of an alert passes through here on its way out. A sentence stays if its names, numbers, times and days were
//! said, and said close to each other; it comes with the utterances that it rests on. A person who was not named there becomes
//! "someone". Nothing here asks a model, so it holds for any model; it needs a word list only to tell whether the first word of an
//! English sentence is a name.
//!
//! It cannot tell whether a sentence is true: "The pills were taken" rests on the same words as "The pills were not taken".

mod claims;
mod nearest;
mod numbers;
mod quotes;
mod talk;
mod word_lists;
mod words;

use std::collections::HashSet;
use std::ops::Range;

use tracing::debug;

use self::claims::{Claim, ClaimKind, content, soften};
pub(crate) use self::nearest::{asks_for_particulars, nearest};
pub(crate) use self::quotes::with_quotes;
use self::talk::Said;
pub(crate) use self::talk::Talk;
use self::word_lists::is_english;
use self::words::{TextWord, is_form_of, sentences, singular, words};
use crate::event::{Evidence, GroundedSentence};

/// Of the words of a sentence that carry content, this part must have been said in some form: 1/3. On 60 households with known content
/// nine sentences in ten were true with it, and 17 in 20 without it; a half gave the same, two thirds lost half of the true ones.
const MIN_SUPPORT_DIVISOR: usize = 3;
/// A sentence quotes at most so many utterances.
const MAX_QUOTES: usize = 3;
/// A sentence that says the same words so often in a row is a loop.
const LOOP_REPEATS: usize = 3;

/// What the check made of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GroundedText {
    pub(crate) sentences: Vec<GroundedSentence>,
    /// Sentences that were dropped because something in them was not said.
    pub(crate) dropped: u32,
    /// Sentences that were dropped because they were said before, were cut, or went round in a loop.
    pub(crate) repeated: u32,
    /// Sentences in which a person became "someone".
    pub(crate) softened: u32,
}

/// How many sentences were told and not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckCounts {
    pub(crate) told: u64,
    pub(crate) dropped: u64,
    pub(crate) repeated: u64,
    pub(crate) softened: u64,
}

impl CheckCounts {
    /// Counts the sentences of a text.
    pub(crate) fn add(&mut self, text: &GroundedText) {
        self.told += text.sentences.len() as u64;
        self.dropped += u64::from(text.dropped);
        self.repeated += u64::from(text.repeated);
        self.softened += u64::from(text.softened);
    }

    /// Adds other counts.
    pub(crate) fn merge(&mut self, more: Self) {
        let Self { told, dropped, repeated, softened } = more;
        self.told += told;
        self.dropped += dropped;
        self.repeated += repeated;
        self.softened += softened;
    }
}

impl GroundedText {
    /// The sentences as one text.
    pub(crate) fn text(&self) -> String {
        text_of(&self.sentences)
    }

    /// Drops the sentences for which `may_tell` is false.
    pub(crate) fn drop_unless(&mut self, may_tell: impl Fn(&GroundedSentence) -> bool) {
        let before = self.sentences.len();
        self.sentences.retain(may_tell);
        self.dropped += (before - self.sentences.len()) as u32;
    }

    /// Adds the sentences of another text, without those that are the same.
    pub(crate) fn append(&mut self, more: Self) {
        let mut told: HashSet<_> = self.sentences.iter().map(|sentence| signature(&words(&sentence.text))).collect();
        for sentence in more.sentences {
            if told.insert(signature(&words(&sentence.text))) {
                self.sentences.push(sentence);
            } else {
                self.repeated += 1;
            }
        }
        self.dropped += more.dropped;
        self.repeated += more.repeated;
        self.softened += more.softened;
    }
}

/// The sentences as one text.
pub(crate) fn text_of(sentences: &[GroundedSentence]) -> String {
    sentences.iter().map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// How the check treats a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckOptions<'a> {
    /// The word for a person who is not known.
    pub(crate) someone: &'a str,
    /// Whether persons may be named; false for a model that was measured to take one for another.
    pub(crate) names_persons: bool,
    /// A question whose words an answer may repeat; empty for none.
    pub(crate) question: &'a str,
}

impl Talk<'_> {
    /// The sentences of `text` that may be told. `ended` is false when the model was cut off while it wrote.
    pub(crate) fn ground(&self, text: &str, ended: bool, options: CheckOptions) -> GroundedText {
        let mut grounded = GroundedText::default();
        let asked: HashSet<String> = words(options.question).iter().map(|word| singular(&word.text)).collect();
        let mut told: HashSet<Vec<String>> = HashSet::new();
        let all = sentences(text);
        for (index, sentence) in all.iter().enumerate() {
            let is_cut = !ended && !sentence.ended && index + 1 == all.len();
            let written = &text[sentence.written.clone()];
            let found = words(written);
            if is_cut || loops(&found) || !told.insert(signature(&found)) {
                grounded.repeated += 1;
                continue;
            }
            match self.sentence(written, &found, &asked, options) {
                Some((sentence, softened)) => {
                    // "Sarah called." and "Emma called." are one sentence once both are "someone".
                    if softened && !told.insert(signature(&words(&sentence.text))) {
                        grounded.repeated += 1;
                        continue;
                    }
                    grounded.softened += u32::from(softened);
                    grounded.sentences.push(sentence);
                }
                None => {
                    debug!(sentence = written, "a sentence of the model is not told: not all of it was said");
                    grounded.dropped += 1;
                }
            }
        }
        grounded
    }

    /// The sentence with what it rests on, and whether a person was replaced; none if it may not be told.
    fn sentence(
        &self,
        text: &str,
        found: &[TextWord],
        asked: &HashSet<String>,
        options: CheckOptions,
    ) -> Option<(GroundedSentence, bool)> {
        let claims = self.claims(text, found, asked);
        let (persons, fixed): (Vec<_>, Vec<_>) =
            claims.iter().partition(|claim| matches!(claim.kind, ClaimKind::Person { .. }));
        let content = content(found, asked, &claims);
        let support = |window: &Range<usize>| content.iter().filter(|word| self.says(word, window)).count();
        let window_of = |claims: &[&Claim]| {
            let said: Vec<_> = claims.iter().map(|claim| claim.any.as_slice()).collect();
            self.window(&said, &content)
        };
        let mut kept = fixed;
        let mut window = window_of(&kept)?;
        let mut softened = Vec::new();
        for person in persons {
            kept.push(person);
            // Somebody else's name stands where little of the rest was said.
            let bound = window_of(&kept).filter(|with| options.names_persons && 2 * support(with) >= support(&window));
            match bound {
                Some(with_person) => window = with_person,
                None => softened.extend(kept.pop()),
            }
        }
        // Too little of the rest was said there: other things were talked about.
        if support(&window) * MIN_SUPPORT_DIVISOR < content.len() {
            return None;
        }
        if softened.len() > 1 || (!softened.is_empty() && !is_english(found)) {
            return None;
        }
        let evidence = if content.is_empty() && claims.is_empty() {
            Vec::new()
        } else {
            self.evidence(&window, &claims, &content)
        };
        let text = softened.iter().fold(text.to_string(), |text, claim| soften(&text, claim, options.someone));
        Some((GroundedSentence { text, evidence }, !softened.is_empty()))
    }

    /// The utterances in the window that hold a claim or most of the content.
    fn evidence(&self, window: &Range<usize>, claims: &[Claim], content: &[String]) -> Vec<Evidence> {
        let mut scores: Vec<(usize, usize)> = Vec::new();
        for spoken in &self.words[window.clone()] {
            let claimed =
                claims.iter().flat_map(|claim| &claim.any).any(|said| *said == Said::Word(singular(&spoken.text)));
            let score = usize::from(claimed) + usize::from(content.iter().any(|word| is_form_of(&spoken.text, word)));
            match scores.last_mut().filter(|(utterance, _)| *utterance == spoken.utterance) {
                Some((_, sum)) => *sum += score,
                None => scores.push((spoken.utterance, score)),
            }
        }
        // Numbers may be written in another way than they were said, so utterances count that hold one as a value.
        for place in claims.iter().flat_map(|claim| &claim.any).filter_map(|said| match said {
            Said::Value(_) => self.said.get(said),
            Said::Word(_) => None,
        }) {
            for place in place.iter().filter(|place| window.contains(place)) {
                let utterance = self.words[*place].utterance;
                scores.iter_mut().filter(|(of, _)| *of == utterance).for_each(|(_, sum)| *sum += 1);
            }
        }
        scores.retain(|(_, score)| *score > 0);
        scores.sort_by_key(|(utterance, score)| (std::cmp::Reverse(*score), std::cmp::Reverse(*utterance)));
        scores.truncate(MAX_QUOTES);
        scores.sort_unstable();
        scores.into_iter().map(|(utterance, _)| self.utterances[utterance].clone()).collect()
    }
}

/// The sentences of a text.
pub(crate) fn sentences_of(text: &str) -> impl Iterator<Item = &str> {
    sentences(text).into_iter().map(|sentence| &text[sentence.written])
}

/// What makes two sentences the same: their words that carry content, in any order.
fn signature(found: &[TextWord]) -> Vec<String> {
    let mut all: Vec<String> = found
        .iter()
        .filter(|word| !matches!(word.text.as_str(), "the" | "a" | "an" | "and"))
        .map(|word| word.text.clone())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether up to eight words are said again and again.
fn loops(found: &[TextWord]) -> bool {
    (1..=8).any(|length| {
        found
            .windows(length * LOOP_REPEATS)
            .any(|part| (length..part.len()).all(|at| part[at].text == part[at - length].text))
    })
}

#[cfg(test)]
mod tests;
