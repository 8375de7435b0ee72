//! The file of a watcher: safetensors with a description in its header, as `training/watcher.py` writes it.
//!
//! What passes [`WatcherFile::parse`] fits together: the rest of the watcher indexes it without looking.

use half::f16;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::ngrams::NgramHasher;
use crate::config::WatchKind;

/// The layout of the file that this code reads.
const FORMAT: u32 = 2;
/// Kinds of event in a file.
pub(super) const KINDS: usize = WatchKind::ALL.len();

/// What the header says of the file.
#[derive(Deserialize)]
struct Layout {
    format: u32,
    kinds: Vec<WatchKind>,
    words: (usize, usize),
    chars: (usize, usize),
    windows: Vec<usize>,
    low: Vec<f64>,
    alone: Vec<(f64, f64)>,
}

/// What a file holds.
pub(super) struct WatcherFile {
    /// The last utterances of so many words are scored, and the highest score counts. There is at least one.
    pub(super) windows: Vec<usize>,
    /// For each kind: from this score on a question is worth asking.
    pub(super) low: Vec<f64>,
    /// `a` and `b` for each kind: without another opinion, the log-odds that it is so are `a + b · score`.
    pub(super) alone: Vec<(f64, f64)>,
    pub(super) ngrams: NgramHasher,
    /// A row of one weight a kind for each bucket.
    pub(super) weights: Vec<f16>,
    /// What an n-gram of a bucket counts for; 0 where training saw it only once.
    pub(super) idf: Vec<f16>,
    pub(super) bias: Vec<f64>,
    /// CRC-32 of the file.
    pub(super) checksum: u32,
}

impl WatcherFile {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, as a part of a sentence.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let layout = parse_layout(bytes)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let weights = halves(&tensors, "weights")?;
        let idf = halves(&tensors, "idf")?;
        let bias: Vec<f64> = tensor(&tensors, "bias", Dtype::F32)?
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b).into())
            .collect();
        let fits = layout.kinds == WatchKind::ALL
            && [bias.len(), layout.low.len(), layout.alone.len()] == [KINDS; 3]
            && !idf.is_empty()
            && weights.len() == idf.len() * KINDS;
        if !fits {
            return Err("its parts do not fit each other or the kinds that this hearth knows".into());
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
        Ok(Self {
            windows: layout.windows,
            low: layout.low,
            alone: layout.alone,
            ngrams: NgramHasher { words: layout.words, chars: layout.chars, buckets: idf.len() },
            weights,
            idf,
            bias,
            checksum: super::checksum(bytes),
        })
    }
}

fn parse_layout(bytes: &[u8]) -> Result<Layout, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let text = header.metadata().as_ref().and_then(|all| all.get("watcher")).ok_or("its header has no \"watcher\"")?;
    let layout: Layout = serde_json::from_str(text).map_err(|error| format!("its \"watcher\" is wrong: {error}"))?;
    if layout.format != FORMAT {
        return Err(format!("its format is {}, and this hearth reads {FORMAT}", layout.format));
    }
    let small = |(least, most): (usize, usize)| 1 <= least && least <= most && most <= 8;
    if layout.windows.is_empty() || !small(layout.words) || !small(layout.chars) {
        return Err("it has no windows, or n-grams of another length than 1 to 8".into());
    }
    Ok(layout)
}

fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<&'a [u8], String> {
    match tensors.tensor(name) {
        Ok(tensor) if tensor.dtype() == dtype => Ok(tensor.data()),
        Ok(tensor) => Err(format!("\"{name}\" holds {:?} instead of {dtype:?}", tensor.dtype())),
        Err(error) => Err(error.to_string()),
    }
}

fn halves(tensors: &SafeTensors, name: &str) -> Result<Vec<f16>, String> {
    Ok(tensor(tensors, name, Dtype::F16)?.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect())
}
