//! A look at all weights of a model without loading it.
//!
//! Owns what is told of a model, and the check that nothing is missing and every number is one. Invariant: a model that passes
//! the check can be loaded, and no weight of it is infinite or no number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Advice;
use rayon::prelude::*;
use safetensors::tensor::TensorView;

use super::super::attached::is_file;
use super::super::gguf::{Gguf, Kind};
use super::super::kernel::{Form, Packed};
use super::super::{Config, Error};
use super::{Files, Group, Part, Progress, Role, find, mapped, parts, plain, stored_fingerprint, widen};

/// Rows, or values of a small tensor, that are looked at together.
const AT_ONCE: usize = 256;

/// What a model holds of one kind of weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub parameters: u64,
    pub bytes: u64,
    /// As they are stored.
    pub forms: BTreeSet<String>,
}

/// What a model is.
#[derive(Clone, Debug)]
pub struct Summary {
    pub config: Config,
    /// Of its weights' files.
    pub bytes: u64,
    /// Matrices by their group; norms, convolutions and biases under none.
    pub contents: BTreeMap<Option<Group>, Content>,
    /// The keys of a GGUF file, as a person reads them.
    pub keys: Vec<(String, String)>,
}

/// Where a model's weights are.
enum Quantization {
    Files(Files),
    Gguf(Gguf),
}

impl Quantization {
    fn open(path: &Path, config: &Config) -> Result<Self, Error> {
        if !is_file(path) {
            return Ok(Self::Files(Files::open(path)?));
        }
        let gguf = Gguf::open(path)?;
        gguf.must_say(&config.keys())?;
        stored_fingerprint(&gguf)?;
        Ok(Self::Gguf(gguf))
    }

    /// The bytes of a tensor and how they are stored.
    fn stored(&self, part: &Part) -> Result<(u64, String), Error> {
        match self {
            Self::Files(files) => {
                let view = files.view(&part.name, &part.role.shape())?;
                Ok((view.data().len() as u64, format!("{:?}", view.dtype()).to_lowercase()))
            }
            Self::Gguf(gguf) => {
                let tensor = find(gguf, &part.name, &part.role.shape())?;
                let form = match tensor.kind {
                    Kind::Plain | Kind::Packed(Form::F32) => "f32",
                    Kind::Packed(Form::Q8_0) => "q8_0",
                    Kind::Packed(Form::Q4K) => "q4_k",
                };
                Ok((tensor.bytes.len() as u64, form.into()))
            }
        }
    }

    fn is_finite(&self, part: &Part) -> Result<bool, Error> {
        match (self, &part.role) {
            (Self::Files(files), _) => Ok(finite_view(&files.view(&part.name, &part.role.shape())?)),
            (Self::Gguf(gguf), Role::Vector(shape)) => {
                Ok(plain(gguf, &part.name, shape)?.iter().all(|value| value.is_finite()))
            }
            (Self::Gguf(gguf), role) => Ok(finite_rows(mapped(gguf, &part.name, role)?.packed())),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Files(files) => files.bytes(),
            Self::Gguf(gguf) => gguf.map().len() as u64,
        }
    }
}

fn finite_view(view: &TensorView<'_>) -> bool {
    const STEP: usize = 1 << 16;
    let count: usize = view.shape().iter().product();
    (0..count.div_ceil(STEP)).into_par_iter().all(|step| {
        let mut values = vec![0f32; STEP.min(count - step * STEP)];
        widen(view, step * STEP, &mut values);
        values.iter().all(|value| value.is_finite())
    })
}

/// Every weight is a product or sum of scales and small integers: finite if the scales are.
fn finite_rows(matrix: Packed<'_>) -> bool {
    let finite = AtomicBool::new(true);
    (0..matrix.outputs().div_ceil(AT_ONCE)).into_par_iter().for_each(|step| {
        let mut row = vec![0f32; matrix.columns()];
        for output in step * AT_ONCE..matrix.outputs().min((step + 1) * AT_ONCE) {
            matrix.row(output, &mut row);
            if !row.iter().all(|value| value.is_finite()) {
                finite.store(false, Ordering::Relaxed);
            }
        }
    });
    finite.into_inner()
}

/// Tells what a model is: a directory in Hugging Face layout, or a GGUF file.
///
/// # Errors
/// Any of [`Error`] that concerns files.
pub fn summary(path: &Path) -> Result<Summary, Error> {
    let config = Config::load(path)?;
    let weights = Quantization::open(path, &config)?;
    let mut contents: BTreeMap<Option<Group>, Content> = BTreeMap::new();
    for part in parts(&config) {
        let (bytes, form) = weights.stored(&part)?;
        let content = contents.entry(part.role.group()).or_default();
        content.parameters += part.role.parameters() as u64;
        content.bytes += bytes;
        content.forms.insert(form);
    }
    let keys = match &weights {
        Quantization::Files(_) => Vec::new(),
        Quantization::Gguf(gguf) => gguf.keys().map(|(key, value)| (key.to_string(), value)).collect(),
    };
    Ok(Summary { bytes: weights.bytes(), config, contents, keys })
}

/// Makes sure that a model has all its weights, in their shapes, and that every one is a finite number.
///
/// # Errors
/// Any of [`Error`] that concerns files; [`Error::NotFinite`].
pub fn check(path: &Path, progress: Progress<'_>) -> Result<(), Error> {
    let config = Config::load(path)?;
    let weights = Quantization::open(path, &config)?;
    if let Quantization::Gguf(gguf) = &weights {
        // As in `Checkpoint::open`.
        let _ = gguf.map().advise(Advice::WillNeed);
    }
    let parts = parts(&config);
    // What is missing is told before the numbers are looked at.
    for part in &parts {
        weights.stored(part)?;
    }
    let total = config.parameters();
    let mut done = 0;
    for part in &parts {
        if !weights.is_finite(part)? {
            return Err(Error::NotFinite { path: path.into(), tensor: part.name.clone() });
        }
        done += part.role.parameters() as u64;
        progress(done, total);
    }
    Ok(())
}
