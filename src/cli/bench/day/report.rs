//! The figures of a simulated day.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::log::{DayLog, DayWork};
use super::simulation::SimulatedMachine;

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct DaySpread {
    count: usize,
    p50: f64,
    p95: f64,
    max: f64,
}

impl DaySpread {
    /// None of no value.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[(last as f64 * share).round() as usize];
        Some(Self { count: values.len(), p50: at(0.5), p95: at(0.95), max: at(1.0) })
    }
}

/// What the processor did with the model.
#[derive(Debug, PartialEq, Serialize)]
struct WorkReport {
    tokens: usize,
    cpu_s: f64,
    /// Of all the time that hearth had.
    share: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct RuleReport {
    asked: u64,
    readings: Option<DaySpread>,
}

/// See the module. Shares are of the time that hearth had, from 0 to 1; latencies are from an utterance's end.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct DayReport {
    model: String,
    cpu: f64,
    threads: usize,
    hours: f64,
    utterances: usize,
    /// Of which the rules are asked about these.
    asking_utterances: usize,
    words: usize,
    /// Until the rules were asked first, and until every critical rule was.
    readings_s: Option<DaySpread>,
    critical_readings_s: Option<DaySpread>,
    /// Words that must raise an alert, and until it was there.
    alarms: usize,
    alerts_s: Option<DaySpread>,
    most_behind_s: f64,
    most_behind_utterances: usize,
    /// After the end of the day, until all was done.
    overtime_s: f64,
    reading: WorkReport,
    asking: WorkReport,
    writing: WorkReport,
    other_share: f64,
    whisper_share: f64,
    used_share: f64,
    /// From when a digest was due until it was there.
    digests_s: Option<DaySpread>,
    digests_given_up: u64,
    rules: BTreeMap<String, RuleReport>,
    peak_memory_bytes: u64,
}

/// What the report is made of, beside what was seen.
pub(super) struct DayFacts {
    pub(super) model: String,
    pub(super) machine: SimulatedMachine,
    pub(super) threads: usize,
    pub(super) hours: f64,
    /// The second at which all was done.
    pub(super) done_s: f64,
    pub(super) words: usize,
    pub(super) spoken_s: f64,
    pub(super) asked: BTreeMap<String, u64>,
    pub(super) digests_given_up: u64,
    pub(super) peak_memory_bytes: u64,
}

impl DayReport {
    pub(super) fn new(log: &DayLog, facts: DayFacts) -> Self {
        let day_s = facts.hours * 3600.0;
        let had = day_s.max(facts.done_s) * facts.machine.cpu;
        let work = |work| {
            let sum = log.work(work);
            WorkReport { tokens: sum.tokens, cpu_s: sum.seconds, share: sum.seconds / had }
        };
        let (reading, asking, writing) = (work(DayWork::Reading), work(DayWork::Asking), work(DayWork::Writing));
        let other_share = work(DayWork::Other).share;
        let whisper_share = facts.spoken_s * facts.machine.whisper / had;
        let readings_s = DaySpread::of(log.first_readings());
        let (alarms, alerts) = log.alerts();
        let rule = |(name, latencies): (&str, Vec<f64>)| {
            let asked = facts.asked.get(name).copied().unwrap_or(0);
            (name.to_string(), RuleReport { asked, readings: DaySpread::of(latencies) })
        };
        Self {
            model: facts.model,
            cpu: facts.machine.cpu,
            threads: facts.threads,
            hours: facts.hours,
            utterances: log.utterances(),
            asking_utterances: log.asking(),
            words: facts.words,
            readings_s,
            critical_readings_s: DaySpread::of(log.critical_readings()),
            alarms,
            alerts_s: DaySpread::of(alerts),
            most_behind_s: readings_s.map_or(0.0, |spread| spread.max),
            most_behind_utterances: log.waiting,
            overtime_s: (facts.done_s - day_s).max(0.0),
            used_share: reading.share + asking.share + writing.share + other_share + whisper_share,
            reading,
            asking,
            writing,
            other_share,
            whisper_share,
            digests_s: DaySpread::of(log.digests.clone()),
            digests_given_up: facts.digests_given_up,
            rules: log.rules().map(rule).collect(),
            peak_memory_bytes: facts.peak_memory_bytes,
        }
    }

    /// Processor seconds for each digest that was finished or given up, with the sentences of alerts.
    fn digest_cost_s(&self) -> Option<f64> {
        let begun = self.digests_s.map_or(0, |spread| spread.count) as u64 + self.digests_given_up;
        (begun > 0).then(|| self.writing.cpu_s / begun as f64)
    }
}

impl fmt::Display for DayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, threads, hours, utterances, words, .. } = self;
        writeln!(f, "{}: {hours} h with {cpu} of a core ({threads} thread{}),", self.model, plural(*threads))?;
        writeln!(f, "{utterances} utterances, {words} words\n")?;
        writeln!(f, "{:<44} {:>6} {:>8} {:>8} {:>8}", "seconds from an utterance's end", "of", "p50", "p95", "max")?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, spread: Option<DaySpread>| match spread {
            Some(DaySpread { count, p50, p95, max }) => {
                writeln!(f, "{name:<44} {count:>6} {p50:>8.1} {p95:>8.1} {max:>8.1}")
            }
            None => writeln!(f, "{name:<44} {:>6}", 0),
        };
        line(f, "  until the rules were asked", self.readings_s)?;
        line(f, "  until every critical rule was", self.critical_readings_s)?;
        line(f, &format!("  until the alert, where {} must raise one", self.alarms), self.alerts_s)?;
        line(f, "seconds from when a digest is due to its text", self.digests_s)?;
        writeln!(f, "\nbehind at worst: {:.1} s, {} utterances", self.most_behind_s, self.most_behind_utterances)?;
        if self.overtime_s > 1.0 {
            writeln!(f, "after the day it took {:.0} s more until all was done", self.overtime_s)?;
        }
        write!(f, "digests given up: {}", self.digests_given_up)?;
        match self.digest_cost_s() {
            Some(cost) => writeln!(f, "; a digest costs {cost:.1} s of a core (with the sentences of alerts)")?,
            None => writeln!(f)?,
        }
        writeln!(f, "\n{:<26} {:>10} {:>12} {:>10}", "work", "tokens", "core seconds", "share")?;
        for (name, work) in [("reading", &self.reading), ("asking", &self.asking), ("writing", &self.writing)] {
            let WorkReport { tokens, cpu_s, share } = work;
            writeln!(f, "{name:<26} {tokens:>10} {cpu_s:>12.1} {:>8.1} %", 100.0 * share)?;
        }
        for (name, share) in
            [("everything but the model", self.other_share), ("Whisper", self.whisper_share), ("all", self.used_share)]
        {
            writeln!(f, "{name:<49} {:>8.1} %", 100.0 * share)?;
        }
        writeln!(f, "\n{:<26} {:>8} {:>8} {:>8} {:>8}", "rule", "asked", "p50", "p95", "max")?;
        for (name, RuleReport { asked, readings }) in &self.rules {
            write!(f, "{name:<26} {asked:>8}")?;
            match readings {
                Some(DaySpread { p50, p95, max, .. }) => writeln!(f, " {p50:>8.1} {p95:>8.1} {max:>8.1}")?,
                None => writeln!(f)?,
            }
        }
        write!(f, "\npeak memory: {:.0} MB", self.peak_memory_bytes as f64 / 1e6)
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
