//! Gaps that wait while the listener's channel is full.
//!
//! Unlike an utterance, a gap that is not sent is found nowhere else by the listener. They are sent in the order in which they came
//! in, and the thread that sends them never waits. Their number is bounded.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use crate::event::Gap;
use crate::services::listen::ListenerEvent;

/// A day with a gap every minute and a half.
const MOST: usize = 1000;

#[derive(Default)]
pub(crate) struct PendingGaps(VecDeque<Gap>);

impl PendingGaps {
    /// Adds a gap, and drops the oldest if there are too many.
    pub(crate) fn push(&mut self, gap: Gap) {
        self.0.push_back(gap);
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Sends as many as the listener's channel takes. Without a listener none wait.
    pub(crate) fn send(&mut self, listener: Option<&SyncSender<ListenerEvent>>) {
        let Some(listener) = listener else { return self.clear() };
        while let Some(gap) = self.0.pop_front() {
            if let Err(TrySendError::Full(ListenerEvent::Gap(gap))) = listener.try_send(ListenerEvent::Gap(gap)) {
                return self.0.push_front(gap);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
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

    fn received(channel: &Receiver<ListenerEvent>) -> Vec<i64> {
        let second =
            |event| if let ListenerEvent::Gap(gap) = event { gap.from.as_second() } else { panic!("not a gap") };
        channel.try_iter().map(second).collect()
    }

    #[test]
    fn gaps_wait_in_order_while_the_channel_is_full() {
        let (sender, listener) = sync_channel(2);
        let mut pending = PendingGaps::default();
        (0..5).for_each(|second| pending.push(gap(second)));
        let rounds: Vec<Vec<i64>> = (0..4)
            .map(|_| {
                pending.send(Some(&sender));
                pending.send(Some(&sender));
                received(&listener)
            })
            .collect();
        assert_eq!(rounds, [vec![0, 1], vec![2, 3], vec![4], vec![]]);
    }

    #[test]
    fn the_number_of_gaps_is_bounded_and_none_wait_without_a_listener() {
        let (sender, listener) = sync_channel(2 * MOST);
        let mut pending = PendingGaps::default();
        let count = MOST as i64 + 3;
        (0..count).for_each(|second| pending.push(gap(second)));
        pending.send(Some(&sender));
        assert_eq!(received(&listener), (3..count).collect::<Vec<_>>(), "the oldest are dropped");
        pending.push(gap(0));
        pending.send(None);
        pending.send(Some(&sender));
        assert_eq!(received(&listener), [0; 0], "without a listener none wait");
        pending.push(gap(0));
        drop(listener);
        pending.send(Some(&sender));
    }
}
