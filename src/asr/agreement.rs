//! When words of an unfinished hypothesis may be relied on (LocalAgreement-2, and what a sure word needs no second look for).
//!
//! Owns the words that were committed of what is being said. Refuses to know Whisper and the time of day. Invariant: what is
//! committed is append-only: words are added at its end, and none is ever changed or taken back.

use super::Word;

/// One look is enough for a word this likely that ends this long before the end of what was heard.
const SURE: f32 = 0.6;
const SURE_S: f64 = 0.4;
/// Marks with which Whisper begins to describe a sound, which is nothing anybody said.
const MARKS: [char; 5] = ['[', '(', '*', '♪', '♫'];

/// What is known of a segment while it is being said.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    committed: Vec<Word>,
    /// The last hypothesis, folded, from its first word on.
    previous: Vec<String>,
}

impl Agreement {
    /// Goes on from words that were committed already: the segment before this one was cut before them.
    pub fn after(committed: Vec<Word>) -> Self {
        Self { committed, previous: Vec::new() }
    }

    pub fn committed(&self) -> &[Word] {
        &self.committed
    }

    /// Takes a hypothesis, which begins with the committed words, of the first `heard_s` seconds; nothing was said in the last
    /// `silence_s` of them. Returns how many words it committed.
    pub fn see(&mut self, hypothesis: &[Word], heard_s: f64, silence_s: f64) -> usize {
        let folded: Vec<String> = hypothesis.iter().map(|word| fold(&word.text)).collect();
        let before = self.committed.len();
        for (at, word) in hypothesis.iter().enumerate().skip(before) {
            // In a pause the last word is whole; otherwise it may be the first half of another, which the next look would not
            // see again.
            let whole = silence_s > 0.0 || (at + 1 < hypothesis.len() && heard_s - word.end_s >= SURE_S);
            let agreed = self.previous.get(at) == Some(&folded[at]);
            if word.text.contains(MARKS) || !(agreed || (whole && word.probability >= SURE)) {
                break;
            }
            self.committed.push(word.clone());
        }
        self.previous = folded;
        self.committed.len() - before
    }

    /// Takes a hypothesis as whisper_streaming does: what it and the one before have in common is committed, and nothing else.
    pub fn see_plainly(&mut self, hypothesis: &[Word]) -> usize {
        let folded: Vec<String> = hypothesis.iter().map(|word| fold(&word.text)).collect();
        let before = self.committed.len();
        let new = hypothesis.iter().enumerate().skip(before);
        let agreed =
            new.take_while(|(at, _)| self.previous.get(*at) == Some(&folded[*at])).map(|(_, word)| word.clone());
        self.committed.extend(agreed);
        self.previous = folded;
        self.committed.len() - before
    }

    /// The segment was cut after `seconds`: takes out the committed words that lie behind the cut.
    pub fn split_off(&mut self, seconds: f64) -> Vec<Word> {
        let behind = self.committed.iter().position(|word| (word.start_s + word.end_s) / 2.0 >= seconds);
        let mut words = self.committed.split_off(behind.unwrap_or(self.committed.len()));
        for word in &mut words {
            // Times are from the start of the segment that they were written in.
            word.tokens.drain(..std::mem::take(&mut word.times));
            (word.start_s, word.end_s) = ((word.start_s - seconds).max(0.0), (word.end_s - seconds).max(0.0));
        }
        words
    }
}

fn fold(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Words of a tenth of a second each, of little probability.
    fn words(text: &str) -> Vec<Word> {
        let word = |(n, text): (usize, &str)| Word {
            text: text.into(),
            start_s: n as f64 * 0.1,
            end_s: (n + 1) as f64 * 0.1,
            probability: 0.5,
            logprob: -0.7,
            tokens: vec![-1, n as i32],
            begins: true,
            times: 1,
        };
        text.split_whitespace().enumerate().map(word).collect()
    }

    fn committed(agreement: &Agreement) -> String {
        agreement.committed().iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_two_looks_agree_on_is_committed() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.see(&words("good mourning"), 1.0, 0.0), 0);
        assert_eq!(agreement.see(&words("Good morning Emma"), 1.0, 0.0), 1);
        assert_eq!(agreement.see(&words("Good morning, Emma how"), 1.0, 0.0), 2);
        assert_eq!(committed(&agreement), "Good morning, Emma", "the case and marks of the look that committed it");
        assert_eq!(agreement.see(&words("Good morning, Emma how"), 1.0, 0.0), 1, "the last word, too");
    }

    #[test]
    fn seen_plainly_only_what_two_looks_agree_on_counts() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.see_plainly(&words("good mourning Emma")), 0);
        assert_eq!(agreement.see_plainly(&words("Good morning Emma")), 1);
        assert_eq!(agreement.see_plainly(&words("Good morning, Emma")), 2, "the last word, too");
    }

    #[test]
    fn sure_words_near_the_end_of_what_was_heard_wait_except_in_a_pause() {
        let mut said = words("one two three four five six seven");
        said.iter_mut().for_each(|word| word.probability = 0.99);
        assert_eq!(Agreement::default().see(&said, 0.75, 0.0), 3);
        assert_eq!(Agreement::default().see(&said, 9.0, 0.0), 6, "the last may go on");
        assert_eq!(Agreement::default().see(&said, 0.75, 0.3), 7);
    }

    #[test]
    fn a_sure_word_needs_no_second_look_and_a_sound_is_no_word() {
        let mut agreement = Agreement::default();
        let mut said = words("yes it is [Music] perhaps so");
        said.iter_mut().for_each(|word| word.probability = 0.99);
        assert_eq!(agreement.see(&said, 3.0, 0.0), 3);
        said[2].probability = 0.0;
        assert_eq!(agreement.see(&said, 3.0, 0.0), 0);
        assert_eq!(committed(&agreement), "yes it is");
    }

    #[test]
    fn a_cut_takes_the_words_behind_it_along() {
        let mut agreement = Agreement::default();
        let said = words("a b c d e");
        agreement.see(&said, 9.0, 0.0);
        agreement.see(&said, 9.0, 0.0);
        let rest = agreement.split_off(0.2);
        assert_eq!(committed(&agreement), "a b");
        assert_eq!(rest.iter().map(|word| word.text.as_str()).collect::<String>(), "cde");
        assert_eq!(rest[1].tokens, [3], "its times are of another segment");
        assert!(rest[0].start_s.abs() < 1e-9 && Agreement::after(rest).committed().len() == 3);
    }

    proptest! {
        #[test]
        fn committed_is_append_only(looks in prop::collection::vec((prop::collection::vec("[ab]", 0..8), 0.0f64..2.0, prop::bool::ANY), 1..12)) {
            let mut agreement = Agreement::default();
            for (look, heard_s, paused) in looks {
                let before = committed(&agreement);
                // The recogniser is held to what was committed.
                let kept: Vec<String> = agreement.committed().iter().map(|word| word.text.clone()).collect();
                let added = look.iter().skip(kept.len()).cloned();
                let text: Vec<String> = kept.iter().cloned().chain(added).collect();
                agreement.see(&words(&text.join(" ")), heard_s, if paused { 0.2 } else { 0.0 });
                prop_assert!(committed(&agreement).starts_with(&before));
            }
        }
    }
}
