//! When a state is renewed, and whether a fresh one takes its place.
//!
//! This is policy alone; `services/listen/renewing.rs` carries it out. A fresh state is read beside the live one. Then both read what is said
//! next, and are compared by how much each utterance surprises them. Only if the live state is worse beyond noise it is replaced: what is hard
//! to predict for both is no fault of the state.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::surprise::Measured;
use crate::config::RenewWhen;

/// A fresh state reads so many of the last utterances: about as many tokens as models are trained on at once.
pub(crate) const FRESH_UTTERANCES: usize = 500;
/// Two states are compared over so many predicted tokens at least, and at most.
const COMPARED: f64 = 2_000.0;
const MOST_COMPARED: f64 = 8_000.0;
/// A state is worse when it is so many standard errors worse, and so many nats a token.
const ERRORS: f64 = 4.0;
const LEAST: f64 = 0.05;
/// After a comparison a state whose surprise has risen reads so many tokens before the next, and any state so many.
const SUSPECTED_AGAIN: u64 = 10_000;
const REGULARLY: u64 = 200_000;
/// A younger state is not renewed at night.
const YOUNG: u64 = 2_000;
/// The hours of the night, by the local clock; and how much later than the last one the next renewal is.
const NIGHT: std::ops::Range<i8> = 2..5;
const NIGHTLY: SignedDuration = SignedDuration::from_hours(12);

/// Why a fresh state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Occasion {
    /// Somebody asked for it.
    Asked,
    /// What is said surprises the state more than when it was young.
    Suspected,
    /// It has read so much since it was compared last.
    Regular,
    Night,
}

impl Occasion {
    /// Whether the fresh state must prove better first.
    pub(crate) fn compares(self) -> bool {
        matches!(self, Self::Suspected | Self::Regular)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Suspected => "suspected",
            Self::Regular => "regular",
            Self::Night => "night",
        }
    }
}

/// What is kept of the renewals of one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Renewals {
    pub(crate) count: u64,
    /// When the last one was.
    pub(crate) last: Option<Timestamp>,
    /// The age in tokens at which the state was compared last.
    pub(crate) compared: u64,
}

impl Renewals {
    /// Whether a fresh state is to be read beside one that has read so many tokens and may be `suspected`. `now` is none while the
    /// clock cannot be trusted; its hour is that of the local clock.
    pub(crate) fn occasion(
        &self,
        renew: RenewWhen,
        tokens: u64,
        suspected: bool,
        now: Option<(Timestamp, i8)>,
    ) -> Option<Occasion> {
        let since = tokens.saturating_sub(self.compared);
        match renew {
            RenewWhen::Never => None,
            RenewWhen::WhenWorse if suspected && since >= SUSPECTED_AGAIN => Some(Occasion::Suspected),
            RenewWhen::WhenWorse => (since >= REGULARLY).then_some(Occasion::Regular),
            RenewWhen::Nightly => {
                let (now, hour) = now?;
                // A clock that was set back, too, makes the last one long ago.
                let long_ago = self.last.is_none_or(|last| now.duration_since(last).abs() >= NIGHTLY);
                (NIGHT.contains(&hour) && long_ago && tokens >= YOUNG).then_some(Occasion::Night)
            }
        }
    }
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Open,
    /// The live state stays.
    Sound,
    /// The live state is worse.
    Worse,
}

/// Two states on the same utterances, as sums alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    utterances: f64,
    tokens: f64,
    live: f64,
    fresh: f64,
    /// Of the difference d and the tokens t of each utterance: Σd², Σdt, Σt².
    squares: [f64; 3],
}

impl Comparison {
    /// An utterance that surprised both.
    pub(crate) fn add(&mut self, live: Measured, fresh: Measured) {
        let tokens = live.tokens.min(fresh.tokens) as f64;
        let (live, fresh) = (live.mean() * tokens, fresh.mean() * tokens);
        let difference = live - fresh;
        self.utterances += 1.0;
        self.tokens += tokens;
        self.live += live;
        self.fresh += fresh;
        let more = [difference * difference, difference * tokens, tokens * tokens];
        self.squares.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }

    pub(crate) fn tokens(&self) -> f64 {
        self.tokens
    }

    /// Nats a token by which the live state is worse.
    pub(crate) fn difference(&self) -> f64 {
        (self.live - self.fresh) / self.tokens.max(1.0)
    }

    /// The standard error of that: of a ratio of sums over utterances.
    pub(crate) fn error(&self) -> f64 {
        let (n, ratio, [dd, dt, tt]) = (self.utterances, self.difference(), self.squares);
        let residue = (dd - 2.0 * ratio * dt + ratio * ratio * tt).max(0.0);
        (n / (n - 1.0).max(1.0) * residue).sqrt() / self.tokens.max(1.0)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.tokens < COMPARED {
            return Verdict::Open;
        }
        let (difference, error) = (self.difference(), self.error());
        if difference > (ERRORS * error).max(LEAST) {
            Verdict::Worse
        } else if difference > (ERRORS / 2.0 * error).max(LEAST) && self.tokens < MOST_COMPARED {
            Verdict::Open
        } else {
            Verdict::Sound
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: u64) -> f64 {
        let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) as f64 / u64::MAX as f64 - 0.5
    }

    /// Utterances of 5 to 20 tokens that surprise the live state by `worse` nats a token more, until there is a verdict.
    fn compare(seed: u64, worse: f64, spread: f64) -> (Verdict, f64) {
        let mut comparison = Comparison::default();
        for i in 0.. {
            let tokens = 5 + (i * 7 % 16) as usize;
            let fresh = 2.0 + 3.0 * noise(seed + 2 * i);
            let live = fresh + worse + spread * noise(seed + 2 * i + 1);
            let measured = |mean: f64| Measured { nats: mean * tokens as f64, tokens };
            comparison.add(measured(live), measured(fresh));
            if comparison.verdict() != Verdict::Open {
                break;
            }
        }
        (comparison.verdict(), comparison.tokens())
    }

    #[test]
    fn a_state_is_worse_only_beyond_noise_and_not_before_two_thousand_tokens() {
        for seed in 0..200 {
            let seed = seed * 1_000_003;
            assert_eq!(compare(seed, 0.0, 2.0).0, Verdict::Sound);
            assert_eq!(compare(seed, 0.02, 0.1).0, Verdict::Sound, "so little is not worth it");
            assert_eq!(compare(seed, -1.0, 1.0).0, Verdict::Sound);
            let (verdict, tokens) = compare(seed, 0.5, 2.0);
            assert!(verdict == Verdict::Worse && tokens >= COMPARED, "{verdict:?} after {tokens}");
        }
    }

    #[test]
    fn the_error_is_that_of_many_comparisons() {
        let all: Vec<Comparison> = (0..400)
            .map(|seed| {
                let mut comparison = Comparison::default();
                for i in 0..200u64 {
                    let tokens = 5 + (i * 7 % 16) as usize;
                    let live = 3.0 + 2.0 * noise(seed * 1_000 + i);
                    let measured = |mean: f64| Measured { nats: mean * tokens as f64, tokens };
                    comparison.add(measured(live), measured(2.5));
                }
                comparison
            })
            .collect();
        let mean = all.iter().map(Comparison::difference).sum::<f64>() / 400.0;
        let spread = (all.iter().map(|one| (one.difference() - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
        let error = all.iter().map(Comparison::error).sum::<f64>() / 400.0;
        assert!((error / spread - 1.0).abs() < 0.15, "{error}, {spread}");
    }

    #[test]
    fn a_state_that_predicts_nothing_is_worse() {
        let mut comparison = Comparison::default();
        for _ in 0..250 {
            comparison.add(Measured { nats: f64::NAN, tokens: 10 }, Measured { nats: 20.0, tokens: 10 });
        }
        assert_eq!(comparison.verdict(), Verdict::Worse);
    }

    #[test]
    fn a_state_is_renewed_as_the_settings_say_whatever_the_clock_does() {
        let now: Timestamp = "2026-03-01T03:00:00Z".parse().unwrap();
        let fresh = Renewals::default();
        let night = Some((now, 3));
        assert_eq!(fresh.occasion(RenewWhen::WhenWorse, 9_000, true, None), None, "too young");
        assert_eq!(fresh.occasion(RenewWhen::WhenWorse, 10_000, true, None), Some(Occasion::Suspected));
        assert_eq!(fresh.occasion(RenewWhen::WhenWorse, 199_999, false, None), None);
        assert_eq!(fresh.occasion(RenewWhen::WhenWorse, 200_000, false, None), Some(Occasion::Regular));
        assert_eq!(fresh.occasion(RenewWhen::Never, u64::MAX, true, night), None);
        assert_eq!(fresh.occasion(RenewWhen::Nightly, 5_000, false, night), Some(Occasion::Night));
        assert_eq!(fresh.occasion(RenewWhen::Nightly, 5_000, false, Some((now, 12))), None);
        assert_eq!(fresh.occasion(RenewWhen::Nightly, 5_000, false, None), None, "the clock jumped");
        let compared = Renewals { compared: 195_000, ..fresh };
        assert_eq!(compared.occasion(RenewWhen::WhenWorse, 200_000, true, None), None);
        for (hours, due) in [(-1, false), (-24, true), (24, true), (1, false)] {
            let renewed = Renewals { last: Some(now + SignedDuration::from_hours(hours)), ..fresh };
            assert_eq!(renewed.occasion(RenewWhen::Nightly, 5_000, false, night).is_some(), due, "{hours}");
        }
    }
}
