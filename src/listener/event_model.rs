//! The second stage of the watcher: a small RecurrentGemma that knows the eight kinds of event in people's own words.
//!
//! Where the watcher's n-grams suspect an event, this model reads the last 60 words of that room's talk and is asked about it. It begins
//! anew each time, so nothing of what was said stays in it, and it serves every model that reads along. How its answer and the
//! watcher's score go together stands in its `calibration.json`. `training/train.py` trains it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
/// Its weights.
const WEIGHTS: &str = "model.safetensors";
/// It reads at most so many tokens, the last ones of a very long utterance.
const MAX_TOKENS: usize = 400;

/// Why there is no event model. hearth goes on with the watcher's n-grams alone.
#[derive(Debug, thiserror::Error)]
pub enum EventModelError {
    #[error(transparent)]
    Find(#[from] ModelError),
    /// A tensor is missing, or holds a value that is no number.
    #[error(transparent)]
    Weights(#[from] griffin::Error),
    #[error("the event model {path} cannot be used: {source}")]
    Load { path: PathBuf, source: Box<ListenerError> },
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(
        "{path} goes with another watcher. Install hearth again, or make its calibration.json with training/calibrate.py"
    )]
    OtherWatcher { path: PathBuf },
    #[error("{path} has no calibration.json. Install hearth again, or make it with training/calibrate.py")]
    Uncalibrated { path: PathBuf },
    #[error(
        "the calibration.json of {path} was made for another {WEIGHTS}. Install hearth again, or make it anew with training/calibrate.py"
    )]
    OtherWeights { path: PathBuf },
}

/// See the module.
pub struct EventModel {
    /// It has read the preamble and nothing else.
    reader: Reader,
    yes_no: YesNo,
    /// In the order of [`WatchKind::ALL`].
    questions: Vec<Question>,
    calibration: Calibration,
    /// That it fails was told.
    warned: AtomicBool,
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
    /// It cannot be loaded, a weight is no number, or its calibration is missing, or of another watcher or other weights.
    pub fn load(dir: &Path, settings: &ListenerConfig, watcher: &Watcher) -> Result<Self, EventModelError> {
        let settings = ListenerConfig { threads: settings.threads, ..ListenerConfig::default() };
        let failed = |source: ListenerError| EventModelError::Load { path: dir.into(), source: source.into() };
        // What it says counts like an alert, and one that is no number would count as "perhaps".
        griffin::verify(dir, &mut |_, _| {})?;
        let mut reader = Reader::open(dir, &settings).map_err(failed)?;
        let opened = reader.fork().map_err(failed)?;
        reader.restore(opened);
        let calibration = Calibration::load(dir)?;
        if calibration.is_unknown() {
            return Err(EventModelError::Uncalibrated { path: dir.into() });
        }
        if !calibration.is_of(&dir.join(WEIGHTS)) {
            return Err(EventModelError::OtherWeights { path: dir.into() });
        }
        if !calibration.knows(watcher.checksum()) {
            return Err(EventModelError::OtherWatcher { path: dir.into() });
        }
        let questions = WatchKind::ALL.iter().map(|kind| reader.question(kind.question()));
        let questions = questions.collect::<Result<_, _>>().map_err(failed)?;
        Ok(Self {
            yes_no: YesNo::new(&reader).map_err(failed)?,
            questions,
            calibration,
            reader,
            warned: AtomicBool::new(false),
        })
    }

    /// What calibrations of other models must have been fitted to.
    pub(super) fn checksum(&self) -> u32 {
        self.calibration.checksum()
    }

    /// The model's log-odds of each of `kinds` after `talk`, the newest utterance last; none where it fails, which the log says once.
    pub(super) fn try_ask(&self, talk: &[&str], kinds: &[WatchKind]) -> Vec<f64> {
        let asked = self.ask(talk, kinds);
        asked.unwrap_or_else(|error| {
            if !self.warned.swap(true, Relaxed) {
                warn!(%error, "the watcher's second stage fails; where it does, the watcher works without it");
            }
            Vec::new()
        })
    }

    fn ask(&self, talk: &[&str], kinds: &[WatchKind]) -> Result<Vec<f64>, ListenerError> {
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

#[cfg(test)]
mod tests;
