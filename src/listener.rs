//! Reads the transcript into a RecurrentGemma [`State`](griffin::State) and derives summaries, alerts and answers from it.
//!
//! Each utterance is read into the live state once, in order. Questions are asked of forks of that state, so asking never
//! changes it. All times come from the stream, never from a clock, so a file that is played fast gives the same results.
//! What is kept beside the state ([`Listener::memory`]) holds numbers, times and names, never words of anybody.
//!
//! ```text
//!  utterance → hear ──────→ live state ── fork + question → probability → alert  ─┐
//!                                      └─ fork + question → words      → digest ──┴→ ListenerOutcome
//! ```

pub(crate) mod alert;
mod alert_actions;
pub mod ask;
pub(crate) mod asking_steps;
pub mod calibration;
pub(crate) mod candidate;
mod cross_talk;
pub(crate) mod digest;
pub(crate) mod draft;
mod evaluating;
pub mod event_model;
pub(crate) mod feedback;
pub(crate) mod fillers;
mod forgetting;
mod hearing;
pub(crate) mod judging;
mod outcome;
pub(crate) mod pace;
pub(crate) mod past;
mod persisted_state;
mod priority;
pub mod prompt;
mod quotes;
pub mod reader;
mod reload;
pub(crate) mod renewal;
mod rooms;
mod rule_monitor;
mod shared_starts;
pub mod snapshot;
pub mod snapshot_store;
pub(crate) mod speed;
pub(crate) mod surprise;
mod talk;
mod telling;
mod watching;
pub(crate) mod writing;

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use ulid::Ulid;

use crate::config;
use crate::event::Evidence;
use crate::grounding::{CheckCounts, GroundedText};
use crate::watcher::{WatchScores, Watcher};

pub(crate) use alert_actions::{AnsweredAlert, RuleStanding};
pub use outcome::{ListenerOutcome, RuleEvaluation};
use persisted_state::PersistedState;
use quotes::{cut_quote, cut_quotes, keep_last, quote};
pub use rooms::Listeners;
use rule_monitor::RuleMonitor;
use writing::{DigestDraft, SentenceDraft};

/// The longest answer to the question of an alert, in tokens.
const ALERT_TOKENS: usize = 24;
/// The sentence of an alert is checked against so many of the last utterances.
const ALERT_TALK: usize = 12;
/// What a summary says when nothing that the model wrote was said, and nothing can be quoted.
const NO_SUMMARY: &str = "There was talk, but no summary of it could be made.";

/// Why the listener cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    #[error(transparent)]
    Model(#[from] griffin::Error),
    #[error(transparent)]
    Prompt(#[from] prompt::PromptError),
    #[error(transparent)]
    Calibration(#[from] calibration::CalibrationError),
    #[error(transparent)]
    Snapshot(Box<snapshot::SnapshotError>),
    #[error(
        "no word for \"{key}\" ({words}) begins with a token of its own in this model; name another in prompt.json"
    )]
    NoWord { key: &'static str, words: String },
    #[error("the pattern of rule \"{rule}\" is no regular expression: {source}")]
    Pattern { rule: config::Name, source: regex::Error },
    #[error("what the listener kept over the restart cannot be read ({source}); it starts empty")]
    Memory { source: serde_json::Error },
    #[error("it was stopped in the midst of its work, which is done after the next start")]
    Stopped,
}

impl From<snapshot::SnapshotError> for ListenerError {
    fn from(error: snapshot::SnapshotError) -> Self {
        Self::Snapshot(Box::new(error))
    }
}

/// One live state with the rules and the summary schedule that apply to it. Used by one thread.
pub struct Listener {
    reader: reader::Reader,
    yes_no: ask::YesNo,
    summary: ask::Question,
    schedule: digest::DigestSchedule,
    pending: digest::PendingDigest,
    /// The time that the stream had reached when rules or schedule were last looked at.
    now: Option<Timestamp>,
    rules: Vec<RuleMonitor>,
    /// The last utterances on which the rules were not evaluated yet.
    unasked: Vec<Evidence>,
    /// Utterances that are not read yet, but whose words raised an alert already.
    spotted: BTreeSet<Ulid>,
    /// What was said, as far as texts are checked against it.
    talk: talk::RecentTalk,
    /// What is still to be written.
    sentences: VecDeque<SentenceDraft>,
    digest: Option<Box<DigestDraft>>,
    /// Digests that were given up because a newer one was due.
    given_up: u64,
    /// What the check made of the model's sentences.
    checked: Cell<CheckCounts>,
    watcher: Option<Arc<Watcher>>,
    events: Option<Arc<event_model::EventModel>>,
    calibration: Arc<calibration::Calibration>,
    /// What the watcher made of the utterances on which the rules were not evaluated yet.
    watched: Option<WatchScores>,
    several_rooms: bool,
    /// The room whose utterances it reads; none when all rooms share one state.
    room: Option<String>,
    /// How much what is read surprises the state.
    pub(crate) surprise: surprise::Surprise,
    pub(crate) renewals: renewal::Renewals,
    /// What each utterance showed, while a second state is compared.
    measured: Option<VecDeque<(Ulid, surprise::Measured)>>,
}

impl Listener {
    /// Loads the model in `dir` and prepares every question. The state has read nothing yet: see [`Listener::resume`].
    ///
    /// # Errors
    /// The model or its prompt cannot be loaded, or a rule's pattern is no regular expression.
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
            pending: digest::PendingDigest::default(),
            now: None,
            rules,
            unasked: Vec::new(),
            spotted: BTreeSet::new(),
            talk: talk::RecentTalk::default(),
            sentences: VecDeque::new(),
            digest: None,
            given_up: 0,
            checked: Cell::default(),
            watcher: None,
            events: None,
            calibration: Arc::new(calibration::Calibration::load(dir)?),
            watched: None,
            several_rooms: false,
            room: None,
            surprise: surprise::Surprise::default(),
            renewals: renewal::Renewals::default(),
            measured: None,
            reader,
        })
    }

    /// A listener of one room with the same rules, schedule and weights, which has read nothing yet.
    fn for_room(&self, room: &str) -> Self {
        Self {
            reader: self.reader.new_stream(),
            yes_no: self.yes_no.clone(),
            summary: self.summary.clone(),
            schedule: self.schedule,
            pending: digest::PendingDigest::default(),
            now: None,
            rules: self.rules.iter().map(RuleMonitor::inactive).collect(),
            unasked: Vec::new(),
            spotted: BTreeSet::new(),
            talk: talk::RecentTalk::default(),
            sentences: VecDeque::new(),
            digest: None,
            given_up: 0,
            checked: Cell::default(),
            watcher: self.watcher.clone(),
            events: self.events.clone(),
            calibration: self.calibration.clone(),
            watched: None,
            several_rooms: false,
            room: Some(room.into()),
            surprise: surprise::Surprise::default(),
            renewals: renewal::Renewals::default(),
            measured: None,
        }
    }

    /// Sets whether the room is written before each utterance, because there is more than one.
    pub fn in_several_rooms(mut self, several: bool) -> Self {
        self.several_rooms = several;
        self
    }

    /// How much is computed at a time, and who is asked before each slice.
    pub(crate) fn set_pace(&mut self, pace: Arc<pace::Pace>) {
        self.reader.pace = pace;
    }

    /// Asks with some of the ways to ask less left out.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn asking_with(mut self, steps: asking_steps::AskingSteps) -> Self {
        self.reader.steps = steps;
        self
    }

    /// The live state.
    pub fn state(&self) -> &griffin::State {
        self.reader.state()
    }

    /// Makes a digest due every `minutes` while people talk; 0 switches the interval off.
    pub(crate) fn set_interval(&mut self, minutes: f64) {
        self.schedule.set_interval(minutes);
    }
}

fn count(counts: &Cell<CheckCounts>, text: &GroundedText) {
    let mut all = counts.get();
    all.add(text);
    counts.set(all);
}

/// Runs through all results and returns the first error.
fn first_error<E>(results: impl Iterator<Item = Result<(), E>>) -> Result<(), E> {
    let mut first = Ok(());
    for result in results {
        if first.is_ok() {
            first = result;
        }
    }
    first
}
