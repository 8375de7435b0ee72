//! Questions that begin alike: the tokens that they share are read once, and the state is forked where they part.
//!
//! It goes in stages, and the branches of a stage are read together. Sharing saves tokens, but each stage is a pass through the weights
//! of its own, and a pass takes a while however few tokens it reads. So only as much is shared as pays.

use std::collections::BTreeMap;
use std::ops::Range;

/// A pass takes as long as reading this many tokens together, at the least: the weights come from memory once
/// (docs/performance.md: one token at a time is 4 to 8 times as slow as 64).
const PASS: usize = 6;
/// More stages are not tried.
const MAX_SHARED: usize = 3;

/// What one fork reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// The branch of the stage before that it is forked from; 0 in the first stage.
    pub(super) parent: usize,
    /// The questions that go on from it, and which of their tokens it reads: they are the same in all of them.
    pub(super) questions: Vec<usize>,
    pub(super) tokens: Range<usize>,
}

impl Branch {
    pub(super) fn of<'q>(&self, questions: &[&'q [u32]]) -> &'q [u32] {
        &questions[self.questions[0]][self.tokens.clone()]
    }
}

/// The stages of asking `questions`, none of which is empty, when a pass reads up to `budget` tokens. The last stage has a branch for each
/// question, in their order, and each of these reads something.
pub(super) fn stages(questions: &[&[u32]], budget: usize) -> Vec<Vec<Branch>> {
    let with = |shared| shared_stages(questions, shared);
    let cost = |stages: &Vec<Vec<Branch>>| stages.iter().map(|stage| stage_cost(stage, budget)).sum::<usize>();
    (0..=MAX_SHARED).map(with).min_by_key(cost).expect("there is one at least")
}

/// The only stage where nothing is shared.
pub(super) fn apart(questions: &[&[u32]]) -> Vec<Vec<Branch>> {
    shared_stages(questions, 0)
}

/// How many tokens are read in all stages.
pub(super) fn tokens(stages: &[Vec<Branch>]) -> usize {
    stages.iter().flatten().map(|branch| branch.tokens.len()).sum()
}

fn stage_cost(stage: &[Branch], budget: usize) -> usize {
    let tokens: usize = stage.iter().map(|branch| branch.tokens.len()).sum();
    tokens.max(PASS * tokens.div_ceil(budget.max(1)))
}

/// `shared` stages that read what questions share, and the last.
fn shared_stages(questions: &[&[u32]], shared: usize) -> Vec<Vec<Branch>> {
    let mut before = vec![Branch { parent: 0, questions: (0..questions.len()).collect(), tokens: 0..0 }];
    let mut stages = Vec::new();
    for _ in 0..shared {
        let stage: Vec<Branch> =
            before.iter().enumerate().flat_map(|(at, branch)| parted(questions, at, branch)).collect();
        before.clone_from(&stage);
        stages.push(stage);
    }
    let rest = |(parent, branch): (usize, &Branch)| {
        let rest =
            |&one: &usize| Branch { parent, questions: vec![one], tokens: branch.tokens.end..questions[one].len() };
        branch.questions.iter().map(rest).collect::<Vec<_>>()
    };
    let mut last: Vec<Branch> = before.iter().enumerate().flat_map(rest).collect();
    last.sort_by_key(|branch| branch.questions[0]);
    stages.push(last);
    stages
}

/// The branches after `branch`: questions that go on alike stay together and read on up to where they part. A question alone reads nothing
/// before the last stage, and each leaves a token for that.
fn parted(questions: &[&[u32]], parent: usize, branch: &Branch) -> Vec<Branch> {
    let from = branch.tokens.end;
    let mut groups: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for &one in &branch.questions {
        let next = questions[one].get(from).filter(|_| from + 1 < questions[one].len());
        groups.entry(next.copied()).or_default().push(one);
    }
    let group = |group: Vec<usize>| {
        let first = questions[group[0]];
        let same = |other: &usize| {
            let same = first[from..].iter().zip(&questions[*other][from..]).take_while(|(a, b)| a == b).count();
            same.min(questions[*other].len() - from - 1)
        };
        let length = if group.len() > 1 { group.iter().map(same).min().unwrap_or(0) } else { 0 };
        Branch { parent, questions: group, tokens: from..from + length }
    };
    groups.into_values().map(group).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the forks read for each question, one after the other.
    fn read(questions: &[&[u32]], stages: &[Vec<Branch>]) -> Vec<Vec<u32>> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new()];
        for stage in stages {
            let on = |branch: &Branch| {
                let mut read = before[branch.parent].clone();
                for &one in &branch.questions {
                    assert_eq!(
                        questions[one][branch.tokens.clone()],
                        questions[branch.questions[0]][branch.tokens.clone()]
                    );
                }
                read.extend(&questions[branch.questions[0]][branch.tokens.clone()]);
                read
            };
            before = stage.iter().map(on).collect();
        }
        before
    }

    proptest! {
        #[test]
        fn each_question_is_read_whole_and_sharing_never_costs_more(
            questions in prop::collection::vec(prop::collection::vec(0u32..3, 1..12), 1..9), budget in 1usize..80
        ) {
            let questions: Vec<&[u32]> = questions.iter().map(Vec::as_slice).collect();
            for shared in 0..=MAX_SHARED {
                let stages = shared_stages(&questions, shared);
                prop_assert_eq!(read(&questions, &stages), questions.clone());
                prop_assert!(stages.last().unwrap().iter().all(|branch| !branch.tokens.is_empty()));
            }
            let chosen = stages(&questions, budget);
            let cost = |stages: &[Vec<Branch>]| stages.iter().map(|stage| stage_cost(stage, budget)).sum::<usize>();
            prop_assert!(cost(&chosen) <= cost(&shared_stages(&questions, 0)));
            prop_assert!(tokens(&chosen) <= questions.iter().map(|question| question.len()).sum());
        }
    }

    #[test]
    fn what_pays_is_shared() {
        let question = |start: &[u32], own: u32| [start, &[own; 12]].concat();
        let seven: Vec<Vec<u32>> = (0..7).map(|own| question(&[100, 101], own)).collect();
        let seven: Vec<&[u32]> = seven.iter().map(Vec::as_slice).collect();
        let shared = stages(&seven, 64);
        assert_eq!((shared.len(), tokens(&shared), 7 * 14), (2, 2 + 7 * 12, 98));
        // Of two questions two tokens save less than a pass costs.
        assert_eq!(stages(&seven[..2], 64).len(), 1);
        assert_eq!(tokens(&stages(&seven[..1], 64)), 14);
        // The same question twice shares all but its last token.
        assert_eq!(tokens(&stages(&[seven[0], seven[0]], 64)), 13 + 2);
    }
}
