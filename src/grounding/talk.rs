//! Talk, indexed by what was said where.

use std::collections::HashMap;
use std::ops::Range;

use super::numbers::{Value, counts_things, numbers};
use super::words::{is_form_of, singular, words};
use crate::event::Evidence;

/// What a sentence names must have been said within so many characters. 120 to 200 gave the same on talk with known content.
const CLOSE_CHARS: usize = 160;

/// Talk that a model's text may rest on.
pub(crate) struct Talk<'a> {
    pub(super) utterances: &'a [Evidence],
    pub(super) words: Vec<SpokenWord>,
    /// Where each word, number and time was said, as indices into `words`.
    pub(super) said: HashMap<Said, Vec<usize>>,
}

pub(super) struct SpokenWord {
    pub(super) utterance: usize,
    /// Distance from the first character of the talk.
    at: usize,
    pub(super) text: String,
    pub(super) capital: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Said {
    Word(String),
    Value(Value),
}

impl<'a> Talk<'a> {
    pub(crate) fn utterances(&self) -> &'a [Evidence] {
        self.utterances
    }

    /// Prepares utterances, oldest first.
    pub(crate) fn new(utterances: &'a [Evidence]) -> Self {
        let mut talk = Self { utterances, words: Vec::new(), said: HashMap::new() };
        let mut start = 0;
        for (utterance, evidence) in utterances.iter().enumerate() {
            let found = words(&evidence.text);
            let first = talk.words.len();
            for number in numbers(&found) {
                let counts = counts_things(&evidence.text, &found, number.words.end);
                // "Seven eggs" tells no time.
                for reading in
                    number.readings.into_iter().filter(|reading| !counts || matches!(reading, Value::Number(_)))
                {
                    talk.said.entry(Said::Value(reading)).or_default().push(first + number.words.start);
                }
            }
            for word in found {
                let index = talk.words.len();
                talk.said.entry(Said::Word(singular(&word.text))).or_default().push(index);
                let at = start + evidence.text[..word.written.start].chars().count();
                talk.words.push(SpokenWord { utterance, at, text: word.text, capital: word.capital });
            }
            start += evidence.text.chars().count() + 1;
        }
        talk.said.values_mut().for_each(|places| places.sort_unstable());
        talk
    }

    /// The stretch of talk, as indices of words, in which one thing of each claim stands, all close together; the one with the most of
    /// `content`, then the last. Without claims, the stretch around the utterance with the most of `content`.
    pub(super) fn window(&self, claims: &[&[Said]], content: &[String]) -> Option<Range<usize>> {
        let places: Vec<Vec<usize>> = claims
            .iter()
            .map(|claim| {
                let mut places: Vec<usize> =
                    claim.iter().filter_map(|said| self.said.get(said)).flatten().copied().collect();
                places.sort_unstable();
                places
            })
            .collect();
        if places.iter().any(Vec::is_empty) {
            return None;
        }
        let anchors: Vec<usize> = match places.iter().min_by_key(|places| places.len()) {
            Some(rarest) => rarest.clone(),
            None => {
                let mut all: Vec<usize> = content.iter().flat_map(|word| self.places_of(word)).collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        let mut best: Option<(usize, Range<usize>)> = None;
        for anchor in anchors {
            let mut window = anchor..anchor + 1;
            let nearest = |places: &Vec<usize>| {
                places.iter().copied().min_by_key(|place| self.words[*place].at.abs_diff(self.words[anchor].at))
            };
            for place in places.iter().filter_map(nearest) {
                window = window.start.min(place)..window.end.max(place + 1);
            }
            if self.length(&window) > CLOSE_CHARS {
                continue;
            }
            let around = self.around(&window);
            let score = content.iter().filter(|word| self.says(word, &around)).count();
            if best.as_ref().is_none_or(|(most, _)| score >= *most) {
                best = Some((score, around));
            }
        }
        match best {
            Some((_, window)) => Some(window),
            // Nothing was claimed, and nothing of it was said.
            None => claims.is_empty().then_some(0..0),
        }
    }

    fn length(&self, window: &Range<usize>) -> usize {
        self.words[window.end - 1].at - self.words[window.start].at
    }

    /// A window grown to both sides, up to the greatest length.
    fn around(&self, window: &Range<usize>) -> Range<usize> {
        let mut grown = window.clone();
        loop {
            let left =
                grown.start.checked_sub(1).map(|start| start..grown.end).filter(|g| self.length(g) <= CLOSE_CHARS);
            let right =
                Some(grown.start..grown.end + 1).filter(|g| g.end <= self.words.len() && self.length(g) <= CLOSE_CHARS);
            let distance = |to: usize, from: usize| self.words[to].at.abs_diff(self.words[from].at);
            grown = match (left, right) {
                (Some(l), Some(r)) => {
                    let nearer = distance(l.start, window.start) <= distance(r.end - 1, window.end - 1);
                    if nearer { l } else { r }
                }
                (Some(only), None) | (None, Some(only)) => only,
                (None, None) => return grown,
            };
        }
    }

    fn places_of<'b>(&'b self, word: &'b str) -> impl Iterator<Item = usize> + 'b {
        self.words.iter().enumerate().filter(|(_, spoken)| is_form_of(&spoken.text, word)).map(|(index, _)| index)
    }

    pub(super) fn says(&self, word: &str, window: &Range<usize>) -> bool {
        self.words[window.clone()].iter().any(|spoken| is_form_of(&spoken.text, word))
    }
}
