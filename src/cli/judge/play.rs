//! Plays exchanges, questions, households and harmless talk to listeners as the daemon does, and notes what they make of them.
//!
//! Each has a listener of its own that has heard nothing before. Talk goes on at 150 words a minute.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use ulid::Ulid;

use super::material::{Exchange, Household, HouseholdEvent, HouseholdQuestion, OwnQuestion, utterances};
use super::scores::Scored;
use super::truth::{TruthCounts, holds, is_answer};
use crate::cli::ask::transcript;
use crate::config::{Rule, WatchKind};
use crate::event::{AlertPhase, Utterance};
use crate::listener::ask::Question;
use crate::listener::{Listener, ListenerOutcome, alert};

/// Seconds that a word takes, and the pause after an utterance.
const WORD_S: f64 = 0.4;
const PAUSE_S: f64 = 0.5;
/// Where talk is heard with `--rooms`.
const ROOMS: [&str; 3] = ["kitchen", "hallway", "living room"];
/// Households of so many words or more are counted apart.
pub(super) const LONG_WORDS: usize = 600;

/// Somebody stopped the command.
#[derive(Debug, thiserror::Error)]
#[error("it was stopped before the end")]
pub(super) struct JudgeStopped;

/// One reading of one kind after one utterance; a line of `--readings`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JudgeReading<'a> {
    pub(super) exchange: usize,
    pub(super) file: &'a str,
    pub(super) line: Option<u64>,
    pub(super) half: Option<u8>,
    pub(super) kind: WatchKind,
    /// The exchange raises this kind.
    pub(super) label: bool,
    /// Log-odds of the watcher, of the model's yes to the kind's question, and of what the daemon would publish; null where there is none.
    pub(super) watcher: Option<f64>,
    /// Log-odds of the event model's yes, where the watcher suspects the kind.
    pub(super) events: Option<f64>,
    pub(super) model: f64,
    pub(super) published: Option<f64>,
    /// The rule's alert began here.
    pub(super) alert: bool,
    /// It is the reading after the last utterance.
    pub(super) last: bool,
}

/// Answers, and what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct AnswerCounts {
    /// Right word by word, as the model wrote them and as they are told.
    pub(super) written: usize,
    pub(super) told: usize,
    /// What is told holds the words of the right answer; so may a quote.
    pub(super) held: usize,
    /// What is told is that it was not said.
    pub(super) silent: usize,
    pub(super) of: usize,
}

/// What came of the questions after the exchanges.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct ExchangeAnswers {
    /// Questions whose answer was said.
    pub(super) facts: AnswerCounts,
    /// Questions about the exchange whose answer was not said, and questions of other exchanges.
    pub(super) not_said: AnswerCounts,
    pub(super) not_said_elsewhere: AnswerCounts,
}

/// What came of the households.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct HouseholdScores {
    pub(super) facts: AnswerCounts,
    /// Alerts: true and false positives, false negatives.
    pub(super) alerts: [usize; 3],
    /// Answers to a question for a summary, before and after the check.
    pub(super) summaries: [TruthCounts; 2],
    /// Summaries of the whole talk, before and after the check; and those of talk of at least 600 words.
    pub(super) digests: [TruthCounts; 2],
    pub(super) long_digests: [TruthCounts; 2],
}

/// Harmless talk of one origin, and the alerts in it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct HarmlessTalk {
    pub(super) name: String,
    pub(super) hours: f64,
    /// The rules whose alerts began.
    pub(super) alerts: Vec<String>,
}

/// Everything that pieces share.
pub(super) struct Judge<'a> {
    pub(super) listener: &'a Listener,
    pub(super) rules: &'a [Rule],
    /// The question about each kind.
    pub(super) questions: Vec<Question>,
    pub(super) rooms: bool,
    pub(super) stop: &'a AtomicBool,
    /// Is told the number of words that were read.
    pub(super) tell: &'a mut (dyn FnMut(u64) + Send),
    pub(super) done: u64,
    /// Seconds for an utterance as the daemon reads it, with the rules' questions; and for the questions about all kinds.
    pub(super) reading_s: Vec<f64>,
    pub(super) asking_s: Vec<f64>,
}

/// One listener, and the time that its stream has reached.
struct Stage {
    listener: Listener,
    now: Timestamp,
}

/// The kind that a rule is about.
pub(super) fn kind_of(rule: &Rule) -> Option<WatchKind> {
    rule.watch.or_else(|| WatchKind::ALL.into_iter().find(|kind| kind.name() == rule.name.as_str()))
}

impl Judge<'_> {
    fn stage(&self) -> Stage {
        Stage { listener: self.listener.fresh(), now: Timestamp::UNIX_EPOCH }
    }

    fn hear(&mut self, stage: &mut Stage, text: &str, room: usize) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(JudgeStopped.into());
        }
        let words = text.split_whitespace().count();
        let end = stage.now + SignedDuration::from_secs_f64(words as f64 * WORD_S);
        let room = if self.rooms { ROOMS[room % ROOMS.len()] } else { "home" };
        let utterance = Utterance {
            id: Ulid::generate(),
            start: stage.now,
            end,
            room: room.into(),
            text: text.into(),
            confidence: 1.0,
            no_speech: 0.0,
            speaker: None,
        };
        stage.listener.hear(&utterance)?;
        stage.now = end + SignedDuration::from_secs_f64(PAUSE_S);
        self.done += words as u64;
        (self.tell)(self.done);
        Ok(())
    }

    /// Hears an utterance and evaluates the rules on it.
    fn read(&mut self, stage: &mut Stage, text: &str, room: usize) -> anyhow::Result<ListenerOutcome> {
        let started = Instant::now();
        self.hear(stage, text, room)?;
        let outcome = stage.listener.consider(stage.now)?;
        self.reading_s.push(started.elapsed().as_secs_f64());
        Ok(outcome)
    }

    /// Talk in which nothing happens.
    pub(super) fn harmless(&mut self, name: &str, said: &[String]) -> anyhow::Result<HarmlessTalk> {
        let mut stage = self.stage();
        let mut alerts = Vec::new();
        for (index, text) in said.iter().enumerate() {
            // Each twenty utterances are of one room.
            alerts.extend(new_alerts(&self.read(&mut stage, text, index / 20)?));
        }
        Ok(HarmlessTalk { name: name.into(), hours: stage.hours(), alerts })
    }

    /// An exchange after its calm talk. Returns the readings, the calm talk, and the exchange as if it were harmless.
    pub(super) fn exchange<'e>(
        &mut self,
        index: usize,
        exchange: &'e Exchange,
        answers: &mut ExchangeAnswers,
    ) -> anyhow::Result<(Vec<JudgeReading<'e>>, HarmlessTalk, HarmlessTalk)> {
        let mut stage = self.stage();
        let mut calm = HarmlessTalk::default();
        for (place, text) in exchange.before.iter().enumerate() {
            calm.alerts.extend(new_alerts(&self.read(&mut stage, text, place)?));
        }
        calm.hours = stage.hours();
        let mut readings = Vec::new();
        let mut alerts = Vec::new();
        let said = exchange.utterances();
        for (place, text) in said.iter().enumerate() {
            let started = Instant::now();
            self.hear(&mut stage, text, index)?;
            let watcher = stage.listener.watcher_scores();
            let events: BTreeMap<WatchKind, f64> = stage.listener.judge_events().into_iter().collect();
            let outcome = stage.listener.consider(stage.now)?;
            self.reading_s.push(started.elapsed().as_secs_f64());
            let started = Instant::now();
            let model = stage.listener.log_odds(&self.questions)?;
            self.asking_s.push(started.elapsed().as_secs_f64());
            for (kind, model) in WatchKind::ALL.into_iter().zip(model) {
                readings.push(JudgeReading {
                    exchange: index,
                    file: &exchange.file,
                    line: exchange.line,
                    half: exchange.half,
                    kind,
                    label: exchange.k.contains(&kind),
                    watcher: watcher.map(|scores| scores.of(kind)),
                    events: events.get(&kind).copied(),
                    model,
                    published: self.published(kind, &outcome),
                    alert: new_alerts(&outcome)
                        .any(|name| self.rule(kind).is_some_and(|rule| rule.name.as_str() == name)),
                    last: place + 1 == said.len(),
                });
            }
            alerts.extend(new_alerts(&outcome));
        }
        let stretch = HarmlessTalk { hours: stage.hours() - calm.hours, alerts, ..HarmlessTalk::default() };
        self.answers(&stage.listener, exchange, answers)?;
        Ok((readings, calm, stretch))
    }

    /// The first rule about a kind.
    fn rule(&self, kind: WatchKind) -> Option<&Rule> {
        self.rules.iter().find(|rule| kind_of(rule) == Some(kind))
    }

    fn published(&self, kind: WatchKind, outcome: &ListenerOutcome) -> Option<f64> {
        let rule = self.rule(kind)?;
        let reading = outcome.readings.iter().find(|reading| reading.rule == rule.name)?;
        Some(alert::log_odds(reading.probability))
    }

    fn answers(&self, listener: &Listener, exchange: &Exchange, all: &mut ExchangeAnswers) -> anyhow::Result<()> {
        let not_said = listener.not_said();
        for (question, right) in &exchange.q {
            let counts = if is_answer(right, not_said) { &mut all.not_said } else { &mut all.facts };
            counts.ask(listener, question, &[right.as_str()])?;
        }
        for question in &exchange.not_said {
            all.not_said_elsewhere.ask(listener, question, &[not_said])?;
        }
        Ok(())
    }

    /// A household's own question after each of its exchanges: log-odds of yes, and whether it is.
    pub(super) fn own_question(&mut self, question: &OwnQuestion) -> anyhow::Result<Vec<Scored>> {
        let prepared = [self.listener.prepare(&question.question)?];
        let mut found = Vec::new();
        let all = question.yes.iter().map(|text| (text, true)).chain(question.no.iter().map(|text| (text, false)));
        for (text, truth) in all {
            let mut stage = self.stage();
            for (place, text) in question.before.iter().map(String::as_str).enumerate() {
                self.hear(&mut stage, text, place)?;
            }
            for text in utterances(text) {
                self.hear(&mut stage, text, 0)?;
            }
            found.push((stage.listener.log_odds(&prepared)?[0], truth));
        }
        Ok(found)
    }

    /// A household: its questions at the end, and a summary of all of it.
    pub(super) fn household(&mut self, household: &Household, scores: &mut HouseholdScores) -> anyhow::Result<()> {
        let mut stage = self.stage();
        let mut words = 0;
        for (index, text) in household.utterances().into_iter().enumerate() {
            self.hear(&mut stage, text, index / 20)?;
            words += text.split_whitespace().count();
        }
        let listener = &stage.listener;
        for asked in &household.questions {
            match asked {
                HouseholdQuestion::Alert { question, answer } => {
                    let yes = listener.log_odds(&[listener.prepare(question)?])?[0] > 0.0;
                    let [hits, false_alarms, missed] = &mut scores.alerts;
                    *hits += usize::from(yes && *answer);
                    *false_alarms += usize::from(yes && !answer);
                    *missed += usize::from(!yes && *answer);
                }
                HouseholdQuestion::Fact { question, answer } => {
                    let right: Vec<&str> = answer.iter().map(String::as_str).collect();
                    scores.facts.ask(listener, question, &right)?;
                }
                HouseholdQuestion::Summary { question, answer } => {
                    let (written, told) = listener.judge_answer(question)?;
                    let truth = if household.told.is_empty() { answer } else { &household.told };
                    for (counts, text) in scores.summaries.iter_mut().zip([written, told.text]) {
                        let nothing = is_answer(&text, listener.not_said());
                        let sentences: Vec<_> = transcript::sentences(&text).map(String::from).collect();
                        counts.add(if nothing { &[] } else { &sentences }, truth, answer);
                    }
                }
            }
        }
        if !household.told.is_empty() {
            let summary = listener.judge_summary()?;
            let events: &[HouseholdEvent] = &household.told;
            let long = (words >= LONG_WORDS).then_some(&mut scores.long_digests);
            for tally in [Some(&mut scores.digests), long].into_iter().flatten() {
                tally[0].add(&summary.written, events, events);
                tally[1].add(&summary.told, events, events);
            }
        }
        Ok(())
    }
}

impl HarmlessTalk {
    /// Adds more of the same.
    pub(super) fn add(&mut self, more: Self) {
        self.hours += more.hours;
        self.alerts.extend(more.alerts);
    }
}

impl Stage {
    fn hours(&self) -> f64 {
        self.now.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64() / 3600.0
    }
}

impl AnswerCounts {
    fn ask(&mut self, listener: &Listener, question: &str, right: &[&str]) -> anyhow::Result<()> {
        let (written, told) = listener.judge_answer(question)?;
        let is_right = |answer: &str| right.iter().any(|right| is_answer(answer, right));
        self.written += usize::from(is_right(&written));
        self.told += usize::from(is_right(&told.text));
        self.held += usize::from(right.iter().any(|right| holds(&told.text, right)));
        self.silent += usize::from(is_answer(&told.text, listener.not_said()));
        self.of += 1;
        Ok(())
    }
}

fn new_alerts(outcome: &ListenerOutcome) -> impl Iterator<Item = String> {
    outcome.alerts.iter().filter(|alert| alert.phase == AlertPhase::New).map(|alert| alert.rule.clone())
}
