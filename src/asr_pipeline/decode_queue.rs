//! What waits for the decoder: finished segments, gaps and progress marks.
//!
//! One queue for all rooms, first in, first out. Everything comes out in the order in which it went in.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::room_stream::InterimState;
use crate::clock;
use crate::event::{AudioGap, Segment};

/// The queue is full with a minute of speech. What a source delivers beyond that waits in the source's channel.
const MAX_SAMPLES: usize = 60 * clock::SAMPLE_RATE as usize;

/// A segment that is ready for its final decode.
pub(super) struct QueuedSegment {
    pub(super) room: Arc<str>,
    pub(super) segment: Segment,
    pub(super) interim: InterimState,
    /// Wall time of the last sample received when the segment was cut. The segment itself may end earlier: long speech is cut
    /// at a pause that lies a few seconds back.
    pub(super) received_until: Timestamp,
}

/// One entry of the queue.
pub(super) enum QueueItem {
    Segment(QueuedSegment),
    Gap {
        room: Arc<str>,
        gap: AudioGap,
    },
    /// Nobody was speaking in any room at this time.
    Progress(Timestamp),
}

impl QueueItem {
    /// The wall time that the entry is about.
    pub(super) fn time(&self) -> Timestamp {
        match self {
            Self::Segment(queued) => queued.segment.time,
            Self::Gap { gap, .. } => gap.to,
            Self::Progress(time) => *time,
        }
    }
}

/// How far the decoder is behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backlog {
    /// Segments in the queue.
    pub(super) segments: usize,
    /// Seconds that the oldest of them has waited; 0 where there is none.
    pub(super) waited_s: f64,
}

#[derive(Default)]
pub(super) struct DecodeQueue {
    items: VecDeque<QueueItem>,
}

impl DecodeQueue {
    pub(super) fn push(&mut self, item: QueueItem) {
        self.items.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<QueueItem> {
        self.items.pop_front()
    }

    pub(super) fn front(&self) -> Option<&QueueItem> {
        self.items.front()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn backlog(&self, now: Timestamp) -> Backlog {
        let waited_s = |oldest: &QueuedSegment| now.duration_since(oldest.received_until).as_secs_f64();
        Backlog { segments: self.segments().count(), waited_s: self.segments().next().map_or(0.0, waited_s) }
    }

    /// Less than a minute of speech is waiting.
    pub(super) fn has_capacity(&self) -> bool {
        self.segments().map(|queued| queued.segment.samples.len()).sum::<usize>() < MAX_SAMPLES
    }

    /// The queued segment that begins where `cut` was cut off.
    pub(super) fn continuation(&mut self, room: &str, cut: &Segment) -> Option<&mut InterimState> {
        self.items.iter_mut().find_map(|item| match item {
            QueueItem::Segment(next) if *next.room == *room && next.segment.start == cut.end() => {
                Some(&mut next.interim)
            }
            _ => None,
        })
    }

    fn segments(&self) -> impl Iterator<Item = &QueuedSegment> {
        self.items.iter().filter_map(|item| match item {
            QueueItem::Segment(queued) => Some(queued),
            QueueItem::Gap { .. } | QueueItem::Progress(_) => None,
        })
    }
}
