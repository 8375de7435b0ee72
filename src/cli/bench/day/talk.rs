//! What is said in a simulated day: conversations with silence between them, the same in every run.

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

/// Words a minute in a conversation, with the pauses between utterances.
const WORDS_A_MINUTE: f64 = 150.0;
/// The share of an utterance's time that is spoken; the rest is a pause.
const SPOKEN: f64 = 0.85;
/// A conversation lasts for so many seconds.
const CONVERSATION_S: std::ops::Range<f64> = 180.0..1_200.0;
/// Every so many utterances something is said that must raise an alert at once.
const ALARM_EVERY: usize = 50;
/// What keeps a talk going, and how often it is said.
const NODS: [&str; 6] = ["Mm.", "Okay.", "Yeah.", "Right.", "Mm-hm.", "Oh."];
const NOD_SHARE: f64 = 0.12;
/// Words that leave no doubt, and the default rule that they trigger.
const ALARMS: [(&str, &str); 4] = [
    ("help", "I fell on the stairs. I can't get up."),
    ("fire", "There is smoke coming out of the oven!"),
    ("leak", "Water is pouring through the ceiling!"),
    ("intruder", "Someone is trying to break in!"),
];
/// Synthetic exchanges; what is said before each is harmless.
const EXCHANGES: &str = include_str!("../../../../examples/judge/exchanges.jsonl");

/// An utterance, in seconds since the day began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DayUtterance {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) text: String,
    /// The rule that it triggers.
    pub(super) alarm: Option<&'static str>,
}

/// The bundled talk, an utterance each.
pub(super) fn bundled() -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Exchange {
        #[serde(default)]
        before: Vec<String>,
    }
    let exchanges = EXCHANGES.lines().map(serde_json::from_str::<Exchange>);
    let exchanges = exchanges.collect::<Result<Vec<_>, _>>().context("the bundled talk is broken")?;
    Ok(exchanges.into_iter().flat_map(|exchange| exchange.before).collect())
}

/// A day of `hours`, of which people talk for the share `talk`. They say what `texts` has, again and again, with fillers between.
///
/// # Errors
/// There is no text.
pub(super) fn talk_of_day(texts: &[String], hours: f64, talk: f64) -> anyhow::Result<Vec<DayUtterance>> {
    let texts: Vec<&str> = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    ensure!(!texts.is_empty(), "there is no talk: give a file with one utterance in each line");
    let mut random = StdRng::seed_from_u64(1);
    let (mut now, end) = (0.0, hours * 3600.0);
    let (mut said, mut next) = (Vec::new(), random.random_range(0..texts.len()));
    while now < end {
        let lasts = random.random_range(CONVERSATION_S);
        let over = (now + lasts).min(end);
        while now < over {
            let alarm = (said.len() % ALARM_EVERY == ALARM_EVERY / 2).then(|| ALARMS[said.len() / ALARM_EVERY % 4]);
            let text = match alarm {
                Some((_, text)) => text,
                None if random.random_bool(NOD_SHARE) => NODS[random.random_range(0..NODS.len())],
                None => {
                    next = (next + 1) % texts.len();
                    texts[next]
                }
            };
            let takes = text.split_whitespace().count() as f64 * 60.0 / WORDS_A_MINUTE;
            if now + takes > end {
                return Ok(said);
            }
            let alarm = alarm.map(|(rule, _)| rule);
            said.push(DayUtterance { start: now, end: now + SPOKEN * takes, text: text.into(), alarm });
            now += takes;
        }
        // So that what is said takes the wanted share.
        now += lasts * (1.0 - talk) / talk * random.random_range(0.8..1.2);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    #[test]
    fn a_day_has_the_talk_that_was_wanted_and_is_always_the_same() {
        let texts = bundled().unwrap();
        for share in [0.1, 0.3, 1.0] {
            let day = talk_of_day(&texts, 24.0, share).unwrap();
            let words: usize = day.iter().map(|said| said.text.split_whitespace().count()).sum();
            let spoken = words as f64 / WORDS_A_MINUTE / (24.0 * 60.0);
            assert!((spoken / share - 1.0).abs() < 0.15, "{spoken} instead of {share}");
            assert!(day.is_sorted_by(|a, b| a.end <= b.start) && day.last().unwrap().end <= 86_400.0);
            assert_eq!(day, talk_of_day(&texts, 24.0, share).unwrap());
        }
        assert!(talk_of_day(&[String::new()], 1.0, 0.3).is_err());
    }

    #[test]
    fn each_alarm_triggers_its_rule() {
        let rules = Config::default().rules;
        for (rule, text) in ALARMS {
            let rule = rules.iter().find(|found| found.name.as_str() == rule).unwrap();
            assert!(config::pattern(rule.trigger.as_ref().unwrap()).unwrap().is_match(text), "{text}");
        }
    }
}
