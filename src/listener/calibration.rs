//! What a probability means: makes of what watcher and model say the log-odds that an event is really there.
//!
//! The factors come from `calibration.json`, beside a model's weights or inside its GGUF file; `training/calibrate.py` fits them to a
//! stream in which about one reading in a hundred is an event. A model without the file is not trusted further than [`UNKNOWN`] says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::rule_monitor::Watched;
use crate::config::WatchKind;

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

/// The log-odds of an event are `a + watcher · score + model · log-odds of yes`.
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
    /// CRC-32 of the watcher that the factors go with.
    watcher: u32,
    /// Below this, the model's log-odds tell no more: it counts instead of them.
    floor: f64,
    kinds: BTreeMap<WatchKind, KindFactors>,
    /// For a rule that has no watcher.
    own: OwnFactors,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { format: FORMAT, watcher: 0, floor: f64::NEG_INFINITY, kinds: BTreeMap::new(), own: UNKNOWN }
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

    /// Whether there are factors for what this watcher says together with the model.
    pub(super) fn knows(&self, watcher: u32) -> bool {
        self.watcher == watcher && !self.kinds.is_empty()
    }

    /// The log-odds that what a rule asks about is so. `asked` is what the model says, if it was asked. None where nothing is known.
    pub(super) fn log_odds(&self, kind: Option<WatchKind>, watched: Watched<'_>, asked: Option<f64>) -> Option<f64> {
        let asked = asked.map(|odds| odds.max(self.floor));
        let own = asked.map(|odds| self.own.a + self.own.model * odds);
        let Some((kind, (scores, watcher))) = kind.zip(watched) else { return own };
        let alone = watcher.log_odds(kind, &scores);
        match (asked, self.kinds.get(&kind)) {
            (Some(odds), Some(factors)) if self.knows(watcher.checksum()) => {
                Some(factors.a + factors.watcher * scores.of(kind) + factors.model * odds)
            }
            // Nothing tells how the two go together.
            _ => Some(own.map_or(alone, |own| own.max(alone))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::alert::log_odds;
    use crate::watcher::{self, Watcher};

    fn root(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    fn bundled() -> (Calibration, Watcher) {
        let watcher = Watcher::load(&root("models").join(watcher::FILE)).unwrap();
        (Calibration::load(&root("models/recurrentgemma-nano")).unwrap(), watcher)
    }

    /// Whoever trains the watcher anew must run `training/calibrate.py`, too.
    #[test]
    fn the_bundled_calibration_goes_with_the_bundled_watcher() {
        let (calibration, watcher) = bundled();
        assert!(calibration.knows(watcher.checksum()));
    }

    #[test]
    fn both_opinions_count_and_each_alone() {
        let (calibration, watcher) = bundled();
        let kind = WatchKind::Fire;
        let scores = watcher.score(&["Smoke is coming out of the oven!"]);
        let watched = Some((scores, &watcher));
        let odds = |asked| calibration.log_odds(Some(kind), watched, asked).unwrap();
        assert_eq!(odds(None), watcher.log_odds(kind, &scores));
        assert!(odds(Some(4.0)) > odds(Some(-4.0)));
        assert_eq!(calibration.log_odds(Some(kind), None, None), None);
        assert_eq!(calibration.log_odds(None, watched, None), None);
        let unknown = Calibration::default();
        assert!((unknown.log_odds(None, watched, Some(0.0)).unwrap() - log_odds(0.01)).abs() < 1e-3);
        let alone = watcher.log_odds(kind, &scores);
        assert_eq!(unknown.log_odds(Some(kind), watched, Some(-5.0)), Some(alone));
        assert!(unknown.log_odds(Some(kind), watched, Some(50.0)).unwrap() > 40.0);
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
