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
    fresh: Option<(Reader, Comparison)>,
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
        let said = Utterance { id, start, end, room, text, confidence: 1.0, no_speech: 0.0 };
        let before = self.age();
        let live = self.reader.read_in(&said.text, None)?;
        self.read += self.age() - before;
        if let Some(live) = live {
            self.surprise.add(live, &said);
        }
        let mut happened = None;
        if let Some((mut fresh, mut comparison)) = self.fresh.take() {
            if let Some((live, fresh)) = live.zip(fresh.read_in(&said.text, None)?) {
                comparison.add(live, fresh);
            }
            happened = self.judge(fresh, comparison);
        }
        if self.last.len() == FRESH_UTTERANCES {
            self.last.pop_front();
        }
        self.last.push_back(said);
        if self.fresh.is_none() && happened.is_none() {
            let due = self.renewals.occasion(self.renew, self.age(), self.surprise.has_risen(), None);
            if due.is_some() {
                let mut fresh = self.fresh();
                self.last.iter().try_for_each(|said| fresh.read_in(&said.text, None).map(drop))?;
                fresh.measure_all(true);
                self.reader.measure_all(true);
                self.fresh = Some((fresh, Comparison::default()));
                happened = Some(Happened::Began);
            }
        }
        Ok(happened)
    }

    fn judge(&mut self, fresh: Reader, comparison: Comparison) -> Option<Happened> {
        let verdict = comparison.verdict();
        match verdict {
            Verdict::Open => {
                self.fresh = Some((fresh, comparison));
                return None;
            }
            Verdict::Sound => self.renewals.compared = self.age(),
            Verdict::Worse => {
                self.reader.restore(fresh.state().fork());
                self.surprise = Surprise::of_young(comparison.fresh());
                self.renewals = Renewals { count: self.renewals.count + 1, last: None, compared: 0 };
            }
        }
        self.reader.measure_all(false);
        Some(Happened::Compared { verdict, difference: comparison.difference(), error: comparison.error() })
    }
}
