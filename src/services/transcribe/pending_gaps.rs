//! Gaps that wait for a reader who is busy.
//!
//! Owns their order and their bound. Refuses to know what made them. Invariant: they are told in the order they came in, and the
//! hearing thread never waits for it: unlike an utterance, a gap that is not told is found nowhere else by the reader.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use crate::event::Gap;
use crate::services::listen::ListenerEvent;

/// A day of a gap every minute and a half.
const MOST: usize = 1000;

#[derive(Default)]
pub struct PendingGaps(VecDeque<Gap>);

impl PendingGaps {
    /// The oldest goes where there are too many.
    pub fn push(&mut self, gap: Gap) {
        self.0.push_back(gap);
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Tells as many as the reader has room for.
    pub fn tell(&mut self, reader: Option<&SyncSender<ListenerEvent>>) {
        let Some(reader) = reader else { return self.clear() };
        while let Some(gap) = self.0.pop_front() {
            if let Err(TrySendError::Full(ListenerEvent::Gap(gap))) = reader.try_send(ListenerEvent::Gap(gap)) {
                return self.0.push_front(gap);
            }
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use jiff::Timestamp;
    use ulid::Ulid;

    use super::*;
    use crate::event::GapReason;

    fn gap(second: i64) -> Gap {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (from, to) = (at(second), at(second + 1));
        Gap { id: Ulid::nil(), room: "kitchen".into(), from, to, reason: GapReason::Overload }
    }

    fn told(reader: &Receiver<ListenerEvent>) -> Vec<i64> {
        let second =
            |wake| if let ListenerEvent::Gap(gap) = wake { gap.from.as_second() } else { panic!("that is no gap") };
        reader.try_iter().map(second).collect()
    }

    #[test]
    fn gaps_wait_in_order_for_a_reader_who_is_busy() {
        let (sender, reader) = sync_channel(2);
        let mut untold = PendingGaps::default();
        (0..5).for_each(|second| untold.push(gap(second)));
        let rounds: Vec<Vec<i64>> = (0..4)
            .map(|_| {
                untold.tell(Some(&sender));
                untold.tell(Some(&sender));
                told(&reader)
            })
            .collect();
        assert_eq!(rounds, [vec![0, 1], vec![2, 3], vec![4], vec![]]);
    }

    #[test]
    fn they_are_bounded_and_nobody_else_is_waited_for() {
        let (sender, reader) = sync_channel(2 * MOST);
        let mut untold = PendingGaps::default();
        let count = MOST as i64 + 3;
        (0..count).for_each(|second| untold.push(gap(second)));
        untold.tell(Some(&sender));
        assert_eq!(told(&reader), (3..count).collect::<Vec<_>>(), "the oldest went");
        untold.push(gap(0));
        untold.tell(None);
        untold.tell(Some(&sender));
        assert_eq!(told(&reader), [0; 0], "where nobody reads, none wait");
        untold.push(gap(0));
        drop(reader);
        untold.tell(Some(&sender));
    }
}
