//! How much what is read surprises the model: mean nats a token, with a running median and spread, by state and by room.
//!
//! Of one utterance in some all tokens but the first are predicted, because predicting them costs more than reading. An utterance that
//! surprises far more than the others of its room stands out: it is probably no speech, but what the recognizer made up. When the median of a
//! state rises for good above what it was when the state was young, the state itself may be worse than it was.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::event::Utterance;

/// Measuring may add so much to the work of reading.
const MOST_WORK: f64 = 0.03;
/// Measured utterances that the median is of. A state counts as grown up after twice as many.
const RECENT: usize = 32;
/// So many of a room are needed to say that one stands out.
const ENOUGH: usize = 16;
/// Utterances of fewer tokens say too little.
const TOKENS: usize = 4;
/// The most nats that a token counts for; a state that is broken predicts nothing at all.
const MOST_NATS: f64 = 50.0;
/// An utterance stands out that is so many spreads above the median, and so many nats.
const OUTSTANDING: (f64, f64) = (5.0, 1.5);
/// A state is suspected when its median is so many standard errors above what it was, and so many nats.
const RISEN: (f64, f64) = (6.0, 0.3);
/// As many rooms are told apart.
const MAX_ROOMS: usize = 16;

/// What reading an utterance showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) nats: f64,
    /// Tokens that were predicted.
    pub(crate) tokens: usize,
}

impl Measured {
    /// Nats a token.
    pub(crate) fn mean(self) -> f64 {
        let mean = self.nats / self.tokens.max(1) as f64;
        if mean.is_finite() { mean.clamp(0.0, MOST_NATS) } else { MOST_NATS }
    }
}

/// The surprise of one utterance in so many is measured, where that adds `cost` times the work of reading it.
pub(crate) fn measured_every(cost: f64) -> u64 {
    (cost / MOST_WORK).ceil().max(1.0) as u64
}

/// Whether the utterance is measured that a state of so many tokens reads next.
pub(super) fn is_measured(tokens_read: u64, every: u64) -> bool {
    let mixed = (tokens_read ^ (tokens_read >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).is_multiple_of(every)
}

/// What is known of one state. It holds numbers and names of rooms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Surprise {
    recent: Recent,
    /// The median when the state was young.
    young: Option<f64>,
    rooms: BTreeMap<String, Recent>,
    /// Utterances that stood out since the state was made.
    outstanding: u64,
    /// That the median has risen was told.
    suspected: bool,
}

impl Surprise {
    /// That of a state whose median was found elsewhere.
    pub(crate) fn of_young(median: f64) -> Self {
        Self { young: Some(median), ..Self::default() }
    }

    /// Takes in an utterance of the live state, and tells what it shows.
    pub(crate) fn add(&mut self, measured: Measured, utterance: &Utterance) {
        if self.note(measured, &utterance.room) {
            let (id, room, nats) = (utterance.id, &utterance.room, measured.mean());
            info!(kind = "surprise", %id, room, nats, "an utterance stands out: it is perhaps no speech");
        }
        let risen = self.has_risen();
        if risen && !self.suspected {
            let (now, young) = (self.median().unwrap_or_default(), self.young.unwrap_or_default());
            warn!(
                kind = "surprise",
                now,
                young,
                "what is said surprises the state more than when it was young: {now:.2} nats a token, then {young:.2}"
            );
        }
        self.suspected = risen;
    }

    /// Takes in what an utterance showed that was said in `room`. True if it stands out.
    pub(super) fn note(&mut self, measured: Measured, room: &str) -> bool {
        if measured.tokens < TOKENS {
            return false;
        }
        // Stored often, so not to more digits than it means.
        let mean = (1e3 * measured.mean()).round() / 1e3;
        let mut stands_out = false;
        if self.rooms.contains_key(room) || self.rooms.len() < MAX_ROOMS {
            let room = self.rooms.entry(room.into()).or_default();
            stands_out = room.stands_out(mean);
            room.add(mean);
        }
        self.outstanding += u64::from(stands_out);
        self.recent.add(mean);
        if self.young.is_none() && self.recent.count >= 2 * RECENT as u64 {
            self.young = self.recent.median();
        }
        stands_out
    }

    /// The median of the last measured utterances; none before the first.
    pub(crate) fn median(&self) -> Option<f64> {
        self.recent.median()
    }

    /// The spread about it: 1.48 times the median deviation, which is the standard deviation where the values are normal.
    pub(crate) fn spread(&self) -> Option<f64> {
        self.recent.spread()
    }

    pub(crate) fn young(&self) -> Option<f64> {
        self.young
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// The median of each room.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = (&str, f64)> {
        self.rooms.iter().filter_map(|(room, recent)| Some((room.as_str(), recent.median()?)))
    }

    /// Whether the state predicts no better than one that takes every token of a vocabulary of this size for equally likely.
    pub(crate) fn is_chance(&self, vocabulary: usize) -> bool {
        let chance = (vocabulary as f64).ln() - 0.01;
        self.recent.values.len() >= ENOUGH && self.median().is_some_and(|median| median >= chance)
    }

    /// Whether the median has risen for good: all that it is of was said since the state was young.
    pub(crate) fn has_risen(&self) -> bool {
        let (Some(young), Some(median), Some(spread)) = (self.young, self.median(), self.spread()) else {
            return false;
        };
        // The standard error of a median is 1.25 times that of a mean.
        let error = 1.25 * spread / (RECENT as f64).sqrt();
        self.recent.values.len() == RECENT && median - young > (RISEN.0 * error).max(RISEN.1)
    }
}

/// The last values, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Recent {
    values: VecDeque<f64>,
    /// Since the state was made.
    count: u64,
}

impl Recent {
    fn add(&mut self, value: f64) {
        if self.values.len() == RECENT {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.count += 1;
    }

    fn median(&self) -> Option<f64> {
        median(self.values.iter().copied())
    }

    fn spread(&self) -> Option<f64> {
        let middle = self.median()?;
        Some(1.4826 * median(self.values.iter().map(|value| (value - middle).abs()))?)
    }

    fn stands_out(&self, value: f64) -> bool {
        let (Some(median), Some(spread)) = (self.median(), self.spread()) else { return false };
        self.values.len() >= ENOUGH && value - median > (OUTSTANDING.0 * spread).max(OUTSTANDING.1)
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ulid::Ulid;

    use super::*;

    fn said(room: &str) -> Utterance {
        let (start, end) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let (room, text) = (room.into(), String::new());
        Utterance { id: Ulid::nil(), start, end, room, text, confidence: 1.0, no_speech: 0.0, speaker: None }
    }

    /// Feeds `count` utterances of about `mean` nats a token, as regularly spread as talk is.
    fn feed(surprise: &mut Surprise, count: usize, mean: f64) {
        for i in 0..count {
            let nats = mean + 0.1 * ((i * 7 % 11) as f64 - 5.0);
            surprise.add(Measured { nats: 10.0 * nats, tokens: 10 }, &said("home"));
        }
    }

    #[test]
    fn a_sudden_rise_marks_the_utterance_and_not_the_state() {
        let mut surprise = Surprise::default();
        feed(&mut surprise, 200, 2.0);
        assert_eq!((surprise.outstanding(), surprise.has_risen()), (0, false));
        surprise.add(Measured { nats: 80.0, tokens: 10 }, &said("home"));
        surprise.add(Measured { nats: 80.0, tokens: 10 }, &said("a room that is new"));
        assert_eq!((surprise.outstanding(), surprise.has_risen()), (1, false));
        assert_eq!(surprise.rooms().count(), 2);
    }

    #[test]
    fn a_lasting_rise_marks_the_state_also_one_that_predicts_nothing() {
        for (later, risen) in [(2.1, false), (2.2, false), (2.8, true), (f64::NAN, true), (f64::INFINITY, true)] {
            let mut surprise = Surprise::default();
            feed(&mut surprise, 100, 2.0);
            assert!((surprise.young().unwrap() - 2.0).abs() < 0.1);
            feed(&mut surprise, RECENT, later);
            assert_eq!(surprise.has_risen(), risen, "{later}");
            feed(&mut surprise, RECENT, 2.0);
            assert!(!surprise.has_risen(), "it has passed");
        }
    }

    #[test]
    fn a_state_that_predicts_nothing_is_known_however_young_it_is() {
        for (nats, chance) in [(f64::NAN, true), (7.7, true), (6.9, false)] {
            let mut surprise = Surprise::default();
            feed(&mut surprise, ENOUGH - 1, nats);
            assert!(!surprise.is_chance(2_048), "too few say so");
            feed(&mut surprise, 1, nats);
            assert_eq!((surprise.is_chance(2_048), surprise.has_risen()), (chance, false), "{nats}");
        }
    }

    #[test]
    fn memory_is_bounded_and_survives_as_json() {
        let mut surprise = Surprise::default();
        for i in 0..10_000 {
            surprise.add(Measured { nats: 30.0, tokens: 10 }, &said(&format!("room {i}")));
        }
        let json = serde_json::to_string(&surprise).unwrap();
        assert!(json.len() < 4_000, "{json}");
        assert_eq!(serde_json::from_str::<Surprise>(&json).unwrap(), surprise);
        assert_eq!(serde_json::from_str::<Surprise>("{}").unwrap(), Surprise::default());
    }

    #[test]
    fn measuring_costs_three_percent_and_goes_by_the_position_alone() {
        for (cost, every) in [(0.36, 12), (0.5, 17), (0.0, 1)] {
            assert_eq!(measured_every(cost), every);
            let measured = (0..100_000).filter(|position| is_measured(*position, every)).count() as f64;
            assert!((measured * every as f64 / 1e5 - 1.0).abs() < 0.05, "{measured} of 100,000, every {every}");
        }
    }
}
