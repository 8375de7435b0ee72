//! What is seen of the listener during a simulated day. Times are seconds since the day began.

use std::collections::BTreeMap;

use super::talk::DayUtterance;
use crate::config::Rule;
use crate::event::Severity;
use crate::listener::fillers;
use crate::listener::pace::Work;

/// An alert later than this is none for the words in question.
const ALERT_LIMIT_S: f64 = 3600.0;

/// What the processor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DayWork {
    Reading,
    Asking,
    Writing,
    /// Everything but the model.
    Other,
}

impl From<Work> for DayWork {
    fn from(work: Work) -> Self {
        match work {
            Work::Reading => Self::Reading,
            Work::Asking => Self::Asking,
            Work::Writing => Self::Writing,
        }
    }
}

/// Tokens, and processor seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct WorkSum {
    pub(super) tokens: usize,
    pub(super) seconds: f64,
}

/// What is known of a rule.
#[derive(Debug, Default)]
struct RuleLog {
    critical: bool,
    /// From the end of each utterance to the first reading after it.
    latencies: Vec<f64>,
}

/// Words that must raise an alert.
#[derive(Debug)]
struct Alarm {
    rule: &'static str,
    end: f64,
    latency: Option<f64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DayLog {
    /// When each utterance ended.
    ends: Vec<f64>,
    /// Whether the rules are asked because of it.
    asks: Vec<bool>,
    rules: BTreeMap<String, RuleLog>,
    alarms: Vec<Alarm>,
    work: BTreeMap<DayWork, WorkSum>,
    /// From the time at which each digest was due until it was there.
    pub(super) digests: Vec<f64>,
    /// The most utterances that waited.
    pub(super) waiting: usize,
}

impl DayLog {
    pub(super) fn new(talk: &[DayUtterance], rules: &[Rule]) -> Self {
        let asks = rules.iter().filter(|rule| rule.question.is_some());
        let rule = |rule: &Rule| {
            let critical = rule.severity == Severity::Critical;
            (rule.name.to_string(), RuleLog { critical, ..RuleLog::default() })
        };
        let triggers = |name: &str| rules.iter().any(|rule| rule.name.as_str() == name && rule.trigger.is_some());
        let alarm = |said: &DayUtterance| {
            let rule = said.alarm.filter(|rule| triggers(rule))?;
            Some(Alarm { rule, end: said.end, latency: None })
        };
        Self {
            ends: talk.iter().map(|said| said.end).collect(),
            asks: talk.iter().map(|said| !fillers::says_nothing(&said.text)).collect(),
            rules: asks.map(rule).collect(),
            alarms: talk.iter().filter_map(alarm).collect(),
            ..Self::default()
        }
    }

    pub(super) fn worked(&mut self, work: DayWork, tokens: usize, seconds: f64) {
        let sum = self.work.entry(work).or_default();
        sum.tokens += tokens;
        sum.seconds += seconds;
    }

    pub(super) fn work(&self, work: DayWork) -> WorkSum {
        self.work.get(&work).copied().unwrap_or_default()
    }

    /// At `now` there is a reading of what was said until `time`.
    pub(super) fn reading(&mut self, rule: &str, time: f64, now: f64) {
        let Some(log) = self.rules.get_mut(rule) else { return };
        // Times of the stream are rounded to nanoseconds.
        let covered = self.ends[log.latencies.len()..].iter().take_while(|end| **end <= time + 1e-6);
        let new: Vec<f64> = covered.map(|end| now - end).collect();
        log.latencies.extend(new);
    }

    pub(super) fn alert(&mut self, rule: &str, now: f64) {
        let is_it = |alarm: &&mut Alarm| {
            alarm.rule == rule && alarm.latency.is_none() && (alarm.end..alarm.end + ALERT_LIMIT_S).contains(&now)
        };
        if let Some(alarm) = self.alarms.iter_mut().find(is_it) {
            alarm.latency = Some(now - alarm.end);
        }
    }

    /// At `now` there is the digest that was due at `time`.
    pub(super) fn digest(&mut self, time: f64, now: f64) {
        self.digests.push(now - time);
    }

    /// So many utterances are in the store.
    pub(super) fn waiting(&mut self, stored: usize) {
        self.waiting = self.waiting.max(stored - self.asked_about().min(stored));
    }

    /// The utterances of which there is a reading.
    pub(super) fn asked_about(&self) -> usize {
        self.rules.values().map(|rule| rule.latencies.len()).max().unwrap_or(0)
    }

    pub(super) fn utterances(&self) -> usize {
        self.ends.len()
    }

    /// How many of them the rules are asked about; the others say nothing.
    pub(super) fn asking(&self) -> usize {
        self.asks.iter().filter(|asks| **asks).count()
    }

    /// Those of them.
    fn of_asking(&self, values: impl Iterator<Item = f64>) -> Vec<f64> {
        values.zip(&self.asks).filter(|(_, asks)| **asks).map(|(value, _)| value).collect()
    }

    /// Of each rule the latencies of its readings.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&str, Vec<f64>)> {
        self.rules.iter().map(|(name, rule)| (name.as_str(), self.of_asking(rule.latencies.iter().copied())))
    }

    /// Of each utterance, until there was any reading of it.
    pub(super) fn first_readings(&self) -> Vec<f64> {
        let first = |at: usize| {
            let known = self.rules.values().filter_map(|rule| rule.latencies.get(at).copied());
            known.fold(f64::INFINITY, f64::min)
        };
        self.of_asking((0..self.asked_about()).map(first))
    }

    /// Of each utterance, until there was one of every critical rule; of every rule where none is critical.
    pub(super) fn critical_readings(&self) -> Vec<f64> {
        let any = self.rules.values().any(|rule| rule.critical);
        let rules = self.rules.values().filter(|rule| rule.critical || !any).map(|rule| &rule.latencies);
        let all = rules.clone().map(Vec::len).min().unwrap_or(0);
        self.of_asking((0..all).map(|at| rules.clone().map(|latencies| latencies[at]).fold(0.0, f64::max)))
    }

    /// How many utterances had to raise an alert, and how long it took where they did.
    pub(super) fn alerts(&self) -> (usize, Vec<f64>) {
        (self.alarms.len(), self.alarms.iter().filter_map(|alarm| alarm.latency).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn latencies_count_from_the_end_of_each_utterance() {
        let said = |end, alarm| DayUtterance { start: end - 1.0, end, text: "We need milk.".into(), alarm };
        let talk = [said(1.0, None), said(3.0, Some("fire")), said(6.0, None)];
        let mut log = DayLog::new(&talk, &Config::default().rules);
        log.waiting(2);
        log.reading("fire", 3.0, 5.0);
        log.alert("fire", 5.5);
        log.reading("door", 1.0, 6.0);
        for rule in ["help", "leak", "intruder", "door", "medicine", "left_on", "nobody's"] {
            log.reading(rule, 6.0, 8.0);
        }
        assert_eq!(log.first_readings(), [4.0, 2.0, 2.0]);
        assert_eq!(log.critical_readings(), [7.0, 5.0]);
        log.reading("fire", 6.0, 9.0);
        assert_eq!((log.critical_readings(), log.asked_about()), (vec![7.0, 5.0, 3.0], 3));
        assert_eq!((log.alerts(), log.waiting), ((1, vec![2.5]), 2));
    }
}
