//! The utterances that come nearest to a question: the answer where the model's own cannot be trusted.
//!
//! Words of the question are looked for in the talk, rare ones counting more (inverse document frequency, Spärck Jones 1972, with
//! utterances as documents). Whoever reads the utterance that holds them, and the one after it, mostly reads the answer: for the exchanges
//! kept from training, behind four others each, 61 % of the questions get a quote, and for 50 % it holds the answer; of the questions
//! of another exchange 6 % get a quote (`training/quotes.py`).

use std::collections::{HashMap, HashSet};

use super::word_lists::{TALK, has_content};
use super::words::{singular, words};
use crate::event::Evidence;

/// Of the weight of a question's words, this share must stand in one utterance.
const MIN_SHARE: f64 = 0.5;
/// So many utterances are quoted, and one more if the last of them is a question: its answer follows.
const QUOTED: usize = 2;
/// What is said later than this after the nearest utterance is no answer to it.
const MAX_PAUSE_S: i64 = 60;

/// The utterance that holds most of the question's words, the newest of several, with the one after it; none if too few were said.
pub(crate) fn nearest(question: &str, said: &[Evidence]) -> Vec<Evidence> {
    let asked = words(question).into_iter().filter(|word| has_content(&word.text));
    let asked: HashSet<String> = asked.map(|word| singular(&word.text)).collect();
    let all_words = |one: &Evidence| words(&one.text).into_iter().map(|word| word.text).collect();
    let spoken: Vec<HashSet<String>> = said.iter().map(all_words).collect();
    let holds = |utterance: &HashSet<String>, word: &str| utterance.iter().any(|spoken| may_be_form_of(spoken, word));
    let weights: HashMap<&str, f64> = asked
        .iter()
        .map(|word| {
            let count = spoken.iter().filter(|utterance| holds(utterance, word)).count();
            (word.as_str(), ((spoken.len() + 1) as f64 / (count + 1) as f64).ln() + f64::EPSILON)
        })
        .collect();
    let share = |utterance: &HashSet<String>| {
        let held = weights.iter().filter(|(word, _)| holds(utterance, word));
        held.map(|(_, weight)| weight).sum::<f64>() / weights.values().sum::<f64>()
    };
    let best = spoken.iter().map(share).enumerate().filter(|(_, share)| *share >= MIN_SHARE);
    let Some((first, _)) = best.max_by(|(_, a), (_, b)| a.total_cmp(b)) else { return Vec::new() };
    let follows = |one: &&Evidence| one.time.duration_since(said[first].time).as_secs() <= MAX_PAUSE_S;
    let asks = |one: &Evidence| one.text.trim_end().ends_with('?');
    let count = QUOTED + usize::from(said.get(first + QUOTED - 1).is_some_and(asks));
    said[first..].iter().take(count).take_while(follows).cloned().collect()
}

/// Whether a question is about something that may have been said, and not about the talk as a whole.
pub(crate) fn asks_for_particulars(question: &str) -> bool {
    words(question).iter().any(|word| has_content(&word.text) && !TALK.contains(word.text.as_str()))
}

/// Whether two words may be forms of one, more generously than where a claim is checked: "come" and "coming". A wrong quote is seen to
/// be one; a wrong claim is not.
fn may_be_form_of(a: &str, b: &str) -> bool {
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let (a_length, b_length) = (a.chars().count(), b.chars().count());
    a == b || (common >= 3 && common + 2 >= a_length.min(b_length) && 2 * common >= a_length.max(b_length))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ulid::Ulid;

    use super::*;

    fn talk(texts: &[&str]) -> Vec<Evidence> {
        let evidence = |(index, text): (usize, &&str)| Evidence {
            utterance: Ulid::from(index as u128 + 1),
            time: Timestamp::from_second(index as i64 * 40).unwrap(),
            room: "kitchen".into(),
            text: (*text).into(),
        };
        texts.iter().enumerate().map(evidence).collect()
    }

    fn texts(quotes: &[Evidence]) -> Vec<&str> {
        quotes.iter().map(|one| one.text.as_str()).collect()
    }

    #[test]
    fn the_utterance_that_holds_the_rare_words_is_quoted_with_the_next() {
        let said = talk(&[
            "When does the plumber come?",
            "Thursday at two, he says.",
            "When does the train come?",
            "At six.",
            "I come home at ten.",
        ]);
        assert_eq!(
            texts(&nearest("When is the plumber coming?", &said)),
            ["When does the plumber come?", "Thursday at two, he says."]
        );
        assert_eq!(texts(&nearest("when do the trains come", &said)), ["When does the train come?", "At six."]);
    }

    #[test]
    fn where_the_last_quote_is_a_question_its_answer_is_quoted_too() {
        let said = talk(&["The plumber comes on Thursday.", "At what time?", "At two.", "Fine."]);
        assert_eq!(
            texts(&nearest("When does the plumber come?", &said[..])),
            ["The plumber comes on Thursday.", "At what time?"],
            "what is said more than a minute later is not quoted"
        );
        let soon: Vec<Evidence> = said
            .into_iter()
            .enumerate()
            .map(|(index, one)| Evidence { time: Timestamp::from_second(index as i64 * 5).unwrap(), ..one })
            .collect();
        assert_eq!(
            texts(&nearest("When does the plumber come?", &soon)),
            ["The plumber comes on Thursday.", "At what time?", "At two."]
        );
    }

    #[test]
    fn a_question_about_the_talk_as_a_whole_asks_for_no_particulars() {
        for question in
            ["What did they talk about just now?", "What was the recent conversation about?", "What happened?", ""]
        {
            assert!(!asks_for_particulars(question), "{question}");
        }
        for question in ["When does the plumber come?", "What happened to the dog?", "Is there a fire?"] {
            assert!(asks_for_particulars(question), "{question}");
        }
    }

    #[test]
    fn the_newest_of_several_that_are_as_near_is_taken() {
        let said = talk(&["The key is on the hook.", "Fine.", "The key is in the drawer now."]);
        assert_eq!(texts(&nearest("Where is the key?", &said)), ["The key is in the drawer now."]);
    }

    #[test]
    fn what_was_not_talked_about_is_not_quoted() {
        let said = talk(&["The dog ate a shoe.", "Whose shoe?", "The plumber came at last."]);
        for question in
            ["Who painted the fence?", "What is for dinner?", "Did the electrician repair the oven?", "", "Why?"]
        {
            assert_eq!(texts(&nearest(question, &said)), Vec::<&str>::new(), "{question}");
        }
        assert_eq!(nearest("Where is the dog?", &[]), []);
    }

    #[test]
    fn what_was_said_much_later_is_not_quoted_beside_it() {
        let mut said = talk(&["The plumber comes on Thursday.", "Nothing else is new."]);
        said[1].time = Timestamp::from_second(3_600).unwrap();
        assert_eq!(texts(&nearest("When does the plumber come?", &said)), ["The plumber comes on Thursday."]);
    }
}
