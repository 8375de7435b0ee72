//! Which rules are asked where there is no time for all of them.
//!
//! While utterances wait and asking all would take long, critical rules are asked each time, and of the others the one that has waited longest. A rule that is
//! put off is asked later, about what was said until then.

use std::time::Duration;

use super::rule_monitor::RuleMonitor;
use crate::event::Severity;

/// Asking is never cut short to less than this.
const QUICK: Duration = Duration::from_secs(1);

/// A rule that is to be asked, in the order of all rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    critical: bool,
    /// How often it was put off since it was asked last.
    put_off: u64,
}

/// Of the rules that are `wanted` those that are asked now. `token` is how long a token takes; none where that is not known.
pub(super) fn chosen(monitors: &[RuleMonitor], wanted: &[bool], token: Option<Duration>) -> Vec<bool> {
    let waiting = monitors.iter().zip(wanted).map(|(monitor, wanted)| {
        let critical = monitor.rule.severity == Severity::Critical;
        wanted.then_some(Waiting { critical, put_off: monitor.put_off })
    });
    let tokens = |(monitor, wanted): (&RuleMonitor, &bool)| {
        monitor.question.as_ref().filter(|_| *wanted).map_or(0, |question| question.tokens().len())
    };
    let tokens: usize = monitors.iter().zip(wanted).map(tokens).sum();
    let takes = token.unwrap_or_default().saturating_mul(tokens as u32);
    if takes <= QUICK { wanted.to_vec() } else { most_urgent(&waiting.collect::<Vec<_>>()) }
}

fn most_urgent(waiting: &[Option<Waiting>]) -> Vec<bool> {
    let others = waiting.iter().enumerate().filter_map(|(at, rule)| Some((at, (*rule)?)));
    // Of several that have waited as long, the first.
    let next = others.filter(|(_, rule)| !rule.critical).rev().max_by_key(|(_, rule)| rule.put_off);
    let is_next = |at| next.is_some_and(|(next, _)| next == at);
    waiting.iter().enumerate().map(|(at, rule)| rule.is_some_and(|rule| rule.critical || is_next(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_rules_are_asked_each_time_and_the_others_in_turn() {
        // The third is not to be asked.
        let critical = [false, true, false, false, false];
        let (mut put_off, mut asked) = ([0; 5], [0; 5]);
        for _ in 0..30 {
            let waiting: Vec<_> = (0..5)
                .map(|at| (at != 2).then_some(Waiting { critical: critical[at], put_off: put_off[at] }))
                .collect();
            for (at, now) in most_urgent(&waiting).into_iter().enumerate() {
                asked[at] += usize::from(now);
                put_off[at] = if now { 0 } else { put_off[at] + 1 };
            }
        }
        assert_eq!(asked, [10, 30, 0, 10, 10]);
        assert_eq!(most_urgent(&[None, None]), [false, false]);
    }
}
