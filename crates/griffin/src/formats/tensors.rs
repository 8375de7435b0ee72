//! Which tensors a model has. Each is named once, where its layer loads it from a [`TensorSource`]: visited by a loader the
//! layers give a model, visited by [`TensorLister`] they give the list which quantizing and verifying go by.

use super::{RowChunks, WeightMatrix};
use crate::config::Config;
use crate::error::Error;
use crate::kernels::WeightFormat;
use crate::model::ModelWeights;
use crate::options::Quantization;

/// Parameters from which [`Quantization::Auto`] quantizes.
const AUTO_QUANTIZE_FROM: u64 = 500_000_000;

/// What a matrix is for, which decides its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorGroup {
    /// The embedding, which is the head as well.
    Embedding,
    /// The gated MLPs.
    Mlp,
    /// The linear layers around the recurrence.
    Recurrent,
    /// The block-diagonal matrices of the RG-LRU.
    Gates,
    /// The projections of queries and of the output.
    Attention,
    /// The projections of keys and values.
    KeysValues,
}

impl TensorGroup {
    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Mlp => "mlp",
            Self::Recurrent => "recurrent",
            Self::Gates => "gates",
            Self::Attention => "attention",
            Self::KeysValues => "keys, values",
        }
    }

    /// The format of a matrix of a model with so many parameters: the one that `quantization` wants, or the next finer one
    /// whose blocks fit rows of so many columns.
    ///
    /// Gates are raised to the power of time, and all queries read the one head of keys and values: together they are one
    /// weight in eighty, and stay at 8 bits where the rest takes 4. docs/performance.md has the perplexities.
    pub fn format(self, quantization: Quantization, parameters: u64, columns: usize) -> WeightFormat {
        let wanted = match quantization {
            Quantization::F32 => WeightFormat::F32,
            Quantization::Auto if parameters < AUTO_QUANTIZE_FROM => WeightFormat::F32,
            Quantization::Auto | Quantization::Q8_0 => WeightFormat::Q8_0,
            Quantization::Q4K if matches!(self, Self::Gates | Self::KeysValues) => WeightFormat::Q8_0,
            Quantization::Q4K => WeightFormat::Q4K,
        };
        let coarse_to_fine: &[WeightFormat] = match wanted {
            WeightFormat::Q4K => &[WeightFormat::Q4K, WeightFormat::Q8_0],
            WeightFormat::Q8_0 => &[WeightFormat::Q8_0],
            WeightFormat::F32 => &[],
        };
        coarse_to_fine.iter().copied().find(|format| format.fits(columns)).unwrap_or(WeightFormat::F32)
    }
}

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorSpec {
    /// In checkpoints of Hugging Face.
    pub(crate) name: String,
    pub(crate) kind: TensorKind,
}

/// What a tensor is to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TensorKind {
    /// Norms, biases, convolutions: small, always f32.
    Vector { shape: Vec<usize> },
    /// [rows, columns]
    Matrix { group: TensorGroup, rows: usize, columns: usize },
    /// A gate of the RG-LRU: one [block, block] for each head. Checkpoints hold each block input-major; once loaded it has one
    /// row for each output, as every matrix has.
    BlockDiagonal { heads: usize, block: usize },
}

impl TensorKind {
    /// The shape in a checkpoint.
    pub(crate) fn shape(&self) -> Vec<usize> {
        match *self {
            Self::Vector { ref shape } => shape.clone(),
            Self::Matrix { rows, columns, .. } => vec![rows, columns],
            Self::BlockDiagonal { heads, block } => vec![heads, block, block],
        }
    }

    pub(crate) fn parameters(&self) -> usize {
        self.shape().iter().product()
    }

    /// None for a vector.
    pub(crate) fn group(&self) -> Option<TensorGroup> {
        match *self {
            Self::Vector { .. } => None,
            Self::Matrix { group, .. } => Some(group),
            Self::BlockDiagonal { .. } => Some(TensorGroup::Gates),
        }
    }

    /// How the matrix is packed in a model of so many parameters; None for a vector, which is not packed.
    pub(crate) fn row_chunks(&self, quantization: Quantization, parameters: u64) -> Option<RowChunks> {
        let columns = match *self {
            Self::Vector { .. } => return None,
            Self::Matrix { columns, .. } => columns,
            Self::BlockDiagonal { block, .. } => block,
        };
        RowChunks::new(self, self.group()?.format(quantization, parameters, columns))
    }
}

/// What the layers of a model are loaded from.
pub(crate) trait TensorSource {
    /// A small tensor, row-major. It is empty where the tensors are only listed, so layers must not index it while they load.
    fn vector(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;

    /// A matrix or a block-diagonal one.
    ///
    /// # Panics
    /// If `kind` is a vector.
    fn matrix(&mut self, name: &str, kind: TensorKind) -> Result<WeightMatrix, Error>;
}

/// Writes down what a model asks for, and gives it nothing: a config that claims an absurd shape costs no memory.
struct TensorLister {
    specs: Vec<TensorSpec>,
}

impl TensorSource for TensorLister {
    fn vector(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.specs.push(TensorSpec { name: name.into(), kind: TensorKind::Vector { shape: shape.to_vec() } });
        Ok(Vec::new())
    }

    fn matrix(&mut self, name: &str, kind: TensorKind) -> Result<WeightMatrix, Error> {
        self.specs.push(TensorSpec { name: name.into(), kind });
        Ok(WeightMatrix::unloaded())
    }
}

/// All tensors of a model, in the order in which it loads them.
pub(crate) fn tensor_specs(config: &Config) -> Vec<TensorSpec> {
    let mut lister = TensorLister { specs: Vec::new() };
    ModelWeights::load(&mut lister, config).expect("listing reads nothing that could fail");
    lister.specs
}
