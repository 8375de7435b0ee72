//! A cheap watcher beside the model: says from the words alone whether talk may be about a fire, a leak and so on.
//!
//! It is a logistic regression on n-grams of words and characters, hashed into a table (`training/watcher.py` trains it and computes the
//! same). It costs about a tenth of a millisecond where a question to a model costs tens of milliseconds or seconds. So it decides which questions are worth
//! asking, and it also knows words that a small model does not.

mod file;
mod ngrams;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::file::{KINDS, WatcherFile};
use self::ngrams::{BucketCounts, fitting, window, words};
use crate::config::{Rule, WatchKind};
use crate::models::{self, ModelError};

/// The bundled file, in a folder of models.
pub const FILE: &str = "watcher.safetensors";
/// By how much the score of what is quoted may be lower than the highest: further utterances that add less are not quoted.
const SLACK: f64 = 1.0;

/// Why there is no watcher. hearth goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum WatcherError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the watcher {path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a watcher: {reason}. Install hearth again, or make the file with training/watcher.py")]
    Broken { path: PathBuf, reason: String },
}

/// CRC-32, by which a calibration knows what it was fitted to.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// See the module.
pub struct Watcher {
    file: WatcherFile,
}

/// A score for each kind: log-odds that are right for the texts of the training, where events are frequent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchScores([f64; KINDS]);

impl WatchScores {
    pub fn of(&self, kind: WatchKind) -> f64 {
        self.0[kind as usize]
    }

    /// The higher score of each kind.
    pub(crate) fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind].max(other.0[kind])))
    }
}

impl Watcher {
    /// The watcher where models are looked for.
    ///
    /// # Errors
    /// It cannot be found or read.
    pub(crate) fn find(config_dir: &Path) -> Result<Self, WatcherError> {
        Self::load(&models::find(Path::new(FILE), config_dir)?)
    }

    /// The same, if any of the rules has one.
    ///
    /// # Errors
    /// As [`Watcher::find`].
    pub(crate) fn of(rules: &[Rule], config_dir: &Path) -> Result<Option<Arc<Self>>, WatcherError> {
        let wanted = rules.iter().any(|rule| rule.watch.is_some());
        wanted.then(|| Self::find(config_dir).map(Arc::new)).transpose()
    }

    /// Loads a file that `training/watcher.py` wrote.
    ///
    /// # Errors
    /// It cannot be read, or is not such a file.
    pub fn load(path: &Path) -> Result<Self, WatcherError> {
        let bytes = std::fs::read(path).map_err(|source| WatcherError::Read { path: path.into(), source })?;
        let file = WatcherFile::parse(&bytes);
        file.map(|file| Self { file }).map_err(|reason| WatcherError::Broken { path: path.into(), reason })
    }

    /// Scores talk, the newest utterance last: of a few lengths of the end of it, the highest.
    pub fn score(&self, talk: &[&str]) -> WatchScores {
        let windows = self.file.windows.iter().map(|words| self.score_text(&window(talk, *words)));
        windows.reduce(WatchScores::max).expect("there is at least one window")
    }

    /// The longest end of talk that is scored.
    pub(crate) fn longest<'a, 't>(&self, talk: &'a [&'t str]) -> &'a [&'t str] {
        let longest = self.file.windows.iter().map(|words| fitting(talk, *words)).max().unwrap_or_default();
        &talk[talk.len() - longest..]
    }

    /// Whether a question about `kind` is worth asking.
    pub(crate) fn suggests(&self, kind: WatchKind, scores: &WatchScores) -> bool {
        scores.of(kind) >= self.file.low[kind as usize]
    }

    /// The log-odds of `kind` in a stream of talk, from the score alone.
    pub(crate) fn log_odds(&self, kind: WatchKind, scores: &WatchScores) -> f64 {
        let (a, b) = self.file.alone[kind as usize];
        a + b * scores.of(kind)
    }

    /// Which file it is.
    pub(crate) fn checksum(&self) -> u32 {
        self.file.checksum
    }

    /// Which utterances the score of `kind` rests on: the fewest words in a row, in whole utterances, whose score is within
    /// [`SLACK`] of the highest that any in a row have. Their indices.
    pub(crate) fn carriers(&self, talk: &[&str], kind: WatchKind) -> Range<usize> {
        let rows = (talk.len() - self.longest(talk).len()..talk.len())
            .flat_map(|from| (from + 1..=talk.len()).map(move |to| from..to));
        let scored: Vec<_> = rows.map(|row| (self.score_text(&talk[row.clone()].join(" ")).of(kind), row)).collect();
        let highest = scored.iter().map(|(score, _)| *score).fold(f64::NEG_INFINITY, f64::max);
        let near = scored.into_iter().filter(|(score, _)| *score >= highest - SLACK).map(|(_, row)| row);
        near.min_by_key(|row| words(&talk[row.clone()].join(" ")).len()).unwrap_or_default()
    }

    fn score_text(&self, text: &str) -> WatchScores {
        let words = words(text);
        let mut scores: [f64; KINDS] = std::array::from_fn(|kind| self.file.bias[kind]);
        self.add(&self.file.ngrams.word_grams(&words), &mut scores);
        self.add(&self.file.ngrams.char_grams(&words), &mut scores);
        WatchScores(scores)
    }

    /// Adds what n-grams of one sort say; their number does not matter, only their shares.
    fn add(&self, counts: &BucketCounts, scores: &mut [f64; KINDS]) {
        let norm = self.norm(counts);
        for (bucket, count) in counts {
            let share = self.value(*bucket, *count) / norm;
            let row = &self.file.weights[bucket * KINDS..][..KINDS];
            scores.iter_mut().zip(row).for_each(|(score, weight)| *score += share * weight.to_f64());
        }
    }

    fn value(&self, bucket: usize, count: u32) -> f64 {
        (1.0 + f64::from(count).ln()) * self.file.idf[bucket].to_f64()
    }

    fn norm(&self, counts: &BucketCounts) -> f64 {
        counts.iter().map(|(bucket, count)| self.value(*bucket, *count).powi(2)).sum::<f64>().sqrt().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn bundled() -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(FILE)).unwrap()
    }

    fn bundled_watcher() -> Watcher {
        Watcher { file: WatcherFile::parse(&bundled()).unwrap() }
    }

    /// `training/watcher.py` wrote the scores.
    #[test]
    fn it_computes_what_the_training_computes() {
        #[derive(Deserialize)]
        struct Line {
            talk: Vec<String>,
            scores: Vec<f64>,
        }
        let watcher = bundled_watcher();
        let lines = include_str!("../tests/fixtures/watcher.jsonl").lines();
        let lines: Vec<Line> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() > 30);
        for line in lines {
            let talk: Vec<&str> = line.talk.iter().map(String::as_str).collect();
            for (found, wanted) in watcher.score(&talk).0.iter().zip(&line.scores) {
                assert!((found - wanted).abs() < 1e-3, "{found} instead of {wanted} for {talk:?}");
            }
        }
    }

    #[test]
    fn a_broken_file_is_named_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let error = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Watcher::load(&path).err().expect("it is broken").to_string()
        };
        assert!(Watcher::load(&dir.path().join("none")).err().unwrap().to_string().contains("cannot be read"));
        let whole = bundled();
        for bytes in [&b""[..], b"nonsense", &whole[..whole.len() / 2], &whole[..200]] {
            let text = error(bytes);
            assert!(
                text.contains("watcher.safetensors is not a watcher: ") && text.contains("Install hearth again"),
                "{text}"
            );
        }
        let with = |old: &str, new: &str| {
            let mut bytes = whole.clone();
            let at = bytes.windows(old.len()).position(|part| part == old.as_bytes()).unwrap();
            bytes.splice(at..at + old.len(), new.bytes());
            bytes
        };
        assert!(error(&with(r#"\"format\": 2"#, r#"\"format\": 7"#)).contains("its format is 7"));
        assert!(error(&with(r#"\"leak\""#, r#"\"lake\""#)).contains("unknown variant `lake`"));
        assert!(error(&with(r#"\"words\": [1"#, r#"\"words\": [9"#)).contains("another length"));
        let mut nan = whole.clone();
        let end = nan.len();
        nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(error(&nan).contains("no number"));
    }

    #[test]
    fn it_tells_which_utterances_a_score_rests_on() {
        let watcher = bundled_watcher();
        let carriers = |talk: &[&str], kind| watcher.carriers(talk, kind);
        let pills = ["It will be warm today.", "Did you take your heart pills?", "Oh no, I forgot them this morning."];
        assert_eq!(carriers(&pills, WatchKind::Medicine), 1..3);
        let smoke = ["Dinner is at seven.", "There is smoke coming out of the oven!", "We need milk and eggs."];
        assert_eq!(carriers(&smoke, WatchKind::Fire), 1..2);
        assert!(carriers(&[], WatchKind::Fire).is_empty());
    }
}
