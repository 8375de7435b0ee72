//! When words of an unfinished hypothesis may be relied on: the surer a word, and the oftener it was seen (LocalAgreement-2), the
//! less has to be heard behind it.
//!
//! Owns the words that were committed of what is being said, and where they end in what is heard again. Refuses to know Whisper and
//! the time of day. Invariant: what is committed is append-only: words are added at its end, and none is ever changed or taken back.

use super::Word;

/// Whisper is sure of a word this likely.
const SURE: f32 = 0.6;

/// One look is never enough for a word less likely than this.
const DOUBTFUL: f32 = 0.2;

/// So many seconds are to be heard behind a sure word that one look saw; behind an unsure one that two looks saw alike; and behind
/// one that one look saw. Right context is what the last words lack: "thee that" begins as "the", "practitioner is" as
/// "practitioners". Measured with tiny.en over 142 recordings (errors; p50 and p95 from a word's end to its being committed): 13.5 %,
/// 1.43 s, 2.65 s. Every word believed that two looks agree on, and no other unsure one: 14.0 %, 1.36 s, 2.85 s. No agreement asked
/// for: 13.6 %, 1.49 s, 2.77 s. Unsure words 2.5 s back: 13.1 %, 1.70 s, 3.57 s. A few tenths more or less change little.
const SURE_S: f64 = 0.4;
const AGREED_S: f64 = 1.2;
const UNSURE_S: f64 = 1.6;

/// Marks with which Whisper begins to describe a sound, which is nothing anybody said.
const MARKS: [char; 5] = ['[', '(', '*', '♪', '♫'];

const NUMBERS: [&str; 11] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// What is known of a segment while it is being said.
///
/// Whisper is free at every look. It was held to the committed words once, and wrote worse what followed a word that it had misheard:
/// 15.9 % errors where it makes 14.7 so, and 14.4 over the whole recording (tiny.en, 70 recordings of LibriSpeech other).
#[derive(Clone, Debug, Default)]
pub struct LocalAgreement {
    committed: Vec<Word>,
    /// What the last look heard behind them, folded.
    previous: Vec<String>,
}

impl LocalAgreement {
    /// Goes on from words that were committed already: the segment before this one was cut before them.
    pub fn continuing(committed: Vec<Word>) -> Self {
        Self { committed, previous: Vec::new() }
    }

    pub fn committed(&self) -> &[Word] {
        &self.committed
    }

    /// What was heard behind the committed words.
    pub fn uncommitted<'a>(&self, heard: &'a [Word]) -> &'a [Word] {
        let Some(last) = self.committed.last() else { return heard };
        let by_times = heard.iter().position(|word| word.middle_s() >= last.end_s).unwrap_or(heard.len());
        let (_, places) = distances(&self.committed, heard);
        &heard[nearest(&places, by_times).unwrap_or(by_times)..]
    }

    /// Takes what was heard of the first `heard_s` seconds; nothing was said in the last `silence_s` of them. Returns what is not
    /// committed of it.
    pub fn update<'a>(&mut self, heard: &'a [Word], heard_s: f64, silence_s: f64) -> &'a [Word] {
        let fresh = self.uncommitted(heard);
        let folded: Vec<String> = fresh.iter().map(|word| fold(&word.text)).collect();
        // Times that run back, as they do where Whisper says something twice, are wrong: no word ends before the one before it.
        let mut end_s = self.committed.last().map_or(0.0, |word| word.end_s);
        let relied = fresh.iter().enumerate().take_while(|(at, word)| {
            end_s = word.end_s.max(end_s);
            let agreed = self.previous.get(*at) == Some(&folded[*at]);
            let behind_s = heard_s - end_s;
            // The last word may be the first half of another, which the next look would not see again; in a pause it is whole.
            let followed = at + 1 < fresh.len();
            let relied = match (word.probability >= SURE, agreed) {
                (true, true) => true,
                (true, false) => silence_s > 0.0 || (followed && behind_s >= SURE_S),
                (false, true) => behind_s >= AGREED_S,
                (false, false) => followed && behind_s >= UNSURE_S && word.probability >= DOUBTFUL,
            };
            relied && !word.text.contains(MARKS)
        });
        let count = relied.count();
        self.commit(fresh, folded, count)
    }

    /// Takes a hypothesis as whisper_streaming does: what it and the one before begin with alike is committed, and nothing else.
    pub fn update_unweighted<'a>(&mut self, heard: &'a [Word]) -> &'a [Word] {
        let fresh = self.uncommitted(heard);
        let folded: Vec<String> = fresh.iter().map(|word| fold(&word.text)).collect();
        let count = folded.iter().zip(&self.previous).take_while(|(now, before)| now == before).count();
        self.commit(fresh, folded, count)
    }

    fn commit<'a>(&mut self, fresh: &'a [Word], mut folded: Vec<String>, count: usize) -> &'a [Word] {
        self.committed.extend_from_slice(&fresh[..count]);
        folded.drain(..count);
        self.previous = folded;
        &fresh[count..]
    }

    /// The segment was cut after `seconds`, and this was heard before the cut alone: takes out the committed words that lie behind
    /// it. Whisper's times are too loose to tell on which side of a cut a word was said; where what was heard of one side ends, does.
    pub fn split_off(&mut self, heard: &[Word], seconds: f64) -> Vec<Word> {
        let all = self.committed.len();
        let by_times = self.committed.iter().position(|word| word.middle_s() >= seconds).unwrap_or(all);
        let (places, further) = distances(&self.committed, heard);
        let before = match nearest(&places, by_times) {
            // It goes on behind the committed words.
            Some(place) if further.iter().min() < places.get(place) => all,
            Some(place) => place,
            None => by_times,
        };
        let mut words = self.committed.split_off(before);
        for word in &mut words {
            (word.start_s, word.end_s) = ((word.start_s - seconds).max(0.0), (word.end_s - seconds).max(0.0));
        }
        words
    }
}

/// The place of the least distance, of several the one nearest to what times say. None where less than half of the words are alike.
fn nearest(distances: &[u32], by_times: usize) -> Option<usize> {
    let (place, least) = distances.iter().enumerate().min_by_key(|(place, far)| (**far, place.abs_diff(by_times)))?;
    (least * 2 < distances[0]).then_some(place)
}

/// Levenshtein distances in hundredths of a word: from the first of the known words, for each number of them, to all that was
/// heard; and from all of them to the first that were heard.
fn distances(known: &[Word], heard: &[Word]) -> (Vec<u32>, Vec<u32>) {
    let heard: Vec<String> = heard.iter().map(|word| fold(&word.text)).collect();
    let mut row: Vec<u32> = (0..=heard.len() as u32).map(|words| 100 * words).collect();
    let mut of_known = vec![row[heard.len()]];
    for word in known {
        let word = fold(&word.text);
        let mut corner = row[0];
        row[0] += 100;
        for (at, other) in heard.iter().enumerate() {
            let replaced = corner + unlike(&word, other);
            corner = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 100).min(corner + 100);
        }
        of_known.push(row[heard.len()]);
    }
    (of_known, row)
}

/// How unlike two words are, in hundredths; with half of the letters different they may be any two.
fn unlike(one: &str, other: &str) -> u32 {
    let alike = strsim::normalized_levenshtein(one, other);
    if alike > 0.5 { (100.0 * (1.0 - alike)) as u32 } else { 100 }
}

/// A word as it is compared. Whisper writes small numbers now in letters, now in digits.
fn fold(word: &str) -> String {
    let plain: String = word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    match plain.parse::<usize>().ok().and_then(|number| NUMBERS.get(number)) {
        Some(letters) => (*letters).into(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Words of a tenth of a second each, just sure.
    fn words(text: &str) -> Vec<Word> {
        let word = |(n, text): (usize, &str)| Word {
            text: text.into(),
            start_s: n as f64 * 0.1,
            end_s: (n + 1) as f64 * 0.1,
            probability: SURE,
            logprob: -0.7,
            starts_segment: true,
        };
        text.split_whitespace().enumerate().map(word).collect()
    }

    fn joined(words: &[Word]) -> String {
        words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn committed(agreement: &LocalAgreement) -> String {
        joined(agreement.committed())
    }

    /// Looks at texts in turn, with nothing heard behind them.
    fn seen(looks: &[&str]) -> LocalAgreement {
        let mut agreement = LocalAgreement::default();
        looks.iter().for_each(|look| {
            agreement.update(&words(look), 0.0, 0.0);
        });
        agreement
    }

    #[test]
    fn what_two_looks_agree_on_is_committed() {
        let mut agreement = LocalAgreement::default();
        assert_eq!(joined(agreement.update(&words("good mourning"), 0.0, 0.0)), "good mourning");
        assert_eq!(joined(agreement.update(&words("Good morning Emma"), 0.0, 0.0)), "morning Emma");
        assert_eq!(joined(agreement.update(&words("Good morning, Emma how"), 0.0, 0.0)), "how");
        assert_eq!(committed(&agreement), "Good morning, Emma", "the case and marks of the look that committed it");
        assert_eq!(joined(agreement.update(&words("Good morning, Emma how"), 0.0, 0.0)), "", "the last word, too");
    }

    #[test]
    fn what_is_committed_stays_however_it_is_heard_later() {
        let mut agreement = seen(&["I don't think Mr. Hell", "I don't think Mr. Hell you"]);
        assert_eq!(joined(agreement.update(&words("I don't think, Mr. Hale, you have done"), 0.0, 0.0)), "have done");
        assert_eq!(committed(&agreement), "I don't think Mr. Hell you");
        assert_eq!(
            joined(agreement.uncommitted(&words("don't think Mr. Hell"))),
            "",
            "less is heard than was committed"
        );
        let agreement = seen(&["please press 1"; 2]);
        assert_eq!(
            joined(agreement.uncommitted(&words("Please press one to mute"))),
            "to mute",
            "written otherwise, it is the same"
        );
        let agreement = seen(&["I don't think Mr. Hell you"; 2]);
        assert_eq!(joined(agreement.uncommitted(&words("No. Never. Not at all. For ever."))), "ever.", "times tell");
    }

    #[test]
    fn seen_plainly_only_what_two_looks_begin_with_counts() {
        let mut agreement = LocalAgreement::default();
        assert_eq!(agreement.update_unweighted(&words("good mourning Emma")).len(), 3);
        assert_eq!(agreement.update_unweighted(&words("Good morning Emma")).len(), 2);
        assert_eq!(agreement.update_unweighted(&words("Good morning, Emma")).len(), 0, "the last word, too");
    }

    #[test]
    fn sure_words_near_the_end_of_what_was_heard_wait_except_in_a_pause() {
        let said = words("one two three four five six seven");
        let relied =
            |heard_s, silence_s| said.len() - LocalAgreement::default().update(&said, heard_s, silence_s).len();
        assert_eq!(relied(0.75, 0.0), 3);
        assert_eq!(relied(9.0, 0.0), 6, "the last may go on");
        assert_eq!(relied(0.75, 0.3), 7);
    }

    #[test]
    fn an_unsure_word_waits_for_more_and_holds_up_what_follows() {
        let mut said = words("one two three four");
        said[1].probability = 0.5;
        let committed_at = |said: &[Word], heard_s, silence_s| {
            let mut agreement = LocalAgreement::default();
            let mut look = || said.len() - agreement.update(said, heard_s, silence_s).len();
            [look(), look()]
        };
        assert_eq!(committed_at(&said, 1.3, 0.3), [1, 1], "a pause does not make it surer");
        assert_eq!(committed_at(&said, 1.45, 0.0), [1, 4], "two looks agree");
        assert_eq!(committed_at(&said, 1.85, 0.0), [3, 4], "it is far behind");
        said[1].probability = 0.1;
        assert_eq!(committed_at(&said, 1.85, 0.0), [1, 4], "it is doubtful");
    }

    #[test]
    fn times_that_run_back_are_not_believed() {
        let mut said = words("please press one to un one to mute");
        said[4].probability = 0.5;
        said[4..].iter_mut().for_each(|word| (word.start_s, word.end_s) = (0.0, 0.1));
        assert_eq!(
            joined(LocalAgreement::default().update(&said, 1.9, 0.0)),
            "un one to mute",
            "no more than 1.5 s behind"
        );
        assert_eq!(joined(LocalAgreement::default().update(&said, 2.1, 0.0)), "mute");
    }

    #[test]
    fn a_sure_word_needs_no_second_look_and_a_sound_is_no_word() {
        let mut agreement = LocalAgreement::default();
        let said = words("yes it is [Music] perhaps so");
        assert_eq!(joined(agreement.update(&said, 3.0, 0.0)), "[Music] perhaps so");
        agreement.update(&said, 3.0, 0.0);
        assert_eq!(committed(&agreement), "yes it is");
    }

    /// What lies before and behind a cut after 0.2 s, before which this is heard.
    fn cut(heard: &str) -> (String, String) {
        let mut agreement = seen(&["one two three four five"; 2]);
        let rest = agreement.split_off(&words(heard), 0.2);
        assert!(
            rest.first().is_none_or(|word| word.start_s < 0.21)
                && LocalAgreement::continuing(rest.clone()).committed() == rest
        );
        (committed(&agreement), joined(&rest))
    }

    #[test]
    fn what_is_heard_before_a_cut_tells_more_than_times() {
        let both = |before: &str, behind: &str| (before.to_owned(), behind.to_owned());
        assert_eq!(cut("One, two."), both("one two", "three four five"));
        assert_eq!(cut("one too three fou"), both("one two three four", "five"));
        assert_eq!(cut("one"), both("one", "two three four five"));
        assert_eq!(cut("one two free four five six seven"), both("one two three four five", ""));
        assert_eq!((cut(""), cut("thank you")), (cut("One, two."), cut("One, two.")), "otherwise times tell");
    }

    proptest! {
        #[test]
        fn committed_is_append_only(looks in prop::collection::vec((prop::collection::vec("[ab]{1,2}", 0..8), 0.0f64..2.0, prop::bool::ANY), 1..12)) {
            let mut agreement = LocalAgreement::default();
            for (look, heard_s, paused) in looks {
                let before = committed(&agreement);
                let heard = words(&look.join(" "));
                let open = agreement.update(&heard, heard_s, if paused { 0.2 } else { 0.0 });
                prop_assert!(heard.ends_with(open));
                prop_assert!(committed(&agreement).starts_with(&before));
            }
        }

        #[test]
        fn a_cut_loses_nothing(said in prop::collection::vec("[ab]{1,3}", 0..9), heard in prop::collection::vec("[ab]{1,3}", 0..9), cut_s in 0.0f64..1.0) {
            let text = said.join(" ");
            let mut agreement = seen(&[&text, &text]);
            let all = committed(&agreement);
            let behind = agreement.split_off(&words(&heard.join(" ")), cut_s);
            let parts = [agreement.committed(), &behind].concat();
            prop_assert_eq!(joined(&parts), all);
        }
    }
}
