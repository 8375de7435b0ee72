//! A cheap watcher beside the model: says from the words alone whether talk may be about a fire, a leak and so on.
//!
//! It is a logistic regression on n-grams of words and characters, hashed into a table (`training/watcher.py` trains it and computes the
//! same). It costs about a tenth of a millisecond where a question to a model costs tens of milliseconds or seconds. So it decides which questions are worth
//! asking, and it also knows words that a small model does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use half::f16;
use regex::Regex;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

use crate::config::{Rule, WatchKind};
use crate::models::{self, ModelError};

/// The bundled file, in a folder of models.
pub const FILE: &str = "watcher.safetensors";
/// The layout of the file that this code reads.
const FORMAT: u32 = 2;
const KINDS: usize = WatchKind::ALL.len();

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

/// What the file says of itself.
#[derive(Deserialize)]
struct Layout {
    format: u32,
    kinds: Vec<WatchKind>,
    /// The least and the greatest number of words in an n-gram, and of characters.
    words: (usize, usize),
    chars: (usize, usize),
    /// The last utterances of so many words are scored, and the highest score counts.
    windows: Vec<usize>,
    /// From this score on a question is worth asking; in the order of `kinds`.
    low: Vec<f64>,
    /// `a` and `b` for each kind: without another opinion, the log-odds that it is so are `a + b · score`.
    alone: Vec<(f64, f64)>,
}

/// See the module.
pub struct Watcher {
    layout: Layout,
    /// A row of one weight a kind for each bucket.
    weights: Vec<f16>,
    /// What an n-gram of a bucket counts for; 0 where training saw it only once.
    idf: Vec<f16>,
    bias: Vec<f64>,
    /// CRC-32 of the file.
    checksum: u32,
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
        Self::parse(&bytes).map_err(|reason| WatcherError::Broken { path: path.into(), reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let layout =
            header.metadata().as_ref().and_then(|all| all.get("watcher")).ok_or("its header has no \"watcher\"")?;
        let layout: Layout =
            serde_json::from_str(layout).map_err(|error| format!("its \"watcher\" is wrong: {error}"))?;
        if layout.format != FORMAT {
            return Err(format!("its format is {}, and this hearth reads {FORMAT}", layout.format));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let tensor = |name: &str, dtype: Dtype| match tensors.tensor(name) {
            Ok(tensor) if tensor.dtype() == dtype => Ok(tensor.data().to_vec()),
            Ok(tensor) => Err(format!("\"{name}\" holds {:?} instead of {dtype:?}", tensor.dtype())),
            Err(error) => Err(error.to_string()),
        };
        let halves = |name| {
            Ok::<_, String>(
                tensor(name, Dtype::F16)?.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect(),
            )
        };
        let (weights, idf): (Vec<f16>, Vec<f16>) = (halves("weights")?, halves("idf")?);
        let bias = tensor("bias", Dtype::F32)?
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b).into())
            .collect::<Vec<f64>>();
        let fits = layout.kinds == WatchKind::ALL
            && [bias.len(), layout.low.len(), layout.alone.len()] == [KINDS; 3]
            && !idf.is_empty()
            && weights.len() == idf.len() * KINDS;
        if !fits {
            return Err("its parts do not fit each other or the kinds that this hearth knows".into());
        }
        let small = |(least, most): (usize, usize)| 1 <= least && least <= most && most <= 8;
        if layout.windows.is_empty() || !small(layout.words) || !small(layout.chars) {
            return Err("it has no windows, or n-grams of another length than 1 to 8".into());
        }
        let numbers = weights
            .iter()
            .chain(&idf)
            .map(|x| x.to_f64())
            .chain(bias.iter().chain(&layout.low).copied())
            .chain(layout.alone.iter().flat_map(|(a, b)| [*a, *b]));
        if numbers.into_iter().any(|x| !x.is_finite()) {
            return Err("it holds a value that is no number".into());
        }
        Ok(Self { layout, weights, idf, bias, checksum: crc32fast::hash(bytes) })
    }

    /// Scores talk, the newest utterance last: of a few lengths of the end of it, the highest.
    pub fn score(&self, talk: &[&str]) -> WatchScores {
        let windows = self.layout.windows.iter().map(|words| self.score_text(&window(talk, *words)));
        windows.reduce(WatchScores::max).expect("there is at least one window")
    }

    /// Whether a question about `kind` is worth asking.
    pub(crate) fn suggests(&self, kind: WatchKind, scores: &WatchScores) -> bool {
        scores.of(kind) >= self.layout.low[kind as usize]
    }

    /// The log-odds of `kind` in a stream of talk, from the score alone.
    pub(crate) fn log_odds(&self, kind: WatchKind, scores: &WatchScores) -> f64 {
        let (a, b) = self.layout.alone[kind as usize];
        a + b * scores.of(kind)
    }

    /// Which file it is.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Which utterances the score of `kind` rests on: those whose n-grams add at least a third of what those of the utterance add that
    /// adds most. Their indices, in order.
    pub(crate) fn carriers(&self, talk: &[&str], kind: WatchKind) -> Vec<usize> {
        let score = |texts: &[&str]| self.score_text(&texts.join(" ")).of(kind);
        let stretches = self.layout.windows.iter().map(|words| &talk[talk.len() - fitting(talk, *words)..]);
        let best = stretches.max_by(|a, b| score(a).total_cmp(&score(b))).expect("there is at least one window");
        let shares = self.shares(best, kind);
        let most = shares.iter().copied().fold(0.0, f64::max);
        let first = talk.len() - best.len();
        (0..best.len()).filter(|at| shares[*at] > 0.0 && 3.0 * shares[*at] >= most).map(|at| first + at).collect()
    }

    /// What the n-grams within each utterance add to the score of all of them together. With the bias, and the n-grams that lie across
    /// two utterances, it is the score.
    fn shares(&self, texts: &[&str], kind: WatchKind) -> Vec<f64> {
        type Grams = fn(&Watcher, &[String]) -> BTreeMap<usize, u32>;
        let mut shares = vec![0.0; texts.len()];
        for grams in [Self::word_grams as Grams, Self::char_grams] {
            let all = grams(self, &words(&texts.join(" ")));
            let norm = self.norm(&all);
            for (share, text) in shares.iter_mut().zip(texts) {
                for (bucket, count) in grams(self, &words(text)) {
                    let total = all.get(&bucket).copied().unwrap_or(count);
                    let weight = self.weights[bucket * KINDS + kind as usize].to_f64();
                    *share += self.value(bucket, total) / norm * weight * f64::from(count) / f64::from(total);
                }
            }
        }
        shares
    }

    fn score_text(&self, text: &str) -> WatchScores {
        let words = words(text);
        let mut scores: [f64; KINDS] = std::array::from_fn(|kind| self.bias[kind]);
        self.add(&self.word_grams(&words), &mut scores);
        self.add(&self.char_grams(&words), &mut scores);
        WatchScores(scores)
    }

    /// Adds what n-grams of one sort say; their number does not matter, only their shares.
    fn add(&self, counts: &BTreeMap<usize, u32>, scores: &mut [f64; KINDS]) {
        let norm = self.norm(counts);
        for (bucket, count) in counts {
            let share = self.value(*bucket, *count) / norm;
            let row = &self.weights[bucket * KINDS..][..KINDS];
            scores.iter_mut().zip(row).for_each(|(score, weight)| *score += share * weight.to_f64());
        }
    }

    fn value(&self, bucket: usize, count: u32) -> f64 {
        (1.0 + f64::from(count).ln()) * self.idf[bucket].to_f64()
    }

    fn norm(&self, counts: &BTreeMap<usize, u32>) -> f64 {
        counts.iter().map(|(bucket, count)| self.value(*bucket, *count).powi(2)).sum::<f64>().sqrt().max(1e-9)
    }

    fn word_grams(&self, words: &[String]) -> BTreeMap<usize, u32> {
        let mut counts = BTreeMap::new();
        for n in self.layout.words.0..=self.layout.words.1 {
            for gram in words.windows(n) {
                *counts.entry(self.bucket(&format!("w{}", gram.join(" ")))).or_default() += 1;
            }
        }
        counts
    }

    fn char_grams(&self, words: &[String]) -> BTreeMap<usize, u32> {
        let mut counts = BTreeMap::new();
        for word in words {
            let word: Vec<char> = format!(" {word} ").chars().collect();
            for n in self.layout.chars.0..=self.layout.chars.1 {
                for gram in word.windows(n) {
                    let gram: String = std::iter::once(&'c').chain(gram).collect();
                    *counts.entry(self.bucket(&gram)).or_default() += 1;
                }
            }
        }
        counts
    }

    fn bucket(&self, gram: &str) -> usize {
        crc32fast::hash(gram.as_bytes()) as usize % self.idf.len()
    }
}

/// How many of the last utterances have together at most `most` words; the newest in any case.
fn fitting(talk: &[&str], most: usize) -> usize {
    let mut total = 0;
    let fits = |(at, text): &(usize, &&str)| {
        total += text.split_whitespace().count();
        *at == 0 || total <= most
    };
    talk.iter().rev().enumerate().take_while(fits).count()
}

/// The last utterances of together at most `most` words.
fn window(talk: &[&str], most: usize) -> String {
    talk[talk.len() - fitting(talk, most)..].join(" ")
}

/// Words in lower case and without accents: runs of letters, digits and apostrophes.
fn words(text: &str) -> Vec<String> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}']+").expect("it is a pattern"));
    let plain: String = text.replace('’', "'").nfkd().filter(|c| canonical_combining_class(*c) == 0).collect();
    WORD.find_iter(&plain.to_lowercase()).map(|word| word.as_str().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundled() -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(FILE)).unwrap()
    }

    /// `training/watcher.py` wrote the scores.
    #[test]
    fn it_computes_what_the_training_computes() {
        #[derive(Deserialize)]
        struct Line {
            talk: Vec<String>,
            scores: Vec<f64>,
        }
        let watcher = Watcher::parse(&bundled()).unwrap();
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
        let watcher = Watcher::parse(&bundled()).unwrap();
        let carriers = |talk: &[&str], kind| watcher.carriers(talk, kind);
        let pills = ["It will be warm today.", "Did you take your heart pills?", "Oh no, I forgot them this morning."];
        assert_eq!(carriers(&pills, WatchKind::Medicine), [1, 2]);
        let smoke = ["Dinner is at seven.", "There is smoke coming out of the oven!", "We need milk and eggs."];
        assert_eq!(carriers(&smoke, WatchKind::Fire), [1]);
        assert!(carriers(&[], WatchKind::Fire).is_empty());
        let alone = ["Oh no, I forgot the pills this morning."];
        let score = watcher.score(&alone).of(WatchKind::Medicine);
        let share = watcher.shares(&alone, WatchKind::Medicine)[0];
        assert!(
            (share + watcher.bias[WatchKind::Medicine as usize] - score).abs() < 1e-9,
            "the shares add up to the score"
        );
    }

    #[test]
    fn the_newest_utterance_is_scored_however_long_it_is() {
        assert_eq!(window(&["a b", "c d", "e f g"], 5), "c d e f g");
        assert_eq!(window(&["a b", "c d e f"], 2), "c d e f");
        assert_eq!(window(&[], 2), "");
        assert_eq!(words("Don’t ﬁx Ünal's 2nd_Öfen!"), ["don't", "fix", "unal's", "2nd", "ofen"]);
    }
}
