//! From what the listener came to, to the messages, log lines and live_feed that tell of it.
//!
//! Owns what was last told of each rule, so that only a change is published. Refuses to know the store and the state.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::config;
use crate::event::{Alert, AlertPhase, Evidence, Message, Severity};
use crate::listener::{self, ListenerOutcome, RuleStanding};
use crate::live::{LiveEvent, LiveFeed, RuleReading};
use crate::mqtt::payload::{self, MessageHeader, RuleState};
use crate::mqtt::topics::Topics;

/// Probabilities that differ by less are the same to a household.
const WORTH_TELLING: f64 = 0.01;

/// Tells of changes.
pub struct OutcomeMessages {
    topics: Topics,
    rules: BTreeMap<String, AnnouncedRule>,
}

/// A rule, and what is known of it in each room that has a state; of the house's there is no room.
struct AnnouncedRule {
    severity: Severity,
    rooms: BTreeMap<Option<String>, Told>,
}

/// How a rule stands in one room.
#[derive(Default)]
struct Told {
    on: bool,
    probability: Option<f64>,
    answer: Option<String>,
    evidence: Vec<Evidence>,
    acknowledged: bool,
    snoozed_until: Option<Timestamp>,
}

impl OutcomeMessages {
    pub fn new(rules: &[config::Rule], topics: &Topics) -> Self {
        let rule = |rule: &config::Rule| AnnouncedRule { severity: rule.severity, rooms: BTreeMap::new() };
        let rules = rules.iter().map(|it| (it.name.to_string(), rule(it))).collect();
        Self { topics: topics.clone(), rules }
    }

    /// A state for each rule that the broker was never told of; what it keeps of rules that are gone is taken back.
    pub fn settle(&self, retained: &[Message]) -> Vec<Message> {
        let known = |name: &str| retained.iter().any(|m| m.topic == self.topics.rule(name));
        let new = self.rules.iter().filter(|(name, _)| !known(name)).map(|(name, rule)| self.state(name, rule));
        let rule = |topic: &str| topic.strip_prefix(&self.topics.rules()).map(str::to_string);
        let is_gone = |m: &&Message| rule(&m.topic).is_some_and(|name| !self.rules.contains_key(&name));
        let gone = retained.iter().filter(is_gone);
        new.chain(gone.map(|m| Message::clear(m.topic.clone()))).collect()
    }

    /// The messages of an outcome: alerts, digests, and the state of each rule that changed. `standings` say which alerts
    /// somebody knows of, and until when a rule is silent.
    pub fn messages<'a>(
        &mut self,
        outcome: &ListenerOutcome,
        standings: impl Iterator<Item = RuleStanding<'a>>,
    ) -> Vec<Message> {
        let mut messages: Vec<_> = outcome.alerts.iter().map(|alert| payload::alert(&self.topics, alert)).collect();
        messages.extend(outcome.digests.iter().map(|digest| payload::summary(&self.topics, digest)));
        messages.extend(outcome.digests.iter().filter_map(|digest| payload::summary_of_room(&self.topics, digest)));
        let mut changed: Vec<&str> = Vec::new();
        for RuleStanding { rule: name, room, acknowledged, snoozed_until } in standings {
            let Some(told) = told(&mut self.rules, name.as_str(), room) else { continue };
            if (told.acknowledged, told.snoozed_until) != (acknowledged, snoozed_until) {
                (told.acknowledged, told.snoozed_until) = (acknowledged, snoozed_until);
                changed.push(name.as_str());
            }
        }
        for alert in &outcome.alerts {
            if let Some(told) = told(&mut self.rules, &alert.rule, alert.room.as_deref()) {
                told.heed(alert);
                changed.push(&alert.rule);
            }
        }
        for reading in &outcome.readings {
            let name = reading.rule.as_str();
            let Some(told) = told(&mut self.rules, name, reading.room.as_deref()) else { continue };
            let moved = told.probability.is_none_or(|p| (p - reading.probability).abs() >= WORTH_TELLING);
            if moved || told.on != reading.active {
                told.probability = Some(reading.probability);
                told.on = reading.active;
                changed.push(name);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        messages.extend(changed.into_iter().map(|name| self.state(name, &self.rules[name])));
        messages
    }

    /// Nothing that was quoted is said again.
    pub fn forget(&mut self) {
        for told in self.rules.values_mut().flat_map(|rule| rule.rooms.values_mut()) {
            // Every field is named, so that a new one cannot be added without saying how it forgets.
            let Told { on: _, probability, answer, evidence, acknowledged: _, snoozed_until: _ } = told;
            *probability = None;
            *answer = None;
            evidence.clear();
        }
    }

    /// A rule stands in the house as it does in the room where it stands highest.
    fn state(&self, name: &str, rule: &AnnouncedRule) -> Message {
        let height = |told: &Told| (told.on, told.probability.unwrap_or_default());
        let highest = rule.rooms.iter().max_by(|(_, a), (_, b)| {
            let ((a_on, a), (b_on, b)) = (height(a), height(b));
            a_on.cmp(&b_on).then(a.total_cmp(&b))
        });
        let nowhere = (&None, &Told::default());
        let (room, told) = highest.unwrap_or(nowhere);
        let state = RuleState {
            rule: name,
            room: room.as_deref(),
            on: told.on,
            severity: rule.severity,
            probability: told.probability,
            answer: told.answer.as_deref(),
            evidence: &told.evidence,
            acknowledged: told.acknowledged,
            snoozed_until: told.snoozed_until,
        };
        payload::rule(&self.topics, MessageHeader::now(), &state)
    }
}

fn told<'a>(rules: &'a mut BTreeMap<String, AnnouncedRule>, rule: &str, room: Option<&str>) -> Option<&'a mut Told> {
    let rule = rules.get_mut(rule)?;
    Some(rule.rooms.entry(room.map(Into::into)).or_default())
}

impl Told {
    fn heed(&mut self, alert: &Alert) {
        self.on = alert.phase != AlertPhase::End;
        if self.on {
            self.answer.clone_from(&alert.answer);
            self.evidence.clone_from(&alert.evidence);
        }
    }
}

/// Says what happened, with fields a journal can be searched by. Words are the broker's and the store's, not the log's: a
/// journal is kept by others, for as long as they like.
pub fn log(outcome: &ListenerOutcome) {
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

/// Shows what happened to whoever looks.
pub fn show(outcome: ListenerOutcome, live_feed: &LiveFeed) {
    let ListenerOutcome { digests, alerts, readings } = outcome;
    for listener::RuleEvaluation { rule, room, probability, time, active } in readings {
        live_feed.publish(LiveEvent::Reading(RuleReading { rule: rule.to_string(), room, time, probability, active }));
    }
    alerts.into_iter().for_each(|alert| live_feed.publish(LiveEvent::Alert(alert)));
    digests.into_iter().for_each(|digest| live_feed.publish(LiveEvent::Digest(digest)));
}
