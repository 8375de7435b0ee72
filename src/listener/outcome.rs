//! What comes of evaluating the rules and the schedule.

use jiff::Timestamp;

use crate::config;
use crate::event::{Alert, Digest};

/// The results of evaluating rules and schedule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerOutcome {
    pub digests: Vec<Digest>,
    pub alerts: Vec<Alert>,
    /// One for each rule's question that was asked.
    pub readings: Vec<RuleEvaluation>,
}

impl ListenerOutcome {
    /// Appends the results of another room.
    pub fn add(&mut self, more: Self) {
        let Self { digests, alerts, readings } = more;
        self.digests.extend(digests);
        self.alerts.extend(alerts);
        self.readings.extend(readings);
    }

    /// Sets the room of alerts and evaluations; digests are made with it.
    pub(super) fn in_room(mut self, room: Option<&str>) -> Self {
        self.alerts.iter_mut().for_each(|alert| alert.room = room.map(Into::into));
        self.readings.iter_mut().for_each(|reading| reading.room = room.map(Into::into));
        self
    }
}

impl FromIterator<ListenerOutcome> for ListenerOutcome {
    fn from_iter<T: IntoIterator<Item = ListenerOutcome>>(outcomes: T) -> Self {
        outcomes.into_iter().fold(Self::default(), |mut all, outcome| {
            all.add(outcome);
            all
        })
    }
}

/// The probability that a rule's question is answered by yes.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleEvaluation {
    pub(crate) rule: config::Name,
    /// The room whose state was asked; none when all rooms share one state.
    pub(crate) room: Option<String>,
    pub(crate) probability: f64,
    /// The probability from which on an alert begins.
    pub(crate) threshold: Option<f64>,
    pub time: Timestamp,
    /// The rule's alert is active.
    pub(crate) active: bool,
}
