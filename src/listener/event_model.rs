//! The second stage of the watcher: a small RecurrentGemma that knows the eight kinds of event in people's own words.
//!
//! Where the watcher's n-grams suspect an event, this model reads the last 60 words of that room's talk and is asked about it. It begins
//! anew each time, so nothing of what was said stays in it, and it serves every model that reads along. How its answer and the
//! watcher's score go together stands in its `calibration.json`. `training/train.py` trains it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::ListenerError;
use super::ask::{Question, YesNo};
use super::calibration::{Calibration, CalibrationError};
use super::pace::Work;
use super::reader::Reader;
use crate::config::{Config, ListenerConfig, WatchKind};
use crate::models::{self, ModelError};
use crate::watcher::{WatchScores, Watcher};

/// Its folder among the bundled models.
pub(crate) const FOLDER: &str = "recurrentgemma-events";
/// It reads at most so many tokens, the last ones of a very long utterance.
const MAX_TOKENS: usize = 400;

/// Why there is no event model. hearth goes on with the watcher's n-grams alone.
#[derive(Debug, thiserror::Error)]
pub enum EventModelError {
    #[error(transparent)]
    Find(#[from] ModelError),
    #[error(transparent)]
    Load(#[from] ListenerError),
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(
        "{path} goes with another watcher. Install hearth again, or make its calibration.json with training/calibrate.py"
    )]
    OtherWatcher { path: PathBuf },
}

/// See the module.
pub struct EventModel {
    /// It has read the preamble and nothing else.
    reader: Reader,
    yes_no: YesNo,
    /// In the order of [`WatchKind::ALL`].
    questions: Vec<Question>,
    calibration: Calibration,
}

impl EventModel {
    /// The bundled model, if it can be used with this watcher; else the log says why not.
    pub(crate) fn of(watcher: Option<&Arc<Watcher>>, config: &Config) -> Option<Arc<Self>> {
        let watcher = watcher?;
        let load = |folder: PathBuf| Self::load(&folder, &config.listener, watcher);
        let found = models::find(Path::new(FOLDER), &config.base).map_err(EventModelError::from).and_then(load);
        found.map(Arc::new).inspect_err(|error| warn!(%error, "the watcher works without its second stage")).ok()
    }

    /// Loads the model in `dir`.
    ///
    /// # Errors
    /// It cannot be loaded, or its calibration is of another watcher.
    pub fn load(dir: &Path, settings: &ListenerConfig, watcher: &Watcher) -> Result<Self, EventModelError> {
        let settings = ListenerConfig { threads: settings.threads, ..ListenerConfig::default() };
        let mut reader = Reader::open(dir, &settings)?;
        let opened = reader.fork()?;
        reader.restore(opened);
        let calibration = Calibration::load(dir)?;
        if !calibration.knows(watcher.checksum()) {
            return Err(EventModelError::OtherWatcher { path: dir.into() });
        }
        let questions = WatchKind::ALL.iter().map(|kind| reader.question(kind.question()));
        Ok(Self { yes_no: YesNo::new(&reader)?, questions: questions.collect::<Result<_, _>>()?, calibration, reader })
    }

    /// What calibrations of other models must have been fitted to.
    pub(super) fn checksum(&self) -> u32 {
        self.calibration.checksum()
    }

    /// The model's log-odds of each of `kinds` after `talk`, the newest utterance last.
    pub(super) fn ask(&self, talk: &[&str], kinds: &[WatchKind]) -> Result<Vec<f64>, ListenerError> {
        let utterances = talk.iter().map(|text| self.reader.utterance(text, None));
        let tokens = utterances.collect::<Result<Vec<_>, _>>()?.concat();
        let mut stream = self.reader.new_stream();
        stream.restore(self.reader.fork()?);
        stream.ingest(&tokens[tokens.len().saturating_sub(MAX_TOKENS)..], Work::Reading)?;
        let questions: Vec<_> = kinds.iter().map(|kind| &self.questions[*kind as usize]).collect();
        stream.log_odds(&self.yes_no, &questions)
    }

    /// The log-odds of `kind` in a stream of talk, from the watcher's scores and what the model said.
    pub(super) fn log_odds(&self, kind: WatchKind, scores: &WatchScores, said: f64) -> f64 {
        self.calibration.together(kind, scores.of(kind), said)
    }
}
