//! The scores of a model, computed from its readings: `--json` prints them as one line, and [`super::tables`] as text.

use std::collections::BTreeMap;

use serde::Serialize;

use super::play::{ExchangeAnswers, HarmlessTalk, HouseholdScores, JudgeReading};
use super::scores::{RATES, ReliabilityBin, Scored, auc, reliability, share_above, threshold};
use crate::config::WatchKind;
use crate::listener::alert;

/// What is scored: the model's answer to the kind's question, the watcher, and what the daemon publishes.
pub(super) const SOURCES: [&str; 3] = ["model", "watcher", "published"];

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct JudgeReport {
    pub(super) model: String,
    /// It was stopped: only a part was judged.
    pub(super) stopped: bool,
    pub(super) exchanges: usize,
    pub(super) kinds: Vec<KindScores>,
    /// The means over the kinds.
    pub(super) mean: MeanScores,
    /// Of the exchanges of one kind, the share in which another kind's alert began: the worst pair.
    pub(super) cross_talk_worst: Option<CrossTalk>,
    pub(super) harmless: Vec<HarmlessTalk>,
    /// By source, over the readings after the last utterances.
    pub(super) reliability: BTreeMap<&'static str, [ReliabilityBin; 10]>,
    pub(super) answers: ExchangeAnswers,
    pub(super) own_questions: Option<OwnQuestionScores>,
    pub(super) households: HouseholdScores,
    pub(super) seconds: JudgeSeconds,
}

/// The scores of one kind. Shares are none where there was nothing to count.
#[derive(Debug, Serialize)]
pub(super) struct KindScores {
    pub(super) kind: WatchKind,
    /// Exchanges that raise it, and others.
    pub(super) of: [usize; 2],
    /// The share of the first in which its alert began, and of the others.
    pub(super) alert_recall: Option<f64>,
    pub(super) alert_false: Option<f64>,
    pub(super) sources: BTreeMap<&'static str, SourceScores>,
}

/// Recall of one source at each of [`RATES`], one reading right after the exchange.
#[derive(Debug, Default, Serialize)]
pub(super) struct SourceScores {
    /// The threshold is from the same exchanges.
    pub(super) same: [Option<f64>; 3],
    /// The threshold is from half 0, the exchanges are half 1; and the share of false yeses there.
    pub(super) kept: [Option<f64>; 3],
    pub(super) kept_false: [Option<f64>; 3],
    /// Recall and share of false yeses where yes is more likely than no.
    pub(super) even: [Option<f64>; 2],
}

/// The same over all kinds.
#[derive(Debug, Default, Serialize)]
pub(super) struct MeanScores {
    pub(super) alert_recall: Option<f64>,
    pub(super) alert_false: Option<f64>,
    pub(super) sources: BTreeMap<&'static str, SourceScores>,
}

#[derive(Debug, Serialize)]
pub(super) struct CrossTalk {
    pub(super) of: WatchKind,
    pub(super) raised: WatchKind,
    pub(super) share: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct OwnQuestionScores {
    pub(super) readings: usize,
    pub(super) auc: Option<f64>,
    /// The share that is right where yes is said from one half on.
    pub(super) right: f64,
}

/// Wall times.
#[derive(Debug, Default, Serialize)]
pub(super) struct JudgeSeconds {
    /// An utterance with the questions that the rules ask after it.
    pub(super) reading_mean: f64,
    pub(super) reading_p95: f64,
    /// The questions about all eight kinds.
    pub(super) questions_mean: f64,
}

impl OwnQuestionScores {
    pub(super) fn of(found: &[Scored]) -> Option<Self> {
        let right = found.iter().filter(|(odds, truth)| (*odds > 0.0) == *truth).count();
        let scores = Self { readings: found.len(), auc: auc(found), right: right as f64 / found.len().max(1) as f64 };
        (!found.is_empty()).then_some(scores)
    }
}

impl JudgeSeconds {
    pub(super) fn of(mut reading: Vec<f64>, asking: &[f64]) -> Self {
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len().max(1) as f64;
        let reading_mean = mean(&reading);
        reading.sort_by(f64::total_cmp);
        let reading_p95 = reading.get(reading.len() * 95 / 100).copied().unwrap_or_default();
        Self { reading_mean, reading_p95, questions_mean: mean(asking) }
    }
}

impl JudgeReport {
    /// Adds what follows from the readings after exchanges.
    pub(super) fn add_readings(&mut self, readings: &[JudgeReading<'_>]) {
        self.kinds = WatchKind::ALL.into_iter().map(|kind| KindScores::of(kind, readings)).collect();
        self.mean = MeanScores::of(&self.kinds);
        self.cross_talk_worst = cross_talk(readings);
        for source in SOURCES {
            let last = readings.iter().filter(|reading| reading.last);
            let found: Vec<Scored> =
                last.filter_map(|one| Some((alert::sigmoid(score(one, source)?), one.label))).collect();
            // What the watcher says is no probability.
            if !found.is_empty() && source != "watcher" {
                self.reliability.insert(source, reliability(&found));
            }
        }
    }
}

fn score(reading: &JudgeReading<'_>, source: &str) -> Option<f64> {
    match source {
        "model" => Some(reading.model),
        "watcher" => reading.watcher,
        _ => reading.published,
    }
}

impl KindScores {
    fn of(kind: WatchKind, readings: &[JudgeReading<'_>]) -> Self {
        let mine: Vec<_> = readings.iter().filter(|reading| reading.kind == kind).collect();
        let mut exchanges: BTreeMap<usize, (bool, bool)> = BTreeMap::new();
        for reading in &mine {
            exchanges.entry(reading.exchange).or_insert((reading.label, false)).1 |= reading.alert;
        }
        let has_rule = mine.iter().any(|reading| reading.published.is_some());
        let share = |label: bool| {
            let those: Vec<_> = exchanges.values().filter(|(truth, _)| *truth == label).collect();
            let raised = those.iter().filter(|(_, alert)| *alert).count();
            (those.len(), (has_rule && !those.is_empty()).then(|| raised as f64 / those.len() as f64))
        };
        let ((n, alert_recall), (others, alert_false)) = (share(true), share(false));
        let last: Vec<_> = mine.into_iter().filter(|reading| reading.last).collect();
        let sources = SOURCES.into_iter().map(|source| (source, SourceScores::of(source, &last))).collect();
        Self { kind, of: [n, others], alert_recall, alert_false, sources }
    }
}

impl SourceScores {
    fn of(source: &str, last: &[&JudgeReading<'_>]) -> Self {
        let scored = |half: Option<u8>| -> Vec<Scored> {
            let those = last.iter().filter(|reading| half.is_none() || reading.half == half);
            those.filter_map(|reading| Some((score(reading, source)?, reading.label))).collect()
        };
        let (all, first, second) = (scored(None), scored(Some(0)), scored(Some(1)));
        let kept = |truth| RATES.map(|rate| share_above(&second, threshold(&first, rate)?, truth));
        let even =
            if source == "watcher" { [None; 2] } else { [true, false].map(|truth| share_above(&all, 0.0, truth)) };
        Self {
            same: RATES.map(|rate| share_above(&all, threshold(&all, rate)?, true)),
            kept: kept(true),
            kept_false: kept(false),
            even,
        }
    }
}

impl MeanScores {
    fn of(kinds: &[KindScores]) -> Self {
        let over = |value: &dyn Fn(&KindScores) -> Option<f64>| {
            let found: Vec<f64> = kinds.iter().filter_map(value).collect();
            (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
        };
        let of_source = |source: &'static str| {
            let each = |part: fn(&SourceScores) -> &[Option<f64>; 3]| {
                std::array::from_fn(|rate| over(&|kind| part(&kind.sources[source])[rate]))
            };
            let (same, kept, kept_false) = (each(|all| &all.same), each(|all| &all.kept), each(|all| &all.kept_false));
            let even = std::array::from_fn(|which| over(&|kind| kind.sources[source].even[which]));
            (source, SourceScores { same, kept, kept_false, even })
        };
        Self {
            alert_recall: over(&|kind| kind.alert_recall),
            alert_false: over(&|kind| kind.alert_false),
            sources: SOURCES.into_iter().map(of_source).collect(),
        }
    }
}

/// The pair of kinds with the largest share.
fn cross_talk(readings: &[JudgeReading<'_>]) -> Option<CrossTalk> {
    let mut raised: BTreeMap<usize, ([bool; 8], [bool; 8])> = BTreeMap::new();
    for reading in readings {
        let (labels, alerts) = raised.entry(reading.exchange).or_default();
        labels[reading.kind as usize] |= reading.label;
        alerts[reading.kind as usize] |= reading.alert;
    }
    let pairs = WatchKind::ALL.into_iter().flat_map(|of| WatchKind::ALL.into_iter().map(move |other| (of, other)));
    let shares = pairs.filter_map(|(of, other)| {
        let those: Vec<_> =
            raised.values().filter(|(labels, _)| labels[of as usize] && !labels[other as usize]).collect();
        let count = those.iter().filter(|(_, alerts)| alerts[other as usize]).count();
        (!those.is_empty()).then(|| CrossTalk { of, raised: other, share: count as f64 / those.len() as f64 })
    });
    shares.max_by(|a, b| a.share.total_cmp(&b.share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(exchange: usize, kind: WatchKind, label: bool, model: f64, alert: bool) -> JudgeReading<'static> {
        JudgeReading {
            exchange,
            file: "a.jsonl",
            line: None,
            half: Some((exchange % 2) as u8),
            kind,
            label,
            watcher: None,
            events: None,
            model,
            published: (kind == WatchKind::Fire).then_some(model),
            alert,
            last: true,
        }
    }

    #[test]
    fn an_alert_counts_once_for_an_exchange_and_a_kind_without_a_rule_has_none() {
        let mut all = Vec::new();
        for exchange in 0..8 {
            let fire = exchange < 2;
            let model = if exchange == 0 { 3.0 } else { -(exchange as f64) };
            all.push(JudgeReading { last: false, ..reading(exchange, WatchKind::Fire, fire, -5.0, exchange == 1) });
            all.push(reading(exchange, WatchKind::Fire, fire, model, exchange == 1 || exchange == 7));
            all.push(reading(exchange, WatchKind::Leak, exchange == 7, 0.0, false));
        }
        let mut report = JudgeReport::default();
        report.add_readings(&all);
        let fire = &report.kinds[WatchKind::Fire as usize];
        assert_eq!((fire.of, fire.alert_recall, fire.alert_false), ([2, 6], Some(0.5), Some(1.0 / 6.0)));
        assert_eq!(fire.sources["model"].even, [Some(0.5), Some(0.0)]);
        assert_eq!((fire.sources["model"].same[0], fire.sources["watcher"].same[0]), (Some(1.0), None));
        assert_eq!(report.kinds[WatchKind::Leak as usize].alert_recall, None);
        let worst = report.cross_talk_worst.unwrap();
        assert_eq!((worst.of, worst.raised, worst.share), (WatchKind::Leak, WatchKind::Fire, 1.0));
        assert_eq!(report.reliability["published"][9].readings, 1);
    }
}
