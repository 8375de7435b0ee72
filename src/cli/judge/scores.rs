//! Recall at a given share of false yeses, area under the curve, and reliability: from scores and what was true.

use serde::Serialize;

/// The shares of false yeses at which recall is reported.
pub(super) const RATES: [f64; 3] = [0.005, 0.02, 0.05];

/// A score, in log-odds or any other that grows with the evidence, and whether it was true.
pub(super) type Scored = (f64, bool);

/// The score above which at most `rate` of what was not true lies, and at least one; none where there is too little of it.
pub(super) fn threshold(scores: &[Scored], rate: f64) -> Option<f64> {
    let mut false_ones: Vec<f64> = scores.iter().filter(|(_, truth)| !truth).map(|(score, _)| *score).collect();
    false_ones.sort_by(|a, b| b.total_cmp(a));
    let place = ((rate * false_ones.len() as f64) as usize).max(1);
    false_ones.get(place).copied()
}

/// The share of what was true (`truth`), or not true, whose score is above a threshold.
pub(super) fn share_above(scores: &[Scored], threshold: f64, truth: bool) -> Option<f64> {
    let those: Vec<f64> = scores.iter().filter(|(_, true_one)| *true_one == truth).map(|(score, _)| *score).collect();
    let above = those.iter().filter(|score| **score > threshold).count();
    (!those.is_empty()).then(|| above as f64 / those.len() as f64)
}

/// The probability that something true has a higher score than something that is not.
pub(super) fn auc(scores: &[Scored]) -> Option<f64> {
    let (mut pairs, mut won) = (0_u64, 0.0);
    for (score, _) in scores.iter().filter(|(_, truth)| *truth) {
        for (other, _) in scores.iter().filter(|(_, truth)| !truth) {
            pairs += 1;
            won += if score > other {
                1.0
            } else if score < other {
                0.0
            } else {
                0.5
            };
        }
    }
    (pairs > 0).then(|| won / pairs as f64)
}

/// Of the readings whose probability lies in one tenth: how many there are, and how many were true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct ReliabilityBin {
    pub(super) readings: usize,
    pub(super) true_ones: usize,
    /// The share that would be true if one reading in a hundred were.
    pub(super) true_at_one_in_100: Option<f64>,
}

/// Ten bins of the probability.
pub(super) fn reliability(probabilities: &[Scored]) -> [ReliabilityBin; 10] {
    let mut bins = [ReliabilityBin::default(); 10];
    for (probability, truth) in probabilities {
        let bin = &mut bins[((probability * 10.0) as usize).min(9)];
        bin.readings += 1;
        bin.true_ones += usize::from(*truth);
    }
    let all = probabilities.len() as f64;
    let rate = probabilities.iter().filter(|(_, truth)| *truth).count() as f64 / all.max(1.0);
    if 0.0 < rate && rate < 1.0 {
        let (weight, other) = (0.01 / rate, 0.99 / (1.0 - rate));
        for bin in bins.iter_mut().filter(|bin| bin.readings > 0) {
            let (right, wrong) = (bin.true_ones as f64 * weight, (bin.readings - bin.true_ones) as f64 * other);
            bin.true_at_one_in_100 = Some(right / (right + wrong));
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_taken_above_the_false_ones_that_are_let_through() {
        let mut scores: Vec<Scored> = (0..200).map(|n| (f64::from(n), false)).collect();
        scores.extend([(150.0, true), (198.5, true), (300.0, true), (-1.0, true)]);
        // Half a percent of 200 is one: only 199 lies above the threshold.
        let limit = threshold(&scores, 0.005).unwrap();
        assert_eq!(
            (limit, share_above(&scores, limit, true), share_above(&scores, limit, false)),
            (198.0, Some(0.5), Some(0.005))
        );
        assert_eq!(threshold(&scores, 0.05), Some(189.0));
        assert_eq!(threshold(&[(1.0, true), (2.0, false)], 0.05), None);
        assert_eq!(share_above(&[(1.0, false)], 0.0, true), None);
    }

    #[test]
    fn auc_counts_pairs() {
        assert_eq!(auc(&[(1.0, true), (0.0, false), (1.0, false), (2.0, false)]), Some(0.5));
        assert_eq!(auc(&[(3.0, true), (0.0, false)]), Some(1.0));
        assert_eq!(auc(&[(3.0, true)]), None);
    }

    #[test]
    fn reliability_is_weighted_to_the_rate_of_a_stream() {
        let bins = reliability(&[(0.95, true), (0.91, false), (0.05, false), (1.0, true)]);
        assert_eq!((bins[9].readings, bins[9].true_ones, bins[0].readings), (3, 2, 1));
        // Two of two true ones weigh 0.01, one of two others 0.495.
        let share = bins[9].true_at_one_in_100.unwrap();
        assert!((share - 0.01 / 0.505).abs() < 1e-9, "{share}");
        assert_eq!(bins[5].true_at_one_in_100, None);
    }
}
