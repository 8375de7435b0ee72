//! Which words of a segment in progress can be reliable on.
//!
//! A variant of LocalAgreement-2 (as in whisper_streaming): a word is committed once enough audio after it has been decoded. The surer
//! Whisper is of the word, and if the previous decode had it too, the less audio is needed.
//!
//! Committed words are append-only: words are added at the end, and none is ever changed or removed.

use super::Word;
use crate::number_words::UNITS;

/// From this probability on Whisper is sure of a word.
const SURE: f32 = 0.6;

/// A word with a lower probability is only committed if two decodes agree on it.
const DOUBTFUL: f32 = 0.2;

/// Seconds of audio that are needed after a word. The last words of a decode lack the context to their right: "thee that" is first
/// written as "the". The alternatives that were measured are in `docs/performance.md`.
/// After a sure word that one decode has:
const SURE_S: f64 = 0.4;
/// After an unsure word on which two decodes agree:
const AGREED_S: f64 = 1.2;
/// After an unsure word that one decode has:
const UNSURE_S: f64 = 1.6;

/// Characters with which Whisper begins to describe a sound. Such text is never committed.
const SOUND_MARKS: [char; 5] = ['[', '(', '*', '♪', '♫'];

/// Numbers up to this one are written in digits or in words.
const SPELLED: usize = 10;

/// The committed words of one segment in progress.
///
/// Decodes are not bound to the committed words: after a misheard word Whisper would make more errors (`docs/performance.md`).
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalAgreement {
    committed: Vec<Word>,
    /// The words after them in the last decode, normalized.
    previous: Vec<String>,
}

impl LocalAgreement {
    /// Begins with words that are committed already: those of the previous segment that lie behind the place where it was cut.
    pub(crate) fn continuing(committed: Vec<Word>) -> Self {
        Self { committed, previous: Vec::new() }
    }

    pub(crate) fn committed(&self) -> &[Word] {
        &self.committed
    }

    /// The words of a decode that come after the committed ones.
    pub(crate) fn uncommitted<'a>(&self, decoded: &'a [Word]) -> &'a [Word] {
        let Some(last) = self.committed.last() else { return decoded };
        let by_times = decoded.iter().position(|word| word.middle_s() >= last.end_s).unwrap_or(decoded.len());
        let (_, places) = distances(&self.committed, decoded);
        &decoded[nearest(&places, by_times).unwrap_or(by_times)..]
    }

    /// Takes a decode of the first `decoded_s` seconds of the segment, of which the last `silence_s` are silence. Commits the words
    /// that can be reliable on, and returns the rest.
    pub(crate) fn update<'a>(&mut self, decoded: &'a [Word], decoded_s: f64, silence_s: f64) -> &'a [Word] {
        let fresh = self.uncommitted(decoded);
        let normalized: Vec<String> = fresh.iter().map(|word| normalize(&word.text)).collect();
        // Times that run backwards, as they do where Whisper writes something twice, are wrong: no word ends before the one before it.
        let mut end_s = self.committed.last().map_or(0.0, |word| word.end_s);
        let reliable = fresh.iter().enumerate().take_while(|(at, word)| {
            end_s = word.end_s.max(end_s);
            let agreed = self.previous.get(*at) == Some(&normalized[*at]);
            let behind_s = decoded_s - end_s;
            // The last word may be the first half of a longer one. In a pause it is complete.
            let followed = at + 1 < fresh.len();
            let reliable = match (word.probability >= SURE, agreed) {
                (true, true) => true,
                (true, false) => silence_s > 0.0 || (followed && behind_s >= SURE_S),
                (false, true) => behind_s >= AGREED_S,
                (false, false) => followed && behind_s >= UNSURE_S && word.probability >= DOUBTFUL,
            };
            reliable && !word.text.contains(SOUND_MARKS)
        });
        let count = reliable.count();
        self.commit(fresh, normalized, count)
    }

    /// Takes a decode as whisper_streaming does: commits the words with which it and the previous decode begin alike, and no others.
    /// For [`InterimMode::EverySecond`](super::decode_scheduler::InterimMode::EverySecond).
    pub(crate) fn update_unweighted<'a>(&mut self, decoded: &'a [Word]) -> &'a [Word] {
        let fresh = self.uncommitted(decoded);
        let normalized: Vec<String> = fresh.iter().map(|word| normalize(&word.text)).collect();
        let count = normalized.iter().zip(&self.previous).take_while(|(now, before)| now == before).count();
        self.commit(fresh, normalized, count)
    }

    fn commit<'a>(&mut self, fresh: &'a [Word], mut normalized: Vec<String>, count: usize) -> &'a [Word] {
        self.committed.extend_from_slice(&fresh[..count]);
        normalized.drain(..count);
        self.previous = normalized;
        &fresh[count..]
    }

    /// The segment was cut after `seconds`, and `decoded` is the decode of the part before the cut. Removes and returns the committed
    /// words that lie behind the cut. Whisper's times are too imprecise to tell on which side of the cut a word was said, so the
    /// committed words are aligned with the decode.
    pub(crate) fn split_off(&mut self, decoded: &[Word], seconds: f64) -> Vec<Word> {
        let all = self.committed.len();
        let by_times = self.committed.iter().position(|word| word.middle_s() >= seconds).unwrap_or(all);
        let (places, longer) = distances(&self.committed, decoded);
        let before = match nearest(&places, by_times) {
            // The decode has words after the committed ones.
            Some(place) if longer.iter().min() < places.get(place) => all,
            Some(place) => place,
            None => by_times,
        };
        let mut words = self.committed.split_off(before);
        for word in &mut words {
            word.start_s = (word.start_s - seconds).max(0.0);
            word.end_s = (word.end_s - seconds).max(0.0);
        }
        words
    }
}

/// The position with the smallest distance. Of several, the one nearest to `by_times`, the position by Whisper's times. None where
/// fewer than half of the words are alike.
fn nearest(distances: &[u32], by_times: usize) -> Option<usize> {
    let (place, least) = distances.iter().enumerate().min_by_key(|(place, far)| (**far, place.abs_diff(by_times)))?;
    (least * 2 < distances[0]).then_some(place)
}

/// Levenshtein distances in hundredths of a word. First, for every `n`, from the first `n` known words to all decoded words. Second,
/// for every `n`, from all known words to the first `n` decoded words.
fn distances(known: &[Word], decoded: &[Word]) -> (Vec<u32>, Vec<u32>) {
    let decoded: Vec<String> = decoded.iter().map(|word| normalize(&word.text)).collect();
    let mut row: Vec<u32> = (0..=decoded.len() as u32).map(|words| 100 * words).collect();
    let mut of_known = vec![row[decoded.len()]];
    for word in known {
        let word = normalize(&word.text);
        let mut corner = row[0];
        row[0] += 100;
        for (at, other) in decoded.iter().enumerate() {
            let replaced = corner + difference(&word, other);
            corner = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 100).min(corner + 100);
        }
        of_known.push(row[decoded.len()]);
    }
    (of_known, row)
}

/// How different two words are, in hundredths. With half of the letters different they count as entirely different.
fn difference(one: &str, other: &str) -> u32 {
    let alike = strsim::normalized_levenshtein(one, other);
    if alike > 0.5 { (100.0 * (1.0 - alike)) as u32 } else { 100 }
}

/// A word in the form in which words are compared. Whisper writes small numbers sometimes in letters, sometimes in digits.
fn normalize(word: &str) -> String {
    let plain: String = word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    match plain.parse::<usize>().ok().and_then(|number| UNITS[..=SPELLED].get(number)) {
        Some(letters) => (*letters).into(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Words of a tenth of a second each, with the probability `SURE`.
    fn words(text: &str) -> Vec<Word> {
        let word = |(n, text): (usize, &str)| Word {
            text: text.into(),
            start_s: n as f64 * 0.1,
            end_s: (n + 1) as f64 * 0.1,
            probability: SURE,
            logprob: -0.7,
            starts_segment: true,
            bonus: 0.0,
        };
        text.split_whitespace().enumerate().map(word).collect()
    }

    fn joined(words: &[Word]) -> String {
        words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn committed(agreement: &LocalAgreement) -> String {
        joined(agreement.committed())
    }

    /// The state after these decodes in turn, with no audio after their words.
    fn after_decodes(decodes: &[&str]) -> LocalAgreement {
        let mut agreement = LocalAgreement::default();
        decodes.iter().for_each(|decode| {
            agreement.update(&words(decode), 0.0, 0.0);
        });
        agreement
    }

    #[test]
    fn words_on_which_two_decodes_agree_are_committed() {
        let mut agreement = LocalAgreement::default();
        assert_eq!(joined(agreement.update(&words("good mourning"), 0.0, 0.0)), "good mourning");
        assert_eq!(joined(agreement.update(&words("Good morning Emma"), 0.0, 0.0)), "morning Emma");
        assert_eq!(joined(agreement.update(&words("Good morning, Emma how"), 0.0, 0.0)), "how");
        assert_eq!(
            committed(&agreement),
            "Good morning, Emma",
            "with the case and punctuation of the decode that committed it"
        );
        assert_eq!(joined(agreement.update(&words("Good morning, Emma how"), 0.0, 0.0)), "", "the last word, too");
    }

    #[test]
    fn committed_words_stay_whatever_later_decodes_say() {
        let mut agreement = after_decodes(&["I don't think Mr. Hell", "I don't think Mr. Hell you"]);
        assert_eq!(joined(agreement.update(&words("I don't think, Mr. Hale, you have done"), 0.0, 0.0)), "have done");
        assert_eq!(committed(&agreement), "I don't think Mr. Hell you");
        assert_eq!(
            joined(agreement.uncommitted(&words("don't think Mr. Hell"))),
            "",
            "less is heard than was committed"
        );
        let agreement = after_decodes(&["please press 1"; 2]);
        assert_eq!(
            joined(agreement.uncommitted(&words("Please press one to mute"))),
            "to mute",
            "written otherwise, it is the same"
        );
        let agreement = after_decodes(&["I don't think Mr. Hell you"; 2]);
        assert_eq!(joined(agreement.uncommitted(&words("No. Never. Not at all. For ever."))), "ever.", "times tell");
    }

    #[test]
    fn unweighted_only_the_common_beginning_of_two_decodes_is_committed() {
        let mut agreement = LocalAgreement::default();
        assert_eq!(agreement.update_unweighted(&words("good mourning Emma")).len(), 3);
        assert_eq!(agreement.update_unweighted(&words("Good morning Emma")).len(), 2);
        assert_eq!(agreement.update_unweighted(&words("Good morning, Emma")).len(), 0, "the last word, too");
    }

    #[test]
    fn sure_words_near_the_end_wait_except_in_a_pause() {
        let said = words("one two three four five six seven");
        let relied =
            |heard_s, silence_s| said.len() - LocalAgreement::default().update(&said, heard_s, silence_s).len();
        assert_eq!(relied(0.75, 0.0), 3);
        assert_eq!(relied(9.0, 0.0), 6, "the last may go on");
        assert_eq!(relied(0.75, 0.3), 7);
    }

    #[test]
    fn an_unsure_word_waits_longer_and_holds_up_the_words_after_it() {
        let mut said = words("one two three four");
        said[1].probability = 0.5;
        let committed_at = |said: &[Word], heard_s, silence_s| {
            let mut agreement = LocalAgreement::default();
            let mut decode = || said.len() - agreement.update(said, heard_s, silence_s).len();
            [decode(), decode()]
        };
        assert_eq!(committed_at(&said, 1.3, 0.3), [1, 1], "a pause does not make it surer");
        assert_eq!(committed_at(&said, 1.45, 0.0), [1, 4], "two decodes agree");
        assert_eq!(committed_at(&said, 1.85, 0.0), [3, 4], "it is far behind");
        said[1].probability = 0.1;
        assert_eq!(committed_at(&said, 1.85, 0.0), [1, 4], "it is doubtful");
    }

    #[test]
    fn times_that_run_backwards_are_corrected() {
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
    fn a_sure_word_needs_no_second_decode_and_a_sound_description_is_not_committed() {
        let mut agreement = LocalAgreement::default();
        let said = words("yes it is [Music] perhaps so");
        assert_eq!(joined(agreement.update(&said, 3.0, 0.0)), "[Music] perhaps so");
        agreement.update(&said, 3.0, 0.0);
        assert_eq!(committed(&agreement), "yes it is");
    }

    /// The words before and behind a cut after 0.2 s, where `heard` is the decode before the cut.
    fn cut(heard: &str) -> (String, String) {
        let mut agreement = after_decodes(&["one two three four five"; 2]);
        let rest = agreement.split_off(&words(heard), 0.2);
        assert!(
            rest.first().is_none_or(|word| word.start_s < 0.21)
                && LocalAgreement::continuing(rest.clone()).committed() == rest
        );
        (committed(&agreement), joined(&rest))
    }

    #[test]
    fn words_at_a_cut_are_divided_by_alignment_and_else_by_times() {
        let both = |before: &str, behind: &str| (before.to_owned(), behind.to_owned());
        assert_eq!(cut("One, two."), both("one two", "three four five"));
        assert_eq!(cut("one too three fou"), both("one two three four", "five"));
        assert_eq!(cut("one"), both("one", "two three four five"));
        assert_eq!(cut("one two free four five six seven"), both("one two three four five", ""));
        assert_eq!((cut(""), cut("thank you")), (cut("One, two."), cut("One, two.")), "otherwise times tell");
    }

    proptest! {
        #[test]
        fn committed_is_append_only(decodes in prop::collection::vec((prop::collection::vec("[ab]{1,2}", 0..8), 0.0f64..2.0, prop::bool::ANY), 1..12)) {
            let mut agreement = LocalAgreement::default();
            for (decode, heard_s, paused) in decodes {
                let before = committed(&agreement);
                let heard = words(&decode.join(" "));
                let open = agreement.update(&heard, heard_s, if paused { 0.2 } else { 0.0 });
                prop_assert!(heard.ends_with(open));
                prop_assert!(committed(&agreement).starts_with(&before));
            }
        }

        #[test]
        fn a_cut_loses_nothing(said in prop::collection::vec("[ab]{1,3}", 0..9), heard in prop::collection::vec("[ab]{1,3}", 0..9), cut_s in 0.0f64..1.0) {
            let text = said.join(" ");
            let mut agreement = after_decodes(&[&text, &text]);
            let all = committed(&agreement);
            let behind = agreement.split_off(&words(&heard.join(" ")), cut_s);
            let parts = [agreement.committed(), &behind].concat();
            prop_assert_eq!(joined(&parts), all);
        }
    }
}
