//! Turns an outcome of the listener into messages, log lines and events of the live feed.
//!
//! What was last published of each rule is kept, so that only a change is published.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::config;
use crate::event::{Alert, AlertPhase, Evidence, Message, Severity};
use crate::listener::{self, ListenerOutcome, RuleStanding};
use crate::live::{LiveEvent, LiveFeed, RuleReading};
use crate::models;
use crate::mqtt::payload::{self, MessageHeader, RuleState};
use crate::mqtt::topics::Topics;

/// A change of a probability by less than this is not published.
const MIN_CHANGE: f64 = 0.01;

/// Makes the messages for what has changed.
pub(crate) struct OutcomeMessages {
    topics: Topics,
    /// What the model is called.
    model: String,
    rules: BTreeMap<String, AnnouncedRule>,
}

/// What was published of a rule, by room; the state of all rooms has no room.
struct AnnouncedRule {
    severity: Severity,
    /// The probability at which an alert begins; none for a rule without a question.
    threshold: Option<f64>,
    rooms: BTreeMap<Option<String>, PublishedRule>,
}

/// What was published of a rule in one room.
#[derive(Default)]
struct PublishedRule {
    on: bool,
    probability: Option<f64>,
    answer: Option<String>,
    evidence: Vec<Evidence>,
    acknowledged: bool,
    snoozed_until: Option<Timestamp>,
}

impl OutcomeMessages {
    /// `standings` have the thresholds of the rules; those are published with what is published next.
    pub(crate) fn new<'a>(
        rules: &[config::Rule],
        topics: &Topics,
        model: &Path,
        standings: impl Iterator<Item = RuleStanding<'a>>,
    ) -> Self {
        let thresholds: BTreeMap<_, _> =
            standings.map(|standing| (standing.rule.as_str(), standing.threshold)).collect();
        let rule = |rule: &config::Rule| AnnouncedRule {
            severity: rule.severity,
            threshold: thresholds.get(rule.name.as_str()).copied().flatten(),
            rooms: BTreeMap::new(),
        };
        let rules = rules.iter().map(|it| (it.name.to_string(), rule(it))).collect();
        Self { topics: topics.clone(), model: models::title(model), rules }
    }

    /// A message for each rule that was never published, and an empty one for each retained rule that no longer exists.
    pub(crate) fn settle(&self, retained: &[Message]) -> Vec<Message> {
        let known = |name: &str| retained.iter().any(|m| m.topic == self.topics.rule(name));
        let new = self.rules.iter().filter(|(name, _)| !known(name)).map(|(name, rule)| self.state(name, rule));
        let rule = |topic: &str| topic.strip_prefix(&self.topics.rules()).map(str::to_string);
        let is_gone = |m: &&Message| rule(&m.topic).is_some_and(|name| !self.rules.contains_key(&name));
        let gone = retained.iter().filter(is_gone);
        new.chain(gone.map(|m| Message::clear(m.topic.clone()))).collect()
    }

    /// The messages of an outcome: alerts, digests, and the state of each rule that changed. `standings` say which alerts are
    /// acknowledged, until when a rule is snoozed, and at which probability an alert begins.
    pub(crate) fn messages<'a>(
        &mut self,
        outcome: &ListenerOutcome,
        standings: impl Iterator<Item = RuleStanding<'a>>,
    ) -> Vec<Message> {
        let mut messages: Vec<_> = outcome.alerts.iter().map(|alert| payload::alert(&self.topics, alert)).collect();
        let (topics, model) = (&self.topics, self.model.as_str());
        messages.extend(outcome.digests.iter().map(|digest| payload::each_summary(topics, digest, model)));
        messages.extend(outcome.digests.iter().map(|digest| payload::summary(topics, digest, model)));
        messages.extend(outcome.digests.iter().filter_map(|digest| payload::summary_of_room(topics, digest, model)));
        let mut changed: Vec<&str> = Vec::new();
        for RuleStanding { rule: name, room, active, acknowledged, snoozed_until, threshold } in standings {
            let Some(rule) = self.rules.get_mut(name.as_str()) else { continue };
            let published = rule.rooms.entry(room.map(Into::into)).or_default();
            if (published.acknowledged, published.snoozed_until, rule.threshold)
                != (acknowledged, snoozed_until, threshold)
            {
                published.on = active;
                published.acknowledged = acknowledged;
                published.snoozed_until = snoozed_until;
                rule.threshold = threshold;
                changed.push(name.as_str());
            }
        }
        for alert in &outcome.alerts {
            if let Some(published) = published_rule(&mut self.rules, &alert.rule, alert.room.as_deref()) {
                published.apply(alert);
                changed.push(&alert.rule);
            }
        }
        for reading in &outcome.readings {
            let name = reading.rule.as_str();
            let Some(published) = published_rule(&mut self.rules, name, reading.room.as_deref()) else { continue };
            let moved = published.probability.is_none_or(|p| (p - reading.probability).abs() >= MIN_CHANGE);
            if moved || published.on != reading.active {
                published.probability = Some(reading.probability);
                published.on = reading.active;
                changed.push(name);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        messages.extend(changed.into_iter().map(|name| self.state(name, &self.rules[name])));
        messages
    }

    /// Drops everything that quotes speech.
    pub(crate) fn forget(&mut self) {
        for published in self.rules.values_mut().flat_map(|rule| rule.rooms.values_mut()) {
            // Every field is named, so that a new one cannot be added without saying how it forgets.
            let PublishedRule { on: _, probability, answer, evidence, acknowledged: _, snoozed_until: _ } = published;
            *probability = None;
            *answer = None;
            evidence.clear();
        }
    }

    /// The state of a rule is that of the room where its probability is highest; rooms where it is on come first.
    fn state(&self, name: &str, rule: &AnnouncedRule) -> Message {
        let height = |published: &PublishedRule| (published.on, published.probability.unwrap_or_default());
        let highest = rule.rooms.iter().max_by(|(_, a), (_, b)| {
            let ((a_on, a), (b_on, b)) = (height(a), height(b));
            a_on.cmp(&b_on).then(a.total_cmp(&b))
        });
        let nowhere = (&None, &PublishedRule::default());
        let (room, published) = highest.unwrap_or(nowhere);
        let state = RuleState {
            rule: name,
            room: room.as_deref(),
            on: published.on,
            severity: rule.severity,
            probability: published.probability,
            answer: published.answer.as_deref(),
            evidence: &published.evidence,
            acknowledged: published.acknowledged,
            snoozed_until: published.snoozed_until,
            threshold: rule.threshold,
        };
        payload::rule(&self.topics, MessageHeader::now(), &state)
    }
}

fn published_rule<'a>(
    rules: &'a mut BTreeMap<String, AnnouncedRule>,
    rule: &str,
    room: Option<&str>,
) -> Option<&'a mut PublishedRule> {
    let rule = rules.get_mut(rule)?;
    Some(rule.rooms.entry(room.map(Into::into)).or_default())
}

impl PublishedRule {
    fn apply(&mut self, alert: &Alert) {
        self.on = alert.phase != AlertPhase::End;
        if self.on {
            // An update that comes before its sentence takes nothing back.
            if alert.phase == AlertPhase::New || alert.answer.is_some() {
                self.answer.clone_from(&alert.answer);
            }
            self.evidence.clone_from(&alert.evidence);
        }
    }
}

/// Logs what happened, with fields by which a journal can be searched. What was said is not logged: others keep a journal, for as
/// long as they like.
pub(crate) fn log(outcome: &ListenerOutcome) {
    for alert in &outcome.alerts {
        let (rule, severity, probability) = (&alert.rule, alert.severity, alert.probability.unwrap_or(1.0));
        match alert.phase {
            AlertPhase::New => {
                warn!(kind = "alert", phase = "new", rule, ?severity, probability, id = %alert.id, "alert: {rule}");
            }
            AlertPhase::Update => {}
            AlertPhase::End => info!(kind = "alert", phase = "end", rule, id = %alert.id, "alert over: {rule}"),
        }
    }
    for digest in &outcome.digests {
        info!(kind = "digest", reason = ?digest.reason, words = digest.words, id = %digest.id, "digest of {} words", digest.words);
    }
}

/// Publishes what happened in the live feed.
pub(crate) fn show(outcome: ListenerOutcome, live_feed: &LiveFeed) {
    let ListenerOutcome { digests, alerts, readings } = outcome;
    for listener::RuleEvaluation { rule, room, probability, threshold, time, active } in readings {
        let reading = RuleReading { rule: rule.to_string(), room, time, probability, threshold, active };
        live_feed.publish(LiveEvent::Reading(reading));
    }
    alerts.into_iter().for_each(|alert| live_feed.publish(LiveEvent::Alert(alert)));
    digests.into_iter().for_each(|digest| live_feed.publish(LiveEvent::Digest(digest)));
}
