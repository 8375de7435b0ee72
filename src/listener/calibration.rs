//! What a probability means: makes of what watcher and model say the log-odds that an event is really there.
//!
//! There are two such steps. The event model's factors weigh the watcher's score and that model's answer; what comes of it, or of the
//! watcher alone, is weighed with the answer of the model that reads along, by factors of that model.
//!
//! The factors come from `calibration.json`, beside a model's weights or inside its GGUF file; `training/calibrate.py` fits them to a
//! stream in which about one reading in a hundred is an event. A model without the file is not trusted further than [`UNKNOWN`] says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::WatchKind;
use crate::watcher;

/// The file beside a model's weights.
const FILE: &str = "calibration.json";
/// The layout of the file that this code reads.
const FORMAT: u32 = 1;
/// What a question is taken to ask for if nothing is known of it: one reading in a hundred is such an event, ln(0.01 / 0.99), and
/// the model's log-odds count in full.
const UNKNOWN: OwnFactors = OwnFactors { a: -4.595, model: 1.0 };

/// What is wrong with a calibration file.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    #[error(transparent)]
    Read(#[from] griffin::Error),
    #[error(
        "{path} is no calibration of this model: {reason}. Make it again with training/calibrate.py, or remove it: then the \
         watcher alone decides, and the model counts with caution"
    )]
    Broken { path: PathBuf, reason: String },
}

/// The log-odds of an event are `a + watcher · what is known without the model + model · log-odds of yes`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindFactors {
    a: f64,
    watcher: f64,
    model: f64,
}

/// The same where there is only the model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnFactors {
    a: f64,
    model: f64,
}

/// See the module.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calibration {
    format: u32,
    /// CRC-32 of what the factors go with: the watcher, or the event model's calibration.
    watcher: u32,
    /// Below this, the model's log-odds tell no more: it counts instead of them.
    floor: f64,
    /// CRC-32 of the weights that the factors were fitted to, where it was noted.
    #[serde(default)]
    weights: Option<u32>,
    kinds: BTreeMap<WatchKind, KindFactors>,
    /// For a rule that has no watcher.
    own: OwnFactors,
    /// CRC-32 of the file.
    #[serde(skip)]
    checksum: u32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self {
            format: FORMAT,
            watcher: 0,
            floor: f64::NEG_INFINITY,
            weights: None,
            kinds: BTreeMap::new(),
            own: UNKNOWN,
            checksum: 0,
        }
    }
}

impl Calibration {
    /// Reads the calibration of a model from its directory or its GGUF file.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a file.
    pub(super) fn load(model: &Path) -> Result<Self, CalibrationError> {
        match griffin::sidecar(model, FILE)? {
            Some(found) => {
                Self::parse(&found.text).map_err(|reason| CalibrationError::Broken { path: found.path, reason })
            }
            None => Ok(Self::default()),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let found: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let found = Self { checksum: watcher::checksum(text.as_bytes()), ..found };
        if found.format != FORMAT {
            return Err(format!("its format is {}, and this hearth reads {FORMAT}", found.format));
        }
        let factors = found.kinds.values().flat_map(|kind| [kind.watcher, kind.model]).chain([found.own.model]);
        if factors.into_iter().any(|factor| factor < 0.0) {
            return Err("a factor is negative: more suspicion would make an event less likely".into());
        }
        if let Some(kind) = WatchKind::ALL.iter().find(|kind| !found.kinds.contains_key(kind)) {
            return Err(format!("it has no factors of {kind:?}"));
        }
        Ok(found)
    }

    pub(super) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Whether there was no file.
    pub(super) fn is_unknown(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Whether it was made for the weights in this file, as far as it says.
    pub(super) fn is_of(&self, weights: &Path) -> bool {
        self.weights.is_none_or(|noted| std::fs::read(weights).is_ok_and(|bytes| watcher::checksum(&bytes) == noted))
    }

    /// Whether there are factors that go with the watcher, or the calibration, of this checksum.
    pub(super) fn knows(&self, checksum: u32) -> bool {
        self.watcher == checksum && !self.kinds.is_empty()
    }

    /// The log-odds that what a rule asks about is so. `watched` is what is known of it without the model, with the checksum of
    /// what says so; `asked` is what the model says, if it was asked. None where nothing is known.
    pub(super) fn log_odds(&self, watched: Option<WatchedOdds>, asked: Option<f64>) -> Option<f64> {
        let own = asked.map(|odds| self.own.a + self.own.model * odds.max(self.floor));
        let Some(WatchedOdds { kind, log_odds, checksum }) = watched else { return own };
        match asked {
            Some(odds) if checksum.is_some_and(|checksum| self.knows(checksum)) => {
                Some(self.together(kind, log_odds, odds))
            }
            // Nothing tells how the two go together.
            _ => Some(own.map_or(log_odds, |own| own.max(log_odds))),
        }
    }

    /// What comes of `watched` and the model's log-odds `asked`.
    pub(super) fn together(&self, kind: WatchKind, watched: f64, asked: f64) -> f64 {
        let factors = self.kinds[&kind];
        factors.a + factors.watcher * watched + factors.model * asked.max(self.floor)
    }
}

/// What the watcher, with or without the event model, knows of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WatchedOdds {
    pub(super) kind: WatchKind,
    pub(super) log_odds: f64,
    /// Of the event model's calibration; none where the watcher alone was asked.
    pub(super) checksum: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::alert::log_odds;
    use crate::watcher::Watcher;

    fn root(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    fn bundled() -> (Calibration, Watcher) {
        let watcher = Watcher::load(&root("models").join(watcher::FILE)).unwrap();
        (Calibration::load(&root("models/recurrentgemma-nano")).unwrap(), watcher)
    }

    /// Whoever trains the watcher or the event model anew must run `training/calibrate.py`, too.
    #[test]
    fn the_bundled_calibrations_go_with_the_bundled_watcher_and_event_model() {
        let (calibration, watcher) = bundled();
        let events = Calibration::load(&root("models").join(super::super::event_model::FOLDER)).unwrap();
        assert!(events.knows(watcher.checksum()) && calibration.knows(events.checksum()));
    }

    #[test]
    fn both_opinions_count_and_each_alone() {
        let (calibration, watcher) = bundled();
        let kind = WatchKind::Fire;
        let scores = watcher.score(&["Smoke is coming out of the oven!"]);
        let alone = watcher.log_odds(kind, &scores);
        let by_watcher = Some(WatchedOdds { kind, log_odds: alone, checksum: None });
        let by_both = Some(WatchedOdds { kind, log_odds: alone, checksum: Some(calibration.watcher) });
        assert_eq!(calibration.log_odds(by_both, None), Some(alone));
        assert!(calibration.log_odds(by_both, Some(4.0)) > calibration.log_odds(by_both, Some(-4.0)));
        assert_eq!(calibration.log_odds(None, None), None);
        let unknown = Calibration::default();
        assert!((unknown.log_odds(None, Some(0.0)).unwrap() - log_odds(0.01)).abs() < 1e-3);
        for calibration in [&unknown, &calibration] {
            assert_eq!(calibration.log_odds(by_watcher, Some(-5.0)), Some(alone), "fitted to no such odds");
            assert!(calibration.log_odds(by_watcher, Some(50.0)).unwrap() > 40.0);
        }
    }

    #[test]
    fn a_broken_file_is_named_with_the_way_to_do_without() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Calibration::load(dir.path()).unwrap().knows(0), "a model without one is usable");
        let whole = std::fs::read_to_string(root("models/recurrentgemma-nano/calibration.json")).unwrap();
        let negative = |text: &str| text.replacen("\"model\": ", "\"model\": -", 1);
        let broken = [
            ("{", "EOF"),
            (&whole.replace("\"format\": 1", "\"format\": 7"), "its format is 7"),
            (&whole.replace("\"leak\"", "\"lake\""), "unknown variant `lake`"),
            (&negative(&whole), "is negative"),
            (&whole.replace("\"own\"", "\"owned\""), "unknown field `owned`"),
        ];
        for (text, reason) in broken {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let error = Calibration::load(dir.path()).unwrap_err().to_string();
            assert!(error.contains("calibration.json is no calibration of this model: "), "{error}");
            assert!(error.contains(reason) && error.contains("or remove it"), "{error}");
        }
    }
}
