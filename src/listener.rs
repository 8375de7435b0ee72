//! Reads along and tells what matters.
//!
//! Owns the live [`State`](griffin::State) of RecurrentGemma: what is said goes in once, in order; summaries, alerts
//! and answers come out of forks. Refuses to know sound, MQTT and the database, and keeps no clock: its time is the
//! stream's. Invariants: asking never alters the live state; what is remembered beside the state ([`Listener::memory`])
//! holds numbers and times, never words.
//!
//! ```text
//!  utterance → hear ──────→ live state ── fork + question → probability → alert  ─┐
//!                                      └─ fork + question → words      → digest ──┴→ ListenerOutcome
//! ```

pub mod alert;
mod alert_actions;
pub mod ask;
pub mod digest;
mod forgetting;
mod persisted_state;
pub mod prompt;
pub mod reader;
mod reload;
mod rooms;
mod rule_monitor;
pub mod snapshot;
pub mod snapshot_store;

use std::path::Path;

use jiff::Timestamp;
use ulid::Ulid;

use crate::config;
use crate::event::{Alert, Digest, DigestReason, Evidence, Gap, Utterance};

pub use ask::Answer;
use persisted_state::PersistedState;
pub use rooms::Listeners;
use rule_monitor::RuleMonitor;

/// Tokens of an alert's answer, a digest and an answer to a question, at most.
const ALERT_TOKENS: usize = 24;
const DIGEST_TOKENS: usize = 128;
const ANSWER_TOKENS: usize = 128;
/// Utterances since the last reading that may be quoted, at most, and the characters of each.
const QUOTES: usize = 3;
const QUOTE_CHARS: usize = 300;

/// Why the listener cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    #[error(transparent)]
    Model(#[from] griffin::Error),
    #[error(transparent)]
    Prompt(#[from] prompt::PromptError),
    #[error(transparent)]
    Snapshot(Box<snapshot::SnapshotError>),
    #[error(
        "no word for \"{key}\" ({words}) begins with a token of its own in this model; name another in prompt.json"
    )]
    NoWord { key: &'static str, words: String },
    #[error("the pattern of rule \"{rule}\" is no regular expression: {source}")]
    Pattern { rule: config::Name, source: regex::Error },
    #[error("what the listener remembered cannot be read ({source}); it begins anew")]
    Memory { source: serde_json::Error },
}

impl From<snapshot::SnapshotError> for ListenerError {
    fn from(error: snapshot::SnapshotError) -> Self {
        Self::Snapshot(Box::new(error))
    }
}

/// A state, and what it is asked to watch for. One thread owns it.
pub struct Listener {
    reader: reader::Reader,
    yes_no: ask::YesNo,
    summary: ask::Question,
    schedule: digest::DigestSchedule,
    untold: digest::PendingDigest,
    rules: Vec<RuleMonitor>,
    /// The last utterances the rules were not asked about yet.
    unasked: Vec<Evidence>,
    several_rooms: bool,
    /// The one room it hears; none for one that hears the house.
    room: Option<String>,
}

/// What came of considering what was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerOutcome {
    pub digests: Vec<Digest>,
    pub alerts: Vec<Alert>,
    /// One for each question that was asked.
    pub readings: Vec<RuleEvaluation>,
}

impl ListenerOutcome {
    /// What came of several rooms, together.
    pub fn add(&mut self, more: Self) {
        let Self { digests, alerts, readings } = more;
        self.digests.extend(digests);
        self.alerts.extend(alerts);
        self.readings.extend(readings);
    }

    /// Alerts and readings of one room say so; digests do already.
    fn of(mut self, room: Option<&str>) -> Self {
        self.alerts.iter_mut().for_each(|alert| alert.room = room.map(Into::into));
        self.readings.iter_mut().for_each(|reading| reading.room = room.map(Into::into));
        self
    }
}

impl FromIterator<ListenerOutcome> for ListenerOutcome {
    fn from_iter<T: IntoIterator<Item = ListenerOutcome>>(outcomes: T) -> Self {
        outcomes.into_iter().fold(Self::default(), |mut all, outcome| {
            all.add(outcome);
            all
        })
    }
}

/// The answer to a rule's question, as a number.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleEvaluation {
    pub rule: config::Name,
    /// The room whose state was asked; none for the state of the house.
    pub room: Option<String>,
    /// Of yes.
    pub probability: f64,
    pub time: Timestamp,
    /// The rule's alert is on.
    pub active: bool,
}

impl Listener {
    /// Loads the model in `dir` and prepares every question. Nothing has been heard yet: see [`Listener::resume`].
    pub fn open(
        dir: &Path,
        settings: &config::ListenerConfig,
        digest: &config::DigestConfig,
        rules: &[config::Rule],
    ) -> Result<Self, ListenerError> {
        let reader = reader::Reader::open(dir, settings)?;
        let rules = rules.iter().map(|rule| RuleMonitor::new(rule, &reader)).collect::<Result<_, ListenerError>>()?;
        Ok(Self {
            yes_no: ask::YesNo::new(&reader)?,
            summary: reader.question(&reader.prompt.questions.summary)?,
            schedule: digest.into(),
            untold: digest::PendingDigest::default(),
            rules,
            unasked: Vec::new(),
            several_rooms: false,
            room: None,
            reader,
        })
    }

    /// A listener of one room that watches for the same on the same weights, and has heard nothing yet.
    fn another(&self, room: &str) -> Self {
        let at_rest = |monitor: &RuleMonitor| RuleMonitor {
            watch: alert::AlertState::default(),
            matches: Vec::new(),
            ..monitor.clone()
        };
        Self {
            reader: self.reader.another(),
            yes_no: self.yes_no.clone(),
            summary: self.summary.clone(),
            schedule: self.schedule,
            untold: digest::PendingDigest::default(),
            rules: self.rules.iter().map(at_rest).collect(),
            unasked: Vec::new(),
            several_rooms: false,
            room: Some(room.into()),
        }
    }

    /// Tells the state of each utterance in which room it was said: for a house that hears more than one.
    pub fn in_several_rooms(mut self, several: bool) -> Self {
        self.several_rooms = several;
        self
    }

    /// Reads an utterance. Nothing is asked and nothing told before [`Listener::consider`].
    pub fn hear(&mut self, utterance: &Utterance) -> Result<(), ListenerError> {
        self.read(utterance)?;
        self.schedule.said(&mut self.untold, utterance.start, utterance.end, utterance.words());
        let quote = quote(utterance);
        for monitor in &mut self.rules {
            if monitor.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&utterance.text)) {
                keep_last(&mut monitor.matches, quote.clone());
            }
        }
        keep_last(&mut self.unasked, quote);
        Ok(())
    }

    /// Reads utterances into the state again that a restored snapshot lacks, and that were considered before: nothing else is
    /// remembered of them, and they set off nothing.
    pub fn replay(&mut self, utterances: &[Utterance]) -> Result<(), ListenerError> {
        utterances.iter().try_for_each(|utterance| self.read(utterance))
    }

    /// Takes note of a stretch that was not heard.
    pub fn gap(&mut self, gap: &Gap) -> Result<(), ListenerError> {
        let room = self.several_rooms.then_some(gap.room.as_str());
        self.reader.gap(gap.to.duration_since(gap.from).as_secs_f64(), room)
    }

    fn read(&mut self, utterance: &Utterance) -> Result<(), ListenerError> {
        let room = self.several_rooms.then_some(utterance.room.as_str());
        self.reader.read_in(&utterance.text, room)
    }

    /// Asks every rule about what was heard since it was last asked, then whether a digest is due. After a backlog once is
    /// enough.
    pub fn consider(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = ListenerOutcome::default();
        let said = std::mem::take(&mut self.unasked);
        if !said.is_empty() {
            let asks: Vec<bool> = self.rules.iter_mut().map(RuleMonitor::asks).collect();
            let asking = self.rules.iter().zip(&asks).filter(|(_, asks)| **asks);
            let questions: Vec<_> = asking.filter_map(|(monitor, _)| monitor.question.as_ref()).collect();
            let mut odds = self.reader.log_odds(&self.yes_no, &questions)?.into_iter();
            for (monitor, asks) in self.rules.iter_mut().zip(asks) {
                let log_odds = asks.then(|| odds.next()).flatten();
                monitor.read(&self.reader, log_odds, &said, now, &mut outcome)?;
            }
        }
        self.pass(now, &mut outcome)?;
        Ok(outcome.of(self.room.as_deref()))
    }

    /// Time has passed in silence: no rule is asked, but a conversation may have ended, and an alert may be over.
    pub fn tick(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = ListenerOutcome::default();
        self.pass(now, &mut outcome)?;
        Ok(outcome.of(self.room.as_deref()))
    }

    fn pass(&mut self, now: Timestamp, outcome: &mut ListenerOutcome) -> Result<(), ListenerError> {
        for monitor in &mut self.rules {
            if let Some(change) = monitor.watch.tick(&monitor.policy, now) {
                outcome.alerts.push(monitor.alert(change, None, None, now));
            }
        }
        if let Some(reason) = self.schedule.due(&self.untold, now) {
            outcome.digests.push(self.digest(reason, now)?);
        }
        Ok(())
    }

    /// The stream has ended: considers what was not considered, and tells what was not told, if it is enough.
    pub fn finish(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = self.consider(now)?;
        if let Some(reason) = self.schedule.closing(&self.untold) {
            outcome.digests.push(self.digest(reason, now)?);
        }
        Ok(outcome)
    }

    /// A digest at once, because somebody asked, however little was said.
    pub fn summarise(&mut self, now: Timestamp) -> Result<Digest, ListenerError> {
        self.digest(DigestReason::Requested, now)
    }

    fn digest(&mut self, reason: DigestReason, now: Timestamp) -> Result<Digest, ListenerError> {
        let id = Ulid::generate();
        if self.untold.words() == 0 {
            let (from, text) = match self.untold.told() {
                Some(told) => (told.min(now), "Nothing was said since the last summary."),
                None => (now, "Nothing has been said yet."),
            };
            let (room, text) = (self.room.clone(), text.into());
            return Ok(Digest { id, time: now, from, to: now, reason, words: 0, room, text });
        }
        let text = self.reader.answer(&self.summary, DIGEST_TOKENS)?;
        let span = self.untold.take(now).expect("words were said");
        let (words, room) = (span.words, self.room.clone());
        Ok(Digest { id, time: now, from: span.from, to: span.to, reason, words, room, text })
    }

    /// Answers a question from a fork.
    pub fn ask(&self, question: &str) -> Result<Answer, ListenerError> {
        self.reader.ask(&self.yes_no, question, ANSWER_TOKENS)
    }

    /// The live state, for its figures.
    pub fn state(&self) -> &griffin::State {
        self.reader.state()
    }

    /// From now on a digest is due every `minutes` while people talk; 0 switches the interval off.
    pub fn set_interval(&mut self, minutes: f64) {
        self.schedule.set_interval(minutes);
    }
}

fn quote(utterance: &Utterance) -> Evidence {
    let mut text = prompt::plain(&utterance.text);
    if let Some((end, _)) = text.char_indices().nth(QUOTE_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    Evidence { utterance: utterance.id, time: utterance.start, room: utterance.room.clone(), text }
}

fn keep_last(quotes: &mut Vec<Evidence>, quote: Evidence) {
    if quotes.len() == QUOTES {
        quotes.remove(0);
    }
    quotes.push(quote);
}
