//! What was heard and the store has not taken yet, in order.
//!
//! While the store refuses, transcription goes on: what is heard waits here, its messages are sent from memory, and the listener reads it.
//! Beyond a bound the oldest utterances are given up, and a gap that says so takes their place.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use tracing::warn;

use crate::event::{Gap, GapReason, Utterance, Voiceprint};
use crate::mqtt::payload;
use crate::services::Context;
use crate::services::outbox::unstored_messages::UnstoredMessages;

/// The most that wait: what people say in a day or two, a few megabytes.
const MOST: usize = 10_000;

/// What was heard.
pub(super) enum Heard {
    /// With the voice it was said with, if that is to be stored.
    Utterance(Utterance, Option<Box<Voiceprint>>),
    Gap(Gap),
}

/// With the messages that tell of it.
pub(super) struct UnstoredEvent {
    pub(super) heard: Heard,
    pub(super) messages: UnstoredMessages,
    /// The listener has read it from memory, or will.
    pub(super) given_to_listener: bool,
}

impl UnstoredEvent {
    fn new(heard: Heard, context: &Context) -> Self {
        let mut messages = UnstoredMessages::default();
        let message = match &heard {
            Heard::Utterance(utterance, _) => payload::utterance(&context.topics, utterance),
            Heard::Gap(gap) => payload::gap(&context.topics, gap),
        };
        messages.add(context, [message]);
        Self { heard, messages, given_to_listener: false }
    }

    fn until(&self) -> Timestamp {
        match &self.heard {
            Heard::Utterance(utterance, _) => utterance.end,
            Heard::Gap(gap) => gap.to,
        }
    }
}

#[derive(Default)]
pub(super) struct UnstoredEvents {
    events: VecDeque<UnstoredEvent>,
    /// What was given up, by room.
    given_up: BTreeMap<String, Gap>,
}

impl UnstoredEvents {
    pub(super) fn push(&mut self, heard: Heard, context: &Context) {
        self.events.push_back(UnstoredEvent::new(heard, context));
        if self.events.len() > MOST {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        let Some(oldest) = self.events.pop_front() else { return };
        if self.given_up.is_empty() {
            warn!("the store has refused for so long that the oldest text is given up; a gap will say so");
        }
        let (id, room, from, to) = match oldest.heard {
            Heard::Utterance(Utterance { id, room, start, end, .. }, _) => (id, room, start, end),
            Heard::Gap(Gap { id, room, from, to, .. }) => (id, room, from, to),
        };
        let gap = Gap { id, room: room.clone(), from, to, reason: GapReason::StoreRefused };
        self.given_up.entry(room).and_modify(|gap| gap.to = gap.to.max(to)).or_insert(gap);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.given_up.is_empty()
    }

    /// The oldest. Gaps in place of what was given up come first.
    pub(super) fn front(&mut self, context: &Context) -> Option<&mut UnstoredEvent> {
        if let Some((_, gap)) = self.given_up.pop_first() {
            self.events.push_front(UnstoredEvent::new(Heard::Gap(gap), context));
        }
        self.events.front_mut()
    }

    pub(super) fn pop(&mut self) -> Option<Heard> {
        self.events.pop_front().map(|event| event.heard)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut UnstoredEvent> {
        self.events.iter_mut()
    }

    /// Drops what was said after `since`.
    pub(super) fn forget(&mut self, since: Timestamp) {
        self.events.retain_mut(|event| {
            let stays = matches!(event.heard, Heard::Gap(_)) || event.until() <= since;
            if !stays {
                event.messages.settle();
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use ulid::Ulid;

    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_given_up_becomes_a_gap_and_what_is_forgotten_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let context = Context::open(Config::default(), dir.path(), Arc::default()).unwrap();
        let at = |second: i64| Timestamp::from_second(1_767_225_600 + second).unwrap();
        let said = |second: i64| Utterance {
            id: Ulid::generate(),
            start: at(second),
            end: at(second) + SignedDuration::from_secs(1),
            room: "hall".into(),
            text: "Good evening.".into(),
            confidence: 1.0,
            no_speech: 0.0,
            speaker: None,
        };
        let mut unstored = UnstoredEvents::default();
        let count = MOST as i64 + 2;
        (0..count).for_each(|second| unstored.push(Heard::Utterance(said(second), None), &context));
        unstored.forget(at(10));
        let first = unstored.front(&context).unwrap();
        let Heard::Gap(gap) = &first.heard else { panic!("no gap") };
        assert_eq!((gap.from, gap.to, gap.reason), (at(0), at(2), GapReason::StoreRefused));
        unstored.pop();
        assert_eq!(unstored.iter_mut().count(), 8, "what was said before the tenth second stays");
    }
}
