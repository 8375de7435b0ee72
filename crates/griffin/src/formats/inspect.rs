//! What a model holds, and whether it is whole, without loading it. A model that [`verify`] accepts can be loaded, and each of
//! its weights is a finite number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Advice;
use rayon::prelude::*;
use safetensors::tensor::TensorView;

use super::gguf::{Gguf, TensorType};
use super::sidecar::is_file;
use super::{
    Progress, SafetensorsFiles, TensorGroup, TensorKind, TensorSpec, find, mapped, plain, stored_fingerprint,
    tensor_specs, widen,
};
use crate::kernels::{PackedMatrix, WeightFormat};
use crate::{Config, Error};

/// Rows which one task looks at.
const ROWS_PER_TASK: usize = 256;

/// What a model holds of one group of tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSummary {
    /// Number of weights.
    pub parameters: u64,
    /// As stored.
    pub bytes: u64,
    /// As stored: dtypes of safetensors, or formats.
    pub formats: BTreeSet<String>,
}

/// What a model is.
#[derive(Clone, Debug)]
pub struct ModelSummary {
    /// Its shape.
    pub config: Config,
    /// Bytes of its weights' files.
    pub bytes: u64,
    /// Matrices by their group; norms, convolutions and biases under `None`.
    pub groups: BTreeMap<Option<TensorGroup>, GroupSummary>,
    /// The metadata of a GGUF file, as a person reads it.
    pub metadata: Vec<(String, String)>,
}

/// Where a model's weights are.
enum StoredWeights {
    Safetensors(SafetensorsFiles),
    Gguf(Gguf),
}

impl StoredWeights {
    fn open(path: &Path, config: &Config) -> Result<Self, Error> {
        if !is_file(path) {
            return Ok(Self::Safetensors(SafetensorsFiles::open(path)?));
        }
        let gguf = Gguf::open(path)?;
        gguf.check_metadata(&config.to_metadata())?;
        stored_fingerprint(&gguf)?;
        Ok(Self::Gguf(gguf))
    }

    /// The bytes of a tensor and how they are stored.
    fn stored(&self, spec: &TensorSpec) -> Result<(u64, String), Error> {
        match self {
            Self::Safetensors(files) => {
                let view = files.view(&spec.name, &spec.kind.shape())?;
                Ok((view.data().len() as u64, format!("{:?}", view.dtype()).to_lowercase()))
            }
            Self::Gguf(gguf) => {
                let tensor = find(gguf, &spec.name, &spec.kind.shape())?;
                let format = match tensor.tensor_type {
                    TensorType::Plain | TensorType::Packed(WeightFormat::F32) => "f32",
                    TensorType::Packed(WeightFormat::Q8_0) => "q8_0",
                    TensorType::Packed(WeightFormat::Q4K) => "q4_k",
                };
                Ok((tensor.bytes.len() as u64, format.into()))
            }
        }
    }

    fn is_finite(&self, spec: &TensorSpec) -> Result<bool, Error> {
        match (self, &spec.kind) {
            (Self::Safetensors(files), kind) => Ok(is_finite_view(&files.view(&spec.name, &kind.shape())?)),
            (Self::Gguf(gguf), TensorKind::Vector { shape }) => {
                Ok(plain(gguf, &spec.name, shape)?.iter().all(|value| value.is_finite()))
            }
            (Self::Gguf(gguf), kind) => Ok(is_finite_matrix(mapped(gguf, &spec.name, kind)?.packed())),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Safetensors(files) => files.bytes(),
            Self::Gguf(gguf) => gguf.map().len() as u64,
        }
    }
}

fn is_finite_view(view: &TensorView<'_>) -> bool {
    const STEP: usize = 1 << 16;
    let count: usize = view.shape().iter().product();
    (0..count.div_ceil(STEP)).into_par_iter().all(|step| {
        let mut values = vec![0f32; STEP.min(count - step * STEP)];
        widen(view, step * STEP, &mut values);
        values.iter().all(|value| value.is_finite())
    })
}

/// Every weight is a product or sum of scales and small integers: finite if the scales are.
fn is_finite_matrix(matrix: PackedMatrix<'_>) -> bool {
    let finite = AtomicBool::new(true);
    (0..matrix.outputs().div_ceil(ROWS_PER_TASK)).into_par_iter().for_each(|task| {
        let mut row = vec![0f32; matrix.columns()];
        for output in task * ROWS_PER_TASK..matrix.outputs().min((task + 1) * ROWS_PER_TASK) {
            matrix.row(output, &mut row);
            if !row.iter().all(|value| value.is_finite()) {
                finite.store(false, Ordering::Relaxed);
            }
        }
    });
    finite.into_inner()
}

/// Tells what a model is: a directory in Hugging Face layout, or a GGUF file. Only headers are read.
///
/// # Errors
/// Any of [`Error`] that concerns files.
pub fn summary(path: &Path) -> Result<ModelSummary, Error> {
    let config = Config::load(path)?;
    let weights = StoredWeights::open(path, &config)?;
    let mut groups: BTreeMap<Option<TensorGroup>, GroupSummary> = BTreeMap::new();
    for spec in tensor_specs(&config) {
        let (bytes, format) = weights.stored(&spec)?;
        let group = groups.entry(spec.kind.group()).or_default();
        group.parameters += spec.kind.parameters() as u64;
        group.bytes += bytes;
        group.formats.insert(format);
    }
    let metadata = match &weights {
        StoredWeights::Safetensors(_) => Vec::new(),
        StoredWeights::Gguf(gguf) => gguf.metadata().map(|(key, value)| (key.to_string(), value)).collect(),
    };
    Ok(ModelSummary { bytes: weights.bytes(), config, groups, metadata })
}

/// Makes sure that a model has all its weights, in their shapes, and that each is a finite number. `progress` is told the
/// parameters that were looked at, and their total.
///
/// # Errors
/// Any of [`Error`] that concerns files; [`Error::NotFinite`].
pub fn verify(path: &Path, progress: Progress<'_>) -> Result<(), Error> {
    let config = Config::load(path)?;
    let weights = StoredWeights::open(path, &config)?;
    if let StoredWeights::Gguf(gguf) = &weights {
        // As in `WeightLoader::open`.
        let _ = gguf.map().advise(Advice::WillNeed);
    }
    let specs = tensor_specs(&config);
    // A missing tensor is reported before the numbers are looked at, which takes long.
    for spec in &specs {
        weights.stored(spec)?;
    }
    let total = config.parameters();
    let mut done = 0;
    for spec in &specs {
        if !weights.is_finite(spec)? {
            return Err(Error::NotFinite { path: path.into(), tensor: spec.name.clone() });
        }
        done += spec.kind.parameters() as u64;
        progress(done, total);
    }
    Ok(())
}
