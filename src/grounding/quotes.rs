//! Quotes for the parts of a summary that the model told nothing of.
//!
//! A small model often writes no sentence that may be told, and a summary that says nothing is of no use. What somebody said, told as
//! a quote, is never false. Of each part of the talk the sentence is taken that has most different words of content: in the exchanges kept
//! from training that have a summary by hand, such an utterance holds 53 % of the summary's words of content; the longest holds 52 %, the
//! first 40 %, a random one 26 %, the best possible one 60 % (`training/quotes.py`).

use std::collections::HashSet;

use super::word_lists::has_content;
use super::words::{sentences, singular, words};
use crate::event::{Evidence, GroundedSentence};

/// A summary has one sentence for so many words of talk, as far as there is something to quote, and at most so many by quotes.
const WORDS_PER_QUOTE: usize = 40;
const MAX_QUOTES: usize = 6;
/// A sentence with fewer different words of content tells too little to be quoted.
const MIN_CONTENT: usize = 3;
/// A longer sentence is cut after a word.
const MAX_CHARS: usize = 160;

/// The sentences of a summary of `said`, in the order of the talk, with quotes for the parts that `told` does not rest on. `frame` holds
/// `{text}`, where the quoted words stand.
pub(crate) fn with_quotes(mut told: Vec<GroundedSentence>, said: &[Evidence], frame: &str) -> Vec<GroundedSentence> {
    let lengths: Vec<usize> = said.iter().map(|one| one.text.split_whitespace().count()).collect();
    let total: usize = lengths.iter().sum();
    let parts = (total / WORDS_PER_QUOTE).clamp(1, MAX_QUOTES);
    let rests_on: HashSet<_> = told.iter().flat_map(|one| &one.evidence).map(|quote| quote.utterance).collect();
    let mut read = 0;
    let mut by_part: Vec<Vec<&Evidence>> = vec![Vec::new(); parts];
    for (one, length) in said.iter().zip(lengths) {
        by_part[(read * parts / total.max(1)).min(parts - 1)].push(one);
        read += length;
    }
    let untold = by_part.iter().filter(|part| !part.iter().any(|one| rests_on.contains(&one.utterance)));
    told.extend(untold.filter_map(|part| quote(part, frame)));
    let place = |sentence: &GroundedSentence| {
        let first = sentence.evidence.first()?;
        said.iter().position(|one| one.utterance == first.utterance)
    };
    told.sort_by_key(place);
    told
}

/// The sentence of these utterances that tells most, as a quote; the first of several.
fn quote(said: &[&Evidence], frame: &str) -> Option<GroundedSentence> {
    let mut best = (MIN_CONTENT - 1, None);
    for one in said {
        for sentence in sentences(&one.text) {
            let text = one.text[sentence.written].trim();
            let content = content_words(text);
            if content > best.0 {
                best = (content, Some((*one, text)));
            }
        }
    }
    let (one, text) = best.1?;
    Some(GroundedSentence { text: frame.replace("{text}", &cut(text)), evidence: vec![one.clone()] })
}

/// How many different words of content a text has.
fn content_words(text: &str) -> usize {
    let found = words(text);
    found.iter().filter(|word| has_content(&word.text)).map(|word| singular(&word.text)).collect::<HashSet<_>>().len()
}

fn cut(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(MAX_CHARS) else { return text.into() };
    let kept = text[..end].rsplit_once(char::is_whitespace).map_or(&text[..end], |(kept, _)| kept);
    format!("{kept} …")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ulid::Ulid;

    use super::*;

    const FRAME: &str = "Someone said: “{text}”";

    fn talk(texts: &[&str]) -> Vec<Evidence> {
        let evidence = |(index, text): (usize, &&str)| Evidence {
            utterance: Ulid::from(index as u128 + 1),
            time: Timestamp::from_second(index as i64).unwrap(),
            room: "kitchen".into(),
            text: (*text).into(),
        };
        texts.iter().enumerate().map(evidence).collect()
    }

    fn texts(sentences: &[GroundedSentence]) -> Vec<&str> {
        sentences.iter().map(|one| one.text.as_str()).collect()
    }

    #[test]
    fn the_sentence_that_tells_most_is_quoted_with_its_utterance() {
        let said = talk(&["Oh, hello.", "Right. The plumber comes on Thursday at two. Okay?", "Is he? Fine."]);
        let told = with_quotes(Vec::new(), &said, FRAME);
        assert_eq!(texts(&told), ["Someone said: “The plumber comes on Thursday at two.”"]);
        assert_eq!(told[0].evidence, [said[1].clone()]);
    }

    #[test]
    fn small_talk_is_not_quoted() {
        assert_eq!(with_quotes(Vec::new(), &talk(&["Mm.", "Yes, yes, yes.", "[unclear]", ""]), FRAME), []);
        assert_eq!(with_quotes(Vec::new(), &[], FRAME), []);
    }

    #[test]
    fn only_parts_that_nothing_is_told_of_are_quoted_and_the_order_is_that_of_the_talk() {
        let filler = "well you know how it is with them and so on and on it goes as ever ".repeat(2);
        let said = talk(&[
            "The school rang about the trip to Bristol.",
            &filler,
            "Your sister paints the fence at the weekend.",
            &filler,
            "We need flour, butter and six eggs.",
            &filler,
        ]);
        let model = GroundedSentence { text: "A fence is painted.".into(), evidence: vec![said[2].clone()] };
        assert_eq!(
            texts(&with_quotes(vec![model], &said, FRAME)),
            [
                "Someone said: “The school rang about the trip to Bristol.”",
                "A fence is painted.",
                "Someone said: “We need flour, butter and six eggs.”"
            ]
        );
    }

    #[test]
    fn a_long_sentence_is_cut_after_a_word_and_quotes_are_few() {
        let long = "Bring the käse and the bread and the butter ".repeat(30);
        let told = with_quotes(Vec::new(), &talk(&[long.as_str(); 40]), FRAME);
        assert_eq!(told.len(), MAX_QUOTES);
        assert!(told.iter().all(|one| one.text.chars().count() < MAX_CHARS + FRAME.len() && one.text.ends_with(" …”")));
    }
}
