//! Several rules rise at one utterance: which of them speak.
//!
//! "Water is running down the wall, I slipped" raises the probability of a fall and of a leak, and one word can raise several kinds that
//! are not there. So the likeliest speaks, and another rule needs evidence of its own: it is far beyond its threshold, its own words
//! were said, or what it rests on are other utterances.

use std::collections::BTreeSet;

use ulid::Ulid;

/// A rule this far beyond its threshold, in log-odds, speaks beside a likelier one; e² ≈ 7 times the odds.
const MARGIN: f64 = 2.0;

/// What a rule with a watcher has reached its threshold with.
#[derive(Clone, Debug)]
pub(super) struct AlertClaim {
    /// Of the event.
    pub(super) log_odds: f64,
    /// The threshold of the rule.
    pub(super) enter: f64,
    /// Words were said that are the rule's own.
    pub(super) own_words: bool,
    /// The utterances that it rests on; empty where that is not known.
    pub(super) rests_on: BTreeSet<Ulid>,
}

/// For each rule, whether it must wait. None is a rule that claims nothing.
pub(super) fn must_wait(claims: &[Option<AlertClaim>]) -> Vec<bool> {
    let claiming = claims.iter().enumerate().filter_map(|(at, claim)| Some((at, claim.as_ref()?)));
    let Some((first, likeliest)) = claiming.max_by(|(_, a), (_, b)| a.log_odds.total_cmp(&b.log_odds)) else {
        return vec![false; claims.len()];
    };
    let waits = |(at, claim): (usize, &Option<AlertClaim>)| {
        let Some(claim) = claim.as_ref().filter(|_| at != first) else { return false };
        let elsewhere = !claim.rests_on.is_empty() && claim.rests_on.is_disjoint(&likeliest.rests_on);
        !(claim.own_words || claim.log_odds >= claim.enter + MARGIN || elsewhere)
    };
    claims.iter().enumerate().map(waits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(log_odds: f64, rests_on: &[u128]) -> Option<AlertClaim> {
        let rests_on = rests_on.iter().map(|id| Ulid(*id)).collect();
        Some(AlertClaim { log_odds, enter: 1.0, own_words: false, rests_on })
    }

    #[test]
    fn the_likeliest_speaks_and_the_others_need_evidence_of_their_own() {
        let likeliest = claim(4.0, &[1, 2]);
        let waits = |other: Option<AlertClaim>| must_wait(&[other, likeliest.clone(), None]);
        assert_eq!(waits(claim(1.5, &[2])), [true, false, false], "the same words");
        assert_eq!(waits(claim(1.5, &[3])), [false; 3], "other words");
        assert_eq!(waits(claim(3.0, &[2])), [false; 3], "far beyond its threshold");
        assert_eq!(waits(claim(1.5, &[])), [true, false, false], "it is not known what it rests on");
        let own = claim(1.5, &[2]).map(|claim| AlertClaim { own_words: true, ..claim });
        assert_eq!(waits(own), [false; 3], "its own words");
        assert_eq!(waits(None), [false; 3]);
    }

    #[test]
    fn one_alone_never_waits_and_of_equals_one_speaks() {
        assert_eq!(must_wait(&[claim(1.0, &[1])]), [false]);
        assert_eq!(must_wait(&[]), [false; 0]);
        let waiting = must_wait(&[claim(1.5, &[1]), claim(1.5, &[1]), claim(1.5, &[1])]);
        assert_eq!(waiting.iter().filter(|waits| !**waits).count(), 1);
    }
}
