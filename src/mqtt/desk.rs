//! Which commands are taken, and which are too many.
//!
//! Owns how many commands an hour has room for, and the memory of transactions. Refuses to know what they ask. Invariant:
//! whatever is sent here, by mistake or on purpose, at most [`BURST`] answers at once and one each [`EVERY`] come of it, and
//! a transaction is carried out once.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Commands, or bad ones, that may come at once.
pub const BURST: u32 = 20;
/// After a burst one more is taken each.
pub const EVERY: SignedDuration = SignedDuration::from_millis(500);
/// Transactions that are remembered.
const REMEMBERED: usize = 256;

/// What is done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is carried out, or its mistake answered.
    Taken,
    /// It is one too many, and its sender is told so: once until there is room again.
    Told,
    /// It is one too many, and nothing more is said.
    Dropped,
}

/// The desk at which commands arrive.
#[derive(Clone, Debug)]
pub struct Desk {
    /// How many may come now.
    room: u32,
    /// Since when the next place is being made.
    since: Timestamp,
    told: bool,
    /// Transactions that were taken, with the command, oldest first.
    seen: VecDeque<(&'static str, Value)>,
}

impl Desk {
    pub fn new(now: Timestamp) -> Self {
        Self { room: BURST, since: now, told: false, seen: VecDeque::new() }
    }

    /// A command arrived at `now`.
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        let passed = now.duration_since(self.since);
        let places = if passed.is_negative() { 0 } else { passed.as_millis() / EVERY.as_millis() };
        if places > 0 || passed.is_negative() || self.room == BURST {
            // A clock that was set back begins anew.
            self.since = now;
        }
        self.room = self.room.saturating_add(u32::try_from(places).unwrap_or(BURST)).min(BURST);
        if self.room > 0 {
            self.room -= 1;
            self.told = false;
            return Admission::Taken;
        }
        if std::mem::replace(&mut self.told, true) { Admission::Dropped } else { Admission::Told }
    }

    /// Whether `command` was taken before under this transaction. One without is always new.
    pub fn knows(&self, command: &str, transaction: Option<&Value>) -> bool {
        transaction.is_some_and(|id| self.seen.iter().any(|(name, seen)| *name == command && seen == id))
    }

    /// The command is carried out: its transaction is not taken again.
    pub fn taken(&mut self, command: &'static str, transaction: Option<&Value>) {
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

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
    }

    #[test]
    fn a_flood_is_told_of_once_and_dropped_and_room_comes_back() {
        let mut desk = Desk::new(at(0));
        let flood: Vec<_> = (0..1_000).map(|ms| desk.admit(at(ms / 10))).collect();
        assert!(flood[..BURST as usize].iter().all(|a| *a == Admission::Taken));
        assert_eq!(flood[BURST as usize], Admission::Told);
        assert!(flood[BURST as usize + 1..].iter().all(|a| *a == Admission::Dropped));
        assert_eq!(desk.admit(at(600)), Admission::Taken);
        assert_eq!(desk.admit(at(601)), Admission::Told);
        let later: Vec<_> = (0..=BURST).map(|_| desk.admit(at(60_000))).collect();
        assert_eq!(later.iter().filter(|a| **a == Admission::Taken).count(), BURST as usize);
    }

    #[test]
    fn a_steady_flood_gets_two_answers_a_second() {
        let mut desk = Desk::new(at(0));
        let taken = (0..60_000).filter(|ms| desk.admit(at(*ms)) == Admission::Taken).count();
        assert!((120..=140).contains(&taken), "{taken} of 60,000 in a minute");
    }

    #[test]
    fn a_clock_set_back_does_not_close_the_desk() {
        let mut desk = Desk::new(at(0));
        (0..30).for_each(|_| {
            desk.admit(at(0));
        });
        desk.admit(at(-3_600_000));
        assert_eq!(desk.admit(at(-3_599_400)), Admission::Taken);
    }

    #[test]
    fn a_transaction_is_carried_out_once_for_each_command() {
        let mut desk = Desk::new(at(0));
        let id = Value::from("t-1");
        assert!(!desk.knows("ask", Some(&id)));
        desk.taken("ask", Some(&id));
        assert!(desk.knows("ask", Some(&id)) && !desk.knows("summarise", Some(&id)) && !desk.knows("ask", None));
        (0..REMEMBERED).for_each(|n| desk.taken("ask", Some(&n.into())));
        assert!(!desk.knows("ask", Some(&id)), "the memory is bounded");
    }
}
