//! How many commands are taken.
//!
//! Whatever is sent, by mistake or on purpose: at most [`BURST`] commands are taken at once and one each [`INTERVAL`] after that. Of
//! those beyond, [`REFUSALS`] at once and one each [`REFUSAL_INTERVAL`] are answered with an error, so that whoever sent one too many
//! learns of it, and the others are dropped without an answer, so that a flood is not answered by a flood. A transaction is carried out
//! once. Written by hand: a token bucket takes fewer lines than a library for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Commands, or bad ones, that may come at once.
pub const BURST: u32 = 20;
/// After a burst one more is taken each.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// Commands beyond these that are refused with an answer, at once.
pub const REFUSALS: u32 = 100;
/// After them one more is refused with an answer each.
const REFUSAL_INTERVAL: Duration = Duration::from_millis(100);
/// Transactions that are remembered.
const REMEMBERED: usize = 256;

/// What is done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is carried out, or its mistake answered.
    Admitted,
    /// It is one too many, and its sender is told so.
    Refused,
    /// It is one of so many too many that it is not answered.
    Dropped,
}

/// So many at once, and one more each interval.
#[derive(Clone, Debug)]
struct TokenBucket {
    burst: u32,
    interval: Duration,
    tokens: u32,
    /// Since when the next token is being made.
    since: Instant,
}

impl TokenBucket {
    fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst, interval, tokens: burst, since: now }
    }

    /// Whether there is a token, which is taken.
    fn take(&mut self, now: Instant) -> bool {
        let made = now.saturating_duration_since(self.since).as_millis() / self.interval.as_millis();
        if made > 0 || self.tokens == self.burst {
            self.since = now;
        }
        self.tokens = self.tokens.saturating_add(u32::try_from(made).unwrap_or(self.burst)).min(self.burst);
        let taken = self.tokens > 0;
        self.tokens -= u32::from(taken);
        taken
    }
}

/// Two token buckets, and the memory of transactions.
#[derive(Clone, Debug)]
pub(crate) struct CommandLimiter {
    commands: TokenBucket,
    refusals: TokenBucket,
    /// Transactions that were carried out, with the command's name, oldest first.
    seen: VecDeque<(&'static str, Value)>,
}

impl CommandLimiter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            commands: TokenBucket::new(BURST, INTERVAL, now),
            refusals: TokenBucket::new(REFUSALS, REFUSAL_INTERVAL, now),
            seen: VecDeque::new(),
        }
    }

    /// A command arrived at `now`.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        if self.commands.take(now) {
            Admission::Admitted
        } else if self.refusals.take(now) {
            Admission::Refused
        } else {
            Admission::Dropped
        }
    }

    /// Whether `command` was carried out before under this transaction. One without a transaction is always new.
    pub(crate) fn is_repeat(&self, command: &str, transaction: Option<&Value>) -> bool {
        transaction.is_some_and(|id| self.seen.iter().any(|(name, seen)| *name == command && seen == id))
    }

    /// The command is carried out: its transaction is not admitted again.
    pub(crate) fn remember(&mut self, command: &'static str, transaction: Option<&Value>) {
        let Some(transaction) = transaction else { return };
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back((command, transaction.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn of_a_flood_some_are_refused_with_an_answer_and_the_rest_dropped_until_time_has_passed() {
        let start = Instant::now();
        let mut limiter = CommandLimiter::new(start);
        let flood: Vec<_> = (0..1_000).map(|n| limiter.admit(start + ms(n / 20))).collect();
        let (burst, refusals) = (BURST as usize, REFUSALS as usize);
        assert!(flood[..burst].iter().all(|a| *a == Admission::Admitted));
        assert!(flood[burst..burst + refusals].iter().all(|a| *a == Admission::Refused));
        assert!(flood[burst + refusals..].iter().all(|a| *a == Admission::Dropped));
        assert_eq!(limiter.admit(start + ms(600)), Admission::Admitted);
        assert_eq!(limiter.admit(start + ms(601)), Admission::Refused);
        let later: Vec<_> = (0..=BURST).map(|_| limiter.admit(start + ms(60_000))).collect();
        assert_eq!(later.iter().filter(|a| **a == Admission::Admitted).count(), BURST as usize);
        assert_eq!(later.last(), Some(&Admission::Refused));
    }

    #[test]
    fn of_a_steady_flood_two_commands_a_second_are_admitted() {
        let start = Instant::now();
        let mut limiter = CommandLimiter::new(start);
        let admitted = (0..60_000).filter(|n| limiter.admit(start + ms(*n)) == Admission::Admitted).count();
        assert!((120..=140).contains(&admitted), "{admitted} of 60,000 in a minute");
    }

    #[test]
    fn a_transaction_is_carried_out_once_for_each_command() {
        let mut limiter = CommandLimiter::new(Instant::now());
        let id = Value::from("t-1");
        assert!(!limiter.is_repeat("ask", Some(&id)));
        limiter.remember("ask", Some(&id));
        assert!(limiter.is_repeat("ask", Some(&id)));
        assert!(!limiter.is_repeat("summarise", Some(&id)) && !limiter.is_repeat("ask", None));
        (0..REMEMBERED).for_each(|n| limiter.remember("ask", Some(&n.into())));
        assert!(!limiter.is_repeat("ask", Some(&id)), "the memory is bounded");
    }
}
