//! The last utterances that a state has read, word by word: what summaries and answers are checked against.
//!
//! They are kept in memory only, and a state that is restored gets them from the store.

use jiff::Timestamp;
use ulid::Ulid;

use super::prompt::one_line;
use crate::event::{Evidence, Utterance};

/// At most so many bytes are kept: about four hours of talk without a pause.
const MAX_BYTES: usize = 200 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct RecentTalk {
    /// Oldest first.
    utterances: Vec<Evidence>,
    bytes: usize,
}

impl RecentTalk {
    pub(super) fn add(&mut self, utterance: &Utterance) {
        let text = one_line(&utterance.text);
        self.bytes += text.len();
        self.utterances.push(Evidence {
            utterance: utterance.id,
            time: utterance.start,
            room: utterance.room.clone(),
            text,
        });
        if self.bytes > MAX_BYTES {
            // A quarter at once, so that not every utterance moves all others. The newest stays, however long it is.
            let mut count = 0;
            while self.bytes > MAX_BYTES / 4 * 3 && count + 1 < self.utterances.len() {
                self.bytes -= self.utterances[count].text.len();
                count += 1;
            }
            self.utterances.drain(..count);
        }
    }

    pub(super) fn all(&self) -> &[Evidence] {
        &self.utterances
    }

    /// What was said from `from` on. Times may go back where a clock was set, so it begins with the first that is late enough.
    pub(super) fn since(&self, from: Timestamp) -> &[Evidence] {
        let first = self.utterances.iter().position(|one| one.time >= from).unwrap_or(self.utterances.len());
        &self.utterances[first..]
    }

    /// The same, up to the utterance `last` if it is there.
    pub(super) fn between(&self, from: Timestamp, last: Option<Ulid>) -> &[Evidence] {
        let since = self.since(from);
        let end = since.iter().rposition(|one| Some(one.utterance) == last).map_or(since.len(), |at| at + 1);
        &since[..end]
    }

    /// The last `count` utterances.
    pub(super) fn last(&self, count: usize) -> &[Evidence] {
        &self.utterances[self.utterances.len().saturating_sub(count)..]
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Drops what is older than `oldest`.
    pub(super) fn keep_since(&mut self, oldest: Timestamp) {
        self.utterances.retain(|one| one.time >= oldest);
        self.bytes = self.utterances.iter().map(|one| one.text.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(second: i64, text: String) -> Utterance {
        let time = Timestamp::from_second(second).unwrap();
        Utterance {
            id: Ulid::nil(),
            start: time,
            end: time,
            room: "hall".into(),
            text,
            confidence: 1.0,
            no_speech: 0.0,
            speaker: None,
        }
    }

    #[test]
    fn it_stays_within_its_limit_and_keeps_the_newest() {
        let mut talk = RecentTalk::default();
        for second in 0..10_000 {
            talk.add(&said(second, "word ".repeat(20)));
            assert!(talk.bytes <= MAX_BYTES + 100);
        }
        assert_eq!(talk.bytes, talk.all().iter().map(|one| one.text.len()).sum::<usize>());
        assert_eq!(talk.last(1)[0].time.as_second(), 9_999);
        talk.add(&said(10_000, "x".repeat(2 * MAX_BYTES)));
        assert_eq!(talk.all().len(), 1, "one that is longer than the limit is kept alone");
    }

    #[test]
    fn what_is_old_goes() {
        let mut talk = RecentTalk::default();
        (0..10).for_each(|second| talk.add(&said(second, "a word".into())));
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(talk.since(at(7)).len(), 3);
        assert_eq!(talk.last(20).len(), 10);
        talk.keep_since(at(4));
        assert_eq!((talk.all().len(), talk.bytes), (6, 36));
        talk.clear();
        assert!(talk.all().is_empty() && talk.bytes == 0);
    }
}
