//! What waits for the recogniser.
//!
//! Owns the order in which things come out: that in which they ended. Refuses to know what is done with them. Invariant: nothing
//! overtakes anything.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::ear::Live;
use crate::clock;
use crate::event::{AudioGap, Segment};

/// Speech that may wait: a minute. What a source delivers beyond it waits in its channel.
const MOST_SAMPLES: usize = 60 * clock::SAMPLE_RATE as usize;

/// What will come out.
pub(super) enum Waiting {
    /// With the end of what was heard when it came out: where speech is cut, that is behind the segment's.
    Segment(Arc<str>, Segment, Live, Timestamp),
    Gap(Arc<str>, AudioGap),
    Progress(Timestamp),
}

impl Waiting {
    /// The moment that it is about.
    pub(super) fn time(&self) -> Timestamp {
        match self {
            Self::Segment(_, segment, ..) => segment.time,
            Self::Gap(_, gap) => gap.to,
            Self::Progress(time) => *time,
        }
    }
}

#[derive(Default)]
pub(super) struct Queue(pub(super) VecDeque<Waiting>);

impl Queue {
    fn segments(&self) -> impl Iterator<Item = (&Segment, Timestamp)> {
        self.0.iter().filter_map(|waiting| match waiting {
            Waiting::Segment(_, segment, _, heard_to) => Some((segment, *heard_to)),
            _ => None,
        })
    }

    /// How many segments wait, and how long the oldest has.
    pub(super) fn segments_waiting(&self, now: Timestamp) -> (usize, f64) {
        let oldest = self.segments().next();
        (self.segments().count(), oldest.map_or(0.0, |(_, heard_to)| now.duration_since(heard_to).as_secs_f64()))
    }

    /// Less than a minute of speech waits.
    pub(super) fn has_room(&self) -> bool {
        self.segments().map(|(segment, _)| segment.samples.len()).sum::<usize>() < MOST_SAMPLES
    }

    /// The segment that goes on where one was cut.
    pub(super) fn behind(&mut self, room: &str, cut: &Segment) -> Option<&mut Live> {
        self.0.iter_mut().find_map(|waiting| match waiting {
            Waiting::Segment(of, next, live, _) if **of == *room && next.start == cut.end() => Some(live),
            _ => None,
        })
    }
}
