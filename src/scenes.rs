//! What goes on in the house, for whoever looks: the page and `hearth status`.
//!
//! Owns the last scenes and the channel they are told on. Refuses to know who looks, and decides nothing. Invariant: bounded, in
//! memory alone, and nobody who tells ever waits for anybody who looks: one who is too slow misses scenes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::event::{Alert, AlertPhase, Digest, Gap, Hypothesis, Utterance};

/// Scenes that somebody who looks may be behind.
const BEHIND: usize = 256;
/// How many of each kind are kept for whoever comes later.
pub const UTTERANCES: usize = 200;
pub const DIGESTS: usize = 20;
pub const ALERTS: usize = 50;
/// Readings kept of each rule, and samples of what a token costs.
const READINGS: usize = 500;
const COSTS: usize = 500;
/// Curves that are remembered: of a dozen rules in as many rooms.
const RULES: usize = 144;

/// Something that happened. As JSON an object of one key, which names it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scene {
    Utterance(Utterance),
    /// What is being said in a room; it replaces the one before.
    Hypothesis(Hypothesis),
    Gap(Gap),
    Digest(Digest),
    Alert(Alert),
    Reading(Reading),
    Cost(Cost),
    /// Everything from this time on was forgotten.
    Forgotten(Timestamp),
}

/// The answer to a rule's question, as a number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    pub rule: String,
    /// The room whose state was asked; none for that of the house.
    pub room: Option<String>,
    pub time: Timestamp,
    /// Of yes.
    pub probability: f64,
    /// The rule's alert is on.
    pub active: bool,
}

impl Reading {
    /// What its curve is called.
    pub fn name(&self) -> String {
        self.room.as_ref().map_or_else(|| self.rule.clone(), |room| format!("{} · {room}", self.rule))
    }
}

/// What a token cost at a time: flat, however old the state is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub time: Timestamp,
    /// Tokens the state has read.
    pub tokens: u64,
    pub us_per_token: f64,
    pub rss_bytes: u64,
}

/// What is kept for whoever comes later, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recent {
    pub utterances: VecDeque<Utterance>,
    /// What is being said, by room.
    pub hypotheses: BTreeMap<String, Hypothesis>,
    pub digests: VecDeque<Digest>,
    /// One for each alert: how it stands.
    pub alerts: VecDeque<Alert>,
    /// By rule, and by room where there is one.
    pub readings: BTreeMap<String, VecDeque<Reading>>,
    pub costs: VecDeque<Cost>,
}

/// Where scenes are told, and looked at.
#[derive(Debug)]
pub struct Scenes {
    recent: Mutex<Recent>,
    lookers: broadcast::Sender<Arc<Scene>>,
}

impl Default for Scenes {
    fn default() -> Self {
        Self { recent: Mutex::default(), lookers: broadcast::Sender::new(BEHIND) }
    }
}

impl Scenes {
    /// Tells of a scene.
    pub fn tell(&self, scene: Scene) {
        // Under one lock: whoever begins to look sees each scene once, in `recent` or on the channel.
        let mut recent = self.recent();
        recent.add(&scene);
        // Nobody looks: nobody is told.
        let _ = self.lookers.send(Arc::new(scene));
    }

    /// What was, and a channel of what comes after it.
    pub fn look(&self) -> (Recent, broadcast::Receiver<Arc<Scene>>) {
        let recent = self.recent();
        (recent.clone(), self.lookers.subscribe())
    }

    /// What was.
    pub fn recent(&self) -> MutexGuard<'_, Recent> {
        // A clone that panicked half-way leaves what it cloned whole.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn add(&mut self, scene: &Scene) {
        match scene {
            Scene::Utterance(utterance) => {
                self.hypotheses.remove(&utterance.room);
                keep(&mut self.utterances, utterance.clone(), UTTERANCES);
            }
            Scene::Hypothesis(said) if said.is_over() => drop(self.hypotheses.remove(&said.room)),
            Scene::Hypothesis(said) => {
                self.hypotheses.insert(said.room.clone(), said.clone());
            }
            Scene::Gap(_) => {}
            Scene::Digest(digest) => keep(&mut self.digests, digest.clone(), DIGESTS),
            Scene::Alert(alert) => self.alert(alert),
            Scene::Reading(reading) => {
                let name = reading.name();
                if self.readings.len() < RULES || self.readings.contains_key(&name) {
                    let of_rule = self.readings.entry(name).or_default();
                    keep(of_rule, reading.clone(), READINGS);
                }
            }
            Scene::Cost(cost) => keep(&mut self.costs, *cost, COSTS),
            Scene::Forgotten(since) => self.forget(*since),
        }
    }

    fn alert(&mut self, alert: &Alert) {
        match self.alerts.iter_mut().find(|known| known.id == alert.id) {
            // An end quotes nothing: what set the alert off stays to be read.
            Some(known) if alert.phase == AlertPhase::End => known.phase = AlertPhase::End,
            Some(known) => known.clone_from(alert),
            None => keep(&mut self.alerts, alert.clone(), ALERTS),
        }
    }

    fn forget(&mut self, since: Timestamp) {
        self.hypotheses.clear();
        self.utterances.retain(|u| u.end < since);
        self.digests.retain(|d| d.to < since);
        self.alerts.retain(|a| a.time < since && a.evidence.iter().all(|e| e.time < since));
        self.readings.values_mut().for_each(|readings| readings.retain(|r| r.time < since));
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
        Utterance { id: Ulid::generate(), start, end, room, text, confidence: 0.9, no_speech: 0.0 }
    }

    #[test]
    fn what_is_kept_is_bounded_and_whoever_comes_later_finds_the_newest() {
        let scenes = Scenes::default();
        (0..1_000).for_each(|s| scenes.tell(Scene::Utterance(utterance(s))));
        let (recent, mut channel) = scenes.look();
        assert_eq!((recent.utterances.len(), recent.utterances[UTTERANCES - 1].start), (UTTERANCES, at(999)));
        let next = Scene::Utterance(utterance(1_000));
        scenes.tell(next.clone());
        assert_eq!(*channel.try_recv().unwrap(), next, "told once: not in what was, but on the channel");
    }

    #[test]
    fn one_who_is_slow_misses_scenes_and_holds_nobody_up() {
        let scenes = Scenes::default();
        let (_, mut channel) = scenes.look();
        (0..BEHIND as i64 + 10).for_each(|s| scenes.tell(Scene::Utterance(utterance(s))));
        assert!(matches!(channel.try_recv(), Err(broadcast::error::TryRecvError::Lagged(10))));
        assert!(matches!(&*channel.try_recv().unwrap(), Scene::Utterance(u) if u.start == at(10)));
    }

    #[test]
    fn an_alert_stands_once_and_keeps_its_evidence_when_it_ends() {
        let scenes = Scenes::default();
        let evidence =
            vec![Evidence { utterance: Ulid::generate(), time: at(0), room: "home".into(), text: "Help!".into() }];
        let (rule, severity) = ("help".into(), Severity::Critical);
        let (id, time, phase) = (Ulid::generate(), at(1), AlertPhase::New);
        let new = Alert { id, rule, phase, severity, room: None, time, probability: Some(0.9), answer: None, evidence };
        scenes.tell(Scene::Alert(new.clone()));
        scenes.tell(Scene::Alert(Alert { phase: AlertPhase::End, evidence: Vec::new(), time: at(9), ..new.clone() }));
        assert_eq!(scenes.recent().alerts, [Alert { phase: AlertPhase::End, ..new }]);
    }

    #[test]
    fn what_is_forgotten_is_not_shown_to_whoever_comes_later() {
        let scenes = Scenes::default();
        (0..10).for_each(|s| scenes.tell(Scene::Utterance(utterance(s))));
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
        scenes.tell(Scene::Alert(alert));
        scenes.tell(Scene::Forgotten(at(5)));
        let recent = scenes.recent();
        assert_eq!(recent.utterances.back().unwrap().start, at(3), "one that went on into that time goes as a whole");
        assert!(recent.alerts.is_empty());
    }
}
