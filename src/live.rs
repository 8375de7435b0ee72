//! The live feed: recent events in memory and a channel of new ones, for the web page and `hearth status`.
//!
//! All lists are bounded. A publisher never waits for a subscriber: one that is too slow misses events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::event::{Alert, AlertPhase, Digest, Gap, Hypothesis, Utterance};

/// Events that a subscriber may be behind before it misses some.
const CHANNEL_CAPACITY: usize = 256;
/// How many of each kind are kept for later subscribers.
pub(crate) const UTTERANCES: usize = 200;
pub(crate) const DIGESTS: usize = 20;
pub(crate) const ALERTS: usize = 50;
/// How many evaluations of each rule, and how many token costs, are kept.
const RULE_READINGS: usize = 500;
const TOKEN_COSTS: usize = 500;
/// The most curves (a rule, or a rule in a room): a dozen rules in as many rooms.
const MAX_CURVES: usize = 144;

/// An event. As JSON an object of one key, which names its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveEvent {
    Utterance(Utterance),
    /// Text of speech that has not ended yet; replaces the one before in the same room.
    Hypothesis(Hypothesis),
    Gap(Gap),
    Digest(Digest),
    Alert(Alert),
    Reading(RuleReading),
    #[serde(rename = "cost")]
    TokenCost(TokenCost),
    /// Everything in these ranges of time was deleted.
    Forgotten(Vec<(Timestamp, Timestamp)>),
}

/// The result of one evaluation of a rule's question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleReading {
    pub(crate) rule: String,
    /// The room whose state was asked; None if all rooms share one state.
    pub(crate) room: Option<String>,
    pub(crate) time: Timestamp,
    /// The probability of yes.
    pub(crate) probability: f64,
    /// The probability from which on an alert begins.
    pub(crate) threshold: Option<f64>,
    /// The rule's alert is on.
    pub(crate) active: bool,
}

impl RuleReading {
    /// The name of its curve.
    pub(crate) fn name(&self) -> String {
        self.room.as_ref().map_or_else(|| self.rule.clone(), |room| format!("{} · {room}", self.rule))
    }
}

/// The cost of reading a token at one time. It does not grow with the age of the state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenCost {
    pub(crate) time: Timestamp,
    /// Tokens the state has read.
    pub(crate) tokens: u64,
    pub(crate) us_per_token: f64,
    /// Median nats a token of what was read lately; None before the first measurement.
    pub(crate) surprise: Option<f64>,
    pub(crate) rss_bytes: u64,
}

/// The recent past, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct LiveSnapshot {
    pub(crate) utterances: VecDeque<Utterance>,
    /// Text of speech that has not ended yet, by room.
    pub(crate) hypotheses: BTreeMap<String, Hypothesis>,
    pub(crate) digests: VecDeque<Digest>,
    /// The newest phase of each alert.
    pub(crate) alerts: VecDeque<Alert>,
    /// By rule, and by room where there is one.
    pub(crate) readings: BTreeMap<String, VecDeque<RuleReading>>,
    pub(crate) costs: VecDeque<TokenCost>,
}

/// Where events are published, and subscribed to.
#[derive(Debug)]
pub struct LiveFeed {
    recent: Mutex<LiveSnapshot>,
    subscribers: broadcast::Sender<Arc<LiveEvent>>,
}

impl Default for LiveFeed {
    fn default() -> Self {
        Self { recent: Mutex::default(), subscribers: broadcast::Sender::new(CHANNEL_CAPACITY) }
    }
}

impl LiveFeed {
    /// Publishes an event.
    pub fn publish(&self, event: LiveEvent) {
        // Under one lock, so that a new subscriber sees each event once: in the snapshot or on the channel.
        let mut recent = self.snapshot();
        recent.add(&event);
        // An error means that there are no subscribers.
        let _ = self.subscribers.send(Arc::new(event));
    }

    /// The recent past, and a channel of the events after it.
    pub(crate) fn subscribe(&self) -> (LiveSnapshot, broadcast::Receiver<Arc<LiveEvent>>) {
        let recent = self.snapshot();
        (recent.clone(), self.subscribers.subscribe())
    }

    /// The recent past.
    pub(crate) fn snapshot(&self) -> MutexGuard<'_, LiveSnapshot> {
        self.recent.lock()
    }
}

impl LiveSnapshot {
    fn add(&mut self, event: &LiveEvent) {
        match event {
            LiveEvent::Utterance(utterance) => {
                self.hypotheses.remove(&utterance.room);
                keep(&mut self.utterances, utterance.clone(), UTTERANCES);
            }
            LiveEvent::Hypothesis(said) if said.is_over() => drop(self.hypotheses.remove(&said.room)),
            LiveEvent::Hypothesis(said) => {
                self.hypotheses.insert(said.room.clone(), said.clone());
            }
            LiveEvent::Gap(_) => {}
            LiveEvent::Digest(digest) => keep(&mut self.digests, digest.clone(), DIGESTS),
            LiveEvent::Alert(alert) => self.alert(alert),
            LiveEvent::Reading(reading) => {
                let name = reading.name();
                if self.readings.len() < MAX_CURVES || self.readings.contains_key(&name) {
                    let of_rule = self.readings.entry(name).or_default();
                    keep(of_rule, reading.clone(), RULE_READINGS);
                }
            }
            LiveEvent::TokenCost(cost) => keep(&mut self.costs, *cost, TOKEN_COSTS),
            LiveEvent::Forgotten(ranges) => self.forget(ranges),
        }
    }

    fn alert(&mut self, alert: &Alert) {
        match self.alerts.iter_mut().find(|known| known.id == alert.id) {
            // The end of an alert has no evidence: keep that of its beginning.
            Some(known) if alert.phase == AlertPhase::End => known.phase = AlertPhase::End,
            Some(known) => {
                let quoted = std::mem::take(&mut known.evidence);
                known.clone_from(alert);
                // What it quoted was forgotten; what stays of its beginning is still shown.
                if known.evidence.is_empty() {
                    known.evidence = quoted;
                }
            }
            // The end of one that was forgotten, or that began too long ago: there is nothing to show of it.
            None if alert.phase == AlertPhase::End => {}
            None => keep(&mut self.alerts, alert.clone(), ALERTS),
        }
    }

    fn forget(&mut self, ranges: &[(Timestamp, Timestamp)]) {
        let stays = |time: Timestamp| !ranges.iter().any(|(since, until)| (*since..=*until).contains(&time));
        // Every field is named, so that a new one cannot be added without saying how it forgets.
        let Self { utterances, hypotheses, digests, alerts, readings, costs: _ } = self;
        hypotheses.clear();
        utterances.retain(|u| stays(u.end));
        digests.retain(|d| stays(d.to));
        alerts.retain(|a| stays(a.time) && a.evidence.iter().all(|e| stays(e.time)));
        readings.values_mut().for_each(|readings| readings.retain(|r| stays(r.time)));
    }
}

fn keep<T>(kept: &mut VecDeque<T>, new: T, at_most: usize) {
    if kept.len() == at_most {
        kept.pop_front();
    }
    kept.push_back(new);
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::event::{Evidence, Severity};

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + s).unwrap()
    }

    fn utterance(s: i64) -> Utterance {
        let (start, end) = (at(s), at(s + 1));
        let (room, text) = ("home".into(), format!("said at {s}"));
        Utterance { id: Ulid::generate(), start, end, room, text, confidence: 0.9, no_speech: 0.0, speaker: None }
    }

    #[test]
    fn the_snapshot_is_bounded_and_has_the_newest_events() {
        let live_feed = LiveFeed::default();
        (0..1_000).for_each(|s| live_feed.publish(LiveEvent::Utterance(utterance(s))));
        let (recent, mut channel) = live_feed.subscribe();
        assert_eq!((recent.utterances.len(), recent.utterances[UTTERANCES - 1].start), (UTTERANCES, at(999)));
        let next = LiveEvent::Utterance(utterance(1_000));
        live_feed.publish(next.clone());
        assert_eq!(*channel.try_recv().unwrap(), next, "once: not in the snapshot, but on the channel");
    }

    #[test]
    fn a_slow_subscriber_misses_events_and_delays_nobody() {
        let live_feed = LiveFeed::default();
        let (_, mut channel) = live_feed.subscribe();
        (0..CHANNEL_CAPACITY as i64 + 10).for_each(|s| live_feed.publish(LiveEvent::Utterance(utterance(s))));
        assert!(matches!(channel.try_recv(), Err(broadcast::error::TryRecvError::Lagged(10))));
        assert!(matches!(&*channel.try_recv().unwrap(), LiveEvent::Utterance(u) if u.start == at(10)));
    }

    #[test]
    fn an_alert_is_listed_once_and_keeps_its_evidence_when_it_ends() {
        let live_feed = LiveFeed::default();
        let evidence =
            vec![Evidence { utterance: Ulid::generate(), time: at(0), room: "home".into(), text: "Help!".into() }];
        let (rule, severity) = ("help".into(), Severity::Critical);
        let (id, time, phase) = (Ulid::generate(), at(1), AlertPhase::New);
        let new = Alert { id, rule, phase, severity, room: None, time, probability: Some(0.9), answer: None, evidence };
        live_feed.publish(LiveEvent::Alert(new.clone()));
        live_feed.publish(LiveEvent::Alert(Alert {
            phase: AlertPhase::End,
            evidence: Vec::new(),
            time: at(9),
            ..new.clone()
        }));
        assert_eq!(live_feed.snapshot().alerts, [Alert { phase: AlertPhase::End, ..new }]);
    }

    #[test]
    fn the_end_of_an_alert_that_is_not_known_is_not_listed() {
        let live_feed = LiveFeed::default();
        let (rule, severity, phase) = ("help".into(), Severity::Critical, AlertPhase::End);
        let (id, time, evidence) = (Ulid::generate(), at(1), Vec::new());
        let end = Alert { id, rule, phase, severity, room: None, time, probability: None, answer: None, evidence };
        live_feed.publish(LiveEvent::Alert(end));
        assert!(live_feed.snapshot().alerts.is_empty());
    }

    #[test]
    fn deleted_events_are_not_in_the_snapshot() {
        let live_feed = LiveFeed::default();
        (0..10).for_each(|s| live_feed.publish(LiveEvent::Utterance(utterance(s))));
        let evidence =
            vec![Evidence { utterance: Ulid::generate(), time: at(6), room: "home".into(), text: "secret".into() }];
        let (rule, severity, phase) = ("door".into(), Severity::Info, AlertPhase::New);
        let alert = Alert {
            id: Ulid::generate(),
            rule,
            phase,
            severity,
            room: None,
            time: at(7),
            probability: None,
            answer: None,
            evidence,
        };
        live_feed.publish(LiveEvent::Alert(alert));
        live_feed.publish(LiveEvent::Forgotten(vec![(at(5), at(1_000))]));
        let recent = live_feed.snapshot();
        assert_eq!(
            recent.utterances.back().unwrap().start,
            at(3),
            "an utterance that reaches into that time is deleted as a whole"
        );
        assert!(recent.alerts.is_empty());
    }

    /// Where the text of an event is kept for whoever comes later, and so must be forgotten. There is no wildcard: a new kind of
    /// event says here how it forgets.
    fn texts(event: &LiveEvent, shown: &LiveSnapshot) -> usize {
        match event {
            LiveEvent::Utterance(_) => shown.utterances.len(),
            LiveEvent::Hypothesis(_) => shown.hypotheses.len(),
            LiveEvent::Digest(_) => shown.digests.len(),
            LiveEvent::Alert(_) => shown.alerts.len(),
            LiveEvent::Reading(_) => shown.readings.values().map(VecDeque::len).sum(),
            // Times, numbers and a room.
            LiveEvent::Gap(_) | LiveEvent::TokenCost(_) | LiveEvent::Forgotten(_) => 0,
        }
    }

    #[test]
    fn every_kind_of_event_that_holds_text_is_forgotten() {
        let said = utterance(6);
        let hypothesis = Hypothesis { tentative: "what is".into(), ..Hypothesis::over("hall", at(7)) };
        let digest = Digest {
            id: Ulid::generate(),
            time: at(8),
            from: at(0),
            to: at(7),
            reason: crate::event::DigestReason::Requested,
            words: 3,
            room: None,
            text: "They spoke.".into(),
            sentences: Vec::new(),
        };
        let alert = Alert {
            id: Ulid::generate(),
            rule: "door".into(),
            phase: AlertPhase::New,
            severity: Severity::Info,
            room: None,
            time: at(7),
            probability: None,
            answer: Some("Yes.".into()),
            evidence: Vec::new(),
        };
        let reading = RuleReading {
            rule: "door".into(),
            room: None,
            time: at(7),
            probability: 0.9,
            threshold: Some(0.8),
            active: true,
        };
        let live_feed = LiveFeed::default();
        for event in [
            LiveEvent::Utterance(said),
            LiveEvent::Hypothesis(hypothesis),
            LiveEvent::Digest(digest),
            LiveEvent::Alert(alert),
            LiveEvent::Reading(reading),
        ] {
            live_feed.publish(event.clone());
            assert_eq!(texts(&event, &live_feed.snapshot()), 1, "{event:?}");
            live_feed.publish(LiveEvent::Forgotten(vec![(at(5), at(1_000))]));
            assert_eq!(texts(&event, &live_feed.snapshot()), 0, "{event:?}");
        }
    }
}
