//! How many commands are taken.
//!
//! Whatever is sent, by mistake or on purpose, at most [`BURST`] commands are answered at once and one each [`INTERVAL`] after
//! that, and a transaction is carried out once. Written by hand: a token bucket takes fewer lines than a library for it, and the one
//! refusal that is told of a flood would stand beside it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Commands, or bad ones, that may come at once.
pub const BURST: u32 = 20;
/// After a burst one more is taken each.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// Transactions that are remembered.
const REMEMBERED: usize = 256;

/// What is done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is carried out, or its mistake answered.
    Admitted,
    /// It is one too many, and its sender is told so: once, until commands are admitted again.
    Refused,
    /// It is one too many, and is not answered.
    Dropped,
}

/// A token bucket, and the memory of transactions.
#[derive(Clone, Debug)]
pub(crate) struct CommandLimiter {
    /// Commands that are admitted now.
    tokens: u32,
    /// Since when the next token is being made.
    since: Instant,
    refused: bool,
    /// Transactions that were carried out, with the command's name, oldest first.
    seen: VecDeque<(&'static str, Value)>,
}

impl CommandLimiter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: BURST, since: now, refused: false, seen: VecDeque::new() }
    }

    /// A command arrived at `now`.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        let made = now.saturating_duration_since(self.since).as_millis() / INTERVAL.as_millis();
        if made > 0 || self.tokens == BURST {
            self.since = now;
        }
        self.tokens = self.tokens.saturating_add(u32::try_from(made).unwrap_or(BURST)).min(BURST);
        if self.tokens > 0 {
            self.tokens -= 1;
            self.refused = false;
            Admission::Admitted
        } else if self.refused {
            Admission::Dropped
        } else {
            self.refused = true;
            Admission::Refused
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
    fn of_a_flood_one_command_is_refused_and_the_rest_dropped_until_time_has_passed() {
        let start = Instant::now();
        let mut limiter = CommandLimiter::new(start);
        let flood: Vec<_> = (0..1_000).map(|n| limiter.admit(start + ms(n / 10))).collect();
        assert!(flood[..BURST as usize].iter().all(|a| *a == Admission::Admitted));
        assert_eq!(flood[BURST as usize], Admission::Refused);
        assert!(flood[BURST as usize + 1..].iter().all(|a| *a == Admission::Dropped));
        assert_eq!(limiter.admit(start + ms(600)), Admission::Admitted);
        assert_eq!(limiter.admit(start + ms(601)), Admission::Refused);
        let later: Vec<_> = (0..=BURST).map(|_| limiter.admit(start + ms(60_000))).collect();
        assert_eq!(later.iter().filter(|a| **a == Admission::Admitted).count(), BURST as usize);
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
