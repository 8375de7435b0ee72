//! A state that reads talk, with the daemon's policies of surprise and renewal.

use std::collections::VecDeque;
use std::path::Path;

use jiff::Timestamp;
use ulid::Ulid;

use crate::config::{ListenerConfig, RenewWhen};
use crate::event::Utterance;
use crate::listener::ListenerError;
use crate::listener::reader::Reader;
use crate::listener::renewal::{Comparison, FRESH_UTTERANCES, Renewals, Verdict};
use crate::listener::surprise::Surprise;

/// What came of an utterance.
pub(super) enum Happened {
    /// A fresh state was read.
    Began,
    /// It was compared.
    Compared { verdict: Verdict, difference: f64, error: f64 },
}

/// See the module.
pub(super) struct House {
    pub(super) reader: Reader,
    pub(super) surprise: Surprise,
    pub(super) renewals: Renewals,
    /// Tokens that were read, over renewals.
    pub(super) read: u64,
    renew: RenewWhen,
    /// The last utterances.
    last: VecDeque<Utterance>,
    fresh: Option<FreshHouse>,
}

/// A state that is read beside the live one.
struct FreshHouse {
    reader: Reader,
    comparison: Comparison,
    surprise: Surprise,
}

impl House {
    pub(super) fn open(model: &Path, settings: &ListenerConfig, renew: RenewWhen) -> Result<Self, ListenerError> {
        let reader = Reader::open(model, settings)?;
        let (surprise, renewals, last) = (Surprise::default(), Renewals::default(), VecDeque::new());
        Ok(Self { reader, surprise, renewals, read: 0, renew, last, fresh: None })
    }

    /// The same at this moment, to go another way.
    pub(super) fn copy(&self) -> Self {
        let mut reader = self.reader.new_stream();
        reader.restore(self.reader.state().fork());
        let (surprise, last) = (self.surprise.clone(), self.last.clone());
        Self { reader, surprise, renewals: self.renewals, read: self.read, renew: self.renew, last, fresh: None }
    }

    /// A state that has read nothing.
    pub(super) fn fresh(&self) -> Reader {
        self.reader.new_stream()
    }

    /// The age of the state in tokens.
    pub(super) fn age(&self) -> u64 {
        self.reader.state().tokens_read()
    }

    pub(super) fn say(&mut self, text: &str) -> Result<Option<Happened>, ListenerError> {
        let (id, start, end) = (Ulid::nil(), Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let (room, text) = ("home".to_string(), text.to_string());
        let said = Utterance { id, start, end, room, text, confidence: 1.0, no_speech: 0.0, speaker: None };
        let before = self.age();
        let live = self.reader.read_in(&said.text, None)?;
        self.read += self.age() - before;
        if let Some(live) = live {
            self.surprise.add(live, &said);
        }
        let mut happened = None;
        if let Some(mut fresh) = self.fresh.take() {
            if let Some((live, of_fresh)) = live.zip(fresh.reader.read_in(&said.text, None)?) {
                fresh.comparison.add(live, of_fresh);
                fresh.surprise.add(of_fresh, &said);
            }
            happened = self.judge(fresh);
        }
        if self.last.len() == FRESH_UTTERANCES {
            self.last.pop_front();
        }
        self.last.push_back(said);
        if self.fresh.is_none() && happened.is_none() {
            let suspected = self.surprise.has_risen() || self.surprise.is_chance(self.reader.vocabulary());
            let due = self.renewals.occasion(self.renew, self.age(), suspected, None);
            if due.is_some() {
                let mut reader = self.fresh();
                self.last.iter().try_for_each(|said| reader.read_in(&said.text, None).map(drop))?;
                reader.measure_all(true);
                self.reader.measure_all(true);
                let (comparison, surprise) = (Comparison::default(), Surprise::default());
                self.fresh = Some(FreshHouse { reader, comparison, surprise });
                happened = Some(Happened::Began);
            }
        }
        Ok(happened)
    }

    fn judge(&mut self, fresh: FreshHouse) -> Option<Happened> {
        let comparison = fresh.comparison;
        let verdict = comparison.verdict();
        match verdict {
            Verdict::Open => {
                self.fresh = Some(fresh);
                return None;
            }
            Verdict::Sound => self.renewals.compared = self.age(),
            Verdict::Worse => {
                self.reader.restore(fresh.reader.state().fork());
                self.surprise = fresh.surprise;
                self.renewals = Renewals { count: self.renewals.count + 1, last: None, compared: 0 };
            }
        }
        self.reader.measure_all(false);
        Some(Happened::Compared { verdict, difference: comparison.difference(), error: comparison.error() })
    }
}
